//! What stands beside the events.

use std::collections::HashMap;

use event_store::{Cursor, EventStore, Snapshot, StreamId, TimerChange, UnitOfWork};
use uuid::Uuid;

use crate::fixture::{Fixture, letter, partitions, stream, time};

async fn change_timers(store: &dyn EventStore, timers: Vec<TimerChange>) {
    store.commit(UnitOfWork { timers, ..UnitOfWork::default() }).await.unwrap();
}

fn set(stream: StreamId, seconds: i64) -> TimerChange {
    let correlation_id = Uuid::from_u128(seconds.unsigned_abs().into());
    TimerChange::Set { stream, due_at: time(seconds), traceparent: Some(format!("trace {seconds}")), correlation_id }
}

/// The ids due at `now` and when to look again, in seconds.
async fn due(store: &dyn EventStore, now: i64, limit: usize) -> (Vec<String>, Option<i64>) {
    let (due, next) = store.due_timers("parcel", time(now), limit).await.unwrap();
    (due.into_iter().map(|timer| timer.aggregate_id).collect(), next.map(|next| (next - time(0)).num_seconds()))
}

pub async fn checkpoints_move_forward(store: Fixture) {
    let at = |transaction_id, position| Cursor { transaction_id, position };
    assert_eq!(store.checkpoint("relay").await.unwrap(), Cursor::default());
    store.save_checkpoint("relay", at(900, 5)).await.unwrap();
    store.save_checkpoint("projection", at(3, 1)).await.unwrap();
    // By number, not by text, and the transaction first.
    store.save_checkpoint("relay", at(1_000, 4)).await.unwrap();
    assert_eq!(store.checkpoint("relay").await.unwrap(), at(1_000, 4));
    store.save_checkpoint("relay", at(u64::MAX >> 1, i64::MAX)).await.unwrap();
    assert_eq!(store.checkpoint("relay").await.unwrap(), at(u64::MAX >> 1, i64::MAX));
    store.save_checkpoint("relay", at(1_000, 4)).await.unwrap();
    assert_eq!(store.checkpoint("relay").await.unwrap(), at(u64::MAX >> 1, i64::MAX), "never back");
    assert_eq!(store.checkpoint("projection").await.unwrap(), at(3, 1));
}

pub async fn timers_are_due_in_order(store: Fixture) {
    assert_eq!(due(&*store, 100, 10).await, (vec![], None));
    let other = StreamId { aggregate_type: "letter", aggregate_id: "x".to_owned() };
    let timers =
        [("late", 30), ("first", 10), ("b", 20), ("a", 20)].map(|(id, seconds)| set(stream(id), seconds)).into_iter();
    change_timers(&*store, timers.chain([set(other, 5)]).collect()).await;

    assert_eq!(due(&*store, 9, 10).await, (vec![], Some(10)));
    assert_eq!(due(&*store, 10, 10).await, (vec!["first".to_owned()], Some(20)));
    assert_eq!(due(&*store, 25, 2).await, (vec!["first".to_owned(), "a".to_owned()], Some(20)));
    let all = ["first", "a", "b", "late"].map(str::to_owned).to_vec();
    assert_eq!(due(&*store, 30, 4).await, (all, None));

    let (timers, _) = store.due_timers("letter", time(5), 1).await.unwrap();
    assert_eq!(timers[0].due_at, time(5));
    assert_eq!(timers[0].traceparent.as_deref(), Some("trace 5"));
    assert_eq!(timers[0].correlation_id, Uuid::from_u128(5));
}

pub async fn timers_move_and_clear(store: Fixture) {
    change_timers(&*store, vec![set(stream("a"), 10), set(stream("b"), 11)]).await;
    change_timers(&*store, vec![set(stream("a"), 12)]).await;
    let (timers, next) = store.due_timers("parcel", time(12), 10).await.unwrap();
    let shown: Vec<_> = timers
        .iter()
        .map(|timer| (&*timer.aggregate_id, timer.traceparent.as_deref(), timer.correlation_id.as_u128()))
        .collect();
    assert_eq!(shown, [("b", Some("trace 11"), 11), ("a", Some("trace 12"), 12)]);
    assert_eq!(next, None);
    // To clear what is not there is no error: the step may have ended without a timeout.
    let clear = |id| TimerChange::Clear { stream: stream(id) };
    change_timers(&*store, vec![clear("b"), clear("nobody")]).await;
    assert_eq!(due(&*store, 100, 10).await, (vec!["a".to_owned()], None));
}

