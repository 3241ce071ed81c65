use super::first;
use crate::audit::findings::Findings;
use crate::audit::walk::Subject;
use domain::notification::{Event, Notification};
use sqlx::FromRow;
use uuid::Uuid;

#[derive(Default)]
pub(in crate::audit) struct Notifications {
    /// Of the stream that is walked through: the state forgets it when the notification is sent.
    queued: Option<Event>,
    attempts: u32,
    sent: u32,
    /// How often it was to be sent.
    queued_times: u32,
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    notification_id: Uuid,
    message_id: Uuid,
    channel: String,
    user_id: Uuid,
    order_id: Option<Uuid>,
    webhook_id: Option<Uuid>,
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
    const ONCE: &'static [&'static str] = &["notification_queued"];

    fn key(row: &Row) -> Uuid {
        row.notification_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &Notification) -> Option<&'static str> {
        let (Some(Event::NotificationQueued { message_id, .. }), Notification::Known(known)) = (&self.queued, state)
        else {
            return Some("notification_id");
        };
        let letter = &known.letter;
        first([
            ("message_id", row.message_id == *message_id),
            ("channel", row.channel == letter.channel.as_str()),
            ("user_id", row.user_id == letter.recipient.0),
            ("order_id", row.order_id == letter.order_id.map(|id| id.0)),
            ("webhook_id", row.webhook_id == letter.webhook_id.map(|id| id.0)),
            ("kind", row.kind == letter.template),
            ("status", row.status == known.status.as_str()),
            ("attempts", u32::try_from(row.attempts) == Ok(self.attempts)),
        ])
    }

    fn event(&mut self, _id: Uuid, _before: &Notification, event: &Event, _findings: &mut Findings) {
        match event {
            Event::NotificationQueued { .. } => {
                self.queued = Some(event.clone());
                self.queued_times += 1;
            }
            Event::NotificationRequeued { .. } => self.queued_times += 1,
            Event::NotificationSent { attempt, .. } => (self.attempts, self.sent) = (*attempt, self.sent + 1),
            Event::AttemptFailed { attempt: attempts, .. } | Event::NotificationGaveUp { attempts, .. } => {
                self.attempts = *attempts;
            }
            Event::NotificationSkipped { .. } => {}
        }
    }

    fn state(&mut self, id: Uuid, sequence: u64, state: &Notification, findings: &mut Findings) {
        let (1, Some(Event::NotificationQueued { message_id, .. }), Notification::Known(known)) =
            (sequence, &self.queued, state)
        else {
            return;
        };
        if known.letter.id(*message_id).0 != id {
            let channel = known.letter.channel.as_str();
            findings
                .checks
                .notified_once
                .violated(|| format!("notification {id}: not the one of message {message_id} by {channel}"));
        }
    }

    fn end(&mut self, id: Uuid, _sequence: u64, _state: Notification, findings: &mut Findings) {
        let Self { queued, sent, queued_times, .. } = std::mem::take(self);
        findings.checks.notified_once.checked(1);
        if queued.is_none() || sent > queued_times {
            findings.checks.notified_once.violated(|| format!("notification {id}: sent {sent} times"));
        }
    }
}
