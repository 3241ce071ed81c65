//! The event store on PostgreSQL: cqrs-es' table with three columns more.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use broker::TopicPartition;
use chrono::{DateTime, Utc};
use kernel::Live;
use postgres_es::PostgresEventRepository;
use sqlx::PgPool;
use tokio::sync::watch;
use uuid::Uuid;

use crate::measures::Storing;
use crate::{
    Answer, Append, Cursor, DueTimer, Error, EventStore, HashChain, History, Lease, Letter, LetterKey, Page,
    RecordedEvent, Snapshot, StreamId, UnitOfWork,
};

mod answers;
mod chain;
mod gate;
mod group_commit;
mod group_load;
mod kept;
mod leases;
mod mending;
mod read;
mod recent;
mod rows;
mod side_tables;
mod unit_of_work;

pub use gate::Gate;
pub use kept::{Kept, Lent};

/// Connections that a store keeps unused: those of a writer, a reader and a consumer.
const KEPT: usize = 3;

/// How a [`PgStore`] reads and writes.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Whose store it is, as its metrics name it.
    pub service: &'static str,
    /// Groups of appends that may be written at once. While one waits for its flush another can
    /// be prepared.
    pub writers: usize,
    /// At most so many events in one INSERT.
    pub group_events_max: usize,
    /// Groups of loads that may be read at once.
    pub readers: usize,
    /// At most so many streams in one query.
    pub group_loads_max: usize,
    /// Appends that may wait for a writer, and loads for a reader; more wait for a place.
    pub queue_max: usize,
    /// Whether what is appended is chained to what was before.
    pub hash_chain: HashChain,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            service: "tool",
            writers: 2,
            group_events_max: 512,
            readers: 2,
            group_loads_max: 256,
            queue_max: 4_096,
            hash_chain: HashChain::Off,
        }
    }
}

/// One service's event store in its own database.
pub struct PgStore {
    kept: Arc<Kept>,
    repository: PostgresEventRepository,
    appends: group_commit::Queue,
    loads: group_load::Queue,
    commits: watch::Sender<u64>,
    recent: recent::Recent,
    gate: Arc<Gate>,
    measures: Storing,
    hash_chain: HashChain,
}

impl PgStore {
    /// A store on a migrated database. Its writers end with the store. Whoever has one can append, so it needs a [`Live`].
    pub fn new(pool: PgPool, options: StoreOptions, live: Live) -> Arc<Self> {
        let gate = Gate::new(pool.clone());
        Self::with_gate(pool, options, gate, live)
    }

    /// As [`PgStore::new`], with a gate that stores on the same server share.
    pub fn with_gate(pool: PgPool, options: StoreOptions, gate: Arc<Gate>, _: Live) -> Arc<Self> {
        let (commits, _) = watch::channel(0);
        let (measures, kept) = (Storing::new(options.service), Arc::new(Kept::new(&pool, KEPT)));
        Arc::new(Self {
            repository: PostgresEventRepository::new(pool),
            appends: group_commit::start(&kept, options, &commits, &measures.group),
            loads: group_load::start(&kept, options, &measures),
            kept,
            commits,
            recent: recent::Recent::default(),
            gate,
            measures,
            hash_chain: options.hash_chain,
        })
    }

    /// The pool that it works on, for read models beside it.
    pub fn pool(&self) -> &PgPool {
        self.kept.pool()
    }
}

/// cqrs-es' own repository, while no other load of the store is under way.
pub struct Alone<'a> {
    repository: &'a PostgresEventRepository,
    _loading: group_load::Loading<'a>,
}

impl std::ops::Deref for Alone<'_> {
    type Target = PostgresEventRepository;

    fn deref(&self) -> &PostgresEventRepository {
        self.repository
    }
}

