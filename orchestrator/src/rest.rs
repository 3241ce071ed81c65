//! REST: sagas listed, shown and, where they are stuck, mended. Administrators only.

use std::time::Duration;

use async_trait::async_trait;
use event_store::Answer;
use kernel::{Currency, Money};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi, Tags};
use runtime::{Commands, Origin, commands};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Admin, Identity};
use web::idempotency::{Keeper, gone, told_again};
use web::{Amount, Answered, Idempotency, IdempotencyKey, Line, Problem, RequestContext, Ticket, Timestamp};

use crate::saga::order_fulfilment::Error;
use crate::{inspect, measures, operate};

pub(crate) const TITLE: &str = "Sagashop orchestrator";

const LIMIT_DEFAULT: u32 = 50;

#[derive(Tags)]
enum Tag {
    /// What the orchestrator does for each order, and mending it where it is stuck. Administrators only.
    Sagas,
}

/// The orchestrator's API.
#[derive(Clone)]
pub(crate) struct Api {
    commands: Commands,
    pool: PgPool,
    keys: Idempotency,
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

/// Why an operator acts.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct Reason {
    /// In plain words; it is recorded with the act.
    reason: Line<500>,
}

impl Example for Reason {
    fn example() -> Self {
        Self { reason: "refunded by hand".into() }
    }
}

#[OpenApi(tag = "Tag::Sagas")]
impl Api {
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

    /// Try a stuck saga again
    ///
    /// Asks again for what is stuck, with all attempts anew. 409 if nothing is stuck.
    #[oai(path = "/sagas/:order_id/retry", method = "post", operation_id = "retrySaga")]
    async fn retry(
        &self,
        admin: Admin,
        /// The order.
        order_id: Path<Uuid>,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key, the request takes effect once and is answered the same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Retry, None).await
    }

    /// Take a stuck step as done
    ///
    /// For what was mended by hand. 409 if nothing is stuck.
    #[oai(path = "/sagas/:order_id/skip", method = "post", operation_id = "skipSagaStep")]
    async fn skip(
        &self,
        admin: Admin,
        /// The order.
        order_id: Path<Uuid>,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the request takes effect once and is answered the
        /// same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Reason>,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        let reason = body.0.reason.trim().to_owned();
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Skip, Some(reason)).await
    }

    /// Cancel a saga
    ///
    /// Undoes what has been done so far. 409 if it has ended, or is being undone already.
    #[oai(path = "/sagas/:order_id/cancel", method = "post", operation_id = "cancelSaga")]
    async fn cancel(
        &self,
        admin: Admin,
        /// The order.
        order_id: Path<Uuid>,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the request takes effect once and is answered the
        /// same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Reason>,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        let reason = body.0.reason.trim().to_owned();
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Cancel, Some(reason)).await
    }
}

impl Api {
    pub(crate) fn new(commands: Commands, pool: PgPool, keys: Idempotency) -> Self {
        Self { commands, pool, keys }
    }

    async fn act(
        &self,
        admin: &Identity,
        order_id: Uuid,
        context: RequestContext,
        key: &IdempotencyKey,
        what: operate::Act,
        reason: Option<String>,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        let actor = format!("operator:{}", admin.user_id);
        let origin = Origin {
            traceparent: context.traceparent,
            ..Origin::request(context.correlation_id, self.commands.clock().new_id(), actor)
        };
        let act = |ticket: Ticket| async move {
            let answering = |sequence| ticket.note(|| Act { order_id, sequence }.note());
            let executed = operate::act(&self.commands, order_id, what, reason, &origin, answering).await;
            let executed = executed.map_err(refusal)?;
            measures::recorded(&executed.state, &executed.events);
            Act { order_id, sequence: executed.sequence }.told(&self.pool).await
        };
        self.keys.once(key, Some(admin), act).await
    }

    /// The row may be a moment behind the last act; the timeline is not.
    async fn found(&self, order_id: Uuid) -> Result<Json<Saga>, Problem> {
        let row = inspect::find(&self.pool, order_id).await.map_err(unavailable)?.ok_or_else(not_found)?;
        let timeline = inspect::timeline(&self.pool, order_id).await.map_err(unavailable)?;
        Ok(Json(saga(row, Some(timeline))))
    }
}

/// An operator's act: the saga and the sequence of its last event after it. It is told from the saga's events until
/// then, so it is told the same whenever it is asked for.
#[derive(Debug, PartialEq, Eq)]
struct Act {
    order_id: Uuid,
    sequence: u64,
}

impl Act {
    fn note(&self) -> Vec<u8> {
        format!("{} {}", self.order_id, self.sequence).into_bytes()
    }

    fn read(note: &[u8]) -> Option<Self> {
        let (order_id, sequence) = std::str::from_utf8(note).ok()?.split_once(' ')?;
        Some(Self { order_id: order_id.parse().ok()?, sequence: sequence.parse().ok()? })
    }

    async fn told(&self, pool: &PgPool) -> Result<Json<Saga>, Problem> {
        let told = inspect::at(pool, self.order_id, self.sequence).await.map_err(unavailable)?;
        let (row, timeline) = told.ok_or_else(not_found)?;
        Ok(Json(saga(row, Some(timeline))))
    }
}

/// Tells acts again.
pub(crate) struct Acts {
    pool: PgPool,
}

impl Acts {
    pub(crate) fn new(pool: PgPool) -> Self {
        Self { pool }
    }
}

#[async_trait]
impl Keeper for Acts {
    async fn recall(&self, kept: Answer) -> Result<Answer, Problem> {
        let act = Act::read(&kept.body).ok_or_else(gone)?;
        told_again(kept, act.told(&self.pool).await?)
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

fn refusal(error: commands::Error<Error>) -> Problem {
    match error {
        commands::Error::Denied(Error::NotStarted) => not_found(),
        commands::Error::Denied(reason) => Problem::conflict(sentence(&reason)),
        commands::Error::Conflict => Problem::conflict("The saga is moving on by itself; look again"),
        commands::Error::NotRecorded(error) => unavailable(error),
    }
}

fn sentence(reason: &Error) -> String {
    let text = reason.to_string();
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

fn not_found() -> Problem {
    Problem::not_found("There is no saga for this order")
}

fn unavailable(error: impl std::fmt::Display) -> Problem {
    tracing::warn!(%error, "the saga store did not answer");
    Problem::unavailable("The saga store does not answer at present", Duration::from_secs(1))
}
