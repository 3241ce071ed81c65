//! `sagashop trace`: what came of an order, or of any request, across all services, from their event stores alone.
//!
//! Events of one story share a correlation id. What one of them led to is known by the ids of the messages that it was
//! published as, by the very mapping that the service publishes with: whatever followed names one of them as its cause.

mod mermaid;
mod tree;
mod words;

use crate::args::{GlobalArgs, TraceArgs};
use crate::events::store::{self, COLUMNS, Store, failed};
use crate::events::{StoredEvent, merge, of_role};
use crate::exit::{Code, Failure};
use crate::output::{self, Format};
use crate::ports::Role;
use cqrs_es::Aggregate;
use domain::order::Order;
use domain::payment::Payment;
use kernel::{OrderId, PaymentId};
use orchestrator::saga::order_fulfilment::OrderFulfilment;
use serde::Serialize;
use sqlx::QueryBuilder;
use std::collections::BTreeSet;
use tree::Tree;
use uuid::Uuid;

/// Events of one store; a story that is longer is told in part.
const EVENTS_MAX: i64 = 5_000;

/// Tells a story.
///
/// # Errors
/// When a store cannot be read, or nothing is known of the id.
pub async fn trace(global: &GlobalArgs, args: &TraceArgs) -> anyhow::Result<Code> {
    let mut stores = store::open(global, &args.stores).await?;
    let mut correlations = of_order(&mut stores, args.id).await?;
    let is_order = !correlations.is_empty();
    if !is_order {
        correlations.insert(args.id.to_string());
    }
    let events = events(&mut stores, &correlations).await?;
    store::close(stores).await;
    if events.is_empty() {
        let message = format!("nothing is known of {}: it is neither an order's id nor a correlation id", args.id);
        return Err(Failure::new(Code::Failed, message).into());
    }
    let tree = Tree::new(events);
    print(global.output, &tree, args.id, is_order)?;
    Ok(Code::Done)
}

/// The correlation ids of whatever concerns the order: of its placement, and of what was asked for later.
async fn of_order(stores: &mut [Store], id: Uuid) -> anyhow::Result<BTreeSet<String>> {
    let payment = PaymentId::of_order(OrderId(id)).to_string();
    let streams = [
        (Role::Order, Order::TYPE, id.to_string()),
        (Role::Orchestrator, OrderFulfilment::TYPE, id.to_string()),
        (Role::Payment, Payment::TYPE, payment),
    ];
    let mut correlations = BTreeSet::new();
    for (role, kind, id) in streams {
        let Some(store) = of_role(stores, role) else { continue };
        let query = "SELECT DISTINCT metadata ->> 'correlation_id' FROM events
                      WHERE aggregate_type = $1 AND aggregate_id = $2 AND metadata ->> 'correlation_id' IS NOT NULL";
        let found: Vec<String> = sqlx::query_scalar(query)
            .bind(kind)
            .bind(id)
            .fetch_all(&mut store.connection)
            .await
            .map_err(|error| failed(store.role, error))?;
        correlations.extend(found);
    }
    Ok(correlations)
}

/// All events of these stories, by time.
async fn events(stores: &mut [Store], correlations: &BTreeSet<String>) -> anyhow::Result<Vec<StoredEvent>> {
    let ids: Vec<&str> = correlations.iter().map(String::as_str).collect();
    let searches = stores.iter_mut().map(|store| async {
        let role = store.role;
        // Found by their story first, then sorted: see `docs/decisions/0017-finding-events.md`.
        let mut query = QueryBuilder::new("WITH e AS MATERIALIZED (SELECT * FROM events WHERE metadata ->> ");
        query.push("'correlation_id' = ANY(").push_bind(&ids).push(")) SELECT ").push(COLUMNS);
        query.push(" FROM e ORDER BY e.transaction_id, e.position LIMIT ").push_bind(EVENTS_MAX);
        let found = store.events(query).await?;
        if found.len() as u64 >= EVENTS_MAX.unsigned_abs() {
            eprintln!("Only the first {EVENTS_MAX} events of the {} are told.", role.title());
        }
        anyhow::Ok(found.into_iter().map(|event| StoredEvent { role, event }).collect::<Vec<_>>())
    });
    Ok(merge(futures::future::try_join_all(searches).await?))
}

/// A story, as programs read it.
#[derive(Serialize)]
struct Story<'a> {
    id: Uuid,
    /// Whether the id is an order's, or that of a correlation.
    is_order: bool,
    duration_ms: f64,
    events: Vec<tree::Scene<'a>>,
}

fn print(format: Format, tree: &Tree, id: Uuid, is_order: bool) -> anyhow::Result<()> {
    match format {
        Format::Table => {
            let what = if is_order { "Order" } else { "Story" };
            output::text(&format!("{what} {id}: {}\n", tree.summary()))?;
            output::text(&tree.text())?;
        }
        Format::Mermaid => output::text(&mermaid::sequence(tree))?,
        Format::Json => {
            let story = Story { id, is_order, duration_ms: tree.duration_ms(), events: tree.scenes() };
            output::text(&serde_json::to_string_pretty(&story)?)?;
        }
        Format::Jsonl => {
            for scene in tree.scenes() {
                output::text(&serde_json::to_string(&scene)?)?;
            }
        }
    }
    Ok(())
}
