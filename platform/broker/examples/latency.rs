//! How long a record takes from a publish to a reader that waits for it, and how many go through.
//!
//! `cargo run --release -p broker --example latency -- memory | postgres URL | kafka HOST:PORT`
//! (the database behind URL gets the topic log's tables).

#![allow(clippy::print_stdout)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::{
    Broker, FetchLimits, KafkaBroker, KafkaOptions, MemoryBroker, PostgresBroker, PostgresOptions, Record,
    TopicPartition,
};
use bytes::Bytes;
use sqlx::postgres::PgPoolOptions;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (writer, reader): (Arc<dyn Broker>, Arc<dyn Broker>) = match *arguments.as_slice() {
        ["memory"] => {
            let broker = MemoryBroker::new();
            (Arc::new(broker.clone()), Arc::new(broker))
        }
        ["postgres", url] => {
            let broker = postgres(url, false).await?;
            (Arc::new(broker.clone()), Arc::new(broker))
        }
        ["postgres-processes", url] => (Arc::new(postgres(url, true).await?), Arc::new(postgres(url, true).await?)),
        ["kafka", address] => (Arc::new(kafka(address)), Arc::new(kafka(address))),
        _ => return Err("give memory, postgres URL, postgres-processes URL, or kafka HOST:PORT".into()),
    };
    for (rounds, records) in [(1_000, 1), (300, 10), (300, 30), (300, 100), (100, 500)] {
        measure(&*writer, Arc::clone(&reader), rounds, records).await?;
    }
    Ok(())
}

async fn postgres(url: &str, cross_process: bool) -> Result<PostgresBroker, Failure> {
    let pool = PgPoolOptions::new().max_connections(8).test_before_acquire(false).connect(url).await?;
    PostgresBroker::migrate(&pool).await?;
    Ok(PostgresBroker::new(pool, PostgresOptions { cross_process, ..Default::default() }))
}

fn kafka(address: &str) -> KafkaBroker {
    KafkaBroker::connect(vec![address.to_owned()], KafkaOptions::default())
}

/// One batch at a time, each awaited by a reader before the next one is sent.
async fn measure(writer: &dyn Broker, reader: Arc<dyn Broker>, rounds: usize, records: usize) -> Result<(), Failure> {
    let topic = format!("latency-{}", uuid::Uuid::now_v7());
    writer.ensure_topics(&[(topic.clone(), 1)]).await?;
    let at = TopicPartition::new(topic, 0);
    let (arrived, mut arrivals) = tokio::sync::mpsc::unbounded_channel();
    let from = at.clone();
    let total = rounds * records;
    let reading = tokio::spawn(async move {
        let mut next = 0_i64;
        while usize::try_from(next).is_ok_and(|next| next < total) {
            let limits = FetchLimits { wait_max: Duration::from_secs(5), ..Default::default() };
            let fetched = reader.fetch(&from, next, limits).await?;
            next += i64::try_from(fetched.records.len()).unwrap_or(0);
            let _ = arrived.send((next, Instant::now()));
        }
        Ok::<_, broker::Error>(())
    });
    let (mut acknowledged, mut seen) = (Vec::new(), Vec::new());
    let began = Instant::now();
    for round in 1..=rounds {
        let batch = (0..records).map(|_| record()).collect();
        let sent = Instant::now();
        writer.publish(LIVE.into(), vec![(at.clone(), batch)]).await?;
        acknowledged.push(sent.elapsed());
        let expected = i64::try_from(round * records)?;
        while let Some((next, when)) = arrivals.recv().await {
            if next >= expected {
                seen.push(when.duration_since(sent));
                break;
            }
        }
    }
    let rate = u128::try_from(total)? * 1_000 / began.elapsed().as_millis().max(1);
    reading.await??;
    println!(
        "{records:>4} records: published p50 {:?} p99 {:?}, seen p50 {:?} p99 {:?}, {rate} records/s",
        at_percent(&mut acknowledged, 50),
        at_percent(&mut acknowledged, 99),
        at_percent(&mut seen, 50),
        at_percent(&mut seen, 99),
    );
    Ok(())
}

fn at_percent(samples: &mut [Duration], percent: usize) -> Duration {
    samples.sort();
    samples.get(samples.len() * percent / 100).copied().unwrap_or_default()
}

/// About the size of the shop's own.
fn record() -> Record {
    let header = |name: &str| (name.to_owned(), Bytes::from_static(b"0190a5c0-7b5e-7cc3-98c4-dc0c0c07398f"));
    let names =
        ["ce_id", "ce_type", "ce_source", "ce_specversion", "ce_time", "content-type", "traceparent", "correlationid"];
    Record {
        key: "0190a5c0-7b5e-7cc3-98c4-dc0c0c07398f".to_owned(),
        headers: names.map(header).into_iter().collect::<BTreeMap<_, _>>(),
        value: Bytes::from_static(&[b'x'; 250]),
        timestamp_ms: 1_700_000_000_000,
    }
}
