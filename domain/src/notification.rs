//! Notifications: one for each message and way. They name a user, never an address or a name: those are looked up when
//! it is sent.

use chrono::{DateTime, Utc};
use kernel::{Idempotent, Money, NotificationId, OrderId, UserId, WebhookId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Reason;

pub mod preferences;
#[cfg(test)]
mod tests;
mod vocabulary;
pub mod webhook;

pub use preferences::Preferences;
pub use vocabulary::{Channel, Failure, Kind, Skip, Status};
pub use webhook::Webhook;

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Send a notification.
    Queue {
        /// The new notification: [`Letter::id`].
        notification_id: NotificationId,
        /// The message that it tells of.
        message_id: Uuid,
        /// What, to whom, and how.
        letter: Letter,
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
        /// The status that the other side answered with.
        code: Option<u16>,
        /// When to try again; never, if absent.
        next_attempt_at: Option<DateTime<Utc>>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// It is not to be sent, and that is as it should be.
    Skip {
        /// Why.
        why: Skip,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Send it once more.
    Resend {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
        /// Whom it is for, or about.
        recipient: UserId,
        /// The name of its text.
        template: String,
        /// The order that it is about.
        #[serde(default)]
        order_id: Option<OrderId>,
        /// The webhook that it goes to.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        webhook_id: Option<WebhookId>,
        /// The amount that it tells of.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        amount: Option<Money>,
        /// The reason that it gives.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<Reason>,
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
        /// The status that the other side answered with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
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
        /// The status that the other side answered with.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        code: Option<u16>,
        /// When.
        at: DateTime<Utc>,
    },
    /// It will not be sent, and that is as it should be.
    NotificationSkipped {
        /// Why.
        why: Skip,
        /// When.
        at: DateTime<Utc>,
    },
    /// Somebody wants it sent once more.
    NotificationRequeued {
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
            Self::NotificationSkipped { .. } => "notification_skipped",
            Self::NotificationRequeued { .. } => "notification_requeued",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// What is to be sent, to whom, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Letter {
    /// The way.
    pub channel: Channel,
    /// Whom it is for, or about.
    pub recipient: UserId,
    /// The name of its text, such as `order_confirmed`: a [`Kind`], of this version of the shop or another.
    pub template: String,
    /// The order that it is about.
    pub order_id: Option<OrderId>,
    /// The webhook that it goes to.
    pub webhook_id: Option<WebhookId>,
    /// The amount that it tells of.
    pub amount: Option<Money>,
    /// The reason that it gives.
    pub reason: Option<Reason>,
}

impl Letter {
    /// The notification that takes this letter's way with news of the message: the same at each asking, so that each
    /// message goes each way once.
    pub fn id(&self, message_id: Uuid) -> NotificationId {
        match self.webhook_id {
            Some(webhook) => NotificationId::of_message(message_id, &format!("{}:{webhook}", self.channel.as_str())),
            None => NotificationId::of_message(message_id, self.channel.as_str()),
        }
    }
}

/// A notification as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Notification {
    /// There is no such notification.
    #[default]
    Unknown,
    /// There is.
    Known(Known),
}

/// A notification that there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// What, to whom, and how.
    pub letter: Letter,
    /// Where it stands.
    pub status: Status,
    /// Attempts made, in all.
    pub attempts: u32,
    /// Of those that failed, how many came since it was last queued.
    pub failed_attempts: u32,
}

impl Notification {
    fn fold_event(&mut self, event: Event) {
        let known = match (&mut *self, event) {
            (
                _,
                Event::NotificationQueued {
                    channel, recipient, template, order_id, webhook_id, amount, reason, ..
                },
            ) => {
                let letter = Letter { channel, recipient, template, order_id, webhook_id, amount, reason };
                *self = Self::Known(Known { letter, status: Status::Queued, attempts: 0, failed_attempts: 0 });
                return;
            }
            (Self::Unknown, _) => return,
            (Self::Known(known), event) => (known, event),
        };
        match known {
            (known, Event::NotificationSent { attempt, .. }) => {
                (known.status, known.attempts) = (Status::Sent, attempt)
            }
            (known, Event::AttemptFailed { attempt, .. }) => {
                (known.status, known.attempts) = (Status::Retrying, attempt);
                known.failed_attempts = known.failed_attempts.saturating_add(1);
            }
            (known, Event::NotificationGaveUp { attempts, .. }) => {
                (known.status, known.attempts) = (Status::Failed, attempts);
            }
            (known, Event::NotificationSkipped { .. }) => known.status = Status::Skipped,
            (known, Event::NotificationRequeued { .. }) => {
                (known.status, known.failed_attempts) = (Status::Queued, 0);
            }
            (_, Event::NotificationQueued { .. }) => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let known = match (self, command) {
            (Self::Unknown, Command::Queue { notification_id, message_id, letter, at }) => {
                let Letter { channel, recipient, template, order_id, webhook_id, amount, reason } = letter;
                return Ok(Idempotent::Executed(vec![Event::NotificationQueued {
                    notification_id,
                    message_id,
                    channel,
                    recipient,
                    template,
                    order_id,
                    webhook_id,
                    amount,
                    reason,
                    at,
                }]));
            }
            (Self::Known(_), Command::Queue { .. }) => return Ok(Idempotent::AlreadyDone),
            (Self::Unknown, _) => return Err(Error::Unknown),
            (Self::Known(known), command) => (known, command),
        };
        let event = match known {
            (Known { status: Status::Queued | Status::Retrying, attempts, .. }, command) => {
                match result(attempts.saturating_add(1), command) {
                    Some(event) => event,
                    None => return Ok(Idempotent::AlreadyDone),
                }
            }
            (_, Command::Resend { at }) => Event::NotificationRequeued { at },
            (Known { status: Status::Sent, .. }, Command::RecordSent { .. })
            | (Known { status: Status::Failed, .. }, Command::RecordFailure { .. })
            | (Known { status: Status::Skipped, .. }, Command::Skip { .. }) => return Ok(Idempotent::AlreadyDone),
            (known, _) => return Err(Error::Ended(known.status)),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

/// What an attempt at a notification that waits came to. None: nothing that is not so already.
fn result(attempt: u32, command: Command) -> Option<Event> {
    Some(match command {
        Command::RecordSent { at } => Event::NotificationSent { attempt, at },
        Command::RecordFailure { failure, code, next_attempt_at: Some(next_attempt_at), at } => {
            Event::AttemptFailed { attempt, failure, code, next_attempt_at, at }
        }
        Command::RecordFailure { failure, code, next_attempt_at: None, at } => {
            Event::NotificationGaveUp { attempts: attempt, failure, code, at }
        }
        Command::Skip { why, at } => Event::NotificationSkipped { why, at },
        Command::Queue { .. } | Command::Resend { .. } => return None,
    })
}

kernel::aggregate!(Notification, "notification", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such notification.
    #[error("there is no such notification")]
    Unknown,
    /// What is to be recorded contradicts how it ended.
    #[error("the notification has ended: {}", .0.as_str())]
    Ended(Status),
}