pub async fn an_expiry_spares_a_timer_that_was_moved(store: Fixture) {
    let expire = |id, seconds| TimerChange::Expire { stream: stream(id), due_at: time(seconds) };
    change_timers(&*store, vec![set(stream("a"), 10), set(stream("b"), 10)]).await;
    change_timers(&*store, vec![set(stream("a"), 20)]).await;
    change_timers(&*store, vec![expire("a", 10), expire("b", 10), expire("nobody", 10)]).await;
    assert_eq!(due(&*store, 100, 10).await, (vec!["a".to_owned()], None));
    change_timers(&*store, vec![expire("a", 20)]).await;
    assert_eq!(due(&*store, 100, 10).await, (vec![], None));
}

pub async fn dead_letters_block_their_keys(store: Fixture) {
    let [zero, one] = [0, 1].map(|n| partitions("parcels", 2)[n].clone());
    let elsewhere = partitions("letters", 1).remove(0);
    assert!(!store.has_dead_letters("depot").await.unwrap());
    let dead_letters = vec![
        letter("depot", &zero, 8, "poison"),
        letter("depot", &zero, 7, "poison"),
        letter("depot", &one, 3, "kéy 🐴"),
        letter("depot", &elsewhere, 1, "good"),
        letter("other", &zero, 2, "good"),
    ];
    let work = UnitOfWork { dead_letters, ..UnitOfWork::default() };
    store.commit(work.clone()).await.unwrap();
    // The same again, as after a repeated delivery.
    store.commit(work).await.unwrap();

    let keys = ["poison", "good", "kéy 🐴"].map(str::to_owned);
    let blocked = store.blocked_keys("depot", "parcels", &keys).await.unwrap();
    assert_eq!(blocked, HashMap::from([("poison".to_owned(), 7), ("kéy 🐴".to_owned(), 3)]));
    assert!(store.blocked_keys("depot", "parcels", &[]).await.unwrap().is_empty());
    assert!(store.has_dead_letters("depot").await.unwrap());
    assert!(!store.has_dead_letters("nobody").await.unwrap());
}

pub async fn handled_commands_are_remembered_per_consumer(store: Fixture) {
    let [a, b, c] = std::array::from_fn(|_| Uuid::now_v7());
    let handle = |consumer: &str, ids: &[Uuid]| {
        let inbox = ids.iter().map(|id| (consumer.to_owned(), *id)).collect();
        store.commit(UnitOfWork { inbox, ..UnitOfWork::default() })
    };
    handle("depot", &[a, b]).await.unwrap();
    handle("depot", &[b, b]).await.unwrap();
    handle("other", &[c]).await.unwrap();
    let mut handled = store.handled("depot", &[c, b, a]).await.unwrap();
    handled.sort_unstable();
    let mut expected = vec![a, b];
    expected.sort_unstable();
    assert_eq!(handled, expected);
    assert!(store.handled("nobody", &[a]).await.unwrap().is_empty());
}

pub async fn the_later_snapshot_stays(store: Fixture) {
    let snapshot = |id: &str, sequence| Snapshot {
        stream: stream(id),
        sequence,
        state: format!(r#"{{"grams": {sequence}.50, "name":"žluť"}}"#),
    };
    for (id, sequence) in [("a", 10), ("a", 20), ("a", 15), ("b", 3)] {
        store.save_snapshot(snapshot(id, sequence)).await.unwrap();
    }
    let found = store.snapshots(&[stream("b"), stream("nobody"), stream("a")]).await.unwrap();
    assert_eq!(found, [Some(snapshot("b", 3)), None, Some(snapshot("a", 20))]);
    assert!(store.snapshots(&[]).await.unwrap().is_empty());
}
