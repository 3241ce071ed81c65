//! Leases: fair shares, takeovers, and no effects of whoever lost one.

use std::collections::BTreeMap;

use broker::TopicPartition;
use event_store::{Error, EventStore, Lease, OffsetAdvance, UnitOfWork};
use futures::future::join_all;
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{Fixture, LONG, PATIENCE, SHORT, append, event, load, partitions};

const CONSUMER: &str = "depot";

async fn claim(store: &dyn EventStore, owner: Uuid, count: i32) -> Vec<Lease> {
    store.claim(CONSUMER, owner, &partitions("parcels", count), LONG).await.unwrap()
}

fn epochs(leases: &[Lease]) -> BTreeMap<TopicPartition, i64> {
    leases.iter().map(|lease| (lease.partition.clone(), lease.epoch)).collect()
}

fn moving(lease: &Lease, to: i64) -> UnitOfWork {
    UnitOfWork { offsets: vec![OffsetAdvance { lease: lease.clone(), to }], ..UnitOfWork::default() }
}

pub async fn partitions_are_shared_fairly(store: Fixture) {
    let [a, b, c] = std::array::from_fn(|_| Uuid::now_v7());
    let alone = claim(&*store, a, 6).await;
    assert_eq!(alone.len(), 6);
    assert!(alone.iter().all(|lease| lease.consumer == CONSUMER && lease.next_offset == 0));
    // All are held; the next renewal of the first one gives half of them up.
    assert_eq!(claim(&*store, b, 6).await, []);
    let half = claim(&*store, a, 6).await;
    assert_eq!(half.len(), 3);
    let before = epochs(&alone);
    assert!(epochs(&half).iter().all(|(partition, epoch)| before[partition] == *epoch), "renewed, not claimed again");
    let other_half = claim(&*store, b, 6).await;
    assert_eq!(other_half.len(), 3);
    assert!(epochs(&other_half).iter().all(|(partition, epoch)| before[partition] < *epoch), "claimed from another");

    assert_eq!(claim(&*store, c, 6).await, []);
    let mut all = BTreeMap::new();
    for owner in [a, b, c] {
        let third = claim(&*store, owner, 6).await;
        assert_eq!(third.len(), 2);
        all.extend(epochs(&third));
    }
    assert_eq!(all.len(), 6, "nobody's partition is another's");
}

pub async fn what_cannot_be_divided_evenly_leaves_nobody_out(store: Fixture) {
    let owners: [Uuid; 3] = std::array::from_fn(|_| Uuid::now_v7());
    let mut held = BTreeMap::new();
    // One after another: four; then two and two; then one has to give to the third.
    for round in 0..4 {
        for owner in owners {
            held.insert(owner, epochs(&claim(&*store, owner, 4).await));
        }
        let counts: Vec<usize> = held.values().map(BTreeMap::len).collect();
        assert!(round < 2 || (counts.iter().sum::<usize>() == 4 && !counts.contains(&0)), "{round}: {counts:?}");
    }
    for owner in owners {
        assert_eq!(held[&owner], epochs(&claim(&*store, owner, 4).await), "it stays as it is");
    }
}

pub async fn more_owners_than_shares_leave_somebody_waiting(store: Fixture) {
    let owners: Vec<Uuid> = (0..3).map(|_| Uuid::now_v7()).collect();
    assert_eq!(claim(&*store, owners[0], 1).await.len(), 1);
    for owner in &owners[1..] {
        assert_eq!(claim(&*store, *owner, 1).await.len(), 0);
    }
    assert_eq!(claim(&*store, owners[0], 1).await.len(), 1, "who has it keeps it");
}

