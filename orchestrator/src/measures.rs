//! What is counted of sagas: as their events are committed, by whoever commits them; and how many are where, from the
//! read model.

use std::sync::LazyLock;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use telemetry::metrics::{Counters, Family, FloatGauges, Gauges, Histograms, IntCounter, LONG_SECONDS, Label};

use crate::saga::order_fulfilment::{CAUSES, Direction, Event, OrderFulfilment, StepId, cause};

const SAGA: Label = Label::one_of("saga", &["order_fulfilment"]);
const STATES: &[&str] = &["reserving", "charging", "completing", "compensating", "cancelling", "stuck", "paused"];
const STATE: Label = Label::one_of("state", STATES);
const OUTCOME: Label = Label::one_of("outcome", &["completed", "cancelled"]);
const STEP: Label =
    Label::one_of("step", &["reserve_stock", "charge_payment", "commit_stock", "confirm_order", "cancel_order"]);
const DIRECTION: Label = Label::one_of("direction", &["forward", "undo"]);
const NAME: &str = "order_fulfilment";

static STARTED: Counters = Counters::new("saga_started_total", "Sagas begun.", &[SAGA]);
static FINISHED: Counters = Counters::new(
    "saga_finished_total",
    "Sagas that ended, by how. One that is reopened ends again.",
    &[SAGA, OUTCOME],
);
static DURATION: Histograms =
    Histograms::new("saga_duration_seconds", "From a saga's beginning to its end.", &[SAGA, OUTCOME], LONG_SECONDS);
static IN_FLIGHT: Gauges =
    Gauges::new("saga_in_flight", "Sagas that have not ended, by state. From the database.", &[SAGA, STATE]);
static LONGEST_WAIT: FloatGauges = FloatGauges::new(
    "saga_longest_wait_seconds",
    "Since the last event of the saga that has waited longest in this state, 0 without one. From the database.",
    &[SAGA, STATE],
);
static STEP_SECONDS: Histograms = Histograms::new(
    "saga_step_duration_seconds",
    "From the moment at which a step was first asked for to its answer, or to the end of the patience with it.",
    &[SAGA, STEP, DIRECTION, Label::one_of("outcome", &["succeeded", "failed", "timed_out"])],
    LONG_SECONDS,
);
static COMMANDS: Counters = Counters::new(
    "saga_commands_total",
    "Commands sent, at first and again.",
    &[SAGA, STEP, DIRECTION, Label::one_of("attempt", &["first", "again"])],
);
static TIMEOUTS: Counters =
    Counters::new("saga_timeouts_total", "Steps that were not answered in time.", &[SAGA, STEP, DIRECTION]);
