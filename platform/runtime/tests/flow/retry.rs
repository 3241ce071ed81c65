//! Dead letters that an operator wants handled again: in their order, each once, by whoever holds their partition.

use std::sync::Arc;

use event_store::{Cursor, EventStore, LetterKey, MemoryStore, Mend, Operation, UnitOfWork, clock};
use testkit::eventually;

use crate::fixture::{CONSUMER, PATIENCE, Process, Service, Topic, commands, message, origin, record};
use crate::tally::{Command, NUMBER_ADDED, NUMBER_MAX, Tally};

/// A poison that an edit can mend, and what waits behind it.
async fn poisoned(store: &Arc<dyn EventStore>, topic: &Topic, key: &str, followers: u64) {
    topic.publish([message(key, 1), record(key, NUMBER_ADDED, "{"), message("good", 1)]).await;
    topic.publish((3..3 + followers).map(|number| message(key, number))).await;
    let expected = usize::try_from(followers).expect("few") + 1;
    eventually(PATIENCE, async || letters(store, topic, key).await.len() == expected).await;
}

fn of(topic: &Topic, key: &str) -> LetterKey {
    LetterKey { consumer: CONSUMER.to_owned(), topic: topic.name.to_owned(), key: key.to_owned() }
}

async fn letters(store: &Arc<dyn EventStore>, topic: &Topic, key: &str) -> Vec<event_store::Letter> {
    store.letters(&of(topic, key), 10_000).await.expect("letters")
}

async fn numbers(store: &Arc<dyn EventStore>, id: &str) -> Vec<u64> {
    commands(Arc::clone(store)).load::<Tally>(id).await.expect("a tally").0.numbers
}

/// As an operator does it: with the record of the act.
async fn mend(store: &Arc<dyn EventStore>, mends: Vec<Mend>) {
    let operation = Operation { act: "mended".to_owned(), target: serde_json::Value::Null, reason: None };
    let appends = vec![operation.append("operator:ann", clock::system().as_ref())];
    store.commit(UnitOfWork { appends, mends, ..UnitOfWork::default() }).await.expect("mended");
}

async fn edit(store: &Arc<dyn EventStore>, topic: &Topic, key: &str, value: &str) {
    let id = letters(store, topic, key).await[0].id();
    mend(store, vec![Mend::Edit { id, value: value.as_bytes().to_vec() }]).await;
}

/// Each test runs on both stores.
async fn stores() -> (Service, [Arc<dyn EventStore>; 2]) {
    let service = Service::new().await;
    let memory: Arc<dyn EventStore> = Arc::new(MemoryStore::new(clock::system()));
    let stores = [service.store(), memory];
    (service, stores)
}

