//! What a user wants to hear of, and how. The stream's id is the user's. Whatever is not turned off is on.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use kernel::Idempotent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Channel, Kind};

/// One kind of news over one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Choice {
    /// What.
    pub kind: Kind,
    /// How.
    pub channel: Channel,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Turn these off, and all others on.
    TurnOff {
        /// What is not wanted.
        choices: BTreeSet<Choice>,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// These are off from now on, all others on.
    PreferencesChanged {
        /// What is not wanted.
        off: BTreeSet<Choice>,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::PreferencesChanged { .. } => "preferences_changed",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A user's preferences as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Preferences {
    off: BTreeSet<Choice>,
    /// When they were last changed.
    pub changed_at: Option<DateTime<Utc>>,
}

impl Preferences {
    /// Whether news of this name is wanted over this channel. News that this version of the shop does not know is.
    pub fn want(&self, name: &str, channel: Channel) -> bool {
        Kind::named(name).is_none_or(|kind| kind.is_mandatory() || !self.off.contains(&Choice { kind, channel }))
    }

    fn fold_event(&mut self, event: Event) {
        let Event::PreferencesChanged { off, at } = event;
        (self.off, self.changed_at) = (off, Some(at));
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let Command::TurnOff { choices, at } = command;
        if let Some(choice) = choices.iter().find(|choice| choice.kind.is_mandatory()) {
            return Err(Error::Mandatory(*choice));
        }
        if choices == self.off {
            return Ok(Idempotent::AlreadyDone);
        }
        Ok(Idempotent::Executed(vec![Event::PreferencesChanged { off: choices, at }]))
    }
}

kernel::aggregate!(Preferences, "notification_preferences", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A customer is told in any case.
    #[error("{} over {} cannot be turned off", .0.kind.as_str(), .0.channel.as_str())]
    Mandatory(Choice),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, given};

    fn turn_off(kinds: &[Kind]) -> Command {
        let choices = kinds.iter().map(|kind| Choice { kind: *kind, channel: Channel::Email }).collect();
        Command::TurnOff { choices, at: at() }
    }

    #[test]
    fn what_is_turned_off_is_not_wanted_until_it_is_turned_on_again() {
        let none = given::<Preferences>([]);
        assert!(none.0.want("order_created", Channel::Email));
        let some = given::<Preferences>([turn_off(&[Kind::OrderCreated, Kind::PaymentSuccess])]);
        assert!(!some.0.want("order_created", Channel::Email) && !some.0.want("payment_success", Channel::Email));
        assert!(some.0.want("order_created", Channel::Log) && some.0.want("user_registered", Channel::Email));
        assert!(some.0.want("of_tomorrow", Channel::Email));
        some.when(turn_off(&[Kind::PaymentSuccess, Kind::OrderCreated])).then_already_done();
        let again = given::<Preferences>([turn_off(&[Kind::OrderCreated]), turn_off(&[])]);
        assert!(again.0.want("order_created", Channel::Email));
        none.when(turn_off(&[])).then_already_done();
    }

    #[test]
    fn what_a_customer_must_hear_cannot_be_turned_off() {
        for kind in [Kind::OrderConfirmed, Kind::OrderCancelled, Kind::PaymentRefunded] {
            let choice = Choice { kind, channel: Channel::Email };
            given::<Preferences>([]).when(turn_off(&[Kind::OrderCreated, kind])).then_refused(Error::Mandatory(choice));
        }
    }
}
