//! A saga's story, from its events.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use event_store::{RecordedEvent, StreamId};
use sqlx::PgPool;
use uuid::Uuid;

use super::Saga;
use crate::saga::order_fulfilment::{
    Definition, Direction, Event, OrderFulfilment, Status, Step, StepId, Trigger, command_id,
};

/// One moment of a saga, in plain words.
#[allow(missing_docs, reason = "named as they are shown")]
pub struct Moment {
    pub sequence: u64,
    pub at: DateTime<Utc>,
    pub event: String,
    /// What came in: a message, the timer, an operator's act.
    pub input: Option<&'static str>,
    /// What went out: a command, and its attempt.
    pub output: Option<(&'static str, u32)>,
    /// It belongs to the way back.
    pub goes_back: bool,
    pub text: String,
    pub actor: String,
    /// The trace in which it happened, if it was traced.
    pub trace_id: Option<String>,
}

/// A step that was asked for, on the way or on the way back.
#[allow(missing_docs, reason = "named as they are shown")]
pub struct Asked {
    /// What was asked, with its product where each line has one of its own.
    pub step: String,
    pub goes_back: bool,
    pub status: Status,
    pub attempt: u32,
    pub attempts_max: u32,
    pub command_id: Uuid,
    pub asked_at: Option<DateTime<Utc>>,
    pub answered_at: Option<DateTime<Utc>>,
    /// When it is asked for again or given up.
    pub due: Option<DateTime<Utc>>,
    /// What the service calls it.
    pub reference: Option<String>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// All of a saga.
pub struct Story {
    /// As its row would be.
    pub saga: Saga,
    /// Since when it stands still.
    pub paused_at: Option<DateTime<Utc>>,
    /// What came since.
    pub kept: Vec<&'static str>,
    /// When its timer is set to fire.
    pub timer: Option<DateTime<Utc>>,
    /// What was asked for, in the order in which it first was.
    pub steps: Vec<Asked>,
    /// All its moments.
    pub moments: Vec<Moment>,
}

/// A saga's story, if there is such a saga.
///
/// # Errors
/// When the store is away or an event cannot be read.
pub async fn story(pool: &PgPool, order_id: Uuid) -> anyhow::Result<Option<Story>> {
    let events = events(pool, order_id).await?;
    let saga = fold(&events)?;
    let Some(row) = events.last().and_then(|last| Saga::of(&saga, last.recorded_at)) else { return Ok(None) };
    let timer = sqlx::query_scalar("SELECT due_at FROM timers WHERE aggregate_type = $1 AND aggregate_id = $2");
    let timer = timer.bind(OrderFulfilment::TYPE).bind(order_id.to_string()).fetch_optional(pool).await?;
    Ok(Some(Story {
        saga: row,
        paused_at: saga.paused_at(),
        kept: saga.kept().iter().map(|input| input.trigger().as_str()).collect(),
        timer,
        steps: steps(&saga, &events)?,
        moments: moments(&events)?,
    }))
}

/// All its moments, from its events.
///
/// # Errors
/// When the store is away or an event cannot be read.
pub async fn timeline(pool: &PgPool, order_id: Uuid) -> Result<Vec<Moment>, event_store::Error> {
    moments(&events(pool, order_id).await?)
}

/// A saga as it was after its event of this sequence, with all moments until then: always the same.
///
/// # Errors
/// When the store is away or an event cannot be read.
pub async fn at(
    pool: &PgPool,
    order_id: Uuid,
    sequence: u64,
) -> Result<Option<(Saga, Vec<Moment>)>, event_store::Error> {
    let mut until = events(pool, order_id).await?;
    until.retain(|event| event.sequence <= sequence);
    let saga = fold(&until)?;
    let row = until.last().and_then(|last| Saga::of(&saga, last.recorded_at));
    let timeline = moments(&until)?;
    Ok(row.map(|row| (row, timeline)))
}

async fn events(pool: &PgPool, order_id: Uuid) -> Result<Vec<RecordedEvent>, event_store::Error> {
    let stream = (StreamId::of::<OrderFulfilment>(order_id.to_string()), 0);
    Ok(event_store::load(pool, &[stream]).await?.pop().unwrap_or_default())
}

fn fold(events: &[RecordedEvent]) -> Result<OrderFulfilment, event_store::Error> {
    let mut saga = OrderFulfilment::default();
    for event in events {
        event.decode_all::<OrderFulfilment>()?.for_each(|event| saga.apply(event));
    }
    Ok(saga)
}

fn steps(saga: &OrderFulfilment, events: &[RecordedEvent]) -> Result<Vec<Asked>, event_store::Error> {
    let definition = Definition::of_version(saga.definition_version());
    let mut answers = Vec::new();
    for recorded in events {
        for event in recorded.decode_all::<OrderFulfilment>()? {
            match event {
                Event::StepSucceeded { at, step, direction, reference } => {
                    answers.push((step, direction, at, reference));
                }
                Event::StepFailed { at, step, direction, .. } => answers.push((step, direction, at, None)),
                _ => {}
            }
        }
    }
    let asked = |step: &Step| {
        let answer = answers.iter().rev().find(|(id, direction, ..)| (*id, *direction) == (step.id, step.direction));
        let product = match step.id {
            StepId::ReserveStock(product) | StepId::CommitStock(product) => format!(":{product}"),
            StepId::ChargePayment | StepId::ConfirmOrder | StepId::CancelOrder => String::new(),
        };
        Asked {
            step: format!("{}{product}", step.command.kind()),
            goes_back: step.command.kind().goes_back(),
            status: step.status,
            attempt: step.attempt,
            attempts_max: definition.map_or(0, |of| of.patience(step.id, step.direction).attempts_max),
            command_id: saga.order().map_or_else(Uuid::nil, |of| command_id(of.order_id, step.id, step.direction)),
            asked_at: step.asked_at,
            answered_at: answer.map(|(_, _, at, _)| *at).filter(|at| step.asked_at.is_none_or(|asked| *at >= asked)),
            due: step.due,
            reference: answer.and_then(|(.., reference)| reference.clone()),
            error: step.reason.clone(),
        }
    };
    Ok(saga.steps().iter().map(asked).collect())
}

fn moments(events: &[RecordedEvent]) -> Result<Vec<Moment>, event_store::Error> {
    let mut saga = OrderFulfilment::default();
    let mut turn = None;
    let mut moment = |recorded: &RecordedEvent, event: Event| {
        saga.apply(event.clone());
        // What is decided together is recorded under one command.
        let begins = turn.replace(recorded.metadata.command_id) != Some(recorded.metadata.command_id);
        Moment {
            sequence: recorded.sequence,
            at: recorded.recorded_at,
            event: event.event_type().to_owned(),
            input: input(&event, begins).map(Trigger::as_str),
            output: match &event {
                Event::CommandIssued { command, attempt, .. } => Some((command.as_str(), *attempt)),
                _ => None,
            },
            goes_back: goes_back(&event, &saga),
            text: in_words(&event),
            actor: recorded.metadata.actor.clone(),
            trace_id: recorded
                .metadata
                .traceparent
                .as_deref()
                .and_then(telemetry::SpanRef::parse)
                .map(|at| at.trace_id()),
        }
    };
    let mut moments = Vec::with_capacity(events.len());
    for recorded in events {
        moments.extend(recorded.decode_all::<OrderFulfilment>()?.map(|event| moment(recorded, event)));
    }
    Ok(moments)
}

/// What an event follows from; `begins` says that it is the first of those that follow from it.
fn input(event: &Event, begins: bool) -> Option<Trigger> {
    use Direction::{Forward, Undo};
    Some(match event {
        Event::SagaStarted { .. } => Trigger::OrderCreated,
        Event::StepSucceeded { step, direction, .. } => match (step, direction) {
            (StepId::ReserveStock(_), Forward) => Trigger::StockReserved,
            (StepId::ReserveStock(_), Undo) => Trigger::StockReleased,
            (StepId::ChargePayment, Forward) => Trigger::PaymentSucceeded,
            (StepId::ChargePayment, Undo) => Trigger::PaymentRefunded,
            (StepId::CommitStock(_), _) => Trigger::StockCommitted,
            (StepId::ConfirmOrder, _) => Trigger::OrderConfirmed,
            (StepId::CancelOrder, _) => Trigger::OrderCancelled,
        },
        Event::StepFailed { step, direction, .. } => match (step, direction) {
            (StepId::ChargePayment, Forward) => Trigger::PaymentFailed,
            (StepId::ChargePayment, Undo) => Trigger::RefundFailed,
            _ => Trigger::StockRejected,
        },
        Event::StepTimedOut { .. } => Trigger::Timeout,
        Event::CommandIssued { .. } | Event::SagaStuck { .. } if begins => Trigger::Timeout,
        Event::CompensationStarted { .. } if begins => Trigger::CancelRequested,
        Event::OperatorRetried { .. } => Trigger::OperatorRetry,
        Event::OperatorSkipped { .. } => Trigger::OperatorSkip,
        Event::OperatorCancelled { .. } => Trigger::OperatorCancel,
        Event::OperatorPaused { .. } => Trigger::OperatorPause,
        Event::OperatorResumed { .. } => Trigger::OperatorResume,
        Event::OperatorRestarted { .. } => Trigger::OperatorRestart,
        Event::InputKept { input, .. } => input.trigger(),
        Event::CommandIssued { .. }
        | Event::SagaStuck { .. }
        | Event::CompensationStarted { .. }
        | Event::SagaCompleted { .. }
        | Event::SagaCancelled { .. } => return None,
    })
}

fn goes_back(event: &Event, after: &OrderFulfilment) -> bool {
    match event {
        Event::CommandIssued { command, .. } => command.kind().goes_back(),
        Event::StepSucceeded { step, direction, .. }
        | Event::StepFailed { step, direction, .. }
        | Event::StepTimedOut { step, direction, .. }
        | Event::SagaStuck { step, direction, .. } => *direction == Direction::Undo || *step == StepId::CancelOrder,
        _ => after.goes_back(),
    }
}

/// What an event of a saga says, in plain words.
pub fn in_words(event: &Event) -> String {
    match event {
        Event::SagaStarted { order, .. } => {
            format!("began to fulfil {} line(s) for {}", order.lines.len(), order.total)
        }
        Event::CommandIssued { command, attempt, due, .. } => {
            let again = if *attempt > 1 { format!(" again (attempt {attempt})") } else { String::new() };
            format!("sent {}{again}, an answer is due by {}", command.as_str(), due.format("%H:%M:%S%.3f"))
        }
        Event::StepSucceeded { step, direction, reference, .. } => {
            let reference = reference.as_ref().map(|text| format!(" ({text})")).unwrap_or_default();
            format!("{step} {}{reference}", done(*direction))
        }
        Event::StepFailed { step, direction, reason, retry_at, .. } => {
            let again =
                retry_at.map(|at| format!("; asked again at {}", at.format("%H:%M:%S%.3f"))).unwrap_or_default();
            format!("{}{step} was refused: {reason}{again}", undoing(*direction))
        }
        Event::StepTimedOut { step, direction, attempt, .. } => {
            format!("{}{step} was not answered in time (attempt {attempt})", undoing(*direction))
        }
        Event::CompensationStarted { reason, .. } => format!("began to undo what was done: {reason}"),
        Event::SagaStuck { step, direction, reason, .. } => {
            format!("stuck at {}{step}: {reason}; an operator decides", undoing(*direction))
        }
        Event::SagaCompleted { .. } => "completed".to_owned(),
        Event::SagaCancelled { reason, .. } => format!("cancelled, all of it undone: {reason}"),
        Event::OperatorRetried { actor, reason: Some(reason), .. } => format!("{actor} had it tried again: {reason}"),
        Event::OperatorRetried { actor, reason: None, .. } => format!("{actor} had it tried again"),
        Event::OperatorSkipped { actor, reason, .. } => format!("{actor} skipped what was stuck: {reason}"),
        Event::OperatorCancelled { actor, reason, .. } => format!("{actor} had it undone: {reason}"),
        Event::OperatorPaused { actor, reason, .. } => format!("{actor} had it stand still: {reason}"),
        Event::InputKept { input, .. } => format!("{} came, kept until it goes on", input.trigger().as_str()),
        Event::OperatorResumed { actor, reason, .. } => format!("{actor} had it go on: {reason}"),
        Event::OperatorRestarted { actor, reason, from, .. } => format!("{actor} had it go back to {from}: {reason}"),
    }
}

fn undoing(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "",
        Direction::Undo => "undoing ",
    }
}

fn done(direction: Direction) -> &'static str {
    match direction {
        Direction::Forward => "is done",
        Direction::Undo => "is undone",
    }
}
