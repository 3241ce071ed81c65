//! The hash chain: every event names the one before it, whoever appends it and however.

use event_store::{EventStore, UnitOfWork};
use futures::future::join_all;

use crate::fixture::{Fixture, append, event, load, stream, with_payload};

/// Each event's `prev_hash` is what it must be.
async fn assert_chained(store: &dyn EventStore, id: &str, events: usize) {
    let loaded = load(store, id).await;
    assert_eq!(loaded.len(), events, "of {id}");
    let mut before = stream(id).genesis();
    for event in loaded {
        assert_eq!(event.metadata.prev_hash, Some(before), "{id} event {}", event.sequence);
        before = event.hash().unwrap();
    }
}

pub async fn every_event_names_the_one_before(store: Fixture) {
    store.append(append("a", 0, vec![event(1), event(2), event(3)])).await.unwrap();
    store
        .append(append("a", 3, vec![with_payload("{ \"weighed\" : {\"grams\":1e2,\"é\":\"\\u0041\"} }")]))
        .await
        .unwrap();
    store.append(append("a", 4, vec![event(5), event(6)])).await.unwrap();
    assert_chained(&*store, "a", 6).await;
}

pub async fn so_do_those_of_a_unit_of_work(store: Fixture) {
    store.append(append("a", 0, vec![event(1)])).await.unwrap();
    let appends = vec![append("a", 1, vec![event(2)]), append("b", 0, vec![event(1), event(2)])];
    store.commit(UnitOfWork { appends, ..UnitOfWork::default() }).await.unwrap();
    store.append(append("b", 2, vec![event(3)])).await.unwrap();
    assert_chained(&*store, "a", 2).await;
    assert_chained(&*store, "b", 3).await;
}

pub async fn writers_at_once_leave_whole_chains(store: Fixture) {
    let writers = (0..8).map(|writer| {
        let store = store.store.clone();
        tokio::spawn(async move {
            for n in 0..10 {
                // Everybody's first stream, and one of their own.
                for id in ["shared".to_owned(), format!("w{writer}")] {
                    loop {
                        let head = load(&*store, &id).await.len() as u64;
                        if store.append(append(&id, head, vec![event(n), event(n)])).await.is_ok() {
                            break;
                        }
                    }
                }
            }
        })
    });
    join_all(writers).await.into_iter().for_each(|writer| writer.unwrap());
    assert_chained(&*store, "shared", 160).await;
    for writer in 0..8 {
        assert_chained(&*store, &format!("w{writer}"), 20).await;
    }
}
