//! Products as they were a moment ago: in this process, over Redis, over PostgreSQL.
//!
//! What the process itself keeps is dropped when its projection has moved on, or another instance's says that it has
//! ([`invalidation`]), and after a second or two in any case. Callers who miss one product at once wait for one load.
//! What Redis keeps is covered by a tombstone *before* the rows change; nobody caches over one, and it outlives every
//! read that began before the change. Redis away, slow or hung costs [`redis::CALL_TIMEOUT`] a few times, then nothing,
//! and never a wrong answer: while a tombstone is owed, this process reads nothing from Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use moka::Expiry;
use parking_lot::Mutex;
use telemetry::metrics::IntCounter;
use uuid::Uuid;

use crate::entry::{Entry, Shown};
use crate::measures::READS;
use crate::queries::Error;

mod flights;
pub(crate) mod invalidation;
mod redis;

use flights::Flights;
use redis::Redis;

/// Products kept in the process.
const ENTRIES_MAX: u64 = 10_000;
/// How long they are kept, at least; at most twice as long, so that not all expire at once.
const LIFETIME_MIN: Duration = Duration::from_secs(1);
/// A read that took longer is not cached for others: see [`redis::TOMBSTONE_LIFETIME`].
const FILL_AFTER_MAX: Duration = Duration::from_millis(500);

/// What a look for a product brings; callers who waited for one load share its error.
pub(crate) type Answer = Result<Option<Arc<Shown>>, Arc<Error>>;

/// The two caches in front of the table.
pub(crate) struct Cache {
    local: moka::sync::Cache<Uuid, Arc<Shown>>,
    /// Rises with each change: an entry read before one is not kept after it.
    changes: AtomicU64,
    flights: Mutex<Flights>,
    redis: Option<Arc<Redis>>,
    reads: Reads,
}

/// Products read, by where they were found.
struct Reads {
    process: IntCounter,
    redis: IntCounter,
    database: IntCounter,
    shared: IntCounter,
}

impl Reads {
    fn new() -> Self {
        let of = |found| READS.with(&[found]);
        Self { process: of("process"), redis: of("redis"), database: of("database"), shared: of("shared") }
    }
}

impl Cache {
    /// A cache over the Redis of this URL, if there is one. Nothing is connected yet.
    ///
    /// # Errors
    /// A text that is no Redis URL.
    pub fn new(redis_url: Option<&str>) -> anyhow::Result<Self> {
        Ok(Self {
            local: moka::sync::Cache::builder().max_capacity(ENTRIES_MAX).expire_after(Jittered).build(),
            changes: AtomicU64::new(0),
            flights: Mutex::default(),
            redis: redis_url.map(Redis::new).transpose()?.map(Arc::new),
            reads: Reads::new(),
        })
    }

    /// Has the connections to Redis looked at, if there are any.
    pub fn look(&self) {
        if let Some(redis) = &self.redis {
            redis.look();
        }
    }

    /// The product if the process has it.
    pub fn kept(&self, id: Uuid) -> Option<Arc<Shown>> {
        let shown = self.local.get(&id)?;
        self.reads.process.inc();
        Some(shown)
    }

    /// The product from the nearest cache that has it, else as `load` finds it. That there is none is not cached.
    pub async fn get<L>(self: &Arc<Self>, id: Uuid, load: impl FnOnce() -> L) -> Answer
    where
        L: Future<Output = Result<Option<Entry>, Error>> + Send + 'static,
    {
        if let Some(shown) = self.kept(id) {
            return Ok(Some(shown));
        }
        let boarded = self.flights.lock().board(id);
        let flight = match boarded {
            flights::Boarded::Joined(flight) => {
                self.reads.shared.inc();
                flight
            }
            flights::Boarded::First(flight, landing) => {
                self.depart(id, landing, load());
                flight
            }
        };
        // The load goes on when whoever asked first has gone away: others may be waiting for it.
        flight.await.unwrap_or_else(|_| Err(Arc::new(Error::Interrupted)))
    }

    fn depart<L>(self: &Arc<Self>, id: Uuid, landing: flights::Landing, load: L)
    where
        L: Future<Output = Result<Option<Entry>, Error>> + Send + 'static,
    {
        let cache = Arc::clone(self);
        tokio::spawn(async move {
            let answer = cache.fetch(id, load).await;
            cache.flights.lock().land(id, landing, answer);
        });
    }

    async fn fetch(&self, id: Uuid, load: impl Future<Output = Result<Option<Entry>, Error>>) -> Answer {
        let changes = self.changes.load(Ordering::SeqCst);
        let Some(shown) = self.fetch_further(id, load).await? else { return Ok(None) };
        self.local.insert(id, Arc::clone(&shown));
        // In this order: a change after our look drops what we have put there.
        if self.changes.load(Ordering::SeqCst) != changes {
            self.local.invalidate(&id);
        }
        Ok(Some(shown))
    }

    async fn fetch_further(&self, id: Uuid, load: impl Future<Output = Result<Option<Entry>, Error>>) -> Answer {
        let found = match &self.redis {
            Some(redis) => redis.get(id).await,
            None => redis::Found::Unknown,
        };
        if let redis::Found::Product(shown) = found {
            self.reads.redis.inc();
            return Ok(Some(shown));
        }
        let started = Instant::now();
        let loaded = load.await.map_err(Arc::new)?;
        self.reads.database.inc();
        let Some(entry) = loaded else { return Ok(None) };
        let shown = Arc::new(Shown::new(entry).map_err(|error| Arc::new(error.into()))?);
        if let (Some(redis), redis::Found::Nothing(generation)) = (&self.redis, found)
            && started.elapsed() < FILL_AFTER_MAX
        {
            redis.fill(generation, &shown);
        }
        Ok(Some(shown))
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
        {
            let mut flights = self.flights.lock();
            ids.iter().for_each(|id| flights.turn_away(*id));
        }
        for id in &ids {
            self.local.invalidate(id);
        }
        // Once more, for a commit that took longer than a tombstone stays, and for an instance that could not reach
        // Redis itself.
        if let Some(redis) = self.redis.clone() {
            tokio::spawn(async move { redis.bury(&ids).await });
        }
    }

    /// Which making of the rows others share, as far as it is known; while it is not, nothing is shared.
    fn is_of(&self, generation: Option<redis::Generation>) {
        if let Some(redis) = &self.redis {
            redis.is_of(generation);
        }
    }

    /// Any row may have changed without our hearing of it.
    fn forget_all(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.flights.lock().turn_all_away();
        self.local.invalidate_all();
    }
}

struct Jittered;

impl Expiry<Uuid, Arc<Shown>> for Jittered {
    fn expire_after_create(&self, _: &Uuid, _: &Arc<Shown>, _: Instant) -> Option<Duration> {
        Some(LIFETIME_MIN.mul_f64(rand::random_range(1.0..2.0)))
    }
}

#[cfg(test)]
mod tests;
