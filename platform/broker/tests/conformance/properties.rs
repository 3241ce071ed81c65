//! The promises, one function each.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{Broker, Error, FetchLimits, RECORD_BYTES_MAX, Record, Stored, TopicPartition};
use bytes::Bytes;
use futures::future::{join_all, try_join_all};
use tokio::time::timeout;
use uuid::Uuid;

use crate::servers::Server;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// Longer than any answer may take; a promise that is kept never waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

fn limits(records_max: usize, bytes_max: usize, wait_max: Duration) -> FetchLimits {
    FetchLimits { bytes_max, records_max, wait_max }
}

fn patient() -> FetchLimits {
    limits(1_000, 4 << 20, PATIENCE)
}

fn at_once() -> FetchLimits {
    limits(1_000, 4 << 20, Duration::ZERO)
}

fn record(value: impl Into<Bytes>) -> Record {
    Record { key: "key".to_owned(), headers: BTreeMap::new(), value: value.into(), timestamp_ms: 1_700_000_000_123 }
}

fn records(names: impl IntoIterator<Item = i64>) -> Vec<Record> {
    names.into_iter().map(|name| record(name.to_string())).collect()
}

fn values(fetched: &[Stored]) -> Vec<String> {
    fetched.iter().map(|stored| String::from_utf8_lossy(&stored.record.value).into_owned()).collect()
}

/// The partitions of a new topic.
async fn topic(broker: &dyn Broker, partitions: i32) -> Vec<TopicPartition> {
    let name = format!("t-{}", Uuid::now_v7());
    broker.ensure_topics(&[(name.clone(), partitions)]).await.unwrap();
    (0..partitions).map(|partition| TopicPartition::new(name.as_str(), partition)).collect()
}

/// The first `count` records.
async fn read(broker: &dyn Broker, from: &TopicPartition, count: usize) -> Vec<Stored> {
    let mut read: Vec<Stored> = Vec::new();
    while read.len() < count {
        let next = read.last().map_or(0, |last| last.offset + 1);
        let fetched = broker.fetch(from, next, patient()).await.unwrap();
        assert!(!fetched.records.is_empty(), "{} of {count} records came", read.len());
        read.extend(fetched.records);
    }
    read
}

pub async fn offsets_are_contiguous_and_in_order(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    assert_eq!(broker.bounds(at).await.unwrap(), (0, 0));
    for batch in [0..1, 1..4, 4..4, 4..10] {
        broker.publish(LIVE.into(), vec![(at.clone(), records(batch))]).await.unwrap();
    }
    for broker in [broker, server.another_client()] {
        let stored = read(&*broker, at, 10).await;
        assert_eq!(stored.iter().map(|stored| stored.offset).collect::<Vec<_>>(), (0..10).collect::<Vec<_>>());
        assert_eq!(values(&stored), (0..10).map(|name| name.to_string()).collect::<Vec<_>>());
        assert_eq!(broker.bounds(at).await.unwrap(), (0, 10));
        let fetched = broker.fetch(at, 7, at_once()).await.unwrap();
        assert_eq!((values(&fetched.records), fetched.high_watermark), (vec!["7".into(), "8".into(), "9".into()], 10));
    }
}

pub async fn a_page_keeps_its_limits(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    let hundred = |_| Record { key: "k".repeat(10), ..record(vec![b'v'; 90]) };
    broker.publish(LIVE.into(), vec![(at.clone(), (0..20).map(hundred).collect())]).await.unwrap();
    for broker in [broker, server.another_client()] {
        for (records_max, bytes_max, least, most) in
            [(5, 1 << 20, 5, 5), (100, 1_000, 1, 10), (100, 1, 1, 1), (0, 0, 1, 1), (100, 1 << 20, 20, 20)]
        {
            let fetched = broker.fetch(at, 0, limits(records_max, bytes_max, PATIENCE)).await.unwrap();
            let count = fetched.records.len();
            assert!((least..=most).contains(&count), "{count} records of at most {records_max} and {bytes_max} bytes");
            assert_eq!(fetched.high_watermark, 20);
        }
    }
}

