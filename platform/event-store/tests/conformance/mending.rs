//! What operators do to dead letters and places, with the record of it.

use event_store::{
    Cursor, DeadLetter, Error, EventStore, Lease, LetterKey, Mend, OPERATION, OffsetAdvance, Operation, UnitOfWork,
    clock,
};
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{Fixture, LONG, PATIENCE, letter, partitions};

fn key(key: &str) -> LetterKey {
    LetterKey { consumer: "depot".to_owned(), topic: "parcels".to_owned(), key: key.to_owned() }
}

async fn put_aside(store: &dyn EventStore, offsets: &[i64]) {
    let place = partitions("parcels", 1).remove(0);
    let letter =
        |offset: &i64| DeadLetter { parked: *offset > offsets[0], ..letter("depot", &place, *offset, "poison") };
    let dead_letters = offsets.iter().map(letter).collect();
    store.commit(UnitOfWork { dead_letters, ..UnitOfWork::default() }).await.unwrap();
}

async fn mend(store: &dyn EventStore, mends: Vec<Mend>) -> Result<(), Error> {
    store.commit(UnitOfWork { mends, ..UnitOfWork::default() }).await
}

async fn offsets(store: &dyn EventStore) -> Vec<i64> {
    let letters = store.letters(&key("poison"), 10).await.unwrap();
    letters.iter().map(|letter| letter.letter.offset).collect()
}

pub async fn letters_of_a_key_come_in_order(store: Fixture) {
    put_aside(&*store, &[7, 9, 8]).await;
    let letters = store.letters(&key("poison"), 2).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.letter.offset).collect::<Vec<_>>(), [7, 8]);
    assert_eq!((letters[0].attempts, letters[0].revision), (1, 0));
    assert_eq!(letters[0].letter.record.value.as_ref(), [0, 159, 146, 150]);
    assert!(store.letters(&key("good"), 10).await.unwrap().is_empty());
}

pub async fn a_retry_is_wanted_until_it_is_done(store: Fixture) {
    put_aside(&*store, &[7]).await;
    assert!(store.retries("depot", 10).await.unwrap().is_empty());
    for _ in 0..2 {
        mend(&*store, vec![Mend::Retry(key("poison"))]).await.unwrap();
        assert_eq!(store.retries("depot", 10).await.unwrap(), [key("poison")]);
    }
    assert!(store.retries("other", 10).await.unwrap().is_empty());
    for _ in 0..2 {
        mend(&*store, vec![Mend::Retried(key("poison"))]).await.unwrap();
        assert!(store.retries("depot", 10).await.unwrap().is_empty());
    }
}

pub async fn a_letter_that_was_edited_is_another_one(store: Fixture) {
    put_aside(&*store, &[7, 8]).await;
    let seen = store.letters(&key("poison"), 1).await.unwrap().remove(0);
    mend(&*store, vec![Mend::Edit { id: seen.id(), value: b"{}".to_vec() }]).await.unwrap();
    // Whoever has read the old value must not handle it, nor give it up.
    let stale = [Mend::Remove(seen.id()), Mend::Edit { id: seen.id(), value: Vec::new() }];
    for change in stale {
        assert!(matches!(mend(&*store, vec![change]).await, Err(Error::Outdated)));
    }
    let now = store.letters(&key("poison"), 1).await.unwrap().remove(0);
    assert_eq!((now.revision, now.letter.record.value.as_ref()), (1, &b"{}"[..]));
    mend(&*store, vec![Mend::Remove(now.id())]).await.unwrap();
    assert_eq!(offsets(&*store).await, [8]);
    assert!(matches!(mend(&*store, vec![Mend::Remove(now.id())]).await, Err(Error::Outdated)));
}

pub async fn a_letter_that_is_kept_tells_why(store: Fixture) {
    put_aside(&*store, &[7, 8]).await;
    let seen = store.letters(&key("poison"), 10).await.unwrap();
    let keep = |n: usize, reason: &str, parked| Mend::Keep { id: seen[n].id(), reason: reason.to_owned(), parked };
    mend(&*store, vec![keep(0, "still not JSON", false), keep(1, "waits", true)]).await.unwrap();
    let now = store.letters(&key("poison"), 10).await.unwrap();
    let told: Vec<_> = now.iter().map(|l| (l.letter.reason.as_str(), l.letter.parked, l.attempts)).collect();
    assert_eq!(told, [("still not JSON", false, 2), ("waits", true, 0)]);
}

