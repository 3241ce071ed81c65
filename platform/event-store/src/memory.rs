//! The event store in memory: the production store's unit of work, order and leases, on the
//! clock that it is given. Deterministic, so that a simulation can be run again.

mod leases;
mod mending;
mod tables;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use broker::TopicPartition;
use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::watch;
use uuid::Uuid;

use crate::clock::Clock;
use crate::{
    Answer, Append, Cursor, DeadLetter, DueTimer, Error, EventStore, Lease, Letter, LetterKey, Page, RecordedEvent,
    Snapshot, StreamId, UnitOfWork,
};
use tables::Tables;

/// An event store for one process's lifetime. All work is atomic: each call sees and leaves a
/// state between two units of work.
pub struct MemoryStore {
    clock: Arc<dyn Clock>,
    tables: Mutex<Tables>,
    faults: Mutex<Faults>,
    commits: watch::Sender<u64>,
}

#[derive(Default)]
struct Faults {
    before: VecDeque<Error>,
    after_commit: VecDeque<Error>,
}

impl MemoryStore {
    /// An empty store whose leases and times follow `clock`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        let (commits, _) = watch::channel(0);
        Self { clock, tables: Mutex::default(), faults: Mutex::default(), commits }
    }

    /// The same that chains what is appended, see [`crate::chain`].
    #[must_use]
    pub fn chained(self) -> Self {
        self.tables.lock().is_chained = true;
        self
    }

    /// The next call fails with `error` and does nothing. Several queue up.
    pub fn fail_next(&self, error: Error) {
        self.faults.lock().before.push_back(error);
    }

    /// The next append or commit that takes effect is answered with `error` all the same: its
    /// answer is lost on the way. Several queue up.
    pub fn fail_after_next_commit(&self, error: Error) {
        self.faults.lock().after_commit.push_back(error);
    }

    /// All dead letters, in the order of consumer, partition and offset.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.tables.lock().dead_letters()
    }

    fn read<T>(&self, read: impl FnOnce(&Tables) -> T) -> Result<T, Error> {
        self.fault()?;
        Ok(read(&self.tables.lock()))
    }

    fn fault(&self) -> Result<(), Error> {
        self.faults.lock().before.pop_front().map_or(Ok(()), Err)
    }

    async fn write(&self, work: UnitOfWork) -> Result<Cursor, Error> {
        // A commit takes time in which others get their turn; that is how conflicts come about.
        tokio::task::yield_now().await;
        self.fault()?;
        let now = self.clock.now();
        let cursor = self.tables.lock().commit(work, now)?;
        self.commits.send_modify(|n| *n += 1);
        self.faults.lock().after_commit.pop_front().map_or(Ok(cursor), Err)
    }
}

#[async_trait]
impl EventStore for MemoryStore {
    async fn load(&self, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error> {
        self.read(|tables| streams.iter().map(|(stream, after)| tables.load(stream, *after)).collect())
    }

    async fn append_answered(&self, append: Append, answer: Option<Answer>) -> Result<Cursor, Error> {
        let answers = answer.into_iter().collect();
        self.write(UnitOfWork { appends: vec![append], answers, ..UnitOfWork::default() }).await
    }

    async fn answer(&self, scope: &str, key: &str) -> Result<Option<Answer>, Error> {
        self.read(|tables| tables.answer(scope, key))
    }

    async fn forget_answers(&self, age: Duration, limit: usize) -> Result<usize, Error> {
        self.fault()?;
        let before = self.clock.now() - age;
        Ok(self.tables.lock().forget_answers(before, limit))
    }

    async fn commit(&self, work: UnitOfWork) -> Result<(), Error> {
        self.write(work).await.map(|_| ())
    }

    async fn read_after(&self, after: Cursor, limit: usize) -> Result<Page, Error> {
        self.read(|tables| {
            let events = tables.read_after(after, limit);
            Page { more: events.len() == limit, events, hidden: None }
        })
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    async fn handled(&self, consumer: &str, command_ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.read(|tables| tables.handled(consumer, command_ids))
    }

    async fn checkpoint(&self, follower: &str) -> Result<Cursor, Error> {
        self.read(|tables| tables.checkpoint(follower))
    }

    async fn save_checkpoint(&self, follower: &str, at: Cursor) -> Result<(), Error> {
        self.fault()?;
        self.tables.lock().save_checkpoint(follower, at);
        Ok(())
    }

    async fn claim(
        &self,
        consumer: &str,
        owner: Uuid,
        partitions: &[TopicPartition],
        ttl: Duration,
    ) -> Result<Vec<Lease>, Error> {
        self.fault()?;
        let now = self.clock.now();
        Ok(self.tables.lock().leases.claim(consumer, owner, partitions, now, now + ttl))
    }

    async fn release(&self, consumer: &str, owner: Uuid) -> Result<(), Error> {
        self.fault()?;
        self.tables.lock().leases.release(consumer, owner);
        Ok(())
    }

    async fn blocked_keys(&self, consumer: &str, topic: &str, keys: &[String]) -> Result<HashMap<String, i64>, Error> {
        self.read(|tables| tables.blocked_keys(consumer, topic, keys))
    }

    async fn has_dead_letters(&self, consumer: &str) -> Result<bool, Error> {
        self.read(|tables| tables.has_dead_letters(consumer))
    }

    async fn letters(&self, key: &LetterKey, limit: usize) -> Result<Vec<Letter>, Error> {
        self.read(|tables| tables.mending.letters(key, limit))
    }

    async fn retries(&self, consumer: &str, limit: usize) -> Result<Vec<LetterKey>, Error> {
        self.read(|tables| tables.mending.retries(consumer, limit))
    }

    async fn due_timers(
        &self,
        aggregate_type: &'static str,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(Vec<DueTimer>, Option<DateTime<Utc>>), Error> {
        self.read(|tables| tables.due_timers(aggregate_type, now, limit))
    }

    async fn snapshots(&self, streams: &[StreamId]) -> Result<Vec<Option<Snapshot>>, Error> {
        self.read(|tables| streams.iter().map(|stream| tables.snapshot(stream)).collect())
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), Error> {
        self.fault()?;
        self.tables.lock().save_snapshot(snapshot);
        Ok(())
    }
}