pub async fn a_page_that_was_cut_goes_on_where_it_ended(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    broker.publish(LIVE.into(), vec![(at.clone(), records(0..100))]).await.unwrap();
    for broker in [broker, server.another_client()] {
        let mut next = 0;
        while next < 100 {
            let fetched = broker.fetch(at, next, limits(7, 1 << 20, PATIENCE)).await.unwrap();
            assert!(!fetched.records.is_empty() && fetched.records.len() <= 7);
            for stored in fetched.records {
                assert_eq!((stored.offset, &*stored.record.value), (next, next.to_string().as_bytes()));
                next += 1;
            }
            // Another reader's page, elsewhere, changes nothing.
            assert_eq!(broker.fetch(at, 50, limits(3, 1 << 20, PATIENCE)).await.unwrap().records[0].offset, 50);
        }
    }
}

pub async fn records_come_back_as_they_were(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    let odd: Vec<u8> = (0..=255).collect();
    let headers = BTreeMap::from([
        ("ce_id".to_owned(), Bytes::from_static(b"1")),
        ("empty".to_owned(), Bytes::new()),
        ("odd".to_owned(), Bytes::from(odd.clone())),
        ("zoë ☂".to_owned(), Bytes::from("wörld")),
    ]);
    let written = vec![
        record(""),
        record(odd),
        Record { key: String::new(), headers, value: Bytes::from_static(b"{}"), timestamp_ms: 0 },
        Record { key: "ключ 🔑 \0 \n \"'\\,{}".to_owned(), timestamp_ms: 951_782_400_000, ..record("null") },
        record(vec![0xff; RECORD_BYTES_MAX - 3]),
    ];
    broker.publish(LIVE.into(), vec![(at.clone(), written.clone())]).await.unwrap();
    for broker in [broker, server.another_client()] {
        let stored = read(&*broker, at, written.len()).await;
        for (stored, written) in stored.iter().zip(&written) {
            assert!(*stored.record == *written, "offset {}: {:?}", stored.offset, stored.record.key);
        }
    }
}

pub async fn a_fetch_is_woken_by_a_publish(server: &impl Server) {
    woken(&server.broker(), &server.broker()).await;
}

pub async fn a_fetch_is_woken_by_another_client(server: &impl Server) {
    woken(&server.another_client(), &server.broker()).await;
}

async fn woken(reader: &Arc<dyn Broker>, writer: &Arc<dyn Broker>) {
    let at = &topic(&**writer, 2).await[1];
    for round in 0..5 {
        let (reader, from) = (Arc::clone(reader), at.clone());
        let mut waiting = tokio::spawn(async move {
            let fetched = reader.fetch(&from, round, patient()).await.unwrap();
            (Instant::now(), values(&fetched.records))
        });
        // Whether it waits already or comes afterwards, it must see the record.
        if round % 2 == 1 {
            assert!(timeout(Duration::from_millis(50), &mut waiting).await.is_err(), "there was nothing to see yet");
        }
        let published = Instant::now();
        writer.publish(LIVE.into(), vec![(at.clone(), records([round]))]).await.unwrap();
        let (came, seen) = waiting.await.unwrap();
        assert_eq!(seen, [round.to_string()]);
        assert!(came.saturating_duration_since(published) < PATIENCE / 2, "it was not woken");
    }
}

pub async fn a_fetch_that_waits_in_vain_is_empty(server: &impl Server) {
    let broker = server.broker();
    let partitions = topic(&*broker, 2).await;
    broker.publish(LIVE.into(), vec![(partitions[1].clone(), records(0..3))]).await.unwrap();
    for (at, offset) in [(&partitions[0], 0), (&partitions[1], 3)] {
        let wait_max = Duration::from_millis(120);
        let began = Instant::now();
        let fetched = broker.fetch(at, offset, limits(10, 1 << 20, wait_max)).await.unwrap();
        assert!(fetched.records.is_empty());
        assert_eq!(fetched.high_watermark, offset);
        assert!(began.elapsed() >= wait_max, "it came back after {:?}", began.elapsed());
        assert!(began.elapsed() < PATIENCE / 2);
    }
}

