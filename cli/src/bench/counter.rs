//! The aggregate that the store is measured with: as small as can be, with events of an ordinary size.

use cqrs_es::Aggregate;
use kernel::Idempotent;
use serde::{Deserialize, Serialize};

/// Makes an event as large as one of an order.
const NOTE: &str = "one more, with as much said about it as an event of an order says about that order";

/// Counts.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Counter {
    value: u64,
}

/// One more.
#[derive(Debug, Clone)]
pub(super) struct Increment;

/// It was counted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Event {
    /// So many more.
    Incremented {
        /// How many.
        by: u64,
        /// Why.
        note: String,
    },
}

/// Counting cannot fail.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum Never {}

impl Event {
    /// One more.
    pub(super) fn one() -> Self {
        Self::Incremented { by: 1, note: NOTE.to_owned() }
    }

    pub(super) fn event_type(&self) -> &'static str {
        "incremented"
    }

    pub(super) fn event_version(&self) -> &'static str {
        "1"
    }
}

impl Counter {
    fn decide_command(&self, Increment: Increment) -> Result<Idempotent<Vec<Event>>, Never> {
        Ok(Idempotent::Executed(vec![Event::one()]))
    }

    fn fold_event(&mut self, event: Event) {
        let Event::Incremented { by, .. } = event;
        self.value += by;
    }
}

kernel::aggregate!(Counter, "counter", Increment, Event, Never);

/// The aggregate's type, as it is stored.
pub(super) const TYPE: &str = Counter::TYPE;
