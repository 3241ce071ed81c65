//! Benchmarks. Machines differ fivefold from hour to hour: each runs the canary before and after itself and reports
//! both.

mod counter;
mod history;
pub mod http;
pub mod orders;
mod processes;
pub mod rebuild;
mod scratch;
pub mod store;

use crate::args::{DatabaseArgs, GlobalArgs};
use crate::canary::{self, Canary};
use crate::postgres::Server;

/// Benchmarks write, into stores of their own.
const LIVE: kernel::Live = kernel::Live::because("a benchmark writes");

/// Says so when the numbers will be worth nothing.
fn warn_if_unoptimised() {
    if cfg!(debug_assertions) {
        eprintln!("warning: this is a debug build; measure with `cargo run --release -- bench …`");
    }
}

/// Runs a benchmark on a server, that of the shop or one for the time, between two canaries.
async fn between_canaries<T>(
    global: &GlobalArgs,
    database: &DatabaseArgs,
    bench: impl AsyncFnOnce(&Server) -> anyhow::Result<T>,
) -> anyhow::Result<(Canary, T, Canary)> {
    warn_if_unoptimised();
    let server = Server::open(&database.options(global)?).await?;
    let measured = async {
        let before = canary::measure(&server).await?;
        let measured = bench(&server).await?;
        let after = canary::measure(&server).await?;
        Ok((before, measured, after))
    };
    let measured: anyhow::Result<(Canary, T, Canary)> = measured.await;
    let stopped = server.stop().await;
    let measured = measured?;
    stopped?;
    Ok(measured)
}

/// A canary in a line.
fn told(canary: &Canary) -> String {
    let Canary { commits_per_s, batch_rows_per_s, is_durable, .. } = canary;
    let caveat = if *is_durable { "" } else { ", NOT DURABLE" };
    format!("{commits_per_s:.0} commits/s, {batch_rows_per_s:.0} rows/s in batches{caveat}")
}