pub async fn a_corrected_letter_and_its_followers_are_handled_in_order(topic: Topic) {
    let (_service, stores) = stores().await;
    for (n, store) in stores.iter().enumerate() {
        let key = format!("bad-{n}");
        let _consumer = Process::consumer::<true>(Arc::clone(store), &topic);
        poisoned(store, &topic, &key, 3).await;
        edit(store, &topic, &key, r#"{"number":2}"#).await;
        mend(store, vec![Mend::Retry(of(&topic, &key))]).await;
        eventually(PATIENCE, async || letters(store, &topic, &key).await.is_empty()).await;
        assert_eq!(numbers(store, &key).await, [1, 2, 3, 4, 5]);
        // The key is as good as any again.
        topic.publish([message(&key, 6)]).await;
        eventually(PATIENCE, async || numbers(store, &key).await == [1, 2, 3, 4, 5, 6]).await;
        assert!(store.retries(CONSUMER, 10).await.expect("retries").is_empty());
    }
}

pub async fn a_retry_in_vain_leaves_the_order_as_it_was(topic: Topic) {
    let (_service, stores) = stores().await;
    for (n, store) in stores.iter().enumerate() {
        let key = format!("bad-{n}");
        let _consumer = Process::consumer::<true>(Arc::clone(store), &topic);
        poisoned(store, &topic, &key, 2).await;
        // Readable now, but refused by the aggregate.
        edit(store, &topic, &key, &format!(r#"{{"number":{}}}"#, NUMBER_MAX + 1)).await;
        mend(store, vec![Mend::Retry(of(&topic, &key))]).await;
        eventually(PATIENCE, async || store.retries(CONSUMER, 10).await.expect("retries").is_empty()).await;
        let left = letters(store, &topic, &key).await;
        let told: Vec<_> = left.iter().map(|letter| (letter.letter.parked, letter.attempts > 1)).collect();
        assert_eq!(told, [(false, true), (true, false), (true, false)]);
        assert!(left[0].letter.reason.contains("is too large"), "{}", left[0].letter.reason);
        assert_eq!(numbers(store, &key).await, [1]);
        // What comes meanwhile waits, too.
        topic.publish([message(&key, 9)]).await;
        eventually(PATIENCE, async || letters(store, &topic, &key).await.len() == 4).await;
    }
}

pub async fn a_second_poison_stops_the_release_where_it_stands(topic: Topic) {
    let (_service, stores) = stores().await;
    for (n, store) in stores.iter().enumerate() {
        let key = format!("bad-{n}");
        let _consumer = Process::consumer::<true>(Arc::clone(store), &topic);
        poisoned(store, &topic, &key, 1).await;
        topic.publish([message(&key, NUMBER_MAX + 1), message(&key, 7)]).await;
        eventually(PATIENCE, async || letters(store, &topic, &key).await.len() == 4).await;
        // Given up: those behind it go on.
        let dead = letters(store, &topic, &key).await[0].id();
        mend(store, vec![Mend::Remove(dead), Mend::Retry(of(&topic, &key))]).await;
        eventually(PATIENCE, async || letters(store, &topic, &key).await.len() == 2).await;
        assert_eq!(numbers(store, &key).await, [1, 3]);
        let left = letters(store, &topic, &key).await;
        assert_eq!(left.iter().map(|letter| letter.letter.parked).collect::<Vec<_>>(), [false, true]);
    }
}

pub async fn a_key_with_more_letters_than_a_batch_is_released_whole(topic: Topic) {
    let (_service, stores) = stores().await;
    for (n, store) in stores.iter().enumerate() {
        let key = format!("bad-{n}");
        let consumer = Process::consumer::<false>(Arc::clone(store), &topic);
        // The usual batch is of 500.
        poisoned(store, &topic, &key, 900).await;
        edit(store, &topic, &key, r#"{"number":2}"#).await;
        mend(store, vec![Mend::Retry(of(&topic, &key))]).await;
        // Killed somewhere on the way, and gone on with by another: nothing is handled twice.
        eventually(PATIENCE, async || numbers(store, &key).await.len() > 1).await;
        consumer.kill().await;
        let _another = Process::consumer::<false>(Arc::clone(store), &topic);
        eventually(PATIENCE, async || letters(store, &topic, &key).await.is_empty()).await;
        let expected: Vec<u64> = (1..=902).collect();
        assert_eq!(numbers(store, &key).await, expected);
    }
}

pub async fn an_act_and_its_record_are_one_and_the_relay_passes_it_by(topic: Topic) {
    let (_service, stores) = stores().await;
    for (n, store) in stores.iter().enumerate() {
        let (id, commands) = (format!("tally-{n}"), commands(Arc::clone(store)));
        let operation = Operation { act: "added".to_owned(), target: serde_json::Value::Null, reason: None };
        let refused = Command::Add(NUMBER_MAX + 1);
        let refused = commands.operate::<Tally>(&id, &origin(), refused, &operation, &|_, _| None, |_, _| None).await;
        assert!(refused.is_err(), "{refused:?}");
        let before = topic.records().await.len();
        commands
            .operate::<Tally>(&id, &origin(), Command::Add(1), &operation, &|_, _| None, |_, _| None)
            .await
            .expect("added");
        let read = async || store.read_after(Cursor::default(), 10).await.expect("a page").events;
        eventually(PATIENCE, async || read().await.len() == 2).await;
        let events = read().await;
        assert_eq!(events.iter().map(event_store::RecordedEvent::is_operation).collect::<Vec<_>>(), [false, true]);
        assert_eq!(events[0].cursor.transaction_id, events[1].cursor.transaction_id);

        let relay = Process::relay(Arc::clone(store), Arc::clone(&topic.broker), topic.name);
        let end = events[1].cursor;
        eventually(PATIENCE, async || store.checkpoint(runtime::relay::FOLLOWER).await.expect("a place") == end).await;
        assert_eq!(topic.records().await.len(), before + 1);
        relay.stop().await;
    }
}
