//! The read models of notifications and of webhooks.

mod webhooks;

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::notification::{Event, Notification, Status};
use event_store::RecordedEvent;
use runtime::Projection;
use runtime::projection::{Passed, ReadModel};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::read_model::NotificationList;
use crate::worker::Patience;

pub(crate) use webhooks::Webhooks;

/// Follows the notification store.
pub(crate) struct Notifications;

#[async_trait]
impl Projection for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }

    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        Some(Arc::new(NotificationList))
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Notification::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut new: HashMap<Uuid, (New, Progress)> = HashMap::new();
        let mut known: HashMap<Uuid, Progress> = HashMap::new();
        let mut passed = Passed::default();
        for event in events {
            let id = Uuid::parse_str(&event.aggregate_id)?;
            let sequence = i64::try_from(event.sequence)?;
            let means = event.decode_all::<Notification>()?;
            if means.len() == 0 {
                passed.note(id, sequence);
            }
            for event in means {
                let progress = Progress::of(&event, sequence);
                match (New::of(event), new.get_mut(&id)) {
                    (Some(row), _) => {
                        new.insert(id, (row, progress));
                    }
                    (None, Some((_, held))) => *held = progress.after(held),
                    (None, None) => {
                        let progress = match known.get(&id) {
                            Some(held) => progress.after(held),
                            None => progress,
                        };
                        known.insert(id, progress);
                    }
                }
            }
        }
        insert(connection, &new).await?;
        update(connection, &known).await?;
        Ok(passed.write(connection, "notifications", "notification_id", "sequence").await?)
    }
}

/// What a row has from its beginning.
pub(crate) struct New {
    pub(crate) message_id: Uuid,
    pub(crate) channel: &'static str,
    pub(crate) user_id: Uuid,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) webhook_id: Option<Uuid>,
    pub(crate) kind: String,
    pub(crate) created_at: DateTime<Utc>,
}

impl New {
    pub(crate) fn of(event: Event) -> Option<Self> {
        let Event::NotificationQueued { message_id, channel, recipient, template, order_id, webhook_id, at, .. } =
            event
        else {
            return None;
        };
        Some(Self {
            message_id,
            channel: channel.as_str(),
            user_id: recipient.0,
            order_id: order_id.map(|id| id.0),
            webhook_id: webhook_id.map(|id| id.0),
            kind: template,
            created_at: at,
        })
    }
}

/// What changes: each event tells all of it, but for the attempts made before one that makes none.
pub(crate) struct Progress {
    pub(crate) status: &'static str,
    pub(crate) why: Option<&'static str>,
    pub(crate) attempts: Option<i32>,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
    pub(crate) sequence: i64,
}

impl Progress {
    pub(crate) fn of(event: &Event, sequence: i64) -> Self {
        let (status, why, attempts, next_attempt_at, sent_at) = match *event {
            Event::NotificationQueued { channel, at, .. } => {
                (Status::Queued, None, Some(0), Some(at + Patience::of(channel).unattended), None)
            }
            Event::NotificationSent { attempt, at } => (Status::Sent, None, Some(attempt), None, Some(at)),
            Event::AttemptFailed { attempt, failure, next_attempt_at, .. } => {
                (Status::Retrying, Some(failure.as_str()), Some(attempt), Some(next_attempt_at), None)
            }
            Event::NotificationGaveUp { attempts, failure, .. } => {
                (Status::Failed, Some(failure.as_str()), Some(attempts), None, None)
            }
            Event::NotificationSkipped { why, .. } => (Status::Skipped, Some(why.as_str()), None, None, None),
            Event::NotificationRequeued { at } => (Status::Queued, None, None, Some(at), None),
        };
        let attempts = attempts.map(|attempts| i32::try_from(attempts).unwrap_or(i32::MAX));
        Self { status: status.as_str(), why, attempts, next_attempt_at, sent_at, sequence }
    }

    /// This after that.
    pub(crate) fn after(self, before: &Self) -> Self {
        Self { attempts: self.attempts.or(before.attempts), ..self }
    }
}

async fn insert(connection: &mut PgConnection, rows: &HashMap<Uuid, (New, Progress)>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($part:tt.$field:ident) => {
            rows.values().map(|row| row.$part.$field.clone()).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "INSERT INTO notifications (notification_id, message_id, channel, user_id, order_id, webhook_id, kind, created_at,
                                    status, why, attempts, next_attempt_at, sent_at, sequence)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[],
                              $8::timestamptz[], $9::text[], $10::text[], $11::int[], $12::timestamptz[],
                              $13::timestamptz[], $14::bigint[])
         ON CONFLICT (notification_id) DO UPDATE
            SET status = EXCLUDED.status, why = EXCLUDED.why, attempts = EXCLUDED.attempts,
                next_attempt_at = EXCLUDED.next_attempt_at, sent_at = EXCLUDED.sent_at, sequence = EXCLUDED.sequence",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column!(0.message_id))
    .bind(column!(0.channel))
    .bind(column!(0.user_id))
    .bind(column!(0.order_id))
    .bind(column!(0.webhook_id))
    .bind(column!(0.kind))
    .bind(column!(0.created_at))
    .bind(column!(1.status))
    .bind(column!(1.why))
    .bind(rows.values().map(|row| row.1.attempts.unwrap_or(0)).collect::<Vec<_>>())
    .bind(column!(1.next_attempt_at))
    .bind(column!(1.sent_at))
    .bind(column!(1.sequence))
    .execute(connection)
    .await?;
    Ok(())
}

async fn update(connection: &mut PgConnection, rows: &HashMap<Uuid, Progress>) -> anyhow::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    macro_rules! column {
        ($field:ident) => {
            rows.values().map(|row| row.$field).collect::<Vec<_>>()
        };
    }
    sqlx::query(
        "UPDATE notifications n
            SET status = p.status, why = p.why, attempts = coalesce(p.attempts, n.attempts),
                next_attempt_at = p.next_attempt_at, sent_at = p.sent_at, sequence = p.sequence
           FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::int[], $5::timestamptz[], $6::timestamptz[], $7::bigint[])
                AS p(notification_id, status, why, attempts, next_attempt_at, sent_at, sequence)
          WHERE n.notification_id = p.notification_id",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column!(status))
    .bind(column!(why))
    .bind(column!(attempts))
    .bind(column!(next_attempt_at))
    .bind(column!(sent_at))
    .bind(column!(sequence))
    .execute(connection)
    .await?;
    Ok(())
}
