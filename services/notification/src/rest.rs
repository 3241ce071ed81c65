//! REST: what a customer was told.

use std::time::Duration;

use poem_openapi::param::Query;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi, Tags};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::Bearer;
use web::{Problem, Timestamp};

use crate::queries;

pub(crate) const TITLE: &str = "Sagashop notifications";

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;

#[derive(Tags)]
enum Tag {
    Notifications,
}

/// The notification service's API.
#[derive(Clone)]
pub(crate) struct Api {
    pool: PgPool,
}

/// A notification.
#[derive(Object)]
struct Notification {
    /// Its id.
    id: Uuid,
    /// The message that it tells of.
    message_id: Uuid,
    /// `log` or `email`.
    channel: String,
    /// Whom it is for.
    user_id: Uuid,
    /// The order that it is about.
    #[oai(skip_serializing_if_is_none)]
    order_id: Option<Uuid>,
    /// What it says: `order_confirmed` and the like.
    kind: String,
    /// `queued`, `sent`, `failed` (it is tried again) or `gave_up`.
    status: String,
    /// Attempts made.
    attempts: i32,
    /// When a failed one is tried again.
    #[oai(skip_serializing_if_is_none)]
    next_attempt_at: Option<Timestamp>,
    /// When it was queued.
    created_at: Timestamp,
    /// When it was sent.
    #[oai(skip_serializing_if_is_none)]
    sent_at: Option<Timestamp>,
}

#[OpenApi]
impl Api {
    /// Lists the caller's notifications, the newest first; an administrator sees everybody's.
    #[oai(path = "/notifications", method = "get", tag = "Tag::Notifications")]
    async fn list(
        &self,
        caller: Bearer,
        /// Only those about this order.
        order_id: Query<Option<Uuid>>,
        /// At most so many, 1 to 500.
        limit: Query<Option<u32>>,
    ) -> Result<Json<Vec<Notification>>, Problem> {
        let limit = limit.0.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::bad_request("The limit is out of range").field("limit", "must be 1 to 500"));
        }
        let user_id = (!caller.0.is_admin()).then_some(caller.0.user_id.0);
        let rows = queries::list(&self.pool, user_id, order_id.0, i64::from(limit)).await.map_err(unavailable)?;
        Ok(Json(rows.into_iter().map(notification).collect()))
    }
}

impl Api {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

fn notification(row: queries::Notification) -> Notification {
    Notification {
        id: row.notification_id,
        message_id: row.message_id,
        channel: row.channel,
        user_id: row.user_id,
        order_id: row.order_id,
        kind: row.kind,
        // A queued one has a moment as well, at which the sweep would take it up: nothing to tell anybody.
        next_attempt_at: row.next_attempt_at.filter(|_| row.status == "failed").map(Timestamp),
        status: row.status,
        attempts: row.attempts,
        created_at: row.created_at.into(),
        sent_at: row.sent_at.map(Timestamp),
    }
}

fn unavailable(error: sqlx::Error) -> Problem {
    tracing::warn!(%error, "notifications cannot be read");
    Problem::unavailable("Notifications cannot be read at present", Duration::from_secs(1))
}
