//! The read model of notifications.

use std::collections::HashMap;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use domain::notification::{Event, Notification};
use event_store::RecordedEvent;
use runtime::Projection;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::worker::Patience;

/// Follows the notification store.
pub(crate) struct Notifications;

#[async_trait]
impl Projection for Notifications {
    fn name(&self) -> &'static str {
        "notifications"
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == Notification::TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut new: HashMap<Uuid, (New, Progress)> = HashMap::new();
        let mut known: HashMap<Uuid, Progress> = HashMap::new();
        for event in events {
            let id = Uuid::parse_str(&event.aggregate_id)?;
            let decoded = event.decode::<Notification>()?;
            let progress = Progress::of(&decoded, i64::try_from(event.sequence)?);
            match (New::of(decoded), new.get_mut(&id)) {
                (Some(row), _) => {
                    new.insert(id, (row, progress));
                }
                (None, Some((_, held))) => *held = progress,
                (None, None) => {
                    known.insert(id, progress);
                }
            }
        }
        insert(connection, &new).await?;
        update(connection, &known).await
    }
}

/// What a row has from its beginning.
struct New {
    message_id: Uuid,
    channel: &'static str,
    user_id: Uuid,
    order_id: Option<Uuid>,
    kind: String,
    created_at: DateTime<Utc>,
}

impl New {
    fn of(event: Event) -> Option<Self> {
        let Event::NotificationQueued { message_id, channel, recipient, template, order_id, at, .. } = event else {
            return None;
        };
        let (user_id, order_id) = (recipient.0, order_id.map(|id| id.0));
        Some(Self { message_id, channel: channel.as_str(), user_id, order_id, kind: template, created_at: at })
    }
}

/// What changes: each event tells all of it.
struct Progress {
    status: &'static str,
    attempts: i32,
    next_attempt_at: Option<DateTime<Utc>>,
    sent_at: Option<DateTime<Utc>>,
    sequence: i64,
}

impl Progress {
    fn of(event: &Event, sequence: i64) -> Self {
        let (status, attempts, next_attempt_at, sent_at) = match *event {
            Event::NotificationQueued { channel, at, .. } => {
                ("queued", 0, Some(at + Patience::of(channel).unattended), None)
            }
            Event::NotificationSent { attempt, at } => ("sent", attempt, None, Some(at)),
            Event::AttemptFailed { attempt, next_attempt_at, .. } => ("failed", attempt, Some(next_attempt_at), None),
            Event::NotificationGaveUp { attempts, .. } => ("gave_up", attempts, None, None),
        };
        let attempts = i32::try_from(attempts).unwrap_or(i32::MAX);
        Self { status, attempts, next_attempt_at, sent_at, sequence }
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
        "INSERT INTO notifications (notification_id, message_id, channel, user_id, order_id, kind, created_at,
                                    status, attempts, next_attempt_at, sent_at, sequence)
         SELECT * FROM UNNEST($1::uuid[], $2::uuid[], $3::text[], $4::uuid[], $5::uuid[], $6::text[],
                              $7::timestamptz[], $8::text[], $9::int[], $10::timestamptz[], $11::timestamptz[],
                              $12::bigint[])
         ON CONFLICT (notification_id) DO UPDATE
            SET status = EXCLUDED.status, attempts = EXCLUDED.attempts, next_attempt_at = EXCLUDED.next_attempt_at,
                sent_at = EXCLUDED.sent_at, sequence = EXCLUDED.sequence",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column!(0.message_id))
    .bind(column!(0.channel))
    .bind(column!(0.user_id))
    .bind(column!(0.order_id))
    .bind(column!(0.kind))
    .bind(column!(0.created_at))
    .bind(column!(1.status))
    .bind(column!(1.attempts))
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
            SET status = p.status, attempts = p.attempts, next_attempt_at = p.next_attempt_at, sent_at = p.sent_at,
                sequence = p.sequence
           FROM UNNEST($1::uuid[], $2::text[], $3::int[], $4::timestamptz[], $5::timestamptz[], $6::bigint[])
                AS p(notification_id, status, attempts, next_attempt_at, sent_at, sequence)
          WHERE n.notification_id = p.notification_id",
    )
    .bind(rows.keys().copied().collect::<Vec<_>>())
    .bind(column!(status))
    .bind(column!(attempts))
    .bind(column!(next_attempt_at))
    .bind(column!(sent_at))
    .bind(column!(sequence))
    .execute(connection)
    .await?;
    Ok(())
}
