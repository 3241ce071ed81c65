//! Caches, seen alike whatever they hold.

use super::{Counters, IntCounter, Label, SERVICE};

pub(super) static READS: Counters = Counters::new(
    "cache_reads_total",
    "Looks into a cache. `access_tokens` that were found good are kept by the process, without a `service`; \
     `ended_orders` are those that do not change any more.",
    &[SERVICE, Label::one_of("cache", &["access_tokens", "ended_orders"]), Label::one_of("result", &["hit", "miss"])],
);

/// A cache's series.
#[derive(Debug, Clone)]
pub struct CacheReads {
    hits: IntCounter,
    misses: IntCounter,
}

impl CacheReads {
    /// Of this role's cache; the role is empty where the process has one for all.
    pub fn new(service: &str, cache: &str) -> Self {
        let of = |result| READS.with(&[service, cache, result]);
        Self { hits: of("hit"), misses: of("miss") }
    }

    /// It was there.
    pub fn hit(&self) {
        self.hits.inc();
    }

    /// It was not there, or not good any more.
    pub fn miss(&self) {
        self.misses.inc();
    }
}
