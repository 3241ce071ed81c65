//! What the tests run: a service's database, a broker, and tasks that can be killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{
    Broker, FetchLimits, KafkaBroker, KafkaOptions, MemoryBroker, PostgresBroker, PostgresOptions, Record, Stored,
    TopicPartition,
};
use bytes::Bytes;
use event_store::{EventStore, PgStore, StoreOptions, clock};
use runtime::consumer::{self, Consumer};
use runtime::relay::{self, Relay};
use runtime::{Commands, Origin, Precedence};
use testkit::postgres::TestDatabase;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::tally::{Follows, NUMBER_ADDED, Publisher, Tally};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// How long anything may take that only has to happen in the end.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// Short, so that takeovers are soon; renewed every third of it.
pub const LEASE: Duration = Duration::from_secs(2);
pub const PARTITIONS: i32 = 4;
pub const CONSUMER: &str = "follower";

/// Which broker a test runs on.
#[derive(Clone, Copy)]
pub enum Kind {
    Memory,
    Postgres,
    Kafka,
}

/// A broker with one topic of the test's own.
pub struct Topic {
    pub broker: Arc<dyn Broker>,
    pub name: &'static str,
    /// Dropped after the broker.
    _database: Option<TestDatabase>,
}

impl Topic {
    /// Nothing when there is no such broker to be had here.
    pub async fn on(kind: Kind) -> Option<Self> {
        let mut database = None;
        let broker: Arc<dyn Broker> = match kind {
            Kind::Memory => Arc::new(MemoryBroker::new()),
            Kind::Postgres => {
                let made = testkit::postgres::database_with(&broker::MIGRATOR).await;
                let broker = PostgresBroker::new(made.pool.clone(), PostgresOptions::default());
                database = Some(made);
                Arc::new(broker)
            }
            Kind::Kafka => Arc::new(KafkaBroker::connect(vec![testkit::kafka::broker()?], KafkaOptions::default())),
        };
        // Topic names are constants everywhere else.
        let name: &'static str = Box::leak(format!("flow_{}", Uuid::now_v7().simple()).into_boxed_str());
        broker.ensure_topics(&[(name.to_owned(), PARTITIONS)]).await.expect("a topic");
        Some(Self { broker, name, _database: database })
    }

    pub fn partitions(&self) -> impl Iterator<Item = TopicPartition> {
        let name = self.name;
        (0..PARTITIONS).map(move |number| TopicPartition::new(name, number))
    }

    pub fn partition_of(&self, key: &str) -> TopicPartition {
        TopicPartition::new(self.name, broker::partition_of(key, PARTITIONS))
    }

    /// Publishes each record to its key's partition, in order.
    pub async fn publish(&self, records: impl IntoIterator<Item = Record>) {
        let mut batch: BTreeMap<TopicPartition, Vec<Record>> = BTreeMap::new();
        for record in records {
            batch.entry(self.partition_of(&record.key)).or_default().push(record);
        }
        self.broker.publish(LIVE.into(), batch.into_iter().collect()).await.expect("published");
    }

    /// Everything on the topic, each partition's records in order.
    pub async fn records(&self) -> Vec<Stored> {
        let mut all = Vec::new();
        for partition in self.partitions() {
            let (mut at, end) = self.broker.bounds(&partition).await.expect("bounds");
            while at < end {
                let page = self.broker.fetch(&partition, at, FetchLimits::default()).await.expect("a page").records;
                at = page.last().map_or(at, |last| last.offset + 1);
                all.extend(page);
            }
        }
        all
    }
}

/// A service's database, on which stores can come and go.
pub struct Service {
    pub database: TestDatabase,
}

impl Service {
    pub async fn new() -> Self {
        Self { database: testkit::postgres::database_with(&event_store::MIGRATOR).await }
    }

    /// The store as another process of the service has it.
    pub fn store(&self) -> Arc<dyn EventStore> {
        PgStore::new(self.database.pool.clone(), StoreOptions::default(), LIVE)
    }

    /// What the service holds of a tally.
    pub async fn tally(&self, id: &str) -> Tally {
        commands(self.store()).load::<Tally>(id).await.expect("a tally").0
    }

    /// Offsets and epochs of all partitions.
    pub async fn offsets(&self) -> BTreeMap<i32, (i64, i64)> {
        let rows: Vec<(i32, i64, i64)> =
            sqlx::query_as("SELECT partition, next_offset, epoch FROM consumer_offsets WHERE consumer = $1")
                .bind(CONSUMER)
                .fetch_all(&self.database.pool)
                .await
                .expect("offsets");
        rows.into_iter().map(|(partition, offset, epoch)| (partition, (offset, epoch))).collect()
    }