pub async fn the_end_is_not_out_of_range_but_beyond_it_is(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    broker.publish(LIVE.into(), vec![(at.clone(), records(0..3))]).await.unwrap();
    for broker in [broker, server.another_client()] {
        assert!(broker.fetch(at, 3, at_once()).await.unwrap().records.is_empty());
        for offset in [4, 1_000_000, -1] {
            match broker.fetch(at, offset, patient()).await {
                Err(Error::OffsetOutOfRange { partition, offset: said, earliest: 0, latest: 3 }) => {
                    assert_eq!((&partition, said), (at, offset));
                }
                other => panic!("offset {offset}: {other:?}"),
            }
        }
        assert_eq!(values(&broker.fetch(at, 2, at_once()).await.unwrap().records), ["2"]);
    }
}

pub async fn what_does_not_exist_is_said_so(server: &impl Server) {
    let broker = server.broker();
    let there = topic(&*broker, 2).await[0].clone();
    for missing in [
        TopicPartition::new(format!("t-{}", Uuid::now_v7()), 0),
        TopicPartition::new(Arc::clone(&there.topic), 2),
        TopicPartition::new(Arc::clone(&there.topic), -1),
    ] {
        let batch = vec![(missing.clone(), records([1]))];
        for outcome in [
            broker.fetch(&missing, 0, at_once()).await.map(drop),
            broker.bounds(&missing).await.map(drop),
            broker.publish(LIVE.into(), batch).await,
        ] {
            match outcome {
                Err(Error::UnknownPartition(said)) => assert_eq!(said, missing),
                other => panic!("{missing}: {other:?}"),
            }
        }
    }
    broker.publish(LIVE.into(), vec![(there.clone(), records([1]))]).await.unwrap();
    assert_eq!(values(&read(&*broker, &there, 1).await), ["1"]);
}

pub async fn a_batch_reaches_all_its_partitions(server: &impl Server) {
    let broker = server.broker();
    let (one, two) = (topic(&*broker, 3).await, topic(&*broker, 2).await);
    let all: Vec<_> = one.iter().chain(&two).cloned().collect();
    let part = |(number, at): (i64, &TopicPartition)| (at.clone(), records(number * 100..number * 101));
    let mut batch: Vec<_> = (1..).zip(&all).map(part).collect();
    batch.reverse();
    batch.push((all[0].clone(), Vec::new()));
    // The same partition again: behind what it has already.
    batch.push((all[1].clone(), records([7])));
    broker.publish(LIVE.into(), batch).await.unwrap();
    broker.publish(LIVE.into(), Vec::new()).await.unwrap();
    for (number, at) in (1_i64..).zip(&all) {
        let mut expected: Vec<_> = (number * 100..number * 101).map(|name| name.to_string()).collect();
        if number == 2 {
            expected.push("7".to_owned());
        }
        assert_eq!(values(&read(&*broker, at, expected.len()).await), expected, "{at}");
    }
}

