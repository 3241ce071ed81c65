//! Following stores: each further event as it is committed.

use super::filter::Filter;
use super::line::Line;
use super::list::{self, End, Found};
use super::merge;
use super::store::{COLUMNS, Store, failed};
use crate::audit::recorded;
use crate::exit::Code;
use crate::output::{self, Format};
use event_store::Cursor;
use sqlx::{QueryBuilder, Row};
use std::time::Duration;

/// Between two looks at a store that had nothing new. Its service is another process, which wakes nobody here.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Events that are taken at once.
const PAGE_EVENTS: usize = 1_000;

/// Prints the last `lines` events, then each further one. Ends when the process is interrupted, or nobody reads.
pub(super) async fn follow(mut stores: Vec<Store>, filter: Filter, lines: u32, format: Format) -> anyhow::Result<Code> {
    let mut cursors = Vec::with_capacity(stores.len());
    for store in &mut stores {
        cursors.push(visible_end(store).await?);
    }
    // What is beyond the cursor comes later.
    let mut before = list::find(&mut stores, &filter, End::Latest, lines).await?;
    before.retain(|found| {
        let at = stores.iter().position(|store| store.role == found.role);
        at.is_some_and(|n| found.event.cursor <= cursors[n])
    });
    print(&before, format)?;
    loop {
        let looks = stores.iter_mut().zip(&mut cursors).map(|(store, cursor)| next(store, &filter, cursor));
        let found = futures::future::try_join_all(looks).await?;
        let is_full = found.iter().any(|events| events.len() == PAGE_EVENTS);
        print(&merge(found), format)?;
        if !is_full {
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

/// Behind everything that nothing older can come before any more.
async fn visible_end(store: &mut Store) -> anyhow::Result<Cursor> {
    let query = "SELECT pg_snapshot_xmin(pg_current_snapshot())::text";
    let xmin: String =
        sqlx::query_scalar(query).fetch_one(&mut store.connection).await.map_err(|error| failed(store.role, error))?;
    Ok(before(xmin.parse()?))
}

/// The last place before a transaction.
fn before(transaction_id: u64) -> Cursor {
    Cursor { transaction_id: transaction_id.saturating_sub(1), position: i64::MAX }
}

/// The events after the cursor that every reader may see, of those that are wanted; the cursor moves behind all that
/// were looked at.
async fn next(store: &mut Store, filter: &Filter, cursor: &mut Cursor) -> anyhow::Result<Vec<Found>> {
    let mut query =
        QueryBuilder::new("WITH gate AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) ");
    // One row at least, which tells how far was looked.
    query.push("SELECT g.xmin::text AS gate, e.* FROM gate AS g LEFT JOIN LATERAL (SELECT ").push(COLUMNS);
    query.push(" FROM events AS e WHERE (e.transaction_id, e.position) > (");
    query.push_bind(cursor.transaction_id.to_string()).push("::text::xid8, ").push_bind(cursor.position);
    query.push(") AND e.transaction_id < g.xmin");
    filter.push(store.role, &mut query);
    query.push(" ORDER BY e.transaction_id, e.position LIMIT ").push_bind(i64::try_from(PAGE_EVENTS)?);
    query.push(") AS e ON true");
    let rows = query.build().fetch_all(&mut store.connection).await.map_err(|error| failed(store.role, error))?;
    let mut found = Vec::with_capacity(rows.len());
    let mut gate = 0;
    for row in &rows {
        gate = row.try_get::<&str, _>("gate")?.parse::<u64>()?;
        if row.try_get::<Option<&str>, _>("aggregate_type")?.is_some() {
            found.push(Found { role: store.role, event: recorded(row)? });
        }
    }
    // A join promises no order.
    found.sort_by_key(|found| found.event.cursor);
    let looked = match found.last() {
        Some(last) if found.len() == PAGE_EVENTS => last.event.cursor,
        _ => before(gate),
    };
    *cursor = looked.max(*cursor);
    Ok(found)
}

fn print(found: &[Found], format: Format) -> anyhow::Result<()> {
    for found in found {
        let line = Line::of(found);
        match format {
            Format::Table | Format::Mermaid => output::text(&line.text())?,
            // A list has an end, and this has none: a document a line.
            Format::Json | Format::Jsonl => output::text(&serde_json::to_string(&line)?)?,
        }
    }
    Ok(())
}
