//! Topics on Kafka, by rskafka.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use parking_lot::Mutex;
use rskafka::client::error::{Error as ClientError, ProtocolError};
use rskafka::client::partition::{Compression, OffsetAt, PartitionClient};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{Instant, sleep, timeout};

use crate::{Broker, Error, FetchLimits, Fetched, Permit, RECORD_BYTES_MAX, Record, Stored, TopicPartition, limits};

mod convert;
mod security;
mod session;

pub use security::{KafkaSasl, KafkaTls, KafkaTlsError, SaslMechanism};
use session::Session;

/// A produce request stays below what a Kafka takes by default: 1 MiB a batch, framing included.
const REQUEST_BYTES_MAX: usize = 900 << 10;
/// The client writes a request of less than 8 KiB at once, a larger one as 4 bytes and the rest.
/// Without `TCP_NODELAY`, which it cannot set, the rest then waits for the answer to the 4 bytes:
/// 40 ms, unless it fills whole segments. So a batch goes out in requests that are written at
/// once...
const REQUEST_AT_ONCE_BYTES_MAX: usize = 7_800;
/// ...unless it is so large that it fills segments, and many requests would take longer.
const LARGE_BATCH_BYTES: usize = 64 << 10;
/// What Kafka's format adds to a record, and to each of its headers: an upper bound.
const RECORD_OVERHEAD_BYTES: usize = 24;
const HEADER_OVERHEAD_BYTES: usize = 6;
const READERS_IDLE_MAX: usize = 4;

/// How a [`KafkaBroker`] works.
#[derive(Debug, Clone)]
pub struct KafkaOptions {
    /// How many brokers keep each topic that is made.
    pub replication: i16,
    /// How long a broker may take to answer one call (a fetch: beyond its wait).
    pub call_timeout: Duration,
    /// How long it may take to reach a broker.
    pub connect_timeout: Duration,
    /// The largest record taken, by [`Record::bytes`]. The topic's `max.message.bytes` must allow
    /// for it.
    pub record_bytes_max: usize,
    /// Speak TLS with the brokers.
    pub tls: Option<KafkaTls>,
    /// Say who we are. Without TLS everybody on the way can hear it.
    pub sasl: Option<KafkaSasl>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self {
            replication: 1,
            call_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(5),
            record_bytes_max: RECORD_BYTES_MAX,
            tls: None,
            sasl: None,
        }
    }
}

/// Topics on a Kafka cluster. Clones share connections.
///
/// - **Every call has a time limit.** A call that fails or takes longer loses its connection, and
///   the next one makes another: the client would wait for a silent broker for ever.
/// - **Duplicates.** The client has no idempotent producer. A batch whose answer was lost is in
///   the log twice after its retry, in order by first occurrence.
/// - **Connections.** A broker answers one request of a connection at a time, so each partition
///   has one for publishing and as many as there are readers at once; idle ones are reused. A
///   fetch that is dropped before its end costs its connection.
/// - **Durability** is the cluster's: a publish returns when all in-sync replicas have it.
/// - A broker refuses timestamps more than an hour ahead of its clock, unless it is told otherwise
///   (`message.timestamp.after.max.ms`): such a publish is [`Error::Unavailable`].
/// - The client cannot set `TCP_NODELAY`: see `REQUEST_AT_ONCE_BYTES_MAX` for what that means.
/// - Records of other producers: a key that is not UTF-8 is read with replacement characters, and
///   a missing key or value as an empty one.
#[derive(Debug, Clone)]
pub struct KafkaBroker {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: KafkaOptions,
    session: Session,
    partitions: Mutex<HashMap<TopicPartition, Arc<Connections>>>,
}

/// One partition's connections. Whoever uses one takes it out, and puts it back if it still works.
#[derive(Debug, Default)]
struct Connections {
    producer: AsyncMutex<Option<PartitionClient>>,
    readers: Mutex<Vec<Reader>>,
}

#[derive(Debug)]
struct Reader {
    client: PartitionClient,
    /// What the last fetch brought beyond its limits: a broker sends whole batches.
    left_over: VecDeque<Stored>,
    high_watermark: i64,
}

impl KafkaBroker {
    /// The topics of the cluster with these bootstrap brokers (`host:port`). It does not connect
    /// yet: as long as the cluster is away, calls answer [`Error::Unavailable`].
    pub fn connect(brokers: Vec<String>, options: KafkaOptions) -> Self {
        let session = Session::new(brokers, &options);
        Self { shared: Arc::new(Shared { options, session, partitions: Mutex::default() }) }
    }
}