pub async fn an_expired_lease_is_taken_over_and_its_holder_writes_nothing(store: Fixture) {
    let (zombie, heir) = (Uuid::now_v7(), Uuid::now_v7());
    let wanted = partitions("parcels", 2);
    let old = store.claim(CONSUMER, zombie, &wanted, SHORT).await.unwrap();
    assert_eq!(old.len(), 2);
    let new = eventually(PATIENCE, async || Some(claim(&*store, heir, 2).await).filter(|held| held.len() == 2)).await;
    assert!(epochs(&new).iter().all(|(partition, epoch)| epochs(&old)[partition] < *epoch));

    let work = UnitOfWork { appends: vec![append("a", 0, vec![event(1)])], ..moving(&old[0], 5) };
    assert!(matches!(store.commit(work).await, Err(Error::LeaseLost { .. })));
    assert!(load(&*store, "a").await.is_empty());
    // The heir is not disturbed, and the zombie waits its turn as everybody does.
    let lease = new.iter().find(|lease| lease.partition == old[0].partition).unwrap();
    store.commit(moving(lease, 5)).await.unwrap();
    assert!(claim(&*store, zombie, 2).await.is_empty());
}

pub async fn a_renewed_lease_keeps_epoch_and_offset(store: Fixture) {
    let owner = Uuid::now_v7();
    let first = claim(&*store, owner, 1).await;
    store.commit(moving(&first[0], 42)).await.unwrap();
    let renewed = claim(&*store, owner, 1).await;
    assert_eq!(renewed, [Lease { next_offset: 42, ..first[0].clone() }]);
}

pub async fn a_released_lease_is_free_at_once(store: Fixture) {
    let (a, b) = (Uuid::now_v7(), Uuid::now_v7());
    let old = claim(&*store, a, 3).await;
    store.commit(moving(&old[0], 7)).await.unwrap();
    assert_eq!(claim(&*store, b, 3).await, []);
    store.release(CONSUMER, a).await.unwrap();
    let new = claim(&*store, b, 3).await;
    assert_eq!(new.len(), 3, "nor does a count as a member any more");
    let taken = new.iter().find(|lease| lease.partition == old[0].partition).unwrap();
    assert_eq!((taken.next_offset, taken.epoch), (7, old[0].epoch + 1));
}

pub async fn offsets_never_fall(store: Fixture) {
    let owner = Uuid::now_v7();
    let first = claim(&*store, owner, 1).await.remove(0);
    store.commit(moving(&first, 5)).await.unwrap();
    let now = Lease { next_offset: 5, ..first.clone() };
    for (lease, to) in [(&now, 4), (&first, 6), (&first, 5)] {
        assert!(matches!(store.commit(moving(lease, to)).await, Err(Error::LeaseLost { .. })), "{lease:?} to {to}");
    }
    store.commit(moving(&now, 5)).await.unwrap();
    assert_eq!(claim(&*store, owner, 1).await[0].next_offset, 5);
}

pub async fn consumers_do_not_share_leases(store: Fixture) {
    let wanted = partitions("parcels", 2);
    for consumer in ["one", "two"] {
        let held = store.claim(consumer, Uuid::now_v7(), &wanted, LONG).await.unwrap();
        assert_eq!(held.len(), 2);
        assert!(held.iter().all(|lease| lease.next_offset == 0));
        store.commit(moving(&held[0], 9)).await.unwrap();
    }
}

pub async fn claims_at_once_never_overlap(store: Fixture) {
    let wanted = partitions("parcels", 6);
    // Each settles on its share, whatever the order in which they come.
    let owners = (0..3).map(|_| {
        let (store, wanted, owner) = (store.store.clone(), wanted.clone(), Uuid::now_v7());
        tokio::spawn(async move {
            let (mut settled, mut held) = (0, vec![]);
            while settled < 10 {
                tokio::task::yield_now().await;
                match store.claim(CONSUMER, owner, &wanted, LONG).await {
                    Ok(now) => {
                        settled = if now.len() == 2 { settled + 1 } else { 0 };
                        held = now;
                    }
                    // Claims that wait for each other may have to try again.
                    Err(error) => assert!(error.is_transient(), "{error}"),
                }
            }
            held
        })
    });
    let held = tokio::time::timeout(PATIENCE, join_all(owners)).await.expect("settled in time");
    let mut all = BTreeMap::new();
    for leases in held {
        all.extend(epochs(&leases.unwrap()));
    }
    assert_eq!(all.len(), 6);
}
