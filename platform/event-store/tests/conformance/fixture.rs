//! A store to test, and what is put into it.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use broker::{Record, TopicPartition};
use chrono::{DateTime, Utc};
use event_store::{
    Append, DeadLetter, EventStore, HashChain, MIGRATOR, MemoryStore, Metadata, NewEvent, PgStore, RecordedEvent,
    StoreOptions, StreamId, clock,
};
use testkit::postgres::TestDatabase;
use uuid::Uuid;

/// Tests write as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// How long anything may take that only has to happen in the end.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// A lease that does not end during a test.
pub const LONG: Duration = Duration::from_secs(600);
/// A lease that ends soon.
pub const SHORT: Duration = Duration::from_millis(100);

pub struct Fixture {
    pub store: Arc<dyn EventStore>,
    /// Dropped after the store.
    _database: Option<TestDatabase>,
}

impl Deref for Fixture {
    type Target = dyn EventStore;

    fn deref(&self) -> &Self::Target {
        &*self.store
    }
}

pub fn memory() -> Fixture {
    Fixture { store: Arc::new(MemoryStore::new(clock::system())), _database: None }
}

pub async fn postgres() -> Fixture {
    postgres_with(StoreOptions::default()).await
}

/// The same with a chain through each stream.
pub fn chained_memory() -> Fixture {
    Fixture { store: Arc::new(MemoryStore::new(clock::system()).chained()), _database: None }
}

/// The same with a chain through each stream.
pub async fn chained_postgres() -> Fixture {
    postgres_with(StoreOptions { hash_chain: HashChain::On, ..StoreOptions::default() }).await
}

async fn postgres_with(options: StoreOptions) -> Fixture {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let store = PgStore::new(database.pool.clone(), options, LIVE);
    Fixture { store, _database: Some(database) }
}

pub fn stream(id: &str) -> StreamId {
    StreamId { aggregate_type: "parcel", aggregate_id: id.to_owned() }
}

pub fn event(grams: u64) -> NewEvent {
    with_payload(&format!(r#"{{"weighed":{{"grams":{grams}}}}}"#))
}

pub fn with_payload(payload: &str) -> NewEvent {
    NewEvent {
        event_type: "weighed".to_owned(),
        event_version: "1".to_owned(),
        payload: payload.to_owned(),
        metadata: Metadata {
            event_id: Uuid::now_v7(),
            correlation_id: Uuid::now_v7(),
            causation_id: Uuid::now_v7(),
            command_id: Uuid::now_v7(),
            actor: "service:post".to_owned(),
            traceparent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".to_owned()),
            recorded_at: time(1),
            prev_hash: None,
        },
    }
}

pub fn append(id: &str, expected: u64, events: Vec<NewEvent>) -> Append {
    Append { stream: stream(id), expected, events }
}

/// A moment, in whole microseconds as PostgreSQL keeps them.
pub fn time(seconds: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_700_000_000 + seconds, 123_456_000).expect("a valid time")
}

pub async fn load(store: &dyn EventStore, id: &str) -> Vec<RecordedEvent> {
    store.load(&[(stream(id), 0)]).await.expect("a load").remove(0)
}

pub fn partitions(topic: &str, count: i32) -> Vec<TopicPartition> {
    (0..count).map(|partition| TopicPartition::new(topic, partition)).collect()
}

pub fn letter(consumer: &str, partition: &TopicPartition, offset: i64, key: &str) -> DeadLetter {
    DeadLetter {
        consumer: consumer.to_owned(),
        partition: partition.clone(),
        offset,
        record: Record {
            key: key.to_owned(),
            headers: BTreeMap::from([("ce_type".to_owned(), vec![0xff, 0x00].into())]),
            value: vec![0, 159, 146, 150].into(),
            timestamp_ms: 1_700_000_000_000,
        },
        reason: "not JSON".to_owned(),
        parked: false,
    }
}