/// Events of each stream after its sequence, on a database without a running store.
///
/// # Errors
/// Those of the database.
pub async fn load(pool: &PgPool, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error> {
    read::load(pool, streams).await
}

#[async_trait]
impl EventStore for PgStore {
    fn repository(&self) -> Option<Alone<'_>> {
        let loading = self.loads.alone()?;
        Some(Alone { repository: &self.repository, _loading: loading })
    }

    async fn history(&self, stream: StreamId, after: u64) -> Result<History, Error> {
        self.loads.load(stream, after).await
    }

    async fn load(&self, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error> {
        let began = Instant::now();
        let loaded = read::load(self.pool(), streams).await;
        self.measures.loaded(began.elapsed());
        loaded
    }

    async fn append_answered(&self, append: Append, answer: Option<Answer>) -> Result<Cursor, Error> {
        self.appends.append(append, answer).await
    }

    async fn answer(&self, scope: &str, key: &str) -> Result<Option<Answer>, Error> {
        answers::find(self.pool(), scope, key).await
    }

    async fn forget_answers(&self, age: Duration, limit: usize) -> Result<usize, Error> {
        answers::forget(self.pool(), age, limit).await
    }

    async fn commit(&self, mut work: UnitOfWork) -> Result<(), Error> {
        chain::chain(self.pool(), self.hash_chain, work.appends.iter_mut()).await?;
        let (events, began) = (work.appends.iter().map(|append| append.events.len()).sum(), Instant::now());
        let committed = unit_of_work::commit(&self.kept, work).await;
        match &committed {
            Ok(()) => self.measures.unit.committed(1, events, began.elapsed()),
            Err(error) => self.measures.unit.failed(1, error),
        }
        committed?;
        self.commits.send_modify(|n| *n += 1);
        Ok(())
    }

    async fn read_after(&self, after: Cursor, limit: usize) -> Result<Page, Error> {
        if let Some(events) = self.recent.after(after, limit) {
            return Ok(Page { events, more: true, hidden: None });
        }
        let page = read::read_after(&self.kept, after, limit).await?;
        self.recent.keep(after, &page.events);
        Ok(page)
    }

    async fn passed(&self, transaction_id: u64) {
        self.gate.passed(transaction_id).await;
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    async fn handled(&self, consumer: &str, command_ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        side_tables::handled(&self.kept, consumer, command_ids).await
    }

    async fn checkpoint(&self, follower: &str) -> Result<Cursor, Error> {
        side_tables::checkpoint(self.pool(), follower).await
    }

    async fn save_checkpoint(&self, follower: &str, at: Cursor) -> Result<(), Error> {
        side_tables::save_checkpoint(&self.kept, follower, at).await
    }

    async fn claim(
        &self,
        consumer: &str,
        owner: Uuid,
        partitions: &[TopicPartition],
        ttl: Duration,
    ) -> Result<Vec<Lease>, Error> {
        leases::claim(self.pool(), consumer, owner, partitions, ttl).await
    }

    async fn release(&self, consumer: &str, owner: Uuid) -> Result<(), Error> {
        leases::release(self.pool(), consumer, owner).await
    }

    async fn blocked_keys(&self, consumer: &str, topic: &str, keys: &[String]) -> Result<HashMap<String, i64>, Error> {
        side_tables::blocked_keys(self.pool(), consumer, topic, keys).await
    }

    async fn has_dead_letters(&self, consumer: &str) -> Result<bool, Error> {
        side_tables::has_dead_letters(self.pool(), consumer).await
    }

    async fn letters(&self, key: &LetterKey, limit: usize) -> Result<Vec<Letter>, Error> {
        mending::letters(self.pool(), key, limit).await
    }

    async fn retries(&self, consumer: &str, limit: usize) -> Result<Vec<LetterKey>, Error> {
        mending::retries(self.pool(), consumer, limit).await
    }

    async fn due_timers(
        &self,
        aggregate_type: &'static str,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(Vec<DueTimer>, Option<DateTime<Utc>>), Error> {
        side_tables::due_timers(self.pool(), aggregate_type, now, limit).await
    }

    async fn snapshots(&self, streams: &[StreamId]) -> Result<Vec<Option<Snapshot>>, Error> {
        side_tables::snapshots(self.pool(), streams).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), Error> {
        side_tables::save_snapshot(self.pool(), snapshot).await
    }
}

/// What a database error means to a caller. Messages name no SQL.
pub(crate) fn translate(error: sqlx::Error) -> Error {
    match &error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            Error::Unavailable(error.to_string())
        }
        sqlx::Error::Database(database) => {
            let code = database.code().unwrap_or_default();
            // 08 connection, 40 rollback, 53 resources (disk full among them), 55 not in the
            // needed state (locks), 57 operator intervention (shutdown, time-outs).
            if ["08", "40", "53", "55", "57"].iter().any(|class| code.starts_with(class)) {
                Error::Unavailable(format!("{} ({code})", database.message()))
            } else {
                Error::Failed(format!("{} ({code})", database.message()))
            }
        }
        _ => Error::Failed(error.to_string()),
    }
}

/// Whether the error is a violation of a unique constraint.
pub(crate) fn is_unique_violation(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(sqlx::error::DatabaseError::is_unique_violation)
}

/// PostgreSQL's text holds every character but NUL.
pub(crate) fn printable(text: &str) -> String {
    text.replace('\0', "\u{FFFD}")
}
