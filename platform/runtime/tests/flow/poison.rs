//! Records that can never be handled stop nobody but their own key.

use std::collections::BTreeMap;

use broker::Record;
use testkit::eventually;

use crate::fixture::{CONSUMER, PATIENCE, Process, Service, Topic, message, record};
use crate::tally::{NUMBER_ADDED, NUMBER_MAX};

/// What the poison is, by the key that it comes with: the record, and what the reason must say.
fn poison() -> Vec<(Record, &'static str)> {
    let mut headless = message("no header", 1);
    headless.headers.remove("ce_id");
    let mut garbled = message("bad header", 1);
    garbled.headers.insert("ce_type".to_owned(), vec![0xff, 0xfe].into());
    let mut binary = message("binary", 1);
    binary.value = vec![0, 159, 146, 150].into();
    vec![
        (record("bad json", NUMBER_ADDED, "{\"number\":"), "cannot be read"),
        (record("wrong type", NUMBER_ADDED, "{\"number\":\"one\"}"), "cannot be read"),
        (record("nul", NUMBER_ADDED, "{\"number\":\"\\u0000\"}"), "cannot be read"),
        (record("nul in the \0 key", NUMBER_ADDED, "{"), "cannot be read"),
        (record("", NUMBER_ADDED, "{"), "cannot be read"),
        (record("unknown type", "number_multiplied", "{\"number\":1}"), "\"number_multiplied\" are not known"),
        (headless, "ce_id is missing"),
        (garbled, "ce_type is malformed"),
        (binary, "cannot be read"),
        (message("refused", NUMBER_MAX + 1), "1001 is too large"),
    ]
}

/// Reason and parkedness of each dead letter, by key, in offset order.
async fn dead_letters(service: &Service) -> BTreeMap<String, Vec<(String, bool)>> {
    let rows: Vec<(String, String, bool)> = sqlx::query_as(
        "SELECT key, reason, parked FROM dead_letters WHERE consumer = $1 ORDER BY topic, partition, \"offset\"",
    )
    .bind(CONSUMER)
    .fetch_all(&service.database.pool)
    .await
    .expect("dead letters");
    let mut by_key: BTreeMap<String, Vec<(String, bool)>> = BTreeMap::new();
    for (key, reason, parked) in rows {
        by_key.entry(key).or_default().push((reason, parked));
    }
    by_key
}

pub async fn poison_is_put_aside_with_its_keys_later_records(topic: Topic) {
    let service = Service::new().await;
    let mut records = Vec::new();
    for (n, (bad, _)) in poison().into_iter().enumerate() {
        let (key, good) = (bad.key.clone(), format!("good-{n}"));
        // Before, the key is as good as any, but for one that is no id; behind, its records wait.
        // Others do not.
        records.extend((!key.contains('\0')).then(|| message(&key, 1)));
        records.extend([message(&good, 1), bad, message(&key, 2), message(&good, 2)]);
    }
    let total = i64::try_from(records.len()).expect("few");
    topic.publish(records).await;
    let _consumer = Process::consumer::<true>(service.store(), &topic);
    eventually(PATIENCE, async || service.consumed().await == total).await;

    let found = dead_letters(&service).await;
    assert_eq!(found.len(), poison().len(), "{found:?}");
    for (n, (bad, reason)) in poison().into_iter().enumerate() {
        let letters = &found[&bad.key.replace('\0', "\u{FFFD}")];
        assert_eq!(letters.iter().map(|(_, parked)| *parked).collect::<Vec<_>>(), [false, true], "{letters:?}");
        assert!(letters[0].0.contains(reason), "{letters:?}");
        assert!(letters[1].0.contains("waits behind the dead letter at offset"), "{letters:?}");
        assert_eq!(service.tally(&format!("good-{n}")).await.numbers, [1, 2]);
        if !bad.key.contains('\0') {
            assert_eq!(service.tally(&bad.key).await.numbers, [1], "{}", bad.key);
        }
    }
}

pub async fn what_comes_later_is_parked_by_whoever_holds_the_partition(topic: Topic) {
    let service = Service::new().await;
    let consumer = Process::consumer::<true>(service.store(), &topic);
    topic.publish([message("bad", NUMBER_MAX + 1), message("good", 1)]).await;
    eventually(PATIENCE, async || service.consumed().await == 2).await;
    topic.publish([message("bad", 2), message("good", 2)]).await;
    eventually(PATIENCE, async || service.consumed().await == 4).await;
    consumer.stop().await;

    let _another = Process::consumer::<true>(service.store(), &topic);
    topic.publish([message("bad", 3), message("good", 3)]).await;
    eventually(PATIENCE, async || service.consumed().await == 6).await;
    let letters = dead_letters(&service).await;
    assert_eq!(letters.keys().collect::<Vec<_>>(), ["bad"]);
    assert_eq!(letters["bad"].iter().map(|(_, parked)| *parked).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(service.tally("bad").await.numbers, [] as [u64; 0]);
    assert_eq!(service.tally("good").await.numbers, [1, 2, 3]);
}

pub async fn a_redelivery_takes_no_effect(topic: Topic) {
    let service = Service::new().await;
    let bad = message("bad", NUMBER_MAX + 1);
    let records = vec![message("good", 1), message("good", 2), bad, message("bad", 1)];
    let consumer = Process::consumer::<true>(service.store(), &topic);
    topic.publish(records.clone()).await;
    eventually(PATIENCE, async || service.consumed().await == 4).await;
    // Within one batch and over several, by this instance and the next.
    topic.publish([records.clone(), records.clone()].concat()).await;
    eventually(PATIENCE, async || service.consumed().await == 12).await;
    consumer.stop().await;
    let _another = Process::consumer::<true>(service.store(), &topic);
    topic.publish(records).await;
    eventually(PATIENCE, async || service.consumed().await == 16).await;
    assert_eq!(service.tally("good").await.numbers, [1, 2]);
    assert_eq!(service.tally("bad").await.numbers, [] as [u64; 0]);
    assert_eq!(dead_letters(&service).await["bad"].len(), 8);
}
