//! What is counted.

use telemetry::metrics::{Counters, Family, Gauges, Label, SERVICE};

pub(crate) static READS: Counters = Counters::new(
    "product_cache_reads_total",
    "Products read, by where they were found: `shared` waited for another's load.",
    &[Label::one_of("found", &["process", "redis", "database", "shared"])],
);
pub(crate) static REDIS_FAILURES: Counters = Counters::new(
    "product_cache_redis_failures_total",
    "Calls to Redis that failed.",
    &[Label::one_of("call", &["get", "fill", "bury"])],
);
pub(crate) static REDIS_LEFT_OUT: Counters =
    Counters::new("product_cache_redis_left_out_total", "Calls to Redis that the circuit breaker left out.", &[]);
pub(crate) static REDIS_OPEN: Gauges = Gauges::new(
    "product_cache_redis_open",
    "1 while the circuit breaker leaves calls to Redis out: as `circuit_breaker_open`.",
    &[],
);
static POOL: Gauges = Gauges::new(
    "redis_pool_connections",
    "Connections to Redis.",
    &[SERVICE, Label::one_of("state", &["idle", "used"])],
);
static POOL_MAX: Gauges = Gauges::new("redis_pool_connections_max", "The most that there may be.", &[SERVICE]);
static POOL_WAITING: Gauges = Gauges::new("redis_pool_waiting", "Calls that wait for a connection.", &[SERVICE]);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[
    READS.family(),
    REDIS_FAILURES.family(),
    REDIS_LEFT_OUT.family(),
    REDIS_OPEN.family(),
    POOL.family(),
    POOL_MAX.family(),
    POOL_WAITING.family(),
];

const SERVICE_NAME: &str = "product";

/// Tells how the connections to Redis are used.
pub(crate) fn pool(status: &deadpool_redis::Status) {
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    POOL.with(&[SERVICE_NAME, "idle"]).set(count(status.available));
    POOL.with(&[SERVICE_NAME, "used"]).set(count(status.size.saturating_sub(status.available)));
    POOL_MAX.with(&[SERVICE_NAME]).set(count(status.max_size));
    POOL_WAITING.with(&[SERVICE_NAME]).set(count(status.waiting));
}
