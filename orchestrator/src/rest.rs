//! REST: sagas listed, shown and, where they are stuck, mended. Administrators only.

use std::time::Duration;

use kernel::{Currency, Money};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi, Tags};
use runtime::{Commands, Origin, commands};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Admin, Identity};
use web::{Amount, Problem, RequestContext, Text, Timestamp};

use crate::inspect;
use crate::saga::order_fulfilment::{Error, Input, InputKind, OrderFulfilment};

pub(crate) const TITLE: &str = "Sagashop orchestrator";

const LIMIT_DEFAULT: u32 = 50;
const LIMIT_MAX: u32 = 500;
const REASON_CHARS_MAX: usize = 500;

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
}

/// A saga.
#[derive(Object)]
struct Saga {
    /// The order, and the saga's id.
    order_id: Uuid,
    /// Who ordered.
    user_id: Uuid,
    /// `reserving`, `charging`, `completing`, `completed`, `compensating`, `cancelling`, `cancelled` or `stuck`.
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
    /// In plain words, 1 to 500 characters; it is recorded with the act.
    reason: Text,
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
        /// At most so many, 1 to 500.
        limit: Query<Option<u32>>,
    ) -> Result<Json<Vec<Saga>>, Problem> {
        let limit = limit.0.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(Problem::bad_request("The limit is out of range").field("limit", "must be 1 to 500"));
        }
        let rows = inspect::list(&self.pool, state.0.as_deref(), after.0, i64::from(limit)).await;
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
    ) -> Result<Json<Saga>, Problem> {
        self.act(&admin.0, order_id.0, context, |actor| InputKind::OperatorRetry { actor }).await
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
        body: Json<Reason>,
    ) -> Result<Json<Saga>, Problem> {
        let reason = checked(&body.0.reason)?;
        self.act(&admin.0, order_id.0, context, |actor| InputKind::OperatorSkip { actor, reason }).await
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
        body: Json<Reason>,
    ) -> Result<Json<Saga>, Problem> {
        let reason = checked(&body.0.reason)?;
        self.act(&admin.0, order_id.0, context, |actor| InputKind::OperatorCancel { actor, reason }).await
    }
}

impl Api {
    pub(crate) fn new(commands: Commands, pool: PgPool) -> Self {
        Self { commands, pool }
    }

    async fn act(
        &self,
        admin: &Identity,
        order_id: Uuid,
        context: RequestContext,
        kind: impl FnOnce(String) -> InputKind,
    ) -> Result<Json<Saga>, Problem> {
        let actor = format!("operator:{}", admin.user_id);
        let clock = self.commands.clock();
        let input = Input { at: clock.now(), kind: kind(actor.clone()) };
        let origin = Origin {
            traceparent: context.traceparent,
            ..Origin::request(context.correlation_id, clock.new_id(), actor)
        };
        self.commands.execute::<OrderFulfilment>(&order_id.to_string(), &origin, input).await.map_err(refusal)?;
        self.found(order_id).await
    }

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
    let inspect::Moment { sequence, at, event, text, actor } = moment;
    Moment { sequence, at: at.into(), event, text, actor }
}

fn checked(reason: &Text) -> Result<String, Problem> {
    let reason = reason.trim();
    if (1..=REASON_CHARS_MAX).contains(&reason.chars().count()) {
        Ok(reason.to_owned())
    } else {
        Err(Problem::bad_request("A reason is needed").field("reason", "must have 1 to 500 characters"))
    }
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
