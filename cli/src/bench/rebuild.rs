//! `sagashop bench rebuild`: the list of orders made anew from a store of a million events, compared with them, and what
//! the shop's own traffic feels of it.

mod generate;
mod live;
mod memory;

use super::scratch::Scratch;
use super::{between_canaries, told};
use crate::args::{BenchRebuildArgs, GlobalArgs};
use crate::canary::Canary;
use crate::exit::Code;
use crate::output::{self, Row};
use crate::postgres::Server;
use anyhow::Context;
use event_store::clock;
use futures::StreamExt;
use hdrhistogram::Histogram;
use live::Traffic;
use runtime::projection::verify::{self, Place};
use runtime::projection::{
    Database, Options, Others, Pace, Progress, ReadModel, Report as Made, rebuild as rebuild_table,
};
use serde::Serialize;
use sqlx::{Connection, PgConnection, PgPool};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

pub use generate::generate;

const DATABASE: &str = "sagashop_bench_rebuild";
/// The first orders pay for connections and plans.
const WARM_UP: Duration = Duration::from_secs(3);
/// Traffic is measured in turn without and beside rebuilds, so many times each, so that what else the machine does falls
/// on both.
const TURNS: u32 = 3;
/// At least so long at a time.
const TURN: Duration = Duration::from_secs(5);
/// Until the orders of the turn before are through.
const BETWEEN: Duration = Duration::from_millis(500);

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Events in the store.
    pub events: u64,
    /// Rows in the read model.
    pub rows: u64,
    /// How fast `COPY events TO STDOUT` gives them all.
    pub copy_events_per_s: f64,
    /// How fast they become rows: from the command to the new table serving.
    pub rebuild_events_per_s: f64,
    /// The one by the other.
    pub rebuild_by_copy: f64,
    /// How fast the rows are compared with the fold.
    pub verify_rows_per_s: f64,
    /// The most memory that this process had meanwhile, where the system tells.
    pub memory_mib_max: Option<f64>,
    /// How long the swap held the table.
    pub swap_ms: f64,
    /// Orders that were placed a second while a rebuild went on, and without one.
    pub traffic_per_s: f64,
    /// From when an order was due until its row could be read, without a rebuild: half of them.
    pub traffic_p50_ms: f64,
    /// The same while one goes on.
    pub traffic_p50_during_ms: f64,
    /// Ninety-nine of a hundred, without a rebuild.
    pub traffic_p99_ms: f64,
    /// The same while one goes on.
    pub traffic_p99_during_ms: f64,
    /// The one by the other.
    pub traffic_slowdown: f64,
    /// The server before.
    pub canary_before: Canary,
    /// The server after.
    pub canary_after: Canary,
}

impl Row for Report {
    const COLUMNS: &'static [&'static str] = &[
        "events",
        "rows",
        "COPY events/s",
        "rebuild events/s",
        "rebuild/COPY",
        "verify rows/s",
        "memory MiB",
        "swap ms",
        "orders/s",
        "p99 ms",
        "p99 ms during",
        "slowdown",
        "canary before",
        "canary after",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            self.events.to_string(),
            self.rows.to_string(),
            format!("{:.0}", self.copy_events_per_s),
            format!("{:.0}", self.rebuild_events_per_s),
            format!("{:.0} %", self.rebuild_by_copy * 100.0),
            format!("{:.0}", self.verify_rows_per_s),
            self.memory_mib_max.map_or("?".to_owned(), |mib| format!("{mib:.0}")),
            format!("{:.1}", self.swap_ms),
            format!("{:.0}", self.traffic_per_s),
            format!("{:.1}", self.traffic_p99_ms),
            format!("{:.1}", self.traffic_p99_during_ms),
            format!("{:.2}", self.traffic_slowdown),
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
    let (canary_before, measured, canary_after) = between_canaries(global, &args.database, async |server: &Server| {
        let scratch = Scratch::make(server, DATABASE).await?;
        let database = Database::new(server.options(DATABASE));
        let measured = measure(&scratch.pool, &database, args).await;
        scratch.drop(server).await?;
        measured
    })
    .await?;
    output::one(global.output, &Report { canary_before, canary_after, ..measured })?;
    Ok(Code::Done)
}

