//! What operators do to sagas: the same as by `sagashop saga`, checked and recorded alike.

use async_trait::async_trait;
use event_store::Answer;
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};
use runtime::{Commands, Origin, commands};
use sqlx::PgPool;
use uuid::Uuid;
use web::auth::{Admin, Identity};
use web::idempotency::{Keeper, gone, told_again};
use web::{Answered, Idempotency, IdempotencyKey, Line, OptionalJson, Problem, RequestContext, Ticket};

use super::{Saga, Tag, not_found, saga, unavailable};
use crate::saga::order_fulfilment::{CommandKind, Error};
use crate::{inspect, measures, operate};

const REASON_CHARS_MAX: usize = 500;

/// Why an operator acts.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct Reason {
    /// In plain words; it is recorded with the act.
    reason: Line<REASON_CHARS_MAX>,
}

impl Example for Reason {
    fn example() -> Self {
        Self { reason: "refunded by hand".into() }
    }
}

/// Where a saga goes back to, and why.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
struct Restart {
    /// The step, by the command that it is asked for with.
    step: Step,
    /// In plain words; it is recorded with the act.
    reason: Line<REASON_CHARS_MAX>,
}

impl Example for Restart {
    fn example() -> Self {
        Self { step: Step::RefundPayment, reason: "skipped by mistake".into() }
    }
}

/// A step of a saga or its undo. In the order in which a saga comes to them: on its way, then on its way back.
#[derive(Debug, Clone, Copy, Enum)]
#[oai(rename = "SagaStep", rename_all = "snake_case")]
enum Step {
    ReserveStock,
    ChargePayment,
    CommitStock,
    ConfirmOrder,
    RefundPayment,
    ReleaseStock,
    CancelOrder,
}

impl From<Step> for CommandKind {
    fn from(step: Step) -> Self {
        match step {
            Step::ReserveStock => Self::ReserveStock,
            Step::ChargePayment => Self::ChargePayment,
            Step::CommitStock => Self::CommitStock,
            Step::ConfirmOrder => Self::ConfirmOrder,
            Step::RefundPayment => Self::RefundPayment,
            Step::ReleaseStock => Self::ReleaseStock,
            Step::CancelOrder => Self::CancelOrder,
        }
    }
}

/// Mending sagas.
#[derive(Clone)]
pub(crate) struct Api {
    commands: Commands,
    pool: PgPool,
    keys: Idempotency,
}

#[OpenApi(tag = "Tag::Sagas")]
impl Api {
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
        /// Any text of your own. Sent again with the same key and body, the request takes effect once and is answered the
        /// same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: OptionalJson<Reason>,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Retry, body.0.map(|body| told(&body.reason))).await
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
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Skip, Some(told(&body.0.reason))).await
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
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Cancel, Some(told(&body.0.reason))).await
    }

    /// Have a saga stand still
    ///
    /// It asks for nothing, no time of it runs out, and what comes for it is kept. 409 if it stands still already, or has
    /// ended.
    #[oai(path = "/sagas/:order_id/pause", method = "post", operation_id = "pauseSaga")]
    async fn pause(
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
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Pause, Some(told(&body.0.reason))).await
    }

    /// Have a paused saga go on
    ///
    /// What was kept is handled in the order in which it came; a time that ran out meanwhile has run out. 409 if it is not
    /// paused.
    #[oai(path = "/sagas/:order_id/resume", method = "post", operation_id = "resumeSaga")]
    async fn resume(
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
        self.act(&admin.0, order_id.0, context, &key, operate::Act::Resume, Some(told(&body.0.reason))).await
    }

    /// Have a saga go back to a step
    ///
    /// Asks again for this step and those behind it, with all attempts anew. What is known to be done stays done; what was
    /// skipped is asked for too, also of a saga that has ended. 409 if the step is not on the way that the saga goes,
    /// nothing of it was asked for and is not done, or it is paused.
    #[oai(path = "/sagas/:order_id/restart-from", method = "post", operation_id = "restartSagaFrom")]
    async fn restart_from(
        &self,
        admin: Admin,
        /// The order.
        order_id: Path<Uuid>,
        context: RequestContext,
        /// Any text of your own. Sent again with the same key and body, the request takes effect once and is answered the
        /// same.
        #[oai(name = "Idempotency-Key")]
        key: IdempotencyKey,
        body: Json<Restart>,
    ) -> Result<Answered<Json<Saga>>, Problem> {
        let act = operate::Act::RestartFrom(body.0.step.into());
        self.act(&admin.0, order_id.0, context, &key, act, Some(told(&body.0.reason))).await
    }
}

impl Api {
    pub(super) fn new(commands: Commands, pool: PgPool, keys: Idempotency) -> Self {
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
}

fn told(reason: &str) -> String {
    reason.trim().to_owned()
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

#[cfg(test)]
mod tests {
    use poem_openapi::types::ToJSON;

    use super::*;

    #[test]
    fn steps_are_named_as_operators_name_them() {
        for (step, kind) in [
            (Step::ReserveStock, CommandKind::ReserveStock),
            (Step::ChargePayment, CommandKind::ChargePayment),
            (Step::CommitStock, CommandKind::CommitStock),
            (Step::ConfirmOrder, CommandKind::ConfirmOrder),
            (Step::RefundPayment, CommandKind::RefundPayment),
            (Step::ReleaseStock, CommandKind::ReleaseStock),
            (Step::CancelOrder, CommandKind::CancelOrder),
        ] {
            assert_eq!((CommandKind::from(step), step.to_json()), (kind, Some(kind.as_str().into())));
        }
        let document: serde_json::Value = serde_json::from_str(&crate::openapi()).unwrap();
        let steps = document["components"]["schemas"]["SagaStep"]["enum"].as_array().map(Vec::len);
        assert_eq!(steps, Some(CommandKind::ALL.len()));
    }
}
