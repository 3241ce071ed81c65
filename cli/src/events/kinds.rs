//! The kinds of aggregates that there are: whose they are, what may happen to them, how that is folded.

use crate::ports::Role;
use cqrs_es::DomainEvent;
use domain::notification::{Notification, Preferences, Webhook};
use domain::order::Order;
use domain::payment::Payment;
use domain::product::Product;
use domain::stock::Stock;
use domain::user::User;
use domain::user::session::Session;
use event_store::{RecordedEvent, Stored};
use kernel::upcast::Upcaster;
use kernel::{Decide, names};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use schemars::{JsonSchema, Schema};
use serde_json::Value;

/// A kind of aggregates.
pub(crate) struct Kind {
    /// Whose store its streams are in.
    pub(crate) role: Role,
    /// Its name in the events.
    pub(crate) name: &'static str,
    variants: fn() -> &'static [&'static str],
    fold: fn() -> Box<dyn Fold>,
    schema: fn() -> Schema,
    upcasters: &'static [Upcaster],
    read: fn(&Stored<'_>) -> Result<Vec<Written>, event_store::Error>,
}

/// An event as it is written today.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Written {
    pub(crate) event_type: String,
    pub(crate) event_version: String,
    pub(crate) payload: Value,
}

/// All of them. Where two have the same ids, the one that is usually meant comes first.
pub(crate) static KINDS: [Kind; 10] = [
    Kind::of::<Order>(Role::Order),
    Kind::of::<OrderFulfilment>(Role::Orchestrator),
    Kind::of::<Product>(Role::Product),
    Kind::of::<Stock>(Role::Product),
    Kind::of::<Payment>(Role::Payment),
    Kind::of::<User>(Role::User),
    Kind::of::<Session>(Role::User),
    Kind::of::<Notification>(Role::Notification),
    Kind::of::<Preferences>(Role::Notification),
    Kind::of::<Webhook>(Role::Notification),
];

/// A state that is being folded, whatever its type is.
pub(crate) trait Fold: Send {
    /// Goes on with the next event.
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), event_store::Error>;

    /// The state as JSON.
    fn state(&self) -> serde_json::Result<Value>;
}

struct Folding<A>(A);

impl<A: Decide> Fold for Folding<A> {
    fn apply(&mut self, event: &RecordedEvent) -> Result<(), event_store::Error> {
        event.decode_all::<A>()?.for_each(|event| self.0.apply(event));
        Ok(())
    }

    fn state(&self) -> serde_json::Result<Value> {
        serde_json::to_value(&self.0)
    }
}

impl Kind {
    const fn of<A: Decide<Event: JsonSchema>>(role: Role) -> Self {
        Self {
            role,
            name: A::TYPE,
            variants: names::variants::<A::Event>,
            fold: || Box::new(Folding(A::default())),
            schema: || schemars::schema_for!(A::Event),
            upcasters: A::UPCASTERS,
            read: read::<A>,
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        KINDS.iter().find(|kind| kind.name == name)
    }

    /// The state before the first event.
    pub(crate) fn begin(&self) -> Box<dyn Fold> {
        (self.fold)()
    }

    /// The types of its events.
    pub(crate) fn event_types(&self) -> impl Iterator<Item = String> {
        self.tags().map(|(event_type, _)| event_type)
    }

    /// The types of its events, each with the tag that it has in JSON.
    pub(crate) fn tags(&self) -> impl Iterator<Item = (String, &'static str)> {
        (self.variants)().iter().map(|variant| (names::event_type(variant), *variant))
    }

    /// The JSON Schema of its events, as one of several.
    pub(crate) fn schema(&self) -> Value {
        (self.schema)().to_value()
    }

    /// How earlier forms of its events are read.
    pub(crate) fn upcasters(&self) -> &'static [Upcaster] {
        self.upcasters
    }

    /// What an event means, as it would be written today.
    pub(crate) fn read(&self, stored: &Stored<'_>) -> Result<Vec<Written>, event_store::Error> {
        (self.read)(stored)
    }
}

fn read<A: Decide>(stored: &Stored<'_>) -> Result<Vec<Written>, event_store::Error> {
    let written = |event: A::Event| Written {
        event_type: event.event_type(),
        event_version: event.event_version(),
        // Domain events are plain JSON structures.
        payload: serde_json::to_value(&event).unwrap_or_default(),
    };
    Ok(stored.decode_all::<A>()?.map(written).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_knows_its_events() {
        let of = |name: &str| Kind::named(name).expect("known").event_types().collect::<Vec<_>>();
        assert_eq!(of("order"), ["order_placed", "cancellation_requested", "order_confirmed", "order_cancelled"]);
        assert!(of("order_fulfilment").contains(&"compensation_started".to_owned()));
        assert!(KINDS.iter().all(|kind| kind.event_types().count() > 0));
    }

    #[test]
    fn names_are_distinct() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }
}