static COMPENSATIONS: Counters = Counters::new(
    "saga_compensations_total",
    "Sagas that turned back, by cause.",
    &[SAGA, Label::one_of("cause", CAUSES)],
);
static COMPENSATION_FAILURES: Counters = Counters::new(
    "saga_compensation_failures_total",
    "Undos that were refused or not answered in time, each attempt.",
    &[SAGA, STEP],
);
static STUCK: Counters = Counters::new("saga_stuck_total", "Steps that got stuck: an operator decides.", &[SAGA, STEP]);
static ACTS: Counters = Counters::new(
    "saga_operator_acts_total",
    "What operators did.",
    &[SAGA, Label::one_of("act", &["retry", "skip", "cancel", "pause", "resume", "restart"])],
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[
    STARTED.family(),
    FINISHED.family(),
    DURATION.family(),
    IN_FLIGHT.family(),
    LONGEST_WAIT.family(),
    STEP_SECONDS.family(),
    COMMANDS.family(),
    TIMEOUTS.family(),
    COMPENSATIONS.family(),
    COMPENSATION_FAILURES.family(),
    STUCK.family(),
    ACTS.family(),
];

/// Each saga begins.
static BEGUN: LazyLock<IntCounter> = LazyLock::new(|| STARTED.with(&[NAME]));

/// Shows all of them, before anything has happened.
pub(crate) fn init() {
    STARTED.init(&[]);
    for counters in [&FINISHED, &COMMANDS, &TIMEOUTS, &COMPENSATIONS, &COMPENSATION_FAILURES, &STUCK, &ACTS] {
        counters.init(&[]);
    }
    DURATION.init(&[]);
    IN_FLIGHT.init(&[]);
    LONGEST_WAIT.init(&[]);
}

/// Counts events that were just committed; `saga` is the state after them.
pub(crate) fn recorded(saga: &OrderFulfilment, events: &[Event]) {
    for event in events {
        match event {
            Event::SagaStarted { .. } => BEGUN.inc(),
            Event::CommandIssued { step, direction, attempt, .. } => {
                let attempt = if *attempt == 1 { "first" } else { "again" };
                COMMANDS.with(&[NAME, of(*step), way(*direction), attempt]).inc();
            }
            Event::StepSucceeded { at, step, direction, .. } => answered(saga, *at, *step, *direction, "succeeded"),
            Event::StepFailed { at, step, direction, .. } => answered(saga, *at, *step, *direction, "failed"),
            Event::StepTimedOut { at, step, direction, .. } => {
                TIMEOUTS.with(&[NAME, of(*step), way(*direction)]).inc();
                answered(saga, *at, *step, *direction, "timed_out");
            }
            Event::CompensationStarted { reason, .. } => COMPENSATIONS.with(&[NAME, cause(reason)]).inc(),
            Event::SagaStuck { step, .. } => STUCK.with(&[NAME, of(*step)]).inc(),
            Event::SagaCompleted { at } => ended(saga, *at, "completed"),
            Event::SagaCancelled { at, .. } => ended(saga, *at, "cancelled"),
            Event::OperatorRetried { .. } => ACTS.with(&[NAME, "retry"]).inc(),
            Event::OperatorSkipped { .. } => ACTS.with(&[NAME, "skip"]).inc(),
            Event::OperatorCancelled { .. } => ACTS.with(&[NAME, "cancel"]).inc(),
            Event::OperatorPaused { .. } => ACTS.with(&[NAME, "pause"]).inc(),
            Event::OperatorResumed { .. } => ACTS.with(&[NAME, "resume"]).inc(),
            Event::OperatorRestarted { .. } => ACTS.with(&[NAME, "restart"]).inc(),
            // Counted as what it is when it is handled.
            Event::InputKept { .. } => {}
        }
    }
}

fn ended(saga: &OrderFulfilment, at: DateTime<Utc>, outcome: &str) {
    FINISHED.with(&[NAME, outcome]).inc();
    if let Some(began) = saga.started_at() {
        DURATION.with(&[NAME, outcome]).observe(seconds(began, at));
    }
}

fn answered(saga: &OrderFulfilment, at: DateTime<Utc>, step: StepId, direction: Direction, outcome: &str) {
    if direction == Direction::Undo && outcome != "succeeded" {
        COMPENSATION_FAILURES.with(&[NAME, of(step)]).inc();
    }
    let asked = saga.steps().iter().find(|asked| asked.id == step && asked.direction == direction);
    if let Some(asked_at) = asked.and_then(|asked| asked.asked_at) {
        STEP_SECONDS.with(&[NAME, of(step), way(direction), outcome]).observe(seconds(asked_at, at));
    }
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).to_std().unwrap_or_default().as_secs_f64()
}

fn of(step: StepId) -> &'static str {
    match step {
        StepId::ReserveStock(_) => "reserve_stock",
        StepId::ChargePayment => "charge_payment",
        StepId::CommitStock(_) => "commit_stock",
        StepId::ConfirmOrder => "confirm_order",
        StepId::CancelOrder => "cancel_order",
    }
}

fn way(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "forward",
        Direction::Undo => "undo",
    }
}

