//! Looking at sagas: the read model, and a saga's story from its events.
//!
//! REST and the command line both ask here.

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use event_store::{RecordedEvent, StreamId};
use sqlx::PgPool;
use uuid::Uuid;

use crate::saga::order_fulfilment::{Event, OrderFulfilment};

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

/// Which sagas are meant. What is not said does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<String>,
    /// Begun before this moment.
    pub begun_before: Option<DateTime<Utc>>,
    /// Stuck at this step.
    pub step: Option<String>,
    /// With this in the reason why it is undone, or in what is stuck, whatever the case of its letters.
    pub error: Option<String>,
    /// Of this customer.
    pub customer: Option<Uuid>,
    /// One of these orders.
    pub orders: Option<Vec<Uuid>>,
}

/// Sagas that are meant by the filter, the newest first.
///
/// # Errors
/// Those of the database.
pub async fn search(pool: &PgPool, filter: &Filter, limit: i64) -> Result<Vec<Saga>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, user_id, state, stuck, reason, total_minor, currency, definition, deadline, started_at,
                updated_at, ended_at
           FROM sagas
          WHERE ($1::text IS NULL OR state = $1)
            AND ($2::timestamptz IS NULL OR started_at <= $2)
            AND ($3::text IS NULL OR EXISTS (SELECT FROM unnest(string_to_array(stuck, ', ')) AS s(step)
                                              WHERE split_part(s.step, ' ', 1) = $3))
            AND ($4::text IS NULL OR position(lower($4) IN lower(concat_ws(' ', reason, stuck))) > 0)
            AND ($5::uuid IS NULL OR user_id = $5)
            AND ($6::uuid[] IS NULL OR order_id = ANY($6))
          ORDER BY order_id DESC LIMIT $7",
    )
    .bind(&filter.state)
    .bind(filter.begun_before)
    .bind(&filter.step)
    .bind(&filter.error)
    .bind(filter.customer)
    .bind(&filter.orders)
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
    /// The row of a saga that has begun, after its `last` event.
    pub(crate) fn of(saga: &OrderFulfilment, last: &RecordedEvent) -> Option<Self> {
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
            started_at: saga.started_at().unwrap_or(last.recorded_at),
            updated_at: last.recorded_at,
            ended_at: saga.ended_at(),
        })
    }
}

/// One moment of a saga, in plain words.
#[allow(missing_docs, reason = "named as they are shown")]
pub struct Moment {
    pub sequence: u64,
    pub at: DateTime<Utc>,
    pub event: String,
    pub text: String,
    pub actor: String,
    /// The trace in which it happened, if it was traced.
    pub trace_id: Option<String>,
}

/// All its moments, from its events.
///
/// # Errors
/// When the store is away or an event cannot be read.
pub async fn timeline(pool: &PgPool, order_id: Uuid) -> Result<Vec<Moment>, event_store::Error> {
    events(pool, order_id).await?.iter().map(moment).collect()
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
    let events = events(pool, order_id).await?;
    let until: Vec<&RecordedEvent> = events.iter().take_while(|event| event.sequence <= sequence).collect();
    let mut saga = OrderFulfilment::default();
    for event in &until {
        saga.apply(event.decode::<OrderFulfilment>()?);
    }
    let row = until.last().and_then(|last| Saga::of(&saga, last));
    let timeline = until.into_iter().map(moment).collect::<Result<_, _>>()?;
    Ok(row.map(|row| (row, timeline)))
}

async fn events(pool: &PgPool, order_id: Uuid) -> Result<Vec<RecordedEvent>, event_store::Error> {
    let stream = (StreamId::of::<OrderFulfilment>(order_id.to_string()), 0);
    Ok(event_store::load(pool, &[stream]).await?.pop().unwrap_or_default())
}

fn moment(event: &RecordedEvent) -> Result<Moment, event_store::Error> {
    Ok(Moment {
        sequence: event.sequence,
        at: event.recorded_at,
        event: event.event_type.clone(),
        text: in_words(&event.decode::<OrderFulfilment>()?),
        actor: event.metadata.actor.clone(),
        trace_id: event.metadata.traceparent.as_deref().and_then(telemetry::SpanRef::parse).map(|at| at.trace_id()),
    })
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
        Event::StepFailed { step, reason, retry_at, .. } => match retry_at {
            Some(at) => format!("{step} was refused: {reason}; asked again at {}", at.format("%H:%M:%S%.3f")),
            None => format!("{step} was refused: {reason}"),
        },
        Event::StepTimedOut { step, attempt, .. } => format!("{step} was not answered in time (attempt {attempt})"),
        Event::CompensationStarted { reason, .. } => format!("began to undo what was done: {reason}"),
        Event::SagaStuck { step, reason, .. } => format!("stuck at {step}: {reason}; an operator decides"),
        Event::SagaCompleted { .. } => "completed".to_owned(),
        Event::SagaCancelled { reason, .. } => format!("cancelled, all of it undone: {reason}"),
        Event::OperatorRetried { actor, .. } => format!("{actor} had it tried again"),
        Event::OperatorSkipped { actor, reason, .. } => format!("{actor} skipped what was stuck: {reason}"),
        Event::OperatorCancelled { actor, reason, .. } => format!("{actor} had it undone: {reason}"),
    }
}

fn done(direction: crate::saga::order_fulfilment::Direction) -> &'static str {
    match direction {
        crate::saga::order_fulfilment::Direction::Forward => "is done",
        crate::saga::order_fulfilment::Direction::Undo => "is undone",
    }
}