    /// How many records were handled or put aside.
    pub async fn consumed(&self) -> i64 {
        self.offsets().await.values().map(|(offset, _)| offset).sum()
    }

    /// Whose the partitions are now, by the leases that have not ended.
    pub async fn owners(&self) -> BTreeMap<Uuid, i64> {
        let rows: Vec<(Uuid, i64)> = sqlx::query_as(
            "SELECT owner, count(*) FROM consumer_offsets
              WHERE consumer = $1 AND owner IS NOT NULL AND lease_until >= clock_timestamp() GROUP BY owner",
        )
        .bind(CONSUMER)
        .fetch_all(&self.database.pool)
        .await
        .expect("owners");
        rows.into_iter().collect()
    }
}

pub fn commands(store: Arc<dyn EventStore>) -> Commands {
    Commands::new(store, clock::system())
}

pub fn origin() -> Origin {
    Origin::request(Uuid::now_v7(), Uuid::now_v7(), "system")
}

/// A process of a service, seen from outside: it can be asked to stop, or killed.
pub struct Process {
    pub owner: Uuid,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    pub fn relay(store: Arc<dyn EventStore>, broker: Arc<dyn Broker>, topic: &'static str) -> Self {
        let (owner, shutdown) = (Uuid::now_v7(), CancellationToken::new());
        let options = relay::Options { lease: LEASE, page_events_max: 7, ..relay::Options::new("source", PARTITIONS) };
        let relay = Relay::new(store, broker, Arc::new(Publisher { topic }), options, owner, LIVE);
        Self { owner, task: tokio::spawn(relay.run(shutdown.clone())), shutdown }
    }

    /// A relay that lets a crowd go first: beside one, `few` events come every `every`, for `at_most` at a stretch.
    pub fn polite_relay(
        service: &Service,
        topic: &Topic,
        precedence: &Arc<Precedence>,
        (every, few): (Duration, usize),
        at_most: Duration,
    ) -> Self {
        let (owner, shutdown) = (Uuid::now_v7(), CancellationToken::new());
        let usual = relay::Options::new("source", PARTITIONS);
        let options = relay::Options { lease: LEASE, crowded: (every, few), crowd_max: at_most, ..usual };
        let (broker, publisher) = (Arc::clone(&topic.broker), Publisher { topic: topic.name });
        let relay = Relay::new(service.store(), broker, Arc::new(publisher), options, owner, LIVE);
        let relay = relay.after(Arc::clone(precedence));
        Self { owner, task: tokio::spawn(relay.run(shutdown.clone())), shutdown }
    }

    pub fn consumer<const REMEMBERS: bool>(store: Arc<dyn EventStore>, topic: &Topic) -> Self {
        let (owner, shutdown) = (Uuid::now_v7(), CancellationToken::new());
        let options = consumer::Options { lease: LEASE, ..consumer::Options::new(CONSUMER, &[topic.name], PARTITIONS) };
        let handler = Arc::new(Follows::<REMEMBERS>);
        let consumer = Consumer::new(store, Arc::clone(&topic.broker), clock::system(), handler, options, owner);
        Self { owner, task: tokio::spawn(consumer.run(shutdown.clone())), shutdown }
    }

    pub fn spawn(run: impl FnOnce(CancellationToken) -> JoinHandle<()>) -> Self {
        let shutdown = CancellationToken::new();
        Self { owner: Uuid::nil(), task: run(shutdown.clone()), shutdown }
    }

    /// As SIGTERM: it ends in its own time.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.expect("ends in order");
    }

    /// As SIGKILL: it ends where it stands, and gives nothing up.
    pub async fn kill(mut self) {
        self.task.abort();
        let ended = (&mut self.task).await;
        assert!(ended.is_err_and(|error| error.is_cancelled()), "it had ended before it was killed");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A message that adds a number to the tally of this id.
pub fn message(id: &str, number: u64) -> Record {
    record(id, NUMBER_ADDED, &format!(r#"{{"number":{number}}}"#))
}

pub fn record(key: &str, message_type: &str, data: &str) -> Record {
    let id = Uuid::now_v7().to_string();
    let headers = [
        ("ce_specversion", "1.0"),
        ("ce_id", &id),
        ("ce_type", message_type),
        ("ce_source", "source"),
        ("ce_time", "2026-01-01T00:00:00Z"),
        ("ce_correlationid", &id),
        ("ce_causationid", &id),
    ];
    Record {
        key: key.to_owned(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value.to_owned()))).collect(),
        value: Bytes::from(data.to_owned()),
        timestamp_ms: 1_767_225_600_000,
    }
}
