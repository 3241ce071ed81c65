//! Webhooks: addresses that news is posted to. The secret that calls are signed with is no part of it: it is derived
//! from the service's own and the webhook's id and generation.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use kernel::Idempotent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Kind;
use crate::text::line;

line!(
    /// An address, as far as it is text: whether it is one, and may be called, is for the edge to see.
    Address,
    2048
);

line!(
    /// What somebody wrote beside a webhook.
    Note,
    200
);

/// After a new secret, calls are signed with the old one too for so long.
pub const OLD_SECRET_GOES_ON: TimeDelta = TimeDelta::hours(24);

/// What there is to choose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settings {
    /// Where news is posted to.
    pub address: Address,
    /// Of what.
    pub kinds: BTreeSet<Kind>,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<Note>,
    /// Whether it is called at all.
    pub enabled: bool,
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A new webhook.
    Register {
        /// What was chosen.
        settings: Settings,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Other settings.
    Change {
        /// What was chosen.
        settings: Settings,
        /// Now.
        at: DateTime<Utc>,
    },
    /// A new secret.
    RotateSecret {
        /// Now.
        at: DateTime<Utc>,
    },
    /// It is not needed any more.
    Remove {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// There is a webhook.
    WebhookRegistered {
        /// What was chosen.
        settings: Settings,
        /// When.
        at: DateTime<Utc>,
    },
    /// It has other settings.
    WebhookChanged {
        /// What was chosen.
        settings: Settings,
        /// When.
        at: DateTime<Utc>,
    },
    /// It has a new secret.
    WebhookSecretRotated {
        /// The how-manieth, from 1 on.
        generation: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// It is gone.
    WebhookRemoved {
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::WebhookRegistered { .. } => "webhook_registered",
            Self::WebhookChanged { .. } => "webhook_changed",
            Self::WebhookSecretRotated { .. } => "webhook_secret_rotated",
            Self::WebhookRemoved { .. } => "webhook_removed",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A webhook as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Webhook {
    /// There was never one.
    #[default]
    Unknown,
    /// There is one.
    Registered(Registered),
    /// There was one.
    Removed,
}

/// A webhook that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registered {
    /// What was chosen.
    pub settings: Settings,
    /// Which of its secrets is the present one, from 1 on.
    pub generation: u32,
    /// Since when.
    pub generation_since: DateTime<Utc>,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
}

impl Registered {
    /// The secrets that a call is signed with at this moment, the present one first.
    pub fn generations(&self, now: DateTime<Utc>) -> impl Iterator<Item = u32> {
        let old = self.generation.checked_sub(1).filter(|old| *old > 0);
        let goes_on = now < self.generation_since + OLD_SECRET_GOES_ON;
        std::iter::once(self.generation).chain(old.filter(|_| goes_on))
    }
}

impl Webhook {
    /// The webhook, if there is one.
    pub fn registered(&self) -> Option<&Registered> {
        match self {
            Self::Registered(registered) => Some(registered),
            Self::Unknown | Self::Removed => None,
        }
    }

    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::WebhookRegistered { settings, at }) => {
                *self =
                    Self::Registered(Registered { settings, generation: 1, generation_since: at, registered_at: at });
            }
            (Self::Registered(registered), Event::WebhookChanged { settings, .. }) => registered.settings = settings,
            (Self::Registered(registered), Event::WebhookSecretRotated { generation, at }) => {
                (registered.generation, registered.generation_since) = (generation, at);
            }
            (Self::Registered(_), Event::WebhookRemoved { .. }) => *self = Self::Removed,
            _ => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        if let Command::Register { settings, .. } | Command::Change { settings, .. } = &command
            && settings.kinds.is_empty()
        {
            return Err(Error::NoKinds);
        }
        let event = match (self, command) {
            (Self::Unknown, Command::Register { settings, at }) => Event::WebhookRegistered { settings, at },
            (_, Command::Register { .. }) | (Self::Removed, Command::Remove { .. }) => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Self::Registered(now), Command::Change { settings, .. }) if now.settings == settings => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Self::Registered(_), Command::Change { settings, at }) => Event::WebhookChanged { settings, at },
            (Self::Registered(now), Command::RotateSecret { at }) => {
                Event::WebhookSecretRotated { generation: now.generation.saturating_add(1), at }
            }
            (Self::Registered(_), Command::Remove { at }) => Event::WebhookRemoved { at },
            (Self::Unknown | Self::Removed, _) => return Err(Error::Unknown),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

kernel::aggregate!(Webhook, "webhook", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is none, or none any more.
    #[error("there is no such webhook")]
    Unknown,
    /// A webhook for nothing.
    #[error("a webhook is for one kind of news at least")]
    NoKinds,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, every_command_in_every_state, given};

    fn settings(kinds: &[Kind]) -> Settings {
        let address = "https://hooks.example.org/shop".parse().unwrap();
        Settings { address, kinds: kinds.iter().copied().collect(), note: None, enabled: true }
    }

    fn register(kinds: &[Kind]) -> Command {
        Command::Register { settings: settings(kinds), at: at() }
    }

    #[test]
    fn every_command_does_what_it_must_in_every_state() {
        let change = Command::Change { settings: settings(Kind::ALL), at: at() };
        let rotate = Command::RotateSecret { at: at() };
        let remove = Command::Remove { at: at() };
        let one = register(&[Kind::OrderConfirmed]);
        every_command_in_every_state::<Webhook>(
            &[one.clone(), change.clone(), rotate, remove.clone()],
            &[
                ("unknown", vec![], "webhook_registered !Unknown !Unknown !Unknown"),
                ("registered", vec![one.clone()], "- webhook_changed webhook_secret_rotated webhook_removed"),
                ("changed", vec![one.clone(), change], "- - webhook_secret_rotated webhook_removed"),
                ("removed", vec![one, remove], "- !Unknown !Unknown -"),
            ],
        );
        given::<Webhook>([]).when(register(&[])).then_refused(Error::NoKinds);
    }

    #[test]
    fn an_old_secret_goes_on_for_a_day() {
        let rotate = || Command::RotateSecret { at: at() };
        let Webhook::Registered(first) = given::<Webhook>([register(Kind::ALL)]).0 else { unreachable!() };
        assert_eq!(first.generations(at()).collect::<Vec<_>>(), [1]);
        let Webhook::Registered(third) = given::<Webhook>([register(Kind::ALL), rotate(), rotate()]).0 else {
            unreachable!()
        };
        assert_eq!(third.generations(at() + TimeDelta::hours(23)).collect::<Vec<_>>(), [3, 2]);
        assert_eq!(third.generations(at() + TimeDelta::hours(24)).collect::<Vec<_>>(), [3]);
    }
}
