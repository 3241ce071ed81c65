//! Partitions have one master at a time, and only the master writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{PARTITIONS, PATIENCE, Process, Service, Topic, message};
use crate::gate::Gate;

/// Enough of them that every partition has some.
fn keys() -> Vec<String> {
    let keys: Vec<String> = (0..12).map(|n| format!("key-{n}")).collect();
    let hit: BTreeSet<i32> = keys.iter().map(|key| broker::partition_of(key, PARTITIONS)).collect();
    assert_eq!(hit.len(), usize::try_from(PARTITIONS).expect("few"));
    keys
}

async fn publish(topic: &Topic, numbers: std::ops::Range<u64>) -> i64 {
    let records: Vec<_> = keys().iter().flat_map(|key| numbers.clone().map(|n| message(key, n))).collect();
    let count = i64::try_from(records.len()).expect("few");
    topic.publish(records).await;
    count
}

async fn assert_each_once(service: &Service, numbers: std::ops::Range<u64>) {
    for key in keys() {
        assert_eq!(service.tally(&key).await.numbers, numbers.clone().collect::<Vec<u64>>(), "{key}");
    }
}

/// Offsets and epochs only grow, from one look to the next.
#[derive(Default)]
struct Watch(BTreeMap<i32, (i64, i64)>);

impl Watch {
    async fn look(&mut self, service: &Service) -> i64 {
        let now = service.offsets().await;
        for (partition, (offset, epoch)) in &self.0 {
            let (offset_now, epoch_now) = now[partition];
            assert!(offset_now >= *offset, "partition {partition} fell from offset {offset} to {offset_now}");
            assert!(epoch_now >= *epoch, "partition {partition} fell from epoch {epoch} to {epoch_now}");
        }
        self.0 = now;
        self.0.values().map(|(offset, _)| offset).sum()
    }
}

async fn owned(service: &Service, expected: &[(Uuid, i64)]) {
    let expected: BTreeMap<Uuid, i64> = expected.iter().copied().collect();
    eventually(PATIENCE, async || service.owners().await == expected).await;
}

pub async fn a_consumer_paused_beyond_its_lease_writes_nothing(topic: Topic) {
    let service = Service::new().await;
    let mut watch = Watch::default();
    let gate = Gate::new(service.store());
    // Without an inbox: only the fence keeps a record from taking effect twice.
    let paused = Process::consumer::<false>(Arc::<Gate>::clone(&gate), &topic);
    let mut total = publish(&topic, 0..5).await;
    eventually(PATIENCE, async || watch.look(&service).await == total).await;

    gate.close();
    total += publish(&topic, 5..10).await;
    eventually(PATIENCE, async || gate.waiting() > 0).await;
    let before = watch.look(&service).await;
    let epochs = service.offsets().await;
    // It has decided and would commit now. Its lease ends; somebody else comes.
    let other = Process::consumer::<false>(service.store(), &topic);
    eventually(PATIENCE, async || watch.look(&service).await == total).await;
    assert!(before < total, "the paused one had committed before it was paused");
    let now = service.offsets().await;
    assert!(now.iter().all(|(partition, (_, epoch))| *epoch > epochs[partition].1), "not taken over: {now:?}");
    owned(&service, &[(other.owner, i64::from(PARTITIONS))]).await;
    assert_each_once(&service, 0..10).await;

    let refused = gate.refused();
    gate.open();
    eventually(PATIENCE, async || gate.refused() > refused).await;
    watch.look(&service).await;
    assert_each_once(&service, 0..10).await;

    // Awake, it is a member again and works on with its share.
    owned(&service, &[(paused.owner, 2), (other.owner, 2)]).await;
    total += publish(&topic, 10..15).await;
    eventually(PATIENCE, async || watch.look(&service).await == total).await;
    assert_each_once(&service, 0..15).await;
}

pub async fn two_instances_share_and_one_takes_over(topic: Topic) {
    let service = Service::new().await;
    let mut watch = Watch::default();
    let first = Process::consumer::<false>(service.store(), &topic);
    owned(&service, &[(first.owner, 4)]).await;
    let mut total = publish(&topic, 0..5).await;
    let second = Process::consumer::<false>(service.store(), &topic);
    owned(&service, &[(first.owner, 2), (second.owner, 2)]).await;
    total += publish(&topic, 5..10).await;
    eventually(PATIENCE, async || watch.look(&service).await == total).await;

    // One that is asked to stop gives its share up; one that is killed is waited for.
    let owner = second.owner;
    first.stop().await;
    total += publish(&topic, 10..15).await;
    owned(&service, &[(owner, 4)]).await;
    eventually(PATIENCE, async || watch.look(&service).await == total).await;
    let third = Process::consumer::<false>(service.store(), &topic);
    owned(&service, &[(owner, 2), (third.owner, 2)]).await;
    second.kill().await;
    total += publish(&topic, 15..20).await;
    owned(&service, &[(third.owner, 4)]).await;
    eventually(PATIENCE, async || watch.look(&service).await == total).await;
    assert_each_once(&service, 0..20).await;
}