pub async fn what_does_not_fit_rolls_the_record_back(store: Fixture) {
    put_aside(&*store, &[7, 8]).await;
    let operation = Operation {
        act: "dead_letter_discarded".to_owned(),
        target: serde_json::json!({ "key": "poison" }),
        reason: Some("paid by hand".to_owned()),
    };
    let seen = store.letters(&key("poison"), 10).await.unwrap();
    let work = || UnitOfWork {
        appends: vec![operation.append("operator:ann", clock::system().as_ref())],
        mends: vec![Mend::Remove(seen[0].id())],
        ..UnitOfWork::default()
    };
    store.commit(work()).await.unwrap();
    assert!(matches!(store.commit(work()).await, Err(Error::Outdated)));
    // Other transactions of the server hide what is new for a moment.
    let read = async || store.read_after(Cursor::default(), 10).await.unwrap().events;
    eventually(PATIENCE, async || !read().await.is_empty()).await;
    let events = read().await;
    assert_eq!(events.len(), 1, "the act that had no effect was recorded");
    assert!(events[0].is_operation() && events[0].aggregate_type == OPERATION);
    assert_eq!(
        (events[0].event_type.as_str(), events[0].metadata.actor.as_str()),
        ("dead_letter_discarded", "operator:ann")
    );
    let recorded: Operation = serde_json::from_str(&events[0].payload).unwrap();
    assert_eq!(recorded, operation);
}

async fn held(store: &dyn EventStore, consumer: &str, owner: Uuid) -> Lease {
    let place = partitions("parcels", 1);
    store.claim(consumer, owner, &place, LONG).await.unwrap().remove(0)
}

pub async fn whoever_lost_its_lease_mends_nothing(store: Fixture) {
    put_aside(&*store, &[7]).await;
    let owner = Uuid::now_v7();
    let lease = held(&*store, "depot", owner).await;
    store.release("depot", owner).await.unwrap();
    held(&*store, "depot", Uuid::now_v7()).await;
    let letter = store.letters(&key("poison"), 1).await.unwrap().remove(0);
    let offsets = vec![OffsetAdvance { to: lease.next_offset, lease }];
    let mends = vec![Mend::Remove(letter.id())];
    let late = store.commit(UnitOfWork { mends, offsets, ..UnitOfWork::default() }).await;
    assert!(matches!(late, Err(Error::LeaseLost { .. })), "{late:?}");
    assert!(store.has_dead_letters("depot").await.unwrap());
}

pub async fn an_offset_moves_only_where_nobody_holds_it(store: Fixture) {
    let (owner, place) = (Uuid::now_v7(), partitions("parcels", 1).remove(0));
    let lease = held(&*store, "depot", owner).await;
    let advance = OffsetAdvance { lease: lease.clone(), to: 20 };
    store.commit(UnitOfWork { offsets: vec![advance], ..UnitOfWork::default() }).await.unwrap();
    let to = |from, to| Mend::MoveOffset { consumer: "depot".to_owned(), partition: place.clone(), from, to };
    assert!(matches!(mend(&*store, vec![to(20, 5)]).await, Err(Error::Outdated)), "it is held");
    store.release("depot", owner).await.unwrap();
    assert!(matches!(mend(&*store, vec![to(19, 5)]).await, Err(Error::Outdated)), "it stands elsewhere");
    mend(&*store, vec![to(20, 5)]).await.unwrap();
    let again = held(&*store, "depot", owner).await;
    assert_eq!(again.next_offset, 5);
    assert!(again.epoch > lease.epoch + 1, "whoever held it before writes nothing");
}

pub async fn a_checkpoint_goes_back_only_where_nobody_holds_its_place(store: Fixture) {
    let at = |position| Cursor { transaction_id: 900, position };
    let back = |from, to| Mend::MoveCheckpoint { follower: "relay".to_owned(), from: at(from), to: at(to) };
    assert!(matches!(mend(&*store, vec![back(5, 1)]).await, Err(Error::Outdated)), "there is none");
    let owner = Uuid::now_v7();
    held(&*store, "relay", owner).await;
    store.save_checkpoint("relay", at(5)).await.unwrap();
    assert!(matches!(mend(&*store, vec![back(5, 1)]).await, Err(Error::Outdated)), "it is held");
    store.release("relay", owner).await.unwrap();
    assert!(matches!(mend(&*store, vec![back(4, 1)]).await, Err(Error::Outdated)), "it stands elsewhere");
    mend(&*store, vec![back(5, 1)]).await.unwrap();
    assert_eq!(store.checkpoint("relay").await.unwrap(), at(1));
}
