//! What relay, consumers, projections and timers count. Each part looks its series up once.

mod consumers;
mod followers;
mod observer;

pub(crate) use consumers::Consuming;
pub(crate) use followers::{Firing, Projecting, Relaying, Versions};
pub(crate) use observer::Observer;

use telemetry::metrics::Family;

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[
    followers::RELAYED_EVENTS.family(),
    followers::PUBLISHED_MESSAGES.family(),
    followers::PUBLISH_SIZE.family(),
    followers::PUBLISH_SECONDS.family(),
    followers::RELAY_FAILURES.family(),
    followers::RELAY_LEADING.family(),
    observer::RELAY_PENDING.family(),
    observer::RELAY_OLDEST_SECONDS.family(),
    consumers::RECORDS.family(),
    consumers::BATCH_SIZE.family(),
    consumers::BATCH_SECONDS.family(),
    consumers::LAG_RECORDS.family(),
    consumers::LAG_SECONDS.family(),
    consumers::LEASE_HELD.family(),
    consumers::LEASE_EPOCH.family(),
    consumers::RETRIES.family(),
    consumers::FETCH_FAILURES.family(),
    consumers::DEAD_LETTERS.family(),
    consumers::REPLAYS_REFUSED.family(),
    followers::STOPPED.family(),
    observer::DEAD_LETTERS_NOW.family(),
    followers::PROJECTED_EVENTS.family(),
    followers::PROJECTION_COMMIT_SECONDS.family(),
    followers::PROJECTION_FAILURES.family(),
    followers::PROJECTION_VERSION.family(),
    observer::PROJECTION_LAG.family(),
    observer::PROJECTION_LAG_SECONDS.family(),
    followers::TIMERS_FIRED.family(),
    followers::TIMER_DELAY_SECONDS.family(),
    observer::TIMERS_PENDING.family(),
    observer::DATABASE_UP.family(),
    observer::OLDEST_TRANSACTION_SECONDS.family(),
    observer::POOL_CONNECTIONS.family(),
    observer::POOL_CONNECTIONS_MAX.family(),
];

/// A count as a gauge has it.
fn count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// A count as a histogram has it.
#[allow(clippy::cast_precision_loss, reason = "batches are far below 2^52")]
fn size(count: usize) -> f64 {
    count as f64
}