impl Shared {
    fn connections(&self, of: &TopicPartition) -> Arc<Connections> {
        let mut partitions = self.partitions.lock();
        match partitions.get(of) {
            Some(connections) => Arc::clone(connections),
            None => Arc::clone(partitions.entry(of.clone()).or_default()),
        }
    }

    /// Runs one call on a partition, within the time that it may take.
    async fn call<T>(
        &self,
        of: &TopicPartition,
        wait: Duration,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        match timeout(wait + self.options.call_timeout, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(ClientError::ServerError { protocol_error: ProtocolError::OffsetOutOfRange, .. })) => {
                Err(Failure::OffsetOutOfRange)
            }
            Ok(Err(ClientError::ServerError {
                protocol_error: ProtocolError::MessageTooLarge | ProtocolError::RecordListTooLarge,
                ..
            })) => Err(Failure::TooLarge),
            Ok(Err(error)) => Err(Failure::Other(session::error_of(of, &error))),
            Err(_) => Err(Failure::Other(session::silent(self.options.call_timeout))),
        }
    }

    async fn produce(&self, to: TopicPartition, records: Vec<Record>) -> Result<(), Error> {
        let connections = self.connections(&to);
        let mut producer = connections.producer.lock().await;
        let mut requests = split(records);
        while let Some(mut request) = requests.pop_front() {
            let client = match producer.take() {
                Some(client) => client,
                None => self.session.partition(&to).await?,
            };
            let records = request.iter().map(convert::to_kafka).collect();
            match self.call(&to, Duration::ZERO, client.produce(records, Compression::NoCompression)).await {
                Ok(_) => *producer = Some(client),
                Err(Failure::TooLarge) => {
                    *producer = Some(client);
                    if let [record] = request.as_slice() {
                        return Err(Error::RecordTooLarge { bytes: record.bytes() });
                    }
                    // The topic takes less than usual. Nothing of the request was written.
                    let second = request.split_off(request.len() / 2);
                    requests.push_front(second);
                    requests.push_front(request);
                }
                Err(Failure::OffsetOutOfRange) => {
                    return Err(Error::Unavailable("the broker refuses an offset in a produce request".to_owned()));
                }
                Err(Failure::Other(error)) => return Err(error),
            }
        }
        Ok(())
    }

    /// The reader that has `offset` at hand if there is one, else any.
    async fn reader(&self, connections: &Connections, of: &TopicPartition, offset: i64) -> Result<Reader, Error> {
        let idle = {
            let mut readers = connections.readers.lock();
            let at_hand = readers.iter().position(|reader| reader.next() == Some(offset));
            at_hand
                .or_else(|| readers.iter().position(|reader| reader.left_over.is_empty()))
                .map(|at| readers.remove(at))
        };
        match idle {
            Some(reader) => Ok(reader),
            None => {
                let client = self.session.partition(of).await?;
                Ok(Reader { client, left_over: VecDeque::new(), high_watermark: 0 })
            }
        }
    }

    async fn bounds(&self, reader: &Reader, of: &TopicPartition) -> Result<(i64, i64), Failure> {
        let earliest = self.call(of, Duration::ZERO, reader.client.get_offset(OffsetAt::Earliest)).await?;
        let latest = self.call(of, Duration::ZERO, reader.client.get_offset(OffsetAt::Latest)).await?;
        Ok((earliest, latest))
    }

    async fn fill(
        &self,
        reader: &mut Reader,
        from: &TopicPartition,
        offset: i64,
        limits: &FetchLimits,
    ) -> Result<(), Failure> {
        let bytes_max = i32::try_from(limits.bytes_max).unwrap_or(i32::MAX - 1).clamp(1, i32::MAX - 1);
        let wait_ms = i32::try_from(limits.wait_max.as_millis()).unwrap_or(i32::MAX);
        let fetch = reader.client.fetch_records(offset, 1..bytes_max + 1, wait_ms);
        let (records, high_watermark) = self.call(from, limits.wait_max, fetch).await?;
        reader.left_over = records.into_iter().map(convert::from_kafka).collect();
        reader.high_watermark = high_watermark;
        Ok(())
    }
}

/// Why a call came to nothing. Only [`Failure::Other`] leaves the connection in doubt.
enum Failure {
    OffsetOutOfRange,
    TooLarge,
    Other(Error),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Self::Other(error) => error,
            Self::OffsetOutOfRange => Error::Unavailable("the broker refuses the offset".to_owned()),
            Self::TooLarge => Error::Unavailable("the broker refuses the size".to_owned()),
        }
    }
}

impl Reader {
    fn next(&self) -> Option<i64> {
        self.left_over.front().map(|stored| stored.offset)
    }

