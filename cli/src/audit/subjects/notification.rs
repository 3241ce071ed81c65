use super::first;
use crate::audit::findings::Findings;
use crate::audit::walk::Subject;
use domain::notification::{Event, Notification};
use kernel::NotificationId;
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Default)]
pub(in crate::audit) struct Notifications {
    /// Of the stream that is walked through: the state forgets it when the notification is sent.
    queued: Option<Event>,
    attempts: u32,
    sent: u32,
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    notification_id: Uuid,
    message_id: Uuid,
    channel: String,
    user_id: Uuid,
    order_id: Option<Uuid>,
    kind: String,
    status: String,
    attempts: i32,
    sequence: i64,
}

impl Subject for Notifications {
    type Aggregate = Notification;
    type Row = Row;

    const TABLE: &'static str = "notifications";
    const KEY: &'static str = "notification_id";
    const ONCE: &'static [&'static str] = &["notification_queued", "notification_sent", "notification_gave_up"];

    fn key(row: &Row) -> Uuid {
        row.notification_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &Notification) -> Option<&'static str> {
        let Some(Event::NotificationQueued { message_id, channel, recipient, template, order_id, .. }) = &self.queued
        else {
            return Some("notification_id");
        };
        let status = match state {
            Notification::Unknown => return Some("notification_id"),
            Notification::Queued { failed_attempts: 0, .. } => "queued",
            Notification::Queued { .. } => "failed",
            Notification::Sent => "sent",
            Notification::GivenUp => "gave_up",
        };
        first([
            ("message_id", row.message_id == *message_id),
            ("channel", row.channel == channel.as_str()),
            ("user_id", row.user_id == recipient.0),
            ("order_id", row.order_id == order_id.map(|id| id.0)),
            ("kind", row.kind == *template),
            ("status", row.status == status),
            ("attempts", u32::try_from(row.attempts) == Ok(self.attempts)),
        ])
    }

    fn event(&mut self, id: Uuid, _before: &Notification, event: &Event, findings: &mut Findings) {
        match event {
            Event::NotificationQueued { message_id, channel, .. } => {
                if NotificationId::of_message(*message_id, channel.as_str()).0 != id {
                    let channel = channel.as_str();
                    findings
                        .checks
                        .notified_once
                        .violated(|| format!("notification {id}: not the one of message {message_id} by {channel}"));
                }
                self.queued = Some(event.clone());
            }
            Event::NotificationSent { attempt, .. } => (self.attempts, self.sent) = (*attempt, self.sent + 1),
            Event::AttemptFailed { attempt: attempts, .. } | Event::NotificationGaveUp { attempts, .. } => {
                self.attempts = *attempts;
            }
        }
    }

    fn end(&mut self, id: Uuid, _sequence: u64, _state: Notification, findings: &mut Findings) {
        let Self { queued, sent, .. } = std::mem::take(self);
        findings.checks.notified_once.checked(1);
        if queued.is_none() || sent > 1 {
            findings.checks.notified_once.violated(|| format!("notification {id}: sent {sent} times"));
        }
    }
}
