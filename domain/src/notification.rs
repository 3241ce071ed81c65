//! Notifications: one for each message and channel. They name a user, never an address or a name: those are looked up
//! when it is sent.

use chrono::{DateTime, Utc};
use kernel::{Idempotent, NotificationId, OrderId, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The way to the recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Channel {
    /// A line in the log.
    Log,
    /// An e-mail.
    Email,
}

impl Channel {
    /// Its name, as [`NotificationId::of_message`] takes it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Email => "email",
        }
    }
}

/// Why an attempt failed: a kind, since a mail server's own words may hold an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Failure {
    /// The server could not be reached.
    Unreachable,
    /// It did not answer in time.
    TimedOut,
    /// It did not want it now.
    RefusedForNow,
    /// It will never want it.
    Refused,
    /// There is nobody to send it to.
    NoRecipient,
    /// Anything else.
    Other,
}

impl Failure {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed_out",
            Self::RefusedForNow => "refused_for_now",
            Self::Refused => "refused",
            Self::NoRecipient => "no_recipient",
            Self::Other => "other",
        }
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send a notification.
    Queue {
        /// The new notification.
        notification_id: NotificationId,
        /// The message that it tells of.
        message_id: Uuid,
        /// The way.
        channel: Channel,
        /// Whom it is for.
        recipient: UserId,
        /// What it says: the name of a text, such as `order_confirmed`.
        template: String,
        /// The order that it is about.
        order_id: Option<OrderId>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// It was sent.
    RecordSent {
        /// Now.
        at: DateTime<Utc>,
    },
    /// An attempt failed.
    RecordFailure {
        /// Why.
        failure: Failure,
        /// When to try again; never, if absent.
        next_attempt_at: Option<DateTime<Utc>>,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// It is to be sent.
    NotificationQueued {
        /// The notification.
        notification_id: NotificationId,
        /// The message that it tells of.
        message_id: Uuid,
        /// The way.
        channel: Channel,
        /// Whom it is for.
        recipient: UserId,
        /// The name of its text.
        template: String,
        /// The order that it is about.
        #[serde(default)]
        order_id: Option<OrderId>,
        /// When.
        at: DateTime<Utc>,
    },
    /// It was sent.
    NotificationSent {
        /// At which attempt, from 1 on.
        attempt: u32,
        /// When.
        at: DateTime<Utc>,
    },
    /// An attempt failed; there will be another.
    AttemptFailed {
        /// Which, from 1 on.
        attempt: u32,
        /// Why.
        failure: Failure,
        /// When the next one is due.
        next_attempt_at: DateTime<Utc>,
        /// When.
        at: DateTime<Utc>,
    },
    /// The last attempt failed.
    NotificationGaveUp {
        /// How many there were.
        attempts: u32,
        /// Why the last one failed.
        failure: Failure,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::NotificationQueued { .. } => "notification_queued",
            Self::NotificationSent { .. } => "notification_sent",
            Self::AttemptFailed { .. } => "attempt_failed",
            Self::NotificationGaveUp { .. } => "notification_gave_up",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A notification as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Notification {
    /// There is no such notification.
    #[default]
    Unknown,
    /// It is to be sent.
    Queued {
        /// What and to whom.
        letter: Letter,
        /// How many attempts failed.
        failed_attempts: u32,
    },
    /// It was sent.
    Sent,
    /// It was not, and will not be.
    GivenUp,
}

/// What is to be sent, to whom, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The way.
    pub channel: Channel,
    /// Whom it is for.
    pub recipient: UserId,
    /// The name of its text.
    pub template: String,
    /// The order that it is about.
    pub order_id: Option<OrderId>,
}

impl Notification {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::NotificationQueued { channel, recipient, template, order_id, .. }) => {
                let letter = Letter { channel, recipient, template, order_id };
                *self = Self::Queued { letter, failed_attempts: 0 };
            }
            (Self::Queued { failed_attempts, .. }, Event::AttemptFailed { attempt, .. }) => *failed_attempts = attempt,
            (Self::Queued { .. }, Event::NotificationSent { .. }) => *self = Self::Sent,
            (Self::Queued { .. }, Event::NotificationGaveUp { .. }) => *self = Self::GivenUp,
            _ => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (
                Self::Unknown,
                Command::Queue { notification_id, message_id, channel, recipient, template, order_id, at },
            ) => Event::NotificationQueued { notification_id, message_id, channel, recipient, template, order_id, at },
            (_, Command::Queue { .. })
            | (Self::Sent, Command::RecordSent { .. })
            | (Self::GivenUp, Command::RecordFailure { .. }) => return Ok(Idempotent::AlreadyDone),
            (Self::Queued { failed_attempts, .. }, Command::RecordSent { at }) => {
                Event::NotificationSent { attempt: failed_attempts.saturating_add(1), at }
            }
            (Self::Queued { failed_attempts, .. }, Command::RecordFailure { failure, next_attempt_at, at }) => {
                let attempt = failed_attempts.saturating_add(1);
                match next_attempt_at {
                    Some(next_attempt_at) => Event::AttemptFailed { attempt, failure, next_attempt_at, at },
                    None => Event::NotificationGaveUp { attempts: attempt, failure, at },
                }
            }
            (Self::Unknown, _) => return Err(Error::Unknown),
            (Self::Sent, Command::RecordFailure { .. }) => return Err(Error::AlreadySent),
            (Self::GivenUp, Command::RecordSent { .. }) => return Err(Error::AlreadyGivenUp),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

kernel::aggregate!(Notification, "notification", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such notification.
    #[error("there is no such notification")]
    Unknown,
    /// It was sent.
    #[error("the notification was sent")]
    AlreadySent,
    /// It will not be sent.
    #[error("the notification was given up")]
    AlreadyGivenUp,
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::testing::{at, every_command_in_every_state, given, id};

    fn queue() -> Command {
        let message_id = Uuid::from_u128(7);
        Command::Queue {
            notification_id: NotificationId::of_message(message_id, Channel::Email.as_str()),
            message_id,
            channel: Channel::Email,
            recipient: id(2),
            template: "order_confirmed".to_owned(),
            order_id: Some(id(1)),
            at: at(),
        }
    }

    fn sent() -> Command {
        Command::RecordSent { at: at() }
    }

    fn failed(next: Option<i64>) -> Command {
        let next_attempt_at = next.map(|seconds| at() + TimeDelta::seconds(seconds));
        Command::RecordFailure { failure: Failure::TimedOut, next_attempt_at, at: at() }
    }

    #[test]
    fn every_command_does_what_it_must_in_every_state() {
        let queued = "- notification_sent attempt_failed notification_gave_up";
        every_command_in_every_state::<Notification>(
            &[queue(), sent(), failed(Some(1)), failed(None)],
            &[
                ("unknown", vec![], "notification_queued !Unknown !Unknown !Unknown"),
                ("queued", vec![queue()], queued),
                ("to be tried again", vec![queue(), failed(Some(1))], queued),
                ("sent", vec![queue(), sent()], "- - !AlreadySent !AlreadySent"),
                ("given up", vec![queue(), failed(None)], "- !AlreadyGivenUp - -"),
            ],
        );
    }

    #[test]
    fn attempts_are_counted() {
        let tried_twice = given::<Notification>([queue(), failed(Some(1)), failed(Some(2))]);
        tried_twice.when(sent()).then([Event::NotificationSent { attempt: 3, at: at() }]);
        let failure = Failure::TimedOut;
        tried_twice.when(failed(None)).then([Event::NotificationGaveUp { attempts: 3, failure, at: at() }]);
        let next_attempt_at = at() + TimeDelta::seconds(4);
        tried_twice.when(failed(Some(4))).then([Event::AttemptFailed {
            attempt: 3,
            failure,
            next_attempt_at,
            at: at(),
        }]);
    }
}
