//! Who holds an address. Each address has a stream of its own, named by a keyed hash of it: its events can be written
//! by one at a time, so an address has one holder at most.

use domain::user::EmailAddress;
use event_store::{Append, EventStore, NewEvent, PgStore, StreamId};
use kernel::UserId;
use runtime::Origin;
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use super::Error;
use crate::vault::Vault;

const TYPE: &str = "email_claim";

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Event {
    /// A user has an address, which nobody else can have then. The stream's id is a keyed hash of it.
    EmailClaimed {
        /// The user.
        user_id: UserId,
    },
    /// A user has it no more.
    EmailReleased {
        /// The user.
        user_id: UserId,
    },
}

/// The kind of these streams and their events' JSON Schema, for those who describe them.
pub fn described() -> (&'static str, Schema) {
    (TYPE, schemars::schema_for!(Event))
}

/// Reads such an event and writes it again.
///
/// # Errors
/// It is none.
pub fn understood(event: &Value) -> serde_json::Result<Value> {
    serde_json::to_value(Event::deserialize(event)?)
}

/// An address and who holds it.
pub(crate) struct Claim {
    pub(super) holder: Option<UserId>,
    stream: StreamId,
    sequence: u64,
}

/// The claim on the address that this id stands for.
pub(super) async fn load(store: &PgStore, email_id: Uuid) -> Result<Claim, Error> {
    let stream = StreamId { aggregate_type: TYPE, aggregate_id: email_id.to_string() };
    let events = store.load(&[(stream.clone(), 0)]).await?.pop().unwrap_or_default();
    let mut claim = Claim { holder: None, stream, sequence: 0 };
    for event in events {
        claim.sequence = event.sequence;
        let read = serde_json::from_str(&event.payload).map_err(|error| event_store::Error::Undecodable {
            stream: TYPE.to_owned(),
            sequence: event.sequence,
            error: error.to_string(),
        })?;
        claim.holder = match read {
            Event::EmailClaimed { user_id } => Some(user_id),
            Event::EmailReleased { .. } => None,
        };
    }
    Ok(claim)
}

impl Claim {
    pub(super) async fn of(store: &PgStore, vault: &Vault, email: &EmailAddress) -> Result<Self, Error> {
        load(store, vault.email_id(email)).await
    }

    /// That nobody has had the address so far.
    pub(crate) fn first(vault: &Vault, email: &EmailAddress) -> Self {
        let stream = StreamId { aggregate_type: TYPE, aggregate_id: vault.email_id(email).to_string() };
        Self { holder: None, stream, sequence: 0 }
    }

    /// The append by which the user gets the address.
    pub(crate) fn claimed_by(self, user_id: UserId, origin: &Origin, clock: &dyn event_store::clock::Clock) -> Append {
        self.append("email_claimed", &Event::EmailClaimed { user_id }, origin, clock)
    }

    /// The append by which the user lets go of it.
    pub(super) fn released_by(self, user_id: UserId, origin: &Origin, clock: &dyn event_store::clock::Clock) -> Append {
        self.append("email_released", &Event::EmailReleased { user_id }, origin, clock)
    }

    fn append(self, name: &str, event: &Event, origin: &Origin, clock: &dyn event_store::clock::Clock) -> Append {
        Append {
            stream: self.stream,
            expected: self.sequence,
            events: vec![new_event(name, "1", event, origin, clock)],
        }
    }
}

/// # Panics
/// If the event cannot be written as JSON: they are plain structures that can.
pub(crate) fn new_event(
    name: &str,
    version: &str,
    event: &impl Serialize,
    origin: &Origin,
    clock: &dyn event_store::clock::Clock,
) -> NewEvent {
    NewEvent {
        event_type: name.to_owned(),
        event_version: version.to_owned(),
        payload: serde_json::to_string(event).expect("events are plain JSON structures"),
        metadata: origin.metadata(clock),
    }
}
