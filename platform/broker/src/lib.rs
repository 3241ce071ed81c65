//! The message broker: partitioned, ordered, replayable topics.
//!
//! Three implementations behave alike under one conformance suite: [`KafkaBroker`] (rskafka),
//! [`PostgresBroker`] (a topic log in one database, the embedded default) and [`MemoryBroker`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

mod effects;
mod kafka;
mod limits;
mod memory;
mod postgres;

pub use effects::{NotForReplays, Permit, REPLAY, ReplayTopic};
pub use kafka::{KafkaBroker, KafkaOptions, KafkaSasl, KafkaTls, KafkaTlsError, SaslMechanism};
pub use memory::MemoryBroker;
pub use postgres::{MIGRATOR, PostgresBroker, PostgresOptions};

/// The largest record that is taken by default, by [`Record::bytes`]. A little under what a Kafka
/// takes by default, 1 MiB with its framing, so that all brokers refuse the same records.
pub const RECORD_BYTES_MAX: usize = 1_000_000;

/// One partition of one topic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Names partition `partition` of `topic`.
    pub fn new(topic: impl Into<Arc<str>>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl std::fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.topic, self.partition)
    }
}

/// A record as it lies on a topic. Headers are CloudEvents attributes in Kafka's binary mode.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What decides the partition, and within which order is kept.
    pub key: String,
    /// `ce_id`, `ce_type`, … and `traceparent`. Values are raw bytes: nothing forces a foreign
    /// producer to write UTF-8.
    pub headers: BTreeMap<String, Bytes>,
    /// The JSON data.
    pub value: Bytes,
    /// When it was produced, milliseconds since the Unix epoch.
    pub timestamp_ms: i64,
}

impl Record {
    /// Its size: key, headers and value.
    pub fn bytes(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.len() + headers + self.value.len()
    }
}

/// A record and where it lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its offset in the partition.
    pub offset: i64,
    /// The record, shared by its readers.
    pub record: Arc<Record>,
}

/// What a fetch brings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Records from the offset asked for, in offset order; empty when the wait ended without any.
    pub records: Vec<Stored>,
    /// The offset that the partition's next record will get.
    pub high_watermark: i64,
}

/// What can go wrong at a broker.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The offset is before the first or beyond the last record: data was deleted or the
    /// checkpoint is wrong. Never mended by starting elsewhere.
    #[error("offset {offset} of {partition} is out of range ({earliest}..={latest})")]
    OffsetOutOfRange {
        /// The partition asked.
        partition: TopicPartition,
        /// The offset asked for.
        offset: i64,
        /// The first offset there is.
        earliest: i64,
        /// The offset that the next record will get.
        latest: i64,
    },
    /// No such topic or partition.
    #[error("{0} does not exist")]
    UnknownPartition(TopicPartition),
    /// The topic is there with another number of partitions.
    #[error("topic {topic} has {found} partitions and not {wanted}: the number of a topic's partitions never changes")]
    WrongPartitionCount {
        /// The topic's name.
        topic: String,
        /// How many were asked for.
        wanted: i32,
        /// How many it has.
        found: i32,
    },
    /// A record is larger than the broker takes; it will never be taken.
    #[error("a record of {bytes} bytes is larger than the broker takes")]
    RecordTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// A replay may publish onto its own topic alone.
    #[error("a replay must not publish to {0}")]
    NotPermitted(TopicPartition),
    /// The broker is away, slow or refuses for now: try again.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
}

/// Limits of one fetch.
#[derive(Debug, Clone, Copy)]
pub struct FetchLimits {
    /// At most so many bytes of records, by [`Record::bytes`] (at least one record comes in any case).
    pub bytes_max: usize,
    /// At most so many records.
    pub records_max: usize,
    /// How long to wait for a first record.
    pub wait_max: Duration,
}

impl Default for FetchLimits {
    fn default() -> Self {
        Self { bytes_max: 4 << 20, records_max: 1_000, wait_max: Duration::from_millis(500) }
    }
}

/// A partitioned log of records. Every call is bounded in time by the implementation.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// What spans of its messages call it: `messaging.system`.
    fn system(&self) -> &'static str {
        "memory"
    }

    /// Makes the topics that are missing, each with its number of partitions. A topic that is
    /// there with another number is an error: partitions never grow live.
    async fn ensure_topics(&self, topics: &[(String, i32)]) -> Result<(), Error>;

    /// Appends each partition's records in order and returns when they are durable. On an error
    /// any prefix of any partition may have been written: the caller publishes the same again.
    /// Whoever publishes must be allowed to: see [`Permit`].
    async fn publish(&self, permit: Permit<'_>, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error>;

    /// Records from `offset` on. Waits up to `limits.wait_max` for the first one, woken by its
    /// arrival.
    async fn fetch(&self, from: &TopicPartition, offset: i64, limits: FetchLimits) -> Result<Fetched, Error>;

    /// The first offset there is, and the one that the next record will get.
    async fn bounds(&self, of: &TopicPartition) -> Result<(i64, i64), Error>;
}

/// The partition of a key: FNV-1a over its bytes. Every producer of a topic must use this one.
pub fn partition_of(key: &str, partitions: i32) -> i32 {
    let hash = key.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let partitions = u64::try_from(partitions.max(1)).unwrap_or(1);
    i32::try_from(hash % partitions).unwrap_or(0)
}
