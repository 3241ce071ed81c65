//! Topics as a log in one PostgreSQL database.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::{Broker, Error, FetchLimits, Fetched, Permit, RECORD_BYTES_MAX, Record, Stored, TopicPartition, limits};

mod sql;
mod tail;
mod wake;

use tail::{Look, Tail};

/// The tables behind [`PostgresBroker`].
pub static MIGRATOR: Migrator = sqlx::migrate!("./migrations");

/// How a [`PostgresBroker`] works.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Whether other processes use the same topics: then they wake each other, for one connection
    /// of the pool.
    pub cross_process: bool,
    /// Fetches that wait ask the database this often a partition: so long may a record stay unseen
    /// whose notification was lost.
    pub recheck_after: Duration,
    /// How long the database may take to answer one call.
    pub call_timeout: Duration,
    /// The largest record taken, by [`Record::bytes`].
    pub record_bytes_max: usize,
    /// So many of the last records of each partition are served from memory.
    pub tail_records_max: usize,
    /// At most so many bytes of them a partition.
    pub tail_bytes_max: usize,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            cross_process: false,
            recheck_after: Duration::from_secs(5),
            call_timeout: Duration::from_secs(10),
            record_bytes_max: RECORD_BYTES_MAX,
            tail_records_max: 250,
            tail_bytes_max: 4 << 20,
        }
    }
}

/// A topic log in one database. Clones share everything.
///
/// A batch is one statement and one commit, however many partitions it touches: it is there whole
/// or not at all. Offsets are handed out under a lock of the partition's row that lasts until the
/// commit: they have no gaps and become visible in order.
///
/// Readers in the same process are woken directly and get fresh records from memory; those of
/// other processes by NOTIFY ([`PostgresOptions::cross_process`]).
///
/// Nothing is ever deleted. Who deletes old rows of `topic_records`, oldest first, gets
/// [`Error::OffsetOutOfRange`] for readers that had not come so far.
///
/// The pool should not test its connections before each use (`test_before_acquire(false)`): that
/// doubles the round trips. A connection that has died costs one `Unavailable`.
#[derive(Clone, Debug)]
pub struct PostgresBroker {
    log: Arc<Log>,
    /// Ends with the last clone.
    _background: Arc<JoinSet<()>>,
}

#[derive(Debug)]
struct Log {
    pool: PgPool,
    options: PostgresOptions,
    partitions: RwLock<Partitions>,
    grown: wake::Grown,
}

#[derive(Debug, Default)]
struct Partitions {
    by_name: HashMap<TopicPartition, Arc<Partition>>,
    by_id: HashMap<i32, Arc<Partition>>,
}

#[derive(Debug)]
struct Partition {
    id: i32,
    tail: Mutex<Tail>,
    arrived: Notify,
    /// When the database was last asked for the end.
    asked: Mutex<Option<Instant>>,
}

impl PostgresBroker {
    /// The topics in this database, whose tables [`migrate`](Self::migrate) or [`MIGRATOR`] made.
    /// It does not connect yet. Call it within a tokio runtime.
    pub fn new(pool: PgPool, options: PostgresOptions) -> Self {
        let cross_process = options.cross_process;
        let log = Arc::new(Log { pool, options, partitions: RwLock::default(), grown: wake::Grown::default() });
        let mut background = JoinSet::new();
        if cross_process {
            background.spawn(wake::listen(Arc::clone(&log)));
            background.spawn(wake::announce(Arc::clone(&log)));
        }
        Self { log, _background: Arc::new(background) }
    }

    /// Makes the tables, or brings them up to date. Migrations of others in the same database are
    /// left alone.
    ///
    /// # Errors
    /// The database cannot be reached, or refuses.
    pub async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
        Migrator { ignore_missing: true, migrations: MIGRATOR.migrations.clone(), ..Migrator::DEFAULT }.run(pool).await
    }

    /// How a record's headers stand in `topic_records`: for whoever fills a log that nobody uses so far.
    pub fn stored_headers(headers: &BTreeMap<String, Bytes>) -> Vec<u8> {
        sql::encode(headers)
    }
}

