//! Queries on the read model.

use chrono::{DateTime, Utc};
use kernel::WebhookId;
use sqlx::{PgPool, QueryBuilder};
use uuid::Uuid;

/// A row of the read model.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Notification {
    pub(crate) notification_id: Uuid,
    pub(crate) message_id: Uuid,
    pub(crate) channel: String,
    pub(crate) user_id: Uuid,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) webhook_id: Option<Uuid>,
    pub(crate) kind: String,
    pub(crate) status: String,
    pub(crate) why: Option<String>,
    pub(crate) attempts: i32,
    pub(crate) next_attempt_at: Option<DateTime<Utc>>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) sent_at: Option<DateTime<Utc>>,
}

const COLUMNS: &str =
    "notification_id, message_id, channel, user_id, order_id, webhook_id, kind, status, why, attempts,
                       next_attempt_at, created_at, sent_at";

/// Which notifications are wanted: those that every given value fits.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) user_id: Option<Uuid>,
    pub(crate) order_id: Option<Uuid>,
    pub(crate) webhook_id: Option<Uuid>,
    pub(crate) status: Option<&'static str>,
    pub(crate) channel: Option<&'static str>,
    /// Not what other systems were told.
    pub(crate) of_customer: bool,
    /// Behind the one of this id.
    pub(crate) after: Option<Uuid>,
    pub(crate) limit: i64,
}

/// Notifications, the newest first.
pub(crate) async fn list(pool: &PgPool, wanted: &Wanted) -> Result<Vec<Notification>, sqlx::Error> {
    // Only the conditions that there are: the planner sees which index serves.
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM notifications WHERE true"));
    let ids = [("user_id", wanted.user_id), ("order_id", wanted.order_id), ("webhook_id", wanted.webhook_id)];
    for (column, id) in ids.into_iter().filter_map(|(column, id)| Some((column, id?))) {
        query.push(format!(" AND {column} = ")).push_bind(id);
    }
    for (column, name) in [("status", wanted.status), ("channel", wanted.channel)] {
        if let Some(name) = name {
            query.push(format!(" AND {column} = ")).push_bind(name);
        }
    }
    if wanted.of_customer {
        query.push(" AND webhook_id IS NULL");
    }
    if let Some(after) = wanted.after {
        query.push(
            " AND (created_at, notification_id) <
                  (SELECT created_at, notification_id FROM notifications WHERE notification_id = ",
        );
        query.push_bind(after).push(")");
    }
    query.push(" ORDER BY created_at DESC, notification_id DESC LIMIT ").push_bind(wanted.limit);
    query.build_query_as().fetch_all(pool).await
}

/// One notification.
pub(crate) async fn one(pool: &PgPool, id: Uuid) -> Result<Option<Notification>, sqlx::Error> {
    let query = format!("SELECT {COLUMNS} FROM notifications WHERE notification_id = $1");
    sqlx::query_as(&query).bind(id).fetch_optional(pool).await
}

/// A webhook that is switched on, and the kinds that it is to be told of.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Subscriber {
    pub(crate) webhook_id: Uuid,
    pub(crate) kinds: Vec<String>,
}

/// The webhooks that are switched on.
pub(crate) async fn subscribers(pool: &PgPool) -> Result<Vec<Subscriber>, sqlx::Error> {
    sqlx::query_as("SELECT webhook_id, kinds FROM webhooks WHERE enabled ORDER BY webhook_id").fetch_all(pool).await
}

/// A webhook as it is listed.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(crate) struct Webhook {
    pub(crate) webhook_id: Uuid,
    pub(crate) address: String,
    pub(crate) kinds: Vec<String>,
    pub(crate) note: Option<String>,
    pub(crate) enabled: bool,
    pub(crate) created_at: DateTime<Utc>,
}

/// All webhooks, the oldest first: there are few.
pub(crate) async fn webhooks(pool: &PgPool) -> Result<Vec<Webhook>, sqlx::Error> {
    let query =
        "SELECT webhook_id, address, kinds, note, enabled, created_at FROM webhooks ORDER BY created_at, webhook_id";
    sqlx::query_as(query).fetch_all(pool).await
}

/// A notification that is due, and the sequence that its row has come to.
#[derive(Debug, Clone, Copy, sqlx::FromRow)]
pub(crate) struct Due {
    pub(crate) notification_id: Uuid,
    pub(crate) sequence: i64,
}

/// What is due over a channel, the longest first, but for these webhooks.
pub(crate) async fn due(
    pool: &PgPool,
    channel: &str,
    now: DateTime<Utc>,
    but_for: &[WebhookId],
    limit: i64,
) -> Result<Vec<Due>, sqlx::Error> {
    sqlx::query_as(
        "SELECT notification_id, sequence FROM notifications
          WHERE channel = $1 AND next_attempt_at <= $2 AND (webhook_id IS NULL OR webhook_id <> ALL($3))
          ORDER BY next_attempt_at LIMIT $4",
    )
    .bind(channel)
    .bind(now)
    .bind(but_for.iter().map(|webhook| webhook.0).collect::<Vec<_>>())
    .bind(limit)
    .fetch_all(pool)
    .await
}
