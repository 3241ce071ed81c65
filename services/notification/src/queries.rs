//! Queries on the read model.

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

/// A row of the read model.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Notification {
    pub(crate) notification_id: Uuid,
    pub(crate) message_id: Uuid,
    pub(crate) channel: String,
    pub(crate) user_id: Uuid,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) attempts: i32,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

/// Notifications, the newest first, of one user if given, about one order if given.
pub(crate) async fn list(
    pool: &PgPool,
    user_id: Option<Uuid>,
    order_id: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Notification>, sqlx::Error> {
    sqlx::query_as(
        "SELECT notification_id, message_id, channel, user_id, order_id, kind, status, attempts, next_attempt_at,
                created_at, sent_at
           FROM notifications
          WHERE ($1::uuid IS NULL OR user_id = $1) AND ($2::uuid IS NULL OR order_id = $2)
          ORDER BY created_at DESC, notification_id LIMIT $3",
    )
    .bind(user_id)
    .bind(order_id)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// A notification that is due, and the sequence that its row has come to.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct Due {
    pub(crate) notification_id: Uuid,
    pub(crate) sequence: i64,
}

/// What is due over a channel, the longest first.
pub(crate) async fn due(pool: &PgPool, channel: &str, now: DateTime<Utc>, limit: i64) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "SELECT notification_id, sequence FROM notifications
          WHERE channel = $1 AND next_attempt_at <= $2
          ORDER BY next_attempt_at LIMIT $3",
    )
    .bind(channel)
    .bind(now)
    .bind(limit)
    .fetch_all(pool)
    .await
}
