//! REST: sagas listed, shown and mended. Administrators only.

mod acts;

use std::time::Duration;

use kernel::{Currency, Money};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi, Tags};
use runtime::Commands;
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::Admin;
use web::{Amount, Idempotency, Problem, Timestamp};

use crate::inspect;

pub(crate) use acts::Acts;

pub(crate) const TITLE: &str = "Sagashop orchestrator";

const LIMIT_DEFAULT: u32 = 50;

#[derive(Tags)]
enum Tag {
    /// What the orchestrator does for each order, and mending it where it is stuck. Administrators only; who did what,
    /// when and why is recorded with it.
    Sagas,
}

/// The orchestrator's API, in two parts.
pub(crate) type Api = (Looks, acts::Api);

pub(crate) fn api(commands: Commands, pool: PgPool, keys: Idempotency) -> Api {
    (Looks { pool: pool.clone() }, acts::Api::new(commands, pool, keys))
}

/// Looking at sagas.
#[derive(Clone)]
pub(crate) struct Looks {
    pool: PgPool,
}

/// A saga.
#[derive(Object)]
struct Saga {
    /// The order, and the saga's id.
    order_id: Uuid,
    /// Who ordered.
    user_id: Uuid,
    /// `reserving`, `charging`, `completing`, `completed`, `compensating`, `cancelling`, `cancelled`,
    /// `stuck` or `paused`.
    state: String,
    /// The steps that are stuck.
    #[oai(skip_serializing_if_is_none)]
    stuck: Option<String>,
    /// Why it is undone.
    #[oai(skip_serializing_if_is_none)]
    reason: Option<String>,
    /// What the order costs.
    total_price: Amount,
    /// Its currency.
    currency: String,
    /// The version of the definition that it runs on.
    definition_version: i32,
    /// When a missing answer is acted on.
    #[oai(skip_serializing_if_is_none)]
    deadline: Option<Timestamp>,
    /// When it began.
    started_at: Timestamp,
    /// Its last event.
    updated_at: Timestamp,
    /// When it completed or was cancelled.
    #[oai(skip_serializing_if_is_none)]
    ended_at: Option<Timestamp>,
    /// All its moments; only where one saga is shown.
    #[oai(skip_serializing_if_is_none)]
    timeline: Option<Vec<Moment>>,
}

/// One moment of a saga.
#[derive(Object)]
struct Moment {
    /// The event's sequence.
    sequence: u64,
    /// When it was recorded.
    at: Timestamp,
    /// The event's type.
    event: String,
    /// What happened, in plain words.
    text: String,
    /// Who brought it about.
    actor: String,
}

#[OpenApi(tag = "Tag::Sagas")]
impl Looks {
    /// List sagas
    ///
    /// The newest first.
    #[oai(path = "/sagas", method = "get", operation_id = "listSagas")]
    async fn list(
        &self,
        _admin: Admin,
        /// Only those in this state.
        state: Query<Option<String>>,
        /// Only those before this order.
        after: Query<Option<Uuid>>,
        /// At most so many.
        #[oai(default = "limit_default", validator(minimum(value = "1"), maximum(value = "500")))]
        limit: Query<u32>,
    ) -> Result<Json<Vec<Saga>>, Problem> {
        let rows = inspect::list(&self.pool, state.0.as_deref(), after.0, i64::from(limit.0)).await;
        Ok(Json(rows.map_err(unavailable)?.into_iter().map(|row| saga(row, None)).collect()))
    }

    /// Show a saga
    ///
    /// With its timeline: all its moments, in plain words.
    #[oai(path = "/sagas/:order_id", method = "get", operation_id = "getSaga")]
    async fn show(
        &self,
        _admin: Admin,
        /// The order.
        order_id: Path<Uuid>,
    ) -> Result<Json<Saga>, Problem> {
        self.found(order_id.0).await
    }
}

impl Looks {
    /// The row may be a moment behind the last act; the timeline is not.
    async fn found(&self, order_id: Uuid) -> Result<Json<Saga>, Problem> {
        let row = inspect::find(&self.pool, order_id).await.map_err(unavailable)?.ok_or_else(not_found)?;
        let timeline = inspect::timeline(&self.pool, order_id).await.map_err(unavailable)?;
        Ok(Json(saga(row, Some(timeline))))
    }
}

fn saga(row: inspect::Saga, timeline: Option<Vec<inspect::Moment>>) -> Saga {
    let currency = row.currency.parse().unwrap_or(Currency::EUR);
    Saga {
        order_id: row.order_id,
        user_id: row.user_id,
        state: row.state,
        stuck: row.stuck,
        reason: row.reason,
        total_price: Amount::from(Money::new(row.total_minor, currency)),
        currency: row.currency,
        definition_version: row.definition,
        deadline: row.deadline.map(Timestamp),
        started_at: row.started_at.into(),
        updated_at: row.updated_at.into(),
        ended_at: row.ended_at.map(Timestamp),
        timeline: timeline.map(|moments| moments.into_iter().map(moment).collect()),
    }
}

fn moment(moment: inspect::Moment) -> Moment {
    let inspect::Moment { sequence, at, event, text, actor, .. } = moment;
    Moment { sequence, at: at.into(), event, text, actor }
}

fn limit_default() -> u32 {
    LIMIT_DEFAULT
}

fn not_found() -> Problem {
    Problem::not_found("There is no saga for this order")
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the saga store did not answer");
    Problem::unavailable("The saga store does not answer at present", Duration::from_secs(1))
}
