//! A Kafka that is away or does not answer. (Its promises as a broker: `conformance`.)

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use broker::{Broker, Error, FetchLimits, KafkaBroker, KafkaOptions, Record, TopicPartition};
use bytes::Bytes;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

fn hasty() -> KafkaOptions {
    let limit = Duration::from_millis(300);
    KafkaOptions { call_timeout: limit, connect_timeout: limit, ..Default::default() }
}

fn record() -> Record {
    Record { key: "k".to_owned(), headers: BTreeMap::new(), value: Bytes::from_static(b"{}"), timestamp_ms: 0 }
}

fn assert_unavailable<T: std::fmt::Debug>(outcome: Result<T, Error>) {
    assert!(matches!(outcome, Err(Error::Unavailable(_))), "{outcome:?}");
}

/// Every call, on a topic that may exist or not: nobody can know.
async fn all_calls_are_unavailable(broker: &KafkaBroker) {
    let at = TopicPartition::new("topic", 0);
    let began = Instant::now();
    assert_unavailable(broker.ensure_topics(&[("topic".to_owned(), 1)]).await);
    assert_unavailable(broker.publish(LIVE.into(), vec![(at.clone(), vec![record()])]).await);
    assert_unavailable(broker.bounds(&at).await);
    let wait_max = Duration::from_millis(100);
    assert_unavailable(broker.fetch(&at, 0, FetchLimits { wait_max, ..Default::default() }).await);
    assert!(began.elapsed() < Duration::from_secs(10), "four calls took {:?}", began.elapsed());
}

#[tokio::test]
async fn a_silent_broker_costs_no_more_than_the_time_limit() {
    // Connections are made by the system, and nothing is ever read from them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let broker = KafkaBroker::connect(vec![silent.local_addr().unwrap().to_string()], hasty());
    all_calls_are_unavailable(&broker).await;
}

#[tokio::test]
async fn a_broker_that_was_away_is_used_when_it_is_there() {
    let Some(kafka) = testkit::kafka::broker() else { return };
    let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let broker = KafkaBroker::connect(vec![port.to_string()], hasty());
    all_calls_are_unavailable(&broker).await;

    let arrived = TcpListener::bind(port).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = arrived.accept().await {
            let mut to = TcpStream::connect(&kafka).await.unwrap();
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let topic = format!("t-{}", Uuid::now_v7());
    let at = TopicPartition::new(topic.as_str(), 0);
    testkit::eventually(Duration::from_secs(20), async || broker.ensure_topics(&[(topic.clone(), 1)]).await.is_ok())
        .await;
    testkit::eventually(Duration::from_secs(20), async || {
        broker.publish(LIVE.into(), vec![(at.clone(), vec![record()])]).await.is_ok()
    })
    .await;
    let fetched = broker.fetch(&at, 0, FetchLimits::default()).await.unwrap();
    assert_eq!(*fetched.records[0].record, record());
}
