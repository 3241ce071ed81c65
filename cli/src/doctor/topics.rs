//! The broker: the topics are there, each with as many partitions as the configuration says.

use super::database::schema;
use super::{Diagnosis, Verdict, database_of};
use crate::args::ServerArgs;
use crate::postgres::Server;
use broker::{Broker, Error, FetchLimits, PostgresBroker, PostgresOptions, Record, TopicPartition};
use event_schemas::topics;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

const CHECK: &str = "topics";
/// A broker that needs longer than this for a partition's bounds is away.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// The topics as they are.
pub(super) struct Topics {
    /// None when it cannot be spoken to.
    broker: Option<Box<dyn Broker>>,
    /// The first offset of each partition and the one that its next record will get.
    pub(super) bounds: BTreeMap<TopicPartition, (i64, i64)>,
}

impl Topics {
    /// When a record was produced, in milliseconds since the epoch; none when it cannot be read.
    pub(super) async fn produced_ms(&self, place: &TopicPartition, offset: i64) -> Option<i64> {
        self.record(place, offset).await.map(|record| record.timestamp_ms)
    }

    /// A record; none when it cannot be read.
    pub(super) async fn record(&self, place: &TopicPartition, offset: i64) -> Option<Arc<Record>> {
        let limits = FetchLimits { bytes_max: 1, records_max: 1, wait_max: Duration::from_millis(100) };
        let fetched = tokio::time::timeout(ANSWER_MAX, self.broker.as_ref()?.fetch(place, offset, limits)).await;
        fetched.ok()?.ok()?.records.first().map(|stored| Arc::clone(&stored.record))
    }
}

pub(super) async fn check(server: &Server, servers: &ServerArgs, diagnosis: &mut Diagnosis) -> Topics {
    let mut topics = Topics { broker: None, bounds: BTreeMap::new() };
    let (broker, of): (Box<dyn Broker>, String) = match servers.kafka() {
        Err(error) => {
            diagnosis.unchecked(CHECK, "Kafka", format!("{error:#}"));
            return topics;
        }
        Ok(Some(kafka)) => (Box::new(kafka), servers.kafka_broker.clone().unwrap_or_default()),
        Ok(None) => {
            let database = database_of(None);
            let pool = runtime::service::pool(server.options(database), "doctor", 1);
            schema(&pool, None, &[&broker::MIGRATOR], diagnosis).await;
            (Box::new(PostgresBroker::new(pool, PostgresOptions::default())), database.to_owned())
        }
    };
    look(broker.as_ref(), servers.partitions, &of, &mut topics, diagnosis).await;
    topics.broker = Some(broker);
    topics
}

async fn look(broker: &dyn Broker, partitions: u16, of: &str, topics: &mut Topics, diagnosis: &mut Diagnosis) {
    let (mut missing, mut larger) = (Vec::new(), Vec::new());
    for topic in topics::ALL {
        // One beyond the last tells whether there are more.
        for partition in 0..=i32::from(partitions) {
            let place = TopicPartition::new(topic, partition);
            let bounds = tokio::time::timeout(ANSWER_MAX, broker.bounds(&place)).await;
            match bounds.unwrap_or_else(|_| Err(Error::Unavailable("no answer in time".to_owned()))) {
                Ok(_) if partition == i32::from(partitions) => larger.push(topic),
                Ok(bounds) => {
                    topics.bounds.insert(place, bounds);
                }
                Err(Error::UnknownPartition(_)) if partition == i32::from(partitions) => {}
                Err(Error::UnknownPartition(place)) => missing.push(place.to_string()),
                Err(error) => {
                    let advice = "bring it back: orders are taken and wait for it";
                    diagnosis.add(Verdict::Fail, CHECK, of, error.to_string(), advice);
                    return;
                }
            }
        }
    }
    if !missing.is_empty() {
        let found = format!("missing: {}", missing.join(", "));
        let advice = "every service makes them at its start; a number of partitions never changes: give the one that \
                      they were made with by KAFKA_PARTITIONS";
        diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    } else if !larger.is_empty() {
        let found = format!("more than {partitions} partitions: {}", larger.join(", "));
        let advice = "give the number that they were made with by KAFKA_PARTITIONS, to every service";
        diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    } else {
        let records: i64 = topics.bounds.values().map(|(first, end)| end - first).sum();
        let found = format!("{} with {partitions} partitions each, {records} records", topics::ALL.len());
        diagnosis.ok(CHECK, of, found);
    }
}
