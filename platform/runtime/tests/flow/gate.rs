//! A store whose commits can be held back, as a process that is stopped holds them back.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use broker::TopicPartition;
use chrono::{DateTime, Utc};
use event_store::{
    Answer, Append, Cursor, DueTimer, Error, EventStore, Lease, Letter, LetterKey, Page, RecordedEvent, Snapshot,
    StreamId, UnitOfWork,
};
use tokio::sync::watch;
use uuid::Uuid;

pub struct Gate {
    inner: Arc<dyn EventStore>,
    is_open: watch::Sender<bool>,
    waiting: AtomicUsize,
    refused: AtomicUsize,
}

impl Gate {
    pub fn new(inner: Arc<dyn EventStore>) -> Arc<Self> {
        let (is_open, _) = watch::channel(true);
        Arc::new(Self { inner, is_open, waiting: AtomicUsize::new(0), refused: AtomicUsize::new(0) })
    }

    pub fn close(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Commits that stand at the gate.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::SeqCst)
    }

    /// Commits that failed because their lease had been lost.
    pub fn refused(&self) -> usize {
        self.refused.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl EventStore for Gate {
    async fn commit(&self, work: UnitOfWork) -> Result<(), Error> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let _ = self.is_open.subscribe().wait_for(|open| *open).await;
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        let committed = self.inner.commit(work).await;
        if matches!(committed, Err(Error::LeaseLost { .. })) {
            self.refused.fetch_add(1, Ordering::SeqCst);
        }
        committed
    }

    async fn load(&self, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error> {
        self.inner.load(streams).await
    }

    async fn append_answered(&self, append: Append, answer: Option<Answer>) -> Result<Cursor, Error> {
        self.inner.append_answered(append, answer).await
    }

    async fn answer(&self, scope: &str, key: &str) -> Result<Option<Answer>, Error> {
        self.inner.answer(scope, key).await
    }

    async fn forget_answers(&self, age: Duration, limit: usize) -> Result<usize, Error> {
        self.inner.forget_answers(age, limit).await
    }

    async fn read_after(&self, after: Cursor, limit: usize) -> Result<Page, Error> {
        self.inner.read_after(after, limit).await
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits()
    }

    async fn handled(&self, consumer: &str, command_ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
        self.inner.handled(consumer, command_ids).await
    }

    async fn checkpoint(&self, follower: &str) -> Result<Cursor, Error> {
        self.inner.checkpoint(follower).await
    }

    async fn save_checkpoint(&self, follower: &str, at: Cursor) -> Result<(), Error> {
        self.inner.save_checkpoint(follower, at).await
    }

    async fn claim(
        &self,
        consumer: &str,
        owner: Uuid,
        partitions: &[TopicPartition],
        ttl: Duration,
    ) -> Result<Vec<Lease>, Error> {
        self.inner.claim(consumer, owner, partitions, ttl).await
    }

    async fn release(&self, consumer: &str, owner: Uuid) -> Result<(), Error> {
        self.inner.release(consumer, owner).await
    }

    async fn blocked_keys(&self, consumer: &str, topic: &str, keys: &[String]) -> Result<HashMap<String, i64>, Error> {
        self.inner.blocked_keys(consumer, topic, keys).await
    }

    async fn has_dead_letters(&self, consumer: &str) -> Result<bool, Error> {
        self.inner.has_dead_letters(consumer).await
    }

    async fn letters(&self, key: &LetterKey, limit: usize) -> Result<Vec<Letter>, Error> {
        self.inner.letters(key, limit).await
    }

    async fn retries(&self, consumer: &str, limit: usize) -> Result<Vec<LetterKey>, Error> {
        self.inner.retries(consumer, limit).await
    }

    async fn due_timers(
        &self,
        aggregate_type: &'static str,
        now: DateTime<Utc>,
        limit: usize,
    ) -> Result<(Vec<DueTimer>, Option<DateTime<Utc>>), Error> {
        self.inner.due_timers(aggregate_type, now, limit).await
    }

    async fn snapshots(&self, streams: &[StreamId]) -> Result<Vec<Option<Snapshot>>, Error> {
        self.inner.snapshots(streams).await
    }

    async fn save_snapshot(&self, snapshot: Snapshot) -> Result<(), Error> {
        self.inner.save_snapshot(snapshot).await
    }
}
