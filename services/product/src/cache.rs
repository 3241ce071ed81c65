//! Products as they were a moment ago: in this process, over Redis, over PostgreSQL.
//!
//! What the process itself keeps is dropped when its projection has moved on, and after a second or
//! two in any case (another instance's projection may have moved on instead). What Redis keeps is
//! covered by a tombstone *before* the rows change; nobody caches over one, and it outlives every
//! read that began before the change. Redis away, slow or hung costs [`redis::CALL_TIMEOUT`] a few times,
//! then nothing, and never a wrong answer: where a tombstone could not be set, this process reads
//! nothing from Redis until whatever lay there has expired.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use telemetry::metrics::{self, IntCounterVec};
use uuid::Uuid;

use crate::queries::Entry;

mod breaker;
mod redis;

use redis::Redis;

/// Products kept in the process.
const ENTRIES_MAX: u64 = 10_000;
/// How long they are kept, at least; at most twice as long, so that not all expire at once.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
/// A read that took longer is not cached for others: see [`redis::TOMBSTONE_LIFETIME`].
const FILL_AFTER_MAX: Duration = Duration::from_millis(500);

/// The two caches in front of the table.
pub(crate) struct Cache {
    local: moka::sync::Cache<Uuid, Arc<Entry>>,
    /// Rises with each change: an entry read before one is not kept after it.
    changes: AtomicU64,
    redis: Option<Arc<Redis>>,
    reads: IntCounterVec,
}

impl Cache {
    /// A cache over the Redis of this URL, if there is one. Nothing is connected yet.
    ///
    /// # Errors
    /// A text that is no Redis URL.
    pub fn new(redis_url: Option<&str>) -> anyhow::Result<Self> {
        let reads =
            metrics::counter_vec("product_cache_reads_total", "Products read, by where they were found.", &["found"]);
        Ok(Self {
            local: moka::sync::Cache::builder().max_capacity(ENTRIES_MAX).expire_after(Jittered).build(),
            changes: AtomicU64::new(0),
            redis: redis_url.map(Redis::new).transpose()?.map(Arc::new),
            reads,
        })
    }

    /// The product from the nearest cache that has it, else as `load` finds it. That there is none is not cached.
    pub async fn get<E>(
        &self,
        id: Uuid,
        load: impl Future<Output = Result<Option<Entry>, E>>,
    ) -> Result<Option<Arc<Entry>>, E> {
        if let Some(entry) = self.local.get(&id) {
            self.count("process");
            return Ok(Some(entry));
        }
        let changes = self.changes.load(Ordering::SeqCst);
        let Some(entry) = self.get_further(id, load).await? else { return Ok(None) };
        let entry = Arc::new(entry);
        self.local.insert(id, Arc::clone(&entry));
        // In this order: a change after our look drops what we have put there.
        if self.changes.load(Ordering::SeqCst) != changes {
            self.local.invalidate(&id);
        }
        Ok(Some(entry))
    }

    async fn get_further<E>(
        &self,
        id: Uuid,
        load: impl Future<Output = Result<Option<Entry>, E>>,
    ) -> Result<Option<Entry>, E> {
        let found = match &self.redis {
            Some(redis) => redis.get(id).await,
            None => redis::Found::Unknown,
        };
        if let redis::Found::Entry(entry) = found {
            self.count("redis");
            return Ok(Some(*entry));
        }
        let started = Instant::now();
        let entry = load.await?;
        self.count("database");
        if let (Some(redis), Some(entry), redis::Found::Nothing) = (&self.redis, &entry, found)
            && started.elapsed() < FILL_AFTER_MAX
        {
            redis.fill(entry).await;
        }
        Ok(entry)
    }

    /// The rows of these products are about to change.
    pub async fn begin_change(&self, ids: &[Uuid]) {
        if let Some(redis) = &self.redis {
            redis.bury(ids).await;
        }
    }

    /// The rows of these products have changed.
    pub fn changed(&self, ids: Vec<Uuid>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        for id in &ids {
            self.local.invalidate(id);
        }
        // Once more, for a commit that took longer than a tombstone stays.
        if let Some(redis) = self.redis.clone() {
            tokio::spawn(async move { redis.bury(&ids).await });
        }
    }

    fn count(&self, found: &str) {
        self.reads.with_label_values(&[found]).inc();
    }
}

struct Jittered;

impl Expiry<Uuid, Arc<Entry>> for Jittered {
    fn expire_after_create(&self, _: &Uuid, _: &Arc<Entry>, _: Instant) -> Option<Duration> {
        Some(LIFETIME_MIN.mul_f64(rand::random_range(1.0..2.0)))
    }
}

#[cfg(test)]
mod tests;
