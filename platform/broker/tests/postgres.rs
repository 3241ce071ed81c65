//! What is PostgreSQL's own: two processes on one log, and rows that were deleted. (Its promises
//! as a broker: `conformance`.)

use std::collections::BTreeMap;
use std::time::Duration;

use broker::{Broker, Error, FetchLimits, MIGRATOR, PostgresBroker, PostgresOptions, Record, TopicPartition};
use bytes::Bytes;
use sqlx::PgPool;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

fn records(names: std::ops::Range<i64>) -> Vec<Record> {
    let record = |name: i64| Record {
        key: "k".to_owned(),
        headers: BTreeMap::new(),
        value: Bytes::from(name.to_string()),
        timestamp_ms: 0,
    };
    names.map(record).collect()
}

fn waiting(wait_max: Duration) -> FetchLimits {
    FetchLimits { wait_max, ..Default::default() }
}

async fn offsets(broker: &PostgresBroker, at: &TopicPartition, from: i64, limits: FetchLimits) -> Vec<i64> {
    let fetched = broker.fetch(at, from, limits).await.unwrap();
    for stored in &fetched.records {
        assert_eq!(stored.record.value, stored.offset.to_string());
    }
    fetched.records.iter().map(|stored| stored.offset).collect()
}

async fn topic(pool: &PgPool) -> TopicPartition {
    let broker = PostgresBroker::new(pool.clone(), PostgresOptions::default());
    broker.ensure_topics(&[("topic".to_owned(), 1)]).await.unwrap();
    TopicPartition::new("topic", 0)
}

#[tokio::test]
async fn what_another_process_wrote_in_between_is_read_in_its_place() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let at = topic(&database.pool).await;
    // Without notifications: each learns of the other's records by its own means alone.
    let one = PostgresBroker::new(database.pool.clone(), PostgresOptions::default());
    let two = PostgresBroker::new(database.pool.clone(), PostgresOptions::default());
    one.publish(LIVE.into(), vec![(at.clone(), records(0..3))]).await.unwrap();
    two.publish(LIVE.into(), vec![(at.clone(), records(3..5))]).await.unwrap();
    one.publish(LIVE.into(), vec![(at.clone(), records(5..7))]).await.unwrap();
    for broker in [&one, &two] {
        for from in 0..7 {
            let mut seen = Vec::new();
            while from + i64::try_from(seen.len()).unwrap() < 7 {
                let next = from + i64::try_from(seen.len()).unwrap();
                seen.extend(offsets(broker, &at, next, waiting(Duration::from_secs(20))).await);
            }
            assert_eq!(seen, (from..7).collect::<Vec<_>>());
        }
    }
}

#[tokio::test]
async fn a_lost_notification_costs_a_delay() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let at = topic(&database.pool).await;
    let options = PostgresOptions { recheck_after: Duration::from_millis(10), ..Default::default() };
    let reader = PostgresBroker::new(database.pool.clone(), options);
    assert!(offsets(&reader, &at, 0, waiting(Duration::ZERO)).await.is_empty());
    let silent = PostgresBroker::new(database.pool.clone(), PostgresOptions::default());
    silent.publish(LIVE.into(), vec![(at.clone(), records(0..2))]).await.unwrap();
    assert_eq!(offsets(&reader, &at, 0, waiting(Duration::from_millis(50))).await, [0, 1]);
}

#[tokio::test]
async fn a_publish_whose_caller_went_away_is_known() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let at = topic(&database.pool).await;
    let options = PostgresOptions { recheck_after: Duration::from_secs(3600), ..Default::default() };
    let broker = PostgresBroker::new(database.pool.clone(), options);
    assert!(offsets(&broker, &at, 0, waiting(Duration::ZERO)).await.is_empty());
    let publish = broker.publish(LIVE.into(), vec![(at.clone(), records(0..2))]);
    assert!(tokio::time::timeout(Duration::ZERO, publish).await.is_err());
    assert_eq!(offsets(&broker, &at, 0, waiting(Duration::from_secs(20))).await, [0, 1]);
}

#[tokio::test]
async fn deleted_records_are_out_of_range() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let at = topic(&database.pool).await;
    let writer = PostgresBroker::new(database.pool.clone(), PostgresOptions::default());
    writer.publish(LIVE.into(), vec![(at.clone(), records(0..10))]).await.unwrap();
    sqlx::query(r#"DELETE FROM topic_records WHERE "offset" < 4"#).execute(&database.pool).await.unwrap();
    let reader = PostgresBroker::new(database.pool.clone(), PostgresOptions::default());
    assert_eq!(reader.bounds(&at).await.unwrap(), (4, 10));
    let outcome = reader.fetch(&at, 3, FetchLimits::default()).await;
    assert!(matches!(outcome, Err(Error::OffsetOutOfRange { offset: 3, earliest: 4, latest: 10, .. })), "{outcome:?}");
    assert_eq!(offsets(&reader, &at, 4, FetchLimits::default()).await, (4..10).collect::<Vec<_>>());

    sqlx::query("DELETE FROM topic_records").execute(&database.pool).await.unwrap();
    assert_eq!(reader.bounds(&at).await.unwrap(), (10, 10));
    writer.publish(LIVE.into(), vec![(at.clone(), records(10..11))]).await.unwrap();
    assert_eq!(reader.bounds(&at).await.unwrap(), (10, 11));
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_unavailable() {
    let database = testkit::postgres::database_with(&MIGRATOR).await;
    let at = topic(&database.pool).await;
    let options = PostgresOptions { call_timeout: Duration::from_millis(200), ..Default::default() };
    let broker = PostgresBroker::new(database.pool.clone(), options);
    let mut blocker = database.pool.begin().await.unwrap();
    sqlx::query("LOCK TABLE topic_partitions IN ACCESS EXCLUSIVE MODE").execute(&mut *blocker).await.unwrap();
    let outcome = broker.publish(LIVE.into(), vec![(at.clone(), records(0..1))]).await;
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
    blocker.rollback().await.unwrap();
    broker.publish(LIVE.into(), vec![(at.clone(), records(0..1))]).await.unwrap();
    assert_eq!(broker.bounds(&at).await.unwrap().1, 1);
}
