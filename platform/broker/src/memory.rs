//! Topics in memory, for tests and the simulation.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::{Broker, Error, FetchLimits, Fetched, Permit, RECORD_BYTES_MAX, Record, Stored, TopicPartition, limits};

/// Topics that live as long as the process. Clones share them.
///
/// It takes no time and has no tasks of its own, so that a simulation on a paused clock stays
/// deterministic. Nothing is ever deleted but by [`delete_before`](Self::delete_before).
#[derive(Clone, Debug)]
pub struct MemoryBroker {
    topics: Arc<RwLock<Topics>>,
    record_bytes_max: usize,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self { topics: Arc::default(), record_bytes_max: RECORD_BYTES_MAX }
    }
}

type Topics = HashMap<Arc<str>, Vec<Arc<Partition>>>;

#[derive(Debug, Default)]
struct Partition {
    log: Mutex<Log>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Log {
    earliest: i64,
    records: VecDeque<Record>,
}

impl MemoryBroker {
    /// A broker without topics.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same, taking records up to this size.
    #[must_use]
    pub fn with_record_bytes_max(mut self, bytes: usize) -> Self {
        self.record_bytes_max = bytes;
        self
    }

    /// Forgets the records before `offset`, as retention would.
    ///
    /// # Errors
    /// [`Error::UnknownPartition`].
    pub fn delete_before(&self, of: &TopicPartition, offset: i64) -> Result<(), Error> {
        let partition = self.partition(of)?;
        let mut log = partition.log.lock();
        while log.earliest < offset && log.records.pop_front().is_some() {
            log.earliest += 1;
        }
        Ok(())
    }

    fn partition(&self, of: &TopicPartition) -> Result<Arc<Partition>, Error> {
        let topics = self.topics.read();
        let partition = usize::try_from(of.partition).ok().and_then(|index| topics.get(&of.topic)?.get(index));
        partition.cloned().ok_or_else(|| Error::UnknownPartition(of.clone()))
    }
}

impl Log {
    fn latest(&self) -> i64 {
        self.earliest + i64::try_from(self.records.len()).unwrap_or(i64::MAX)
    }

    /// Nothing when the offset is out of range.
    fn page(&self, offset: i64, limits: &FetchLimits) -> Option<Fetched> {
        let skipped = usize::try_from(offset.checked_sub(self.earliest)?).ok()?;
        if skipped > self.records.len() {
            return None;
        }
        let stored = self.records.range(skipped..).zip(offset..).take(limits.records_max.max(1));
        let mut records: Vec<_> =
            stored.map(|(record, offset)| Stored { offset, record: Arc::new(record.clone()) }).collect();
        records.truncate(limits::within(records.iter(), limits));
        Some(Fetched { records, high_watermark: self.latest() })
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn ensure_topics(&self, wanted: &[(String, i32)]) -> Result<(), Error> {
        let mut topics = self.topics.write();
        for (topic, wanted) in wanted {
            let found =
                topics.get(topic.as_str()).map(|partitions| i32::try_from(partitions.len()).unwrap_or(i32::MAX));
            if let Some(found) = found.filter(|found| found != wanted) {
                return Err(Error::WrongPartitionCount { topic: topic.clone(), wanted: *wanted, found });
            }
        }
        for (topic, partitions) in wanted {
            topics.entry(topic.as_str().into()).or_insert_with(|| (0..*partitions).map(|_| Arc::default()).collect());
        }
        Ok(())
    }

    async fn publish(&self, permit: Permit<'_>, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error> {
        permit.check(&batch)?;
        limits::check_sizes(batch.iter().flat_map(|(_, records)| records), self.record_bytes_max)?;
        let batch: Vec<_> =
            batch.into_iter().map(|(to, records)| Ok((self.partition(&to)?, records))).collect::<Result<_, Error>>()?;
        for (partition, records) in batch {
            partition.log.lock().records.extend(records);
            partition.arrived.notify_waiters();
        }
        Ok(())
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        let partition = self.partition(from)?;
        let deadline = Instant::now() + limits.wait_max;
        loop {
            let mut arrived = std::pin::pin!(partition.arrived.notified());
            arrived.as_mut().enable();
            let (page, earliest, latest) = {
                let log = partition.log.lock();
                (log.page(offset, &limits), log.earliest, log.latest())
            };
            let Some(page) = page else {
                return Err(Error::OffsetOutOfRange { partition: from.clone(), offset, earliest, latest });
            };
            if !page.records.is_empty() || timeout_at(deadline, arrived).await.is_err() {
                return Ok(page);
            }
        }
    }

    async fn bounds(&self, of: &TopicPartition) -> Result<(i64, i64), Error> {
        let partition = self.partition(of)?;
        let log = partition.log.lock();
        Ok((log.earliest, log.latest()))
    }
}
