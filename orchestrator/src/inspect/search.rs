//! Sagas by what they have in common. What the read model has is asked of it; what the open ones wait for, and what went
//! wrong with it, is folded from their events.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use cqrs_es::Aggregate;
use event_store::StreamId;
use sqlx::PgPool;
use uuid::Uuid;

use super::Saga;
use crate::saga::order_fulfilment::{CommandKind, Definition, OrderFulfilment, State, Step};

/// So many sagas are folded at once.
const PAGE: i64 = 500;

/// Which sagas are meant. What is not said does not matter.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<State>,
    /// Begun before this moment.
    pub begun_before: Option<DateTime<Utc>>,
    /// Waiting for this step, or stuck at it.
    pub step: Option<CommandKind>,
    /// With this in the reason why it is undone, or in what went wrong with what it waits for, whatever the case of its
    /// letters.
    pub error: Option<String>,
    /// Of this customer.
    pub customer: Option<Uuid>,
    /// One of these orders.
    pub orders: Option<Vec<Uuid>>,
}

/// What a saga waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The step, by what was asked.
    pub step: CommandKind,
    /// All attempts are used up.
    pub is_stuck: bool,
    /// How often it was asked for.
    pub attempt: u32,
    /// How often it is asked for at most.
    pub attempts_max: u32,
    /// When it is asked for again or given up.
    pub due: Option<DateTime<Utc>>,
    /// What went wrong last.
    pub error: Option<String>,
}

/// A saga that is meant.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its row.
    pub saga: Saga,
    /// What it waits for.
    pub open: Vec<Open>,
}

impl Found {
    fn fits(&self, filter: &Filter) -> bool {
        let has = |text: &Option<String>, wanted: &str| {
            text.as_ref().is_some_and(|text| text.to_lowercase().contains(&wanted.to_lowercase()))
        };
        let at_step = filter.step.is_none_or(|step| self.open.iter().any(|open| open.step == step));
        let with_error = filter.error.as_ref().is_none_or(|wanted| {
            has(&self.saga.reason, wanted) || self.open.iter().any(|open| has(&open.error, wanted))
        });
        at_step && with_error
    }
}

/// Sagas that are meant by the filter, the newest first.
///
/// # Errors
/// The database is away, or an event cannot be read.
pub async fn search(pool: &PgPool, filter: &Filter, limit: usize) -> anyhow::Result<Vec<Found>> {
    let mut found = Vec::new();
    let mut before = None;
    while found.len() < limit {
        let rows = page(pool, filter, before).await?;
        let Some(last) = rows.last() else { break };
        before = Some(last.order_id);
        let is_last = rows.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        let fitting = with_steps(pool, rows).await?.into_iter().filter(|saga| saga.fits(filter));
        found.extend(fitting.take(limit - found.len()));
        if is_last {
            break;
        }
    }
    Ok(found)
}

/// Only what is open waits for a step, and has errors that its row does not.
async fn page(pool: &PgPool, filter: &Filter, before: Option<Uuid>) -> Result<Vec<Saga>, sqlx::Error> {
    sqlx::query_as(
        "SELECT order_id, user_id, state, stuck, reason, total_minor, currency, definition, deadline, started_at,
                updated_at, ended_at
           FROM sagas
          WHERE ($1::text IS NULL OR state = $1)
            AND ($2::timestamptz IS NULL OR started_at <= $2)
            AND ($3::bool IS FALSE OR ended_at IS NULL)
            AND ($4::text IS NULL OR ended_at IS NULL OR position(lower($4) IN lower(reason)) > 0)
            AND ($5::uuid IS NULL OR user_id = $5)
            AND ($6::uuid[] IS NULL OR order_id = ANY($6))
            AND ($7::uuid IS NULL OR order_id < $7)
          ORDER BY order_id DESC LIMIT $8",
    )
    .bind(filter.state.map(State::as_str))
    .bind(filter.begun_before)
    .bind(filter.step.is_some())
    .bind(&filter.error)
    .bind(filter.customer)
    .bind(&filter.orders)
    .bind(before)
    .bind(PAGE)
    .fetch_all(pool)
    .await
}

async fn with_steps(pool: &PgPool, rows: Vec<Saga>) -> anyhow::Result<Vec<Found>> {
    let is_open = |row: &&Saga| row.ended_at.is_none();
    let stream = |row: &Saga| (StreamId::of::<OrderFulfilment>(row.order_id.to_string()), 0);
    let streams: Vec<_> = rows.iter().filter(is_open).map(stream).collect();
    let mut open = HashMap::new();
    for (row, events) in rows.iter().filter(is_open).zip(event_store::load(pool, &streams).await?) {
        let mut saga = OrderFulfilment::default();
        for event in events {
            event.decode_all::<OrderFulfilment>()?.for_each(|event| saga.apply(event));
        }
        open.insert(row.order_id, of(&saga));
    }
    let found = |saga: Saga| Found { open: open.remove(&saga.order_id).unwrap_or_default(), saga };
    Ok(rows.into_iter().map(found).collect())
}

fn of(saga: &OrderFulfilment) -> Vec<Open> {
    let definition = Definition::of_version(saga.definition_version());
    let open = |step: &Step| Open {
        step: step.command.kind(),
        is_stuck: step.is_stuck(),
        attempt: step.attempt,
        attempts_max: definition.map_or(0, |of| of.patience(step.id, step.direction).attempts_max),
        due: step.due,
        error: step.reason.clone(),
    };
    saga.steps().iter().filter(|step| step.is_open()).map(open).collect()
}