/// Looks how many sagas are where.
pub(crate) async fn look(pool: PgPool) -> anyhow::Result<()> {
    let found: Vec<(String, i64, f64)> = sqlx::query_as(
        "SELECT state, count(*), extract(epoch FROM clock_timestamp() - min(updated_at))::float8
           FROM sagas WHERE ended_at IS NULL GROUP BY state",
    )
    .fetch_all(&pool)
    .await?;
    for state in STATES {
        let (count, wait_s) =
            found.iter().find(|(of, _, _)| of == state).map_or((0, 0.0), |(_, count, wait_s)| (*count, *wait_s));
        IN_FLIGHT.with(&[NAME, state]).set(count);
        LONGEST_WAIT.with(&[NAME, state]).set(wait_s.max(0.0));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kernel::{Currency, Money, OrderId, ProductId, Quantity, UserId};
    use uuid::Uuid;

    use super::*;
    use crate::saga::order_fulfilment::{Input, InputKind, Line};

    fn told(saga: &mut OrderFulfilment, at: DateTime<Utc>, kind: InputKind) {
        let decided = kernel::Decide::decide(saga, Input { at, kind }).expect("accepted").executed().expect("events");
        for event in &decided {
            cqrs_es::Aggregate::apply(saga, event.clone());
        }
        recorded(saga, &decided);
    }

    fn value(series: &str) -> f64 {
        let text = telemetry::metrics::render();
        let line = text.lines().find(|line| line.split(' ').next() == Some(series));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
            .unwrap_or_else(|| panic!("{series} is not in\n{text}"))
    }

    /// A refund that is refused until it is stuck, and what an operator does about it.
    #[test]
    fn trouble_is_counted_by_step() {
        init();
        let (mut saga, product) = (OrderFulfilment::default(), ProductId(Uuid::from_u128(1)));
        let mut at = DateTime::UNIX_EPOCH;
        let mut next = |saga: &mut OrderFulfilment, seconds: i64, kind| {
            at += chrono::Duration::seconds(seconds);
            told(saga, at, kind);
        };
        let lines = vec![Line { product_id: product, quantity: Quantity::try_from(1).expect("one") }];
        let (order_id, user_id) = (OrderId(Uuid::from_u128(2)), UserId(Uuid::from_u128(3)));
        let (total, payment_method) = (Money::new(100, Currency::EUR), "tok_visa".to_owned());
        next(&mut saga, 0, InputKind::OrderCreated { order_id, user_id, lines, total, payment_method });
        next(&mut saga, 2, InputKind::StockReserved { product_id: product });
        // No answer to the charge.
        next(&mut saga, 31, InputKind::Timeout);
        next(&mut saga, 1, InputKind::StockReleased { product_id: product });
        while saga.stuck().next().is_none() {
            next(&mut saga, 1, InputKind::RefundFailed { reason: "the bank is closed".to_owned() });
            if saga.stuck().next().is_none() {
                next(&mut saga, 61, InputKind::Timeout);
            }
        }
        next(&mut saga, 1, InputKind::OperatorRetry { actor: "operator:1".to_owned(), reason: None });
        next(&mut saga, 1, InputKind::PaymentRefunded);
        next(&mut saga, 1, InputKind::OrderCancelled);

        let saga = "saga=\"order_fulfilment\"";
        for (series, expected) in [
            (format!("saga_started_total{{{saga}}}"), 1.0),
            (format!("saga_timeouts_total{{direction=\"forward\",{saga},step=\"charge_payment\"}}"), 1.0),
            (format!("saga_compensations_total{{cause=\"timeout\",{saga}}}"), 1.0),
            (format!("saga_compensation_failures_total{{{saga},step=\"charge_payment\"}}"), 8.0),
            (format!("saga_stuck_total{{{saga},step=\"charge_payment\"}}"), 1.0),
            (format!("saga_operator_acts_total{{act=\"retry\",{saga}}}"), 1.0),
            (format!("saga_finished_total{{outcome=\"cancelled\",{saga}}}"), 1.0),
            (
                format!("saga_commands_total{{attempt=\"again\",direction=\"undo\",{saga},step=\"charge_payment\"}}"),
                7.0,
            ),
            (
                format!(
                    "saga_step_duration_seconds_sum{{direction=\"forward\",outcome=\"succeeded\",{saga},step=\"reserve_stock\"}}"
                ),
                2.0,
            ),
        ] {
            assert!((value(&series) - expected).abs() < 1e-9, "{series} is {} and not {expected}", value(&series));
        }
    }
}
