use super::first;
use crate::audit::facts::{Fact, Facts};
use crate::audit::findings::Findings;
use crate::audit::walk::Subject;
use chrono::{DateTime, TimeDelta, Utc};
use orchestrator::saga::order_fulfilment::{OrderFulfilment, State, Status};
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use uuid::Uuid;

/// A saga at the end of its stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::audit) struct SagaFacts {
    pub(in crate::audit) state: State,
    pub(in crate::audit) sequence: u64,
    pub(in crate::audit) deadline: Option<DateTime<Utc>>,
    /// An operator took a step as done that was not.
    pub(in crate::audit) was_skipped: bool,
}

pub(in crate::audit) struct Sagas {
    facts: Facts,
}

impl Sagas {
    pub(in crate::audit) fn new(facts: Facts) -> Self {
        Self { facts }
    }
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    order_id: Uuid,
    user_id: Uuid,
    state: String,
    stuck: Option<String>,
    reason: Option<String>,
    total_minor: i64,
    currency: String,
    deadline: Option<DateTime<Utc>>,
    ended_at: Option<DateTime<Utc>>,
    sequence: i64,
}

impl Subject for Sagas {
    type Aggregate = OrderFulfilment;
    type Row = Row;

    const TABLE: &'static str = "sagas";
    const KEY: &'static str = "order_id";
    const ONCE: &'static [&'static str] = &["saga_started"];
    // One message may set several steps going, and one timeout may end several.
    const MANY: &'static [&'static str] = &["command_issued", "step_timed_out", "saga_stuck"];
    // A saga that goes on handles all messages that came while it stood still.
    const GATHERING: &'static [&'static str] = &["operator_resumed"];

    fn key(row: &Row) -> Uuid {
        row.order_id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &OrderFulfilment) -> Option<&'static str> {
        let Some(order) = state.order() else { return Some("order_id") };
        first([
            ("user_id", row.user_id == order.user_id.0),
            ("state", row.state == state.state().as_str()),
            ("stuck", row.stuck.is_some() == state.stuck().next().is_some()),
            ("reason", row.reason.as_deref() == state.cancel_reason()),
            ("total_minor", row.total_minor == order.total.minor),
            ("currency", row.currency == order.total.currency.code()),
            ("deadline", is_same(row.deadline, state.deadline())),
            ("ended_at", is_same(row.ended_at, state.ended_at())),
        ])
    }

    fn has_row(state: &OrderFulfilment) -> bool {
        state.order().is_some()
    }

    fn end(&mut self, id: Uuid, sequence: u64, state: OrderFulfilment, _findings: &mut Findings) {
        let facts = SagaFacts {
            state: state.state(),
            sequence,
            deadline: state.deadline(),
            was_skipped: state.steps().iter().any(|step| step.status == Status::Skipped),
        };
        self.facts.put(id, Fact::Saga(facts));
    }
}

/// The database keeps microseconds.
fn is_same(row: Option<DateTime<Utc>>, fold: Option<DateTime<Utc>>) -> bool {
    match (row, fold) {
        (Some(row), Some(fold)) => (row - fold).abs() < TimeDelta::milliseconds(1),
        (row, fold) => row.is_none() && fold.is_none(),
    }
}