impl Log {
    /// Runs one call on the database, within the time that it may take.
    async fn call<T>(&self, query: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Error> {
        match timeout(self.options.call_timeout, query).await {
            Ok(answer) => answer.map_err(|error| Error::Unavailable(error.to_string())),
            Err(_) => Err(Error::Unavailable(format!("no answer within {:?}", self.options.call_timeout))),
        }
    }

    async fn partition(&self, of: &TopicPartition) -> Result<Arc<Partition>, Error> {
        if let Some(known) = self.partitions.read().by_name.get(of) {
            return Ok(Arc::clone(known));
        }
        let id = self.call(sql::partition_id(&self.pool, of)).await?;
        let id = id.ok_or_else(|| Error::UnknownPartition(of.clone()))?;
        let mut partitions = self.partitions.write();
        let tail = || Tail::new(self.options.tail_records_max, self.options.tail_bytes_max);
        let made = || Partition { id, tail: Mutex::new(tail()), arrived: Notify::new(), asked: Mutex::default() };
        let partition = Arc::clone(partitions.by_name.entry(of.clone()).or_insert_with(|| Arc::new(made())));
        partitions.by_id.insert(id, Arc::clone(&partition));
        Ok(partition)
    }

    async fn append(&self, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error> {
        let mut partitions = Vec::with_capacity(batch.len());
        for (to, _) in &batch {
            partitions.push(self.partition(to).await?);
        }
        let starts = match self.call(sql::publish(&self.pool, &batch)).await {
            Ok(starts) => starts,
            Err(error) => {
                // It may have been committed all the same.
                partitions.iter().for_each(|partition| partition.doubt());
                return Err(error);
            }
        };
        for ((partition, start), (_, records)) in partitions.iter().zip(starts).zip(batch) {
            let records: Vec<_> =
                (start..).zip(records).map(|(offset, record)| Stored { offset, record: Arc::new(record) }).collect();
            let end = start + i64::try_from(records.len()).unwrap_or(0);
            partition.tail.lock().append(records);
            partition.arrived.notify_waiters();
            if self.options.cross_process {
                self.grown.add(partition.id, end);
            }
        }
        Ok(())
    }

    /// Asks the database for the first offset and the end, and remembers the end.
    async fn bounds(&self, partition: &Partition) -> Result<(i64, i64), Error> {
        let (earliest, end) = self.call(sql::bounds(&self.pool, partition.id)).await?;
        *partition.asked.lock() = Some(Instant::now());
        partition.learn(end);
        Ok((earliest, end))
    }

    async fn fetch(
        &self,
        from: &TopicPartition,
        partition: &Partition,
        offset: i64,
        limits: FetchLimits,
    ) -> Result<Fetched, Error> {
        let deadline = Instant::now() + limits.wait_max;
        loop {
            let mut arrived = std::pin::pin!(partition.arrived.notified());
            arrived.as_mut().enable();
            let look = partition.tail.lock().look(offset, &limits);
            match look {
                Look::Records(fetched) => return Ok(fetched),
                Look::Behind(end) => {
                    let mut records = self.call(sql::page(&self.pool, partition.id, offset, &limits)).await?;
                    if records.first().is_some_and(|first| first.offset == offset) {
                        records.truncate(limits::within(records.iter(), &limits));
                        let reached = records.last().map_or(end, |last| last.offset + 1);
                        return Ok(Fetched { records, high_watermark: end.max(reached) });
                    }
                    let (earliest, latest) = self.bounds(partition).await?;
                    return Err(Error::OffsetOutOfRange { partition: from.clone(), offset, earliest, latest });
                }
                Look::Unknown => {
                    let (earliest, latest) = self.bounds(partition).await?;
                    if !(earliest..=latest).contains(&offset) {
                        return Err(Error::OffsetOutOfRange { partition: from.clone(), offset, earliest, latest });
                    }
                }
                Look::AtEnd => {
                    let recheck = partition.recheck_at(self.options.recheck_after);
                    if timeout_at(recheck.min(deadline), arrived).await.is_ok() {
                        continue;
                    }
                    if partition.claims_recheck(self.options.recheck_after) && self.bounds(partition).await?.1 > offset
                    {
                        continue;
                    }
                    if Instant::now() >= deadline {
                        return Ok(Fetched { records: Vec::new(), high_watermark: offset });
                    }
                }
            }
        }
    }

    fn learn_by_id(&self, partition_id: i32, end: i64) {
        if let Some(partition) = self.partitions.read().by_id.get(&partition_id) {
            partition.learn(end);
        }
    }

    fn doubt_all(&self) {
        self.partitions.read().by_id.values().for_each(|partition| partition.doubt());
    }
}

impl Partition {
    fn learn(&self, end: i64) {
        if self.tail.lock().advance(end) {
            self.arrived.notify_waiters();
        }
    }

    fn doubt(&self) {
        self.tail.lock().doubt();
        self.arrived.notify_waiters();
    }

    fn recheck_at(&self, after: Duration) -> Instant {
        self.asked.lock().map_or_else(Instant::now, |asked| asked + after)
    }

    /// Whether the caller is the one, of all that wait here, to ask the database now.
    fn claims_recheck(&self, after: Duration) -> bool {
        let mut asked = self.asked.lock();
        let due = asked.is_none_or(|asked| asked.elapsed() >= after);
        if due {
            *asked = Some(Instant::now());
        }
        due
    }
}

#[async_trait]
impl Broker for PostgresBroker {
    fn system(&self) -> &'static str {
        "postgresql"
    }

    async fn ensure_topics(&self, topics: &[(String, i32)]) -> Result<(), Error> {
        let topics: BTreeMap<&str, i32> =
            topics.iter().map(|(topic, partitions)| (topic.as_str(), *partitions)).collect();
        for (topic, found) in self.log.call(sql::ensure_topics(&self.log.pool, &topics)).await? {
            let wanted = topics.get(topic.as_str()).copied().unwrap_or(found);
            if found != wanted {
                return Err(Error::WrongPartitionCount { topic, wanted, found });
            }
        }
        Ok(())
    }

    async fn publish(&self, permit: Permit<'_>, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error> {
        permit.check(&batch)?;
        limits::check_sizes(batch.iter().flat_map(|(_, records)| records), self.log.options.record_bytes_max)?;
        let partitions = limits::by_partition(batch);
        if partitions.is_empty() {
            return Ok(());
        }
        // In a task of its own: a caller that goes away meanwhile must not leave this process
        // without the knowledge of what was committed.
        let log = Arc::clone(&self.log);
        let appended = tokio::spawn(async move { log.append(partitions.into_iter().collect()).await });
        appended.await.unwrap_or_else(|error| Err(Error::Unavailable(error.to_string())))
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        let partition = self.log.partition(from).await?;
        self.log.fetch(from, &partition, offset, limits).await
    }

    async fn bounds(&self, of: &TopicPartition) -> Result<(i64, i64), Error> {
        let partition = self.log.partition(of).await?;
        self.log.bounds(&partition).await
    }
}
