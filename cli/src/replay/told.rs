//! What the services of a shop told each other that led to nothing, order after order.

use super::history::Streams;
use super::nothing::{self, Handled};
use super::what_if::Outcome;
use crate::events::of_role;
use crate::events::store::{COLUMNS, Store, failed};
use crate::ports::Role;
use crate::progress::Progress;
use anyhow::Context;
use cqrs_es::Aggregate;
use domain::order::Order;
use domain::payment::Payment;
use domain::stock::Stock;
use event_store::RecordedEvent;
use kernel::{OrderId, PaymentId};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use sqlx::QueryBuilder;
use std::collections::BTreeSet;

/// Orders at once: some megabytes.
const PAGE_ORDERS: i64 = 500;
/// Whose stores tell what was told.
pub(super) const ROLES: [Role; 4] = [Role::Order, Role::Product, Role::Payment, Role::Orchestrator];
/// Who is asked again. Of stock, whose streams are not those of one order, only what it told is read.
const ASKED: [&str; 3] = [Order::TYPE, OrderFulfilment::TYPE, Payment::TYPE];

/// Asks again wherever a later message proves that one was handled.
pub(super) async fn of_stores(
    stores: &mut [Store],
    definition: Option<u32>,
    outcome: &mut Outcome,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut after = String::new();
    loop {
        let orders = orders(store(stores, Role::Order)?, &after).await?;
        let Some(last) = orders.last() else { return Ok(()) };
        after.clone_from(last);
        let streams = streams(stores, &orders).await?;
        outcome.add(nothing::of_streams(&streams, definition, Handled::Proven, &ASKED));
        progress.at(outcome.decisions as u64);
    }
}

fn store(stores: &mut [Store], role: Role) -> anyhow::Result<&mut Store> {
    of_role(stores, role).context("the store was opened")
}

async fn orders(store: &mut Store, after: &str) -> anyhow::Result<Vec<String>> {
    let query = "SELECT aggregate_id FROM events WHERE aggregate_type = $1 AND aggregate_id > $2 AND sequence = 1
                  ORDER BY aggregate_id LIMIT $3";
    let query = sqlx::query_scalar(query).bind(Order::TYPE).bind(after).bind(PAGE_ORDERS);
    query.fetch_all(&mut store.connection).await.map_err(|error| failed(store.role, error))
}

/// All that there is of these orders, and what stock did for them.
async fn streams(stores: &mut [Store], orders: &[String]) -> anyhow::Result<Streams> {
    let payment = |id: &String| Some(PaymentId::of_order(id.parse::<OrderId>().ok()?).to_string());
    let payments: Vec<String> = orders.iter().filter_map(payment).collect();
    let mut streams = Streams::new();
    let of_orders = by(store(stores, Role::Order)?, Order::TYPE, "e.aggregate_id", orders).await?;
    let stories: BTreeSet<String> = of_orders.iter().map(|event| event.metadata.correlation_id.to_string()).collect();
    let stories: Vec<String> = stories.into_iter().collect();
    add(&mut streams, of_orders);
    add(&mut streams, by(store(stores, Role::Orchestrator)?, OrderFulfilment::TYPE, "e.aggregate_id", orders).await?);
    add(&mut streams, by(store(stores, Role::Payment)?, Payment::TYPE, "e.aggregate_id", &payments).await?);
    let correlation = "(e.metadata ->> 'correlation_id')";
    add(&mut streams, by(store(stores, Role::Product)?, Stock::TYPE, correlation, &stories).await?);
    Ok(streams)
}

async fn by(store: &mut Store, kind: &str, what: &str, values: &[String]) -> anyhow::Result<Vec<RecordedEvent>> {
    let mut query = QueryBuilder::new(format!("SELECT {COLUMNS} FROM events AS e WHERE e.aggregate_type = "));
    query
        .push_bind(kind)
        .push(format!(" AND {what} = ANY("))
        .push_bind(values)
        .push(") ORDER BY e.aggregate_id, e.sequence");
    store.events(query).await
}

fn add(streams: &mut Streams, events: Vec<RecordedEvent>) {
    for event in events {
        streams.entry((event.aggregate_type.clone(), event.aggregate_id.clone())).or_default().push(event);
    }
}
