//! The process-wide Prometheus registry, and what each of its metrics is.
//!
//! A crate declares its metrics as statics ([`Counters`], [`Gauges`], [`Histograms`], …) with their labels and lists them
//! for `docs/metrics.md`; one is registered when it is first used. All roles of one process share the registry, hence
//! each metric that several of them count has a `service` label. Labels are bounded sets (route patterns, statuses,
//! types), never ids or paths.
//!
//! Who counts often asks for the series once ([`Metric::with`]) and keeps it: counting is then one atomic operation.

mod cache;
mod circuit;
mod family;
mod process;
mod tokio_runtime;

use std::sync::LazyLock;

pub use prometheus::{Counter, Gauge, Histogram, IntCounter, IntGauge};
use prometheus::{Registry, TextEncoder};

pub use cache::CacheReads;
pub use circuit::Circuit;
pub use family::{
    Counters, Family, FloatCounters, FloatGauges, Gauges, Histograms, Kind, Label, Metric, Series, Values, markdown,
};

/// Content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds for durations in seconds, from half a millisecond to ten seconds.
pub const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Bounds for what takes its time by nature, in seconds: from ten milliseconds to five minutes.
pub const LONG_SECONDS: &[f64] =
    &[0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0];

/// Bounds for how many came together.
pub const SIZES: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0];

/// The role that counts.
pub const SERVICE: Label = Label::open("service", "the role: `user`, `product`, `order` …");

/// What this crate itself measures: the process, the async runtime, the log.
pub const FAMILIES: &[&Family] = &[
    BUILD_INFO.family(),
    cache::READS.family(),
    circuit::OPEN.family(),
    circuit::CALLS.family(),
    crate::logs::LINES.family(),
    crate::trace::EXPORTED.family(),
    crate::trace::DROPPED.family(),
    tokio_runtime::WORKERS.family(),
    tokio_runtime::ALIVE_TASKS.family(),
    tokio_runtime::GLOBAL_QUEUE_DEPTH.family(),
    tokio_runtime::BUSY_SECONDS.family(),
    process::CPU_SECONDS.family(),
    process::RESIDENT_BYTES.family(),
    process::VIRTUAL_BYTES.family(),
    process::OPEN_FDS.family(),
    process::MAX_FDS.family(),
    process::THREADS.family(),
    process::START_SECONDS.family(),
];

static BUILD_INFO: Gauges = Gauges::new(
    "sagashop_build_info",
    "Always 1, with the version.",
    &[Label::open("version", "as `--version` has it")],
);

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);

/// All metrics in Prometheus' text format.
pub fn render() -> String {
    BUILD_INFO.with(&[env!("CARGO_PKG_VERSION")]).set(1);
    process::look();
    tokio_runtime::look();
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "metrics could not be rendered");
    }
    text
}

/// A service as metrics name it: by its role, also where callers know it as `order-service`.
pub fn role(service: &str) -> &str {
    service.strip_suffix("-service").unwrap_or(service)
}

#[cfg(test)]
mod tests;