pub async fn concurrent_publishers_leave_no_gap(server: &impl Server) {
    const PUBLISHERS: i64 = 8;
    const ROUNDS: i64 = 10;
    let clients = [server.broker(), server.another_client()];
    let partitions = &topic(&*clients[0], 3).await;
    // A reader goes along and must see every offset once, in order, from one client.
    let follow = |broker: Arc<dyn Broker>, at: TopicPartition| async move {
        read(&*broker, &at, usize::try_from(PUBLISHERS * ROUNDS).unwrap()).await
    };
    let readers: Vec<_> = partitions
        .iter()
        .flat_map(|at| clients.iter().map(move |client| tokio::spawn(follow(Arc::clone(client), at.clone()))))
        .collect();
    let publisher = |number: i64| {
        let client = &clients[usize::try_from(number).unwrap() % 2];
        async move {
            for round in 0..ROUNDS {
                // In another order each, as if to deadlock.
                let mut batch: Vec<_> =
                    partitions.iter().map(|at| (at.clone(), records([number * ROUNDS + round]))).collect();
                batch.rotate_left(usize::try_from(number).unwrap() % 3);
                client.publish(LIVE.into(), batch).await.unwrap();
            }
        }
    };
    join_all((0..PUBLISHERS).map(publisher)).await;
    for stored in try_join_all(readers).await.unwrap() {
        assert_eq!(
            stored.iter().map(|stored| stored.offset).collect::<Vec<_>>(),
            (0..PUBLISHERS * ROUNDS).collect::<Vec<_>>()
        );
        let names: Vec<i64> = values(&stored).iter().map(|value| value.parse().unwrap()).collect();
        for number in 0..PUBLISHERS {
            let own: Vec<_> = names.iter().copied().filter(|name| name / ROUNDS == number).collect();
            assert_eq!(own, (number * ROUNDS..(number + 1) * ROUNDS).collect::<Vec<_>>(), "publisher {number}");
        }
    }
}

pub async fn readers_see_the_same(server: &impl Server) {
    let broker = server.broker();
    let at = &topic(&*broker, 1).await[0];
    let waiting = join_all((0..6).map(|_| broker.fetch(at, 0, patient())));
    let publishing = broker.publish(LIVE.into(), vec![(at.clone(), records(0..1))]);
    let (waiting, published) = tokio::join!(waiting, publishing);
    published.unwrap();
    for fetched in waiting {
        assert_eq!(values(&fetched.unwrap().records), ["0"]);
    }
    let (one, two) =
        tokio::join!(broker.fetch(at, 0, at_once()), async { server.another_client().fetch(at, 0, at_once()).await });
    assert_eq!(one.unwrap().records, two.unwrap().records);
}

pub async fn topics_are_made_once(server: &impl Server) {
    let broker = server.broker();
    let names: Vec<_> = (0..3).map(|_| format!("t-{}", Uuid::now_v7())).collect();
    let topics = [(names[0].clone(), 3), (names[1].clone(), 1)];
    for outcome in join_all((0..4).map(|_| broker.ensure_topics(&topics))).await {
        outcome.unwrap();
    }
    let at = TopicPartition::new(names[0].as_str(), 2);
    broker.publish(LIVE.into(), vec![(at.clone(), records(0..2))]).await.unwrap();
    server.another_client().ensure_topics(&topics).await.unwrap();
    assert_eq!(broker.bounds(&at).await.unwrap(), (0, 2));
    for wrong in [2, 4] {
        match broker.ensure_topics(&[(names[2].clone(), 1), (names[0].clone(), wrong)]).await {
            Err(Error::WrongPartitionCount { topic, wanted, found: 3 }) => {
                assert_eq!((&topic, wanted), (&names[0], wrong));
            }
            other => panic!("{other:?}"),
        }
    }
}

pub async fn too_large_is_refused_and_nothing_written(server: &impl Server) {
    let broker = server.broker();
    let partitions = topic(&*broker, 2).await;
    let bytes = RECORD_BYTES_MAX + 1;
    let batch = vec![
        (partitions[0].clone(), records([1])),
        (partitions[1].clone(), vec![record("2"), record(vec![0; bytes - 3])]),
    ];
    match broker.publish(LIVE.into(), batch).await {
        Err(Error::RecordTooLarge { bytes: said }) => assert_eq!(said, bytes),
        other => panic!("{other:?}"),
    }
    for at in &partitions {
        assert_eq!(broker.bounds(at).await.unwrap(), (0, 0));
    }
}