async fn measure(pool: &PgPool, database: &Database, args: &BenchRebuildArgs) -> anyhow::Result<Report> {
    runtime::service::migrate(pool, &order_service::MIGRATOR).await?;
    eprintln!("Writing {} events.", args.events);
    let written = generate::fill(pool, generate::Amount::Events(args.events), clock::system(), |_| {}).await?;
    let model: Arc<dyn ReadModel> = Arc::new(order_service::OrderList);
    let parallel = usize::from(args.parallel);

    memory::forget();
    let copy_s = copied(pool).await?;
    eprintln!("Rebuilding with {parallel} worker(s).");
    let made = make(database, &model, &Options { parallel, ..Options::default() }).await?;
    anyhow::ensure!(made.events == written.events, "the read model has {} events", made.events);
    eprintln!("Comparing.");
    let options = verify::Options { parallel, ..verify::Options::default() };
    let (progress, never) = (Arc::<Progress>::default(), CancellationToken::new());
    let verified = verify::compare(database, &model, Place::Serving, &options, &progress, &never).await?;
    let verified = verified.context("the comparison was interrupted")?;
    anyhow::ensure!(verified.found == 0, "{} rows differ: {:?}", verified.found, verified.differences.first());
    let memory_mib_max = memory::most_mib();

    let (without, during) = traffic(pool, database, &model, args.rate).await?;
    let (p99, p99_during) = (ms(&without, 0.99), ms(&during, 0.99));
    let rate = |count: u64, took: Duration| count as f64 / took.as_secs_f64().max(f64::EPSILON);
    let (copy, rebuilt) = (rate(written.events, copy_s), rate(made.events, made.took));
    Ok(Report {
        events: written.events,
        rows: made.rows,
        copy_events_per_s: copy,
        rebuild_events_per_s: rebuilt,
        rebuild_by_copy: rebuilt / copy,
        verify_rows_per_s: rate(verified.rows, verified.took),
        memory_mib_max,
        swap_ms: made.swap.as_secs_f64() * 1_000.0,
        traffic_per_s: args.rate,
        traffic_p50_ms: ms(&without, 0.5),
        traffic_p50_during_ms: ms(&during, 0.5),
        traffic_p99_ms: p99,
        traffic_p99_during_ms: p99_during,
        traffic_slowdown: p99_during / p99,
        canary_before: Canary::default(),
        canary_after: Canary::default(),
    })
}

async fn make(database: &Database, model: &Arc<dyn ReadModel>, options: &Options) -> anyhow::Result<Made> {
    let made = rebuild_table(database, model, options, &Arc::default(), &CancellationToken::new()).await?;
    made.context("the rebuild was interrupted")
}

/// How long the event table takes to come out as it is.
async fn copied(pool: &PgPool) -> anyhow::Result<Duration> {
    let options = (*pool.connect_options()).clone().options([("statement_timeout", "0")]);
    let mut connection = PgConnection::connect_with(&options).await?;
    let began = Instant::now();
    let mut out = connection.copy_out_raw("COPY events TO STDOUT").await?;
    while let Some(chunk) = out.next().await {
        chunk?;
    }
    Ok(began.elapsed())
}

/// How long orders take without a rebuild, and while the table is made anew by one worker, again and again.
async fn traffic(
    pool: &PgPool,
    database: &Database,
    model: &Arc<dyn ReadModel>,
    rate: f64,
) -> anyhow::Result<(Histogram<u64>, Histogram<u64>)> {
    eprintln!("{rate:.0} orders a second, in turn without a rebuild and while the table is made anew.");
    let traffic = Traffic::begin(pool, rate).await?;
    tokio::time::sleep(WARM_UP).await;
    let (mut without, mut during) = (live::times()?, live::times()?);
    // As the command does it.
    let pace = Pace { others: Some(Others::watch(database)), ..Pace::default() };
    let options = Options { pace, ..Options::default() };
    for _ in 0..TURNS {
        traffic.forget();
        tokio::time::sleep(TURN).await;
        without.add(traffic.times())?;
        let began = Instant::now();
        traffic.forget();
        while began.elapsed() < TURN {
            make(database, model, &options).await?;
        }
        during.add(traffic.times())?;
        tokio::time::sleep(BETWEEN).await;
    }
    traffic.end().await?;
    Ok((without, during))
}

fn ms(times_us: &Histogram<u64>, quantile: f64) -> f64 {
    times_us.value_at_quantile(quantile) as f64 / 1_000.0
}
