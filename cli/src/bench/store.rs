//! `sagashop bench store`: appends through our store, beside stock postgres-es and a raw batched INSERT, on the same
//! server in the same run.

mod cases;

use super::{between_canaries, told};
use crate::args::{BenchStoreArgs, GlobalArgs};
use crate::canary::Canary;
use crate::exit::Code;
use crate::output::{self, Format, Row};
use crate::postgres::Server;
use cases::{Bench, Case};
use event_store::HashChain;
use serde::Serialize;
use std::time::Duration;

/// Events a second with so many writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Line {
    /// Concurrent writers.
    pub writers: u32,
    /// Ours on existing streams: load, decide, append.
    pub existing_per_s: f64,
    /// Stock postgres-es, the same.
    pub stock_existing_per_s: f64,
    /// Ours over stock.
    pub existing_ratio: f64,
    /// Ours on new streams.
    pub new_per_s: f64,
    /// Stock postgres-es on new streams.
    pub stock_new_per_s: f64,
    /// Ours over stock.
    pub new_ratio: f64,
    /// Rows of plain `INSERT … FROM UNNEST`, 100 each, into our table.
    pub raw_per_s: f64,
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] =
        &["writers", "existing/s", "stock", "×", "new/s", "stock", "×", "raw rows/s"];

    fn cells(&self) -> Vec<String> {
        let whole = |number: f64| format!("{number:.0}");
        vec![
            self.writers.to_string(),
            whole(self.existing_per_s),
            whole(self.stock_existing_per_s),
            format!("{:.2}", self.existing_ratio),
            whole(self.new_per_s),
            whole(self.stock_new_per_s),
            format!("{:.2}", self.new_ratio),
            whole(self.raw_per_s),
        ]
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Those of the server.
pub async fn store(global: &GlobalArgs, args: &BenchStoreArgs) -> anyhow::Result<Code> {
    anyhow::ensure!(args.writers.iter().all(|writers| *writers > 0), "--writers: at least one is needed");
    let (before, lines, after) = between_canaries(global, &args.database, async |server: &Server| {
        let chain = if args.hash_chain { HashChain::On } else { HashChain::Off };
        let bench = Bench::make(server, chain).await?;
        let measured = measure(&bench, &args.writers, args.duration).await;
        bench.drop(server).await?;
        measured
    })
    .await?;
    print(global.output, &before, &lines, &after)?;
    Ok(Code::Done)
}

async fn measure(bench: &Bench, writers: &[u32], duration: Duration) -> anyhow::Result<Vec<Line>> {
    let mut lines = Vec::with_capacity(writers.len());
    for &writers in writers {
        eprintln!("{writers} writer(s)");
        bench.fill().await?;
        lines.push(line(bench, writers, duration).await?);
    }
    Ok(lines)
}

/// Each case twice for half the time, there and back again: a machine that gets slower meanwhile favours none.
async fn line(bench: &Bench, writers: u32, duration: Duration) -> anyhow::Result<Line> {
    let mut per_s = [0.0; Case::ALL.len()];
    let there = Case::ALL.into_iter().enumerate();
    for (n, case) in there.clone().chain(there.rev()) {
        per_s[n] += bench.per_second(case, writers, duration / 2).await? / 2.0;
    }
    let [existing, stock_existing, new, stock_new, raw] = per_s;
    Ok(Line {
        writers,
        existing_per_s: existing,
        stock_existing_per_s: stock_existing,
        existing_ratio: existing / stock_existing,
        new_per_s: new,
        stock_new_per_s: stock_new,
        new_ratio: new / stock_new,
        raw_per_s: raw,
    })
}

fn print(format: Format, before: &Canary, lines: &[Line], after: &Canary) -> anyhow::Result<()> {
    if format == Format::Table {
        output::rows(format, lines)?;
        output::text(&format!("\ncanary before  {}\ncanary after   {}", told(before), told(after)))?;
    } else {
        let all = serde_json::json!({ "canary_before": before, "writers": lines, "canary_after": after });
        output::text(&all.to_string())?;
    }
    Ok(())
}
