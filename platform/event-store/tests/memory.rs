//! The faults that a simulation injects into the memory store.

use event_store::{Append, Cursor, Error, EventStore, MemoryStore, Metadata, NewEvent, StreamId, clock};
use uuid::Uuid;

fn append(expected: u64) -> Append {
    let id = Uuid::nil();
    let metadata = Metadata {
        event_id: id,
        correlation_id: id,
        causation_id: id,
        command_id: id,
        actor: "system".to_owned(),
        traceparent: None,
        recorded_at: Default::default(),
        prev_hash: None,
    };
    let event = NewEvent {
        event_type: "weighed".to_owned(),
        event_version: "1".to_owned(),
        payload: "{}".to_owned(),
        metadata,
    };
    let stream = StreamId { aggregate_type: "parcel", aggregate_id: "a".to_owned() };
    Append { stream, expected, events: vec![event] }
}

async fn count(store: &MemoryStore) -> usize {
    store.read_after(Cursor::default(), 100).await.unwrap().events.len()
}

#[tokio::test]
async fn a_failed_call_does_nothing() {
    let store = MemoryStore::new(clock::system());
    store.fail_next(Error::Unavailable("away".to_owned()));
    assert!(matches!(store.append(append(0)).await, Err(Error::Unavailable(_))));
    assert_eq!(count(&store).await, 0);
    store.append(append(0)).await.unwrap();
    assert_eq!(count(&store).await, 1);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_effect() {
    let store = MemoryStore::new(clock::system());
    store.fail_after_next_commit(Error::Unavailable("cut off".to_owned()));
    assert!(matches!(store.append(append(0)).await, Err(Error::Unavailable(_))));
    assert_eq!(count(&store).await, 1);
    // Trying again is safe: the expected version tells.
    assert!(matches!(store.append(append(0)).await, Err(Error::Conflict { .. })));
}
