//! The names that stand in the stores: those of aggregates, and of streams that are folded by none.

use super::kinds::{KINDS, Kind};
use crate::ports::Role;
use event_store::OPERATION;

/// Who holds an address: a stream for each, beside the users.
const CLAIM: &str = "email_claim";
const CLAIM_EVENTS: [&str; 2] = ["email_claimed", "email_released"];

/// The kinds of streams that a store may have.
pub(super) fn kinds(role: Role) -> impl Iterator<Item = &'static str> {
    let own = KINDS.iter().filter(move |kind| kind.role == role).map(|kind| kind.name);
    own.chain((role == Role::User).then_some(CLAIM)).chain([OPERATION])
}

/// All of them.
pub(super) fn all_kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name).chain([CLAIM, OPERATION])
}

/// The types of all events but those of operators' acts, which have as many names as there are acts.
pub(super) fn event_types() -> impl Iterator<Item = String> {
    KINDS.iter().flat_map(Kind::event_types).chain(CLAIM_EVENTS.map(str::to_owned))
}