    fn take(&mut self, limits: &FetchLimits) -> Fetched {
        let count = limits::within(self.left_over.iter(), limits);
        Fetched { records: self.left_over.drain(..count).collect(), high_watermark: self.high_watermark }
    }
}

impl Connections {
    fn put_back(&self, reader: Reader) {
        let mut readers = self.readers.lock();
        if readers.len() >= READERS_IDLE_MAX {
            readers.remove(0);
        }
        readers.push(reader);
    }
}

/// The records in requests of a good size, in order.
fn split(records: Vec<Record>) -> VecDeque<Vec<Record>> {
    let size = |record: &Record| record.bytes() + RECORD_OVERHEAD_BYTES + record.headers.len() * HEADER_OVERHEAD_BYTES;
    let mut left: usize = records.iter().map(size).sum();
    let mut requests: VecDeque<Vec<Record>> = VecDeque::new();
    let mut room = 0;
    for record in records {
        let bytes = size(&record);
        if bytes > room || requests.is_empty() {
            requests.push_back(Vec::new());
            room = if left >= LARGE_BATCH_BYTES { REQUEST_BYTES_MAX } else { REQUEST_AT_ONCE_BYTES_MAX };
        }
        room = room.saturating_sub(bytes);
        left -= bytes;
        if let Some(request) = requests.back_mut() {
            request.push(record);
        }
    }
    requests
}

#[async_trait]
impl Broker for KafkaBroker {
    fn system(&self) -> &'static str {
        "kafka"
    }

    async fn ensure_topics(&self, topics: &[(String, i32)]) -> Result<(), Error> {
        let made = self.shared.session.ensure_topics(topics, self.shared.options.replication).await?;
        // A partition of a new topic takes a moment until its leader answers.
        let deadline = Instant::now() + self.shared.options.call_timeout;
        for partition in made {
            while let Err(error) = self.bounds(&partition).await {
                if Instant::now() >= deadline {
                    return Err(error);
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    async fn publish(&self, permit: Permit<'_>, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error> {
        permit.check(&batch)?;
        limits::check_sizes(batch.iter().flat_map(|(_, records)| records), self.shared.options.record_bytes_max)?;
        let partitions = limits::by_partition(batch);
        // To the end of each, also after an error: a produce that is dropped loses its connection.
        let produced = join_all(partitions.into_iter().map(|(to, records)| self.shared.produce(to, records))).await;
        produced.into_iter().collect()
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        let connections = self.shared.connections(from);
        let mut reader = self.shared.reader(&connections, from, offset).await?;
        if reader.next() != Some(offset) {
            match self.shared.fill(&mut reader, from, offset, &limits).await {
                Ok(()) => {}
                Err(Failure::OffsetOutOfRange) => {
                    let (earliest, latest) = self.shared.bounds(&reader, from).await.map_err(Failure::into_error)?;
                    connections.put_back(reader);
                    return Err(Error::OffsetOutOfRange { partition: from.clone(), offset, earliest, latest });
                }
                Err(failure) => return Err(failure.into_error()),
            }
        }
        let fetched = reader.take(&limits);
        connections.put_back(reader);
        Ok(fetched)
    }

    async fn bounds(&self, of: &TopicPartition) -> Result<(i64, i64), Error> {
        let connections = self.shared.connections(of);
        let reader = self.shared.reader(&connections, of, -1).await?;
        let bounds = self.shared.bounds(&reader, of).await.map_err(Failure::into_error)?;
        connections.put_back(reader);
        Ok(bounds)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bytes::Bytes;

    use super::*;

    #[test]
    fn requests_keep_order_and_size() {
        let record = |key: usize, bytes: usize| Record {
            key: key.to_string(),
            headers: BTreeMap::new(),
            value: Bytes::from(vec![0; bytes]),
            timestamp_ms: 0,
        };
        for (sizes, expected) in [
            (vec![], vec![]),
            (vec![10, 500_000, 400_000, 1_000_000, 10, 10], vec![3, 1, 2]),
            // Small batches are written at once, and so is the rest of a large one.
            (vec![1_000; 20], vec![7, 7, 6]),
            (vec![20_000, 10, 10], vec![1, 2]),
            (vec![1_000; 70], vec![70]),
            ([vec![300_000; 3], vec![1_000; 10]].concat(), vec![13]),
            ([vec![300_000; 4], vec![1_000; 10]].concat(), vec![3, 11]),
        ] {
            let records: Vec<_> = sizes.into_iter().enumerate().map(|(key, bytes)| record(key, bytes)).collect();
            let requests = split(records.clone());
            assert_eq!(requests.iter().map(Vec::len).collect::<Vec<_>>(), expected);
            assert_eq!(requests.into_iter().flatten().collect::<Vec<_>>(), records);
        }
    }
}
