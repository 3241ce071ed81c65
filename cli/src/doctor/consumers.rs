//! Who reads the topics: every partition is held by a living instance, near its end.

use super::database::Store;
use super::topics::Topics;
use super::{Diagnosis, Verdict, delay};
use broker::TopicPartition;
use event_schemas::topics;
use runtime::relay::FOLLOWER;
use std::collections::BTreeMap;

/// A partition of a consumer.
struct Place {
    at: TopicPartition,
    next_offset: i64,
    is_held: bool,
}

/// Looks at the consumers of a store; so many instances of its service are alive.
pub(super) async fn check(store: &Store, topics: &Topics, partitions: u16, diagnosis: &mut Diagnosis) -> u32 {
    if let Err(error) = leases(store, topics, partitions, diagnosis).await {
        diagnosis.unchecked("consumer", store.name(), error);
    }
    match instances(store).await {
        Ok(0) => {
            let advice = format!("start it: sagashop serve {}", store.name());
            diagnosis.add(Verdict::Fail, "instances", store.name(), "none is alive", advice);
            0
        }
        Ok(count) => {
            diagnosis.ok("instances", store.name(), format!("{count} alive"));
            count
        }
        Err(error) => {
            diagnosis.unchecked("instances", store.name(), error);
            0
        }
    }
}

/// Whoever consumes or relays, or stands by, says so; in one process each of its loops for itself.
async fn instances(store: &Store) -> Result<u32, sqlx::Error> {
    let count: i64 = sqlx::query_scalar(
        "SELECT coalesce(max(alive), 0)
           FROM (SELECT count(*) AS alive FROM consumer_members WHERE seen_until >= clock_timestamp() GROUP BY consumer) AS c",
    )
    .fetch_one(&store.pool)
            .await?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

async fn leases(store: &Store, topics: &Topics, partitions: u16, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    type Row = (String, String, i32, i64, bool, Option<f64>);
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT consumer, topic, partition, next_offset, coalesce(owner IS NOT NULL AND lease_until >= clock_timestamp(), false),
                extract(epoch FROM clock_timestamp())::float8
           FROM consumer_offsets ORDER BY consumer, topic, partition",
    )
    .fetch_all(&store.pool)
    .await?;
    let now_s = rows.first().and_then(|row| row.5).unwrap_or_default();
    let mut consumers: BTreeMap<(String, String), Vec<Place>> = BTreeMap::new();
    for (consumer, topic, partition, next_offset, is_held, _) in rows {
        let at = TopicPartition::new(topic.clone(), partition);
        // Who relays or sweeps is settled by leases on places that are no topics.
        if topics::ALL.contains(&topic.as_str()) || consumer == FOLLOWER {
            consumers.entry((consumer, topic)).or_default().push(Place { at, next_offset, is_held });
        }
    }
    for ((consumer, topic), places) in consumers {
        if consumer == FOLLOWER {
            relay(store, &places, diagnosis);
        } else {
            consumer_of(store, &consumer, &topic, places, topics, (partitions, now_s), diagnosis).await;
        }
    }
    Ok(())
}

fn relay(store: &Store, places: &[Place], diagnosis: &mut Diagnosis) {
    if places.iter().all(|place| place.is_held) {
        diagnosis.ok("relay lease", store.name(), "held");
    } else {
        let advice = format!("start it: sagashop serve {}", store.name());
        diagnosis.add(Verdict::Fail, "relay lease", store.name(), "nobody publishes its events", advice);
    }
}

async fn consumer_of(
    store: &Store,
    consumer: &str,
    topic: &str,
    places: Vec<Place>,
    topics: &Topics,
    (partitions, now_s): (u16, f64),
    diagnosis: &mut Diagnosis,
) {
    const CHECK: &str = "consumer";
    let of = if consumer == store.name() {
        format!("{consumer} {topic}")
    } else {
        format!("{} {consumer} {topic}", store.name())
    };
    if places.len() != usize::from(partitions) {
        let found = format!("{} partitions, and the configuration says {partitions}", places.len());
        let advice = "give the number that the topics were made with by KAFKA_PARTITIONS, to every service";
        return diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    }
    let (mut behind, mut oldest_ms, mut outside) = (0, None, Vec::new());
    for place in &places {
        let Some((first, end)) = topics.bounds.get(&place.at).copied() else {
            return diagnosis.unchecked(CHECK, of, format!("{} could not be looked at", place.at));
        };
        if place.next_offset < first || place.next_offset > end {
            outside.push(format!("{} is at {}, outside {first}..={end}", place.at.partition, place.next_offset));
        } else if place.next_offset < end {
            behind += end - place.next_offset;
            let produced = topics.produced_ms(&place.at, place.next_offset).await;
            oldest_ms = oldest_ms.into_iter().chain(produced).min();
        }
    }
    if !outside.is_empty() {
        let found = format!("partition {}", outside.join("; "));
        let advice = "broker and store are not of one time: stop the services, then sagashop restore-check";
        return diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    }
    let age = oldest_ms.map_or(0.0, |ms| (now_s - ms as f64 / 1_000.0).max(0.0));
    let (verdict, age) = delay(age);
    let free = places.iter().filter(|place| !place.is_held).count();
    let waiting =
        if behind == 0 { "nothing waits".to_owned() } else { format!("{behind} records wait, the first for {age}") };
    if free > 0 {
        let found = format!("{free} of {partitions} partitions are nobody's; {waiting}");
        let advice = format!("start it: sagashop serve {}", store.name());
        return diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    }
    let advice = match verdict {
        Verdict::Ok => String::new(),
        _ => format!("look at the {}'s log; more instances share the partitions", store.role.title()),
    };
    diagnosis.add(verdict, CHECK, of, waiting, advice);
}
