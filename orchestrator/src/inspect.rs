//! Looking at sagas: the read model, and a saga's story from its events.
//!
//! REST and the command line both ask here.

mod search;
mod story;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use crate::saga::order_fulfilment::OrderFulfilment;

pub use search::{Filter, Found, Open, search};
pub use story::{Asked, Moment, Story, at, in_words, story, timeline};

/// A row of the read model.
#[derive(Debug, Clone, sqlx::FromRow)]
#[allow(missing_docs, reason = "named as the table's columns")]
pub struct Saga {
    pub order_id: Uuid,
    pub user_id: Uuid,
    pub state: String,
    pub stuck: Option<String>,
    pub reason: Option<String>,
    pub total_minor: i64,
    pub currency: String,
    pub definition: i32,
    pub deadline: Option<DateTime<Utc>>,
    pub started_at: DateTime<Utc>,
    pub updated_at: DateTime<Utc>,
    pub ended_at: Option<DateTime<Utc>>,
}

/// Sagas, the newest first, of one state if given, older than `after` if given.
///
/// # Errors
/// Those of the database.
pub async fn list(
    pool: &PgPool,
    state: Option<&str>,
    after: Option<Uuid>,
    limit: i64,
) -> Result<Vec<Saga>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, user_id, state, stuck, reason, total_minor, currency, definition, deadline, started_at,
                updated_at, ended_at
           FROM sagas
          WHERE ($1::text IS NULL OR state = $1) AND ($2::uuid IS NULL OR order_id < $2)
          ORDER BY order_id DESC LIMIT $3",
    )
    .bind(state)
    .bind(after)
    .bind(limit)
    .fetch_all(pool)
    .await
}

/// One saga.
///
/// # Errors
/// Those of the database.
pub async fn find(pool: &PgPool, order_id: Uuid) -> Result<Option<Saga>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, user_id, state, stuck, reason, total_minor, currency, definition, deadline, started_at,
                updated_at, ended_at
           FROM sagas WHERE order_id = $1",
    )
    .bind(order_id)
    .fetch_optional(pool)
    .await
}

impl Saga {
    /// The row of a saga that has begun, after an event that was recorded then.
    pub(crate) fn of(saga: &OrderFulfilment, recorded_at: DateTime<Utc>) -> Option<Self> {
        let order = saga.order()?;
        let stuck: Vec<String> = saga.stuck().map(|step| format!("{} ({})", step.id, step.direction)).collect();
        Some(Self {
            order_id: order.order_id.0,
            user_id: order.user_id.0,
            state: saga.state().as_str().to_owned(),
            stuck: (!stuck.is_empty()).then(|| stuck.join(", ")),
            reason: saga.cancel_reason().map(str::to_owned),
            total_minor: order.total.minor,
            currency: order.total.currency.code().to_owned(),
            definition: i32::try_from(saga.definition_version()).unwrap_or(i32::MAX),
            deadline: saga.deadline(),
            started_at: saga.started_at().unwrap_or(recorded_at),
            updated_at: recorded_at,
            ended_at: saga.ended_at(),
        })
    }
}
