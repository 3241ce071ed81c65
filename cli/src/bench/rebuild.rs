//! `sagashop bench rebuild`: a read model filled from an event table, from its beginning.

use super::counter::{Counter, Event, TYPE};
use super::scratch::{Scratch, fill};
use super::{between_canaries, told};
use crate::args::{BenchRebuildArgs, GlobalArgs};
use crate::canary::Canary;
use crate::exit::Code;
use crate::output::{self, Row};
use crate::postgres::Server;
use anyhow::Context;
use async_trait::async_trait;
use event_store::{Cursor, PgStore, RecordedEvent, StoreOptions, clock};
use runtime::{Projection, projection};
use serde::Serialize;
use sqlx::{PgConnection, PgPool};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

const DATABASE: &str = "sagashop_bench_rebuild";
/// As long as an order's stream.
const EVENTS_EACH: u64 = 4;
/// A rebuild that takes longer has stopped.
const REBUILD_MAX: Duration = Duration::from_secs(3_600);

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Report {
    /// Events in the store.
    pub events: u64,
    /// Rows in the read model.
    pub rows: i64,
    /// How long the rebuild took.
    pub seconds: f64,
    /// Events that became rows in a second.
    pub events_per_s: f64,
    /// The server before.
    pub canary_before: Canary,
    /// The server after.
    pub canary_after: Canary,
}

impl Row for Report {
    const COLUMNS: &'static [&'static str] =
        &["events", "rows", "seconds", "events/s", "canary before", "canary after"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.events.to_string(),
            self.rows.to_string(),
            format!("{:.2}", self.seconds),
            format!("{:.0}", self.events_per_s),
            told(&self.canary_before),
            told(&self.canary_after),
        ]
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Those of the server.
pub async fn rebuild(global: &GlobalArgs, args: &BenchRebuildArgs) -> anyhow::Result<Code> {
    let streams = args.events.div_ceil(EVENTS_EACH).max(1);
    let (canary_before, (seconds, rows), canary_after) =
        between_canaries(global, &args.database, async |server: &Server| {
            let scratch = Scratch::make(server, DATABASE).await?;
            let measured = measure(&scratch.pool, streams).await;
            scratch.drop(server).await?;
            measured
        })
        .await?;
    let events = streams * EVENTS_EACH;
    let events_per_s = events as f64 / seconds.max(f64::EPSILON);
    output::one(global.output, &Report { events, rows, seconds, events_per_s, canary_before, canary_after })?;
    Ok(Code::Done)
}

/// How long it took, and how many rows it gave.
async fn measure(pool: &PgPool, streams: u64) -> anyhow::Result<(f64, i64)> {
    runtime::service::migrate(pool, &sqlx::migrate::Migrator::DEFAULT).await?;
    sqlx::query("CREATE TABLE counters (id text PRIMARY KEY, value bigint NOT NULL, events bigint NOT NULL)")
        .execute(pool)
        .await?;
    eprintln!("Writing {} events.", streams * EVENTS_EACH);
    fill(pool, streams, EVENTS_EACH, clock::system().as_ref()).await?;
    let end = end(pool).await?;
    eprintln!("Rebuilding.");
    let store = PgStore::new(pool.clone(), StoreOptions::default());
    let (handle, follower) = projection::follow("bench", store, pool.clone(), Arc::new(Counters));
    let shutdown = CancellationToken::new();
    let began = Instant::now();
    let following = tokio::spawn(follower.run(shutdown.clone()));
    let is_rebuilt = handle.wait_for(end, REBUILD_MAX).await;
    let seconds = began.elapsed().as_secs_f64();
    shutdown.cancel();
    following.await?;
    anyhow::ensure!(is_rebuilt, "the rebuild has stopped");
    let (rows, events): (i64, i64) =
        sqlx::query_as("SELECT count(*), sum(events)::bigint FROM counters").fetch_one(pool).await?;
    anyhow::ensure!(u64::try_from(events)? == streams * EVENTS_EACH, "the read model counts {events} events");
    Ok((seconds, rows))
}

/// Where the last event stands.
async fn end(pool: &PgPool) -> anyhow::Result<Cursor> {
    let (transaction_id, position): (String, i64) = sqlx::query_as(
        "SELECT e.transaction_id::text, e.position FROM events e ORDER BY e.transaction_id DESC, e.position DESC LIMIT 1",
    )
    .fetch_one(pool)
    .await?;
    Ok(Cursor { transaction_id: transaction_id.parse().context("a transaction id")?, position })
}

/// A row for each counter.
struct Counters;

#[async_trait]
impl Projection for Counters {
    fn name(&self) -> &'static str {
        "counters"
    }

    fn reads(&self, event: &RecordedEvent) -> bool {
        event.aggregate_type == TYPE
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut counters: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
        for event in events {
            let Event::Incremented { by, .. } = event.decode::<Counter>()?;
            let (value, count) = counters.entry(&event.aggregate_id).or_default();
            *value += i64::try_from(by)?;
            *count += 1;
        }
        let ids: Vec<&str> = counters.keys().copied().collect();
        let (values, counts): (Vec<i64>, Vec<i64>) = counters.values().copied().unzip();
        sqlx::query(
            "INSERT INTO counters AS c (id, value, events) SELECT * FROM UNNEST($1::text[], $2::bigint[], $3::bigint[])
             ON CONFLICT (id) DO UPDATE
                SET value = c.value + EXCLUDED.value, events = c.events + EXCLUDED.events",
        )
        .bind(ids)
        .bind(values)
        .bind(counts)
        .execute(connection)
        .await?;
        Ok(())
    }
}
