//! The unit of work: all of it or nothing.

use broker::TopicPartition;
use event_store::{Error, EventStore, Lease, OffsetAdvance, TimerChange, UnitOfWork};
use uuid::Uuid;

use crate::fixture::{Fixture, LONG, append, event, letter, load, partitions, stream, time};

const CONSUMER: &str = "depot";

async fn leases(store: &dyn EventStore) -> Vec<Lease> {
    store.claim(CONSUMER, Uuid::now_v7(), &partitions("parcels", 2), LONG).await.unwrap()
}

/// Work with every part, for the stream `a` at `expected` and these offsets.
fn work(command: Uuid, expected: u64, offsets: Vec<OffsetAdvance>) -> UnitOfWork {
    UnitOfWork {
        appends: vec![append("a", expected, vec![event(1), event(2)]), append("b", 0, vec![event(3)])],
        inbox: vec![(CONSUMER.to_owned(), command)],
        timers: vec![set_timer(9)],
        dead_letters: vec![letter(CONSUMER, &TopicPartition::new("parcels", 0), 4, "poison")],
        offsets,
        ..UnitOfWork::default()
    }
}

fn set_timer(seconds: i64) -> TimerChange {
    TimerChange::Set { stream: stream("a"), due_at: time(seconds), traceparent: None, correlation_id: Uuid::nil() }
}

async fn timer(store: &dyn EventStore) -> Option<i64> {
    let (due, _) = store.due_timers("parcel", time(1_000), 10).await.unwrap();
    due.first().map(|timer| (timer.due_at - time(0)).num_seconds())
}

/// What is there of `work`: events of a and b, inbox, timer, letters.
async fn written(store: &dyn EventStore, command: Uuid) -> (usize, usize, bool, bool, bool) {
    (
        load(store, "a").await.len(),
        load(store, "b").await.len(),
        !store.handled(CONSUMER, &[command]).await.unwrap().is_empty(),
        timer(store).await.is_some(),
        store.has_dead_letters(CONSUMER).await.unwrap(),
    )
}

fn to(lease: &Lease, offset: i64) -> OffsetAdvance {
    OffsetAdvance { lease: lease.clone(), to: offset }
}

pub async fn a_unit_of_work_writes_all_its_parts(store: Fixture) {
    let owner = Uuid::now_v7();
    let held = store.claim(CONSUMER, owner, &partitions("parcels", 2), LONG).await.unwrap();
    let command = Uuid::now_v7();
    store.commit(work(command, 0, vec![to(&held[0], 5), to(&held[1], 7)])).await.unwrap();

    assert_eq!(written(&*store, command).await, (2, 1, true, true, true));
    let held = store.claim(CONSUMER, owner, &partitions("parcels", 2), LONG).await.unwrap();
    let mut offsets: Vec<_> = held.iter().map(|lease| (lease.partition.partition, lease.next_offset)).collect();
    offsets.sort_unstable();
    assert_eq!(offsets, [(0, 5), (1, 7)]);
}

pub async fn a_lost_lease_rolls_everything_back(store: Fixture) {
    let held = leases(&*store).await;
    let command = Uuid::now_v7();
    let mut stale = held[1].clone();
    stale.epoch -= 1;
    let mut moved = held[1].clone();
    moved.next_offset = 3;
    let mut unknown = held[1].clone();
    unknown.partition = TopicPartition::new("parcels", 9);
    for bad in [stale, moved, unknown] {
        match store.commit(work(command, 0, vec![to(&held[0], 5), to(&bad, 7)])).await {
            Err(Error::LeaseLost { consumer, partition }) => {
                assert_eq!((&*consumer, partition), (CONSUMER, bad.partition));
            }
            other => panic!("{bad:?}: {other:?}"),
        }
        assert_eq!(written(&*store, command).await, (0, 0, false, false, false));
    }
    // Nor did the good offset move.
    store.commit(work(command, 0, vec![to(&held[0], 5), to(&held[1], 7)])).await.unwrap();
}

pub async fn a_conflict_rolls_everything_back(store: Fixture) {
    let held = leases(&*store).await;
    store.append(append("a", 0, vec![event(0)])).await.unwrap();
    let command = Uuid::now_v7();
    match store.commit(work(command, 0, vec![to(&held[0], 5)])).await {
        Err(Error::Conflict { stream: at, expected }) => assert_eq!((at, expected), (stream("a"), 0)),
        other => panic!("{other:?}"),
    }
    assert_eq!(written(&*store, command).await, (1, 0, false, false, false));
    store.commit(work(command, 1, vec![to(&held[0], 5)])).await.unwrap();
    assert_eq!(written(&*store, command).await, (3, 1, true, true, true));
}

pub async fn empty_work_is_no_error(store: Fixture) {
    store.commit(UnitOfWork::default()).await.unwrap();
    let held = leases(&*store).await;
    let only_an_offset = UnitOfWork { offsets: vec![to(&held[0], 3)], ..UnitOfWork::default() };
    store.commit(only_an_offset).await.unwrap();
}

pub async fn one_of_two_units_for_the_same_offset_wins(store: Fixture) {
    let held = leases(&*store).await;
    for round in 0..20 {
        let lease = Lease { next_offset: round, ..held[0].clone() };
        let commit = |name: &'static str| {
            let (store, offset) = (store.store.clone(), to(&lease, round + 1));
            let appends = vec![append(&format!("{name} {round}"), 0, vec![event(1)])];
            tokio::spawn(async move {
                store.commit(UnitOfWork { appends, offsets: vec![offset], ..Default::default() }).await
            })
        };
        let (one, two) = tokio::join!(commit("one"), commit("two"));
        let won: Vec<bool> = [one, two].into_iter().map(|answer| answer.unwrap().is_ok()).collect();
        assert_eq!(won.iter().filter(|won| **won).count(), 1, "round {round}");
        for (name, won) in ["one", "two"].into_iter().zip(won) {
            assert_eq!(load(&*store, &format!("{name} {round}")).await.len(), usize::from(won));
        }
    }
}

pub async fn the_last_change_of_a_timer_stands(store: Fixture) {
    let clear = || TimerChange::Clear { stream: stream("a") };
    let cases = [
        (vec![set_timer(5), set_timer(6)], Some(6)),
        (vec![set_timer(7), clear()], None),
        (vec![clear(), set_timer(8)], Some(8)),
        (vec![set_timer(1), clear(), set_timer(9)], Some(9)),
        (vec![set_timer(1), clear()], None),
    ];
    for (timers, stands) in cases {
        let shown = format!("{timers:?}");
        store.commit(UnitOfWork { timers, ..UnitOfWork::default() }).await.unwrap();
        assert_eq!(timer(&*store).await, stands, "{shown}");
    }
}
