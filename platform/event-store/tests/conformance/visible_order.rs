//! The visible order: what relays and projections follow.

use std::collections::BTreeMap;

use event_store::{Cursor, Error, EventStore, RecordedEvent, UnitOfWork};
use futures::future::join_all;
use testkit::eventually;

use crate::fixture::{Fixture, PATIENCE, append, event, load};

/// Pages from the start until `count` events have come.
async fn follow(store: &dyn EventStore, limit: usize, count: usize) -> Vec<RecordedEvent> {
    let mut seen: Vec<RecordedEvent> = Vec::new();
    eventually(PATIENCE, async || {
        loop {
            let after = seen.last().map_or_else(Cursor::default, |event| event.cursor);
            let page = store.read_after(after, limit).await.unwrap();
            assert!(page.events.len() <= limit);
            let full = page.events.len() == limit;
            seen.extend(page.events);
            if !full {
                break seen.len() >= count;
            }
        }
    })
    .await;
    seen
}

fn assert_ordered(events: &[RecordedEvent]) {
    let mut heads: BTreeMap<&str, u64> = BTreeMap::new();
    for pair in events.windows(2) {
        assert!(pair[0].cursor < pair[1].cursor, "{:?} before {:?}", pair[0].cursor, pair[1].cursor);
    }
    for event in events {
        let head = heads.entry(&event.aggregate_id).or_default();
        assert_eq!(event.sequence, *head + 1, "of {}", event.aggregate_id);
        *head = event.sequence;
    }
}

pub async fn pages_skip_nothing(store: Fixture) {
    assert!(store.read_after(Cursor::default(), 10).await.unwrap().events.is_empty());
    for n in 0..5 {
        let events = (0..=n).map(event).collect();
        store.append(append(&format!("s{n}"), 0, events)).await.unwrap();
    }
    let by_twos = follow(&*store, 2, 15).await;
    assert_ordered(&by_twos);
    let at_once = follow(&*store, 100, 15).await;
    let cursors = |events: &[RecordedEvent]| events.iter().map(|event| event.cursor).collect::<Vec<_>>();
    assert_eq!(cursors(&by_twos), cursors(&at_once));
    assert_eq!(by_twos.len(), 15);
    assert!(store.read_after(by_twos[14].cursor, 10).await.unwrap().events.is_empty());
}

pub async fn pages_keep_order_under_concurrent_writers(store: Fixture) {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 25;
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| {
            let store = store.store.clone();
            tokio::spawn(async move {
                for n in 0..APPENDS {
                    // Three streams that all share, one that is its own.
                    let id = if n % 2 == 0 { format!("shared {}", n % 3) } else { format!("own {writer}") };
                    write(&*store, &id, writer, n).await;
                }
            })
        })
        .collect();
    let total = usize::try_from(WRITERS * APPENDS * 2).unwrap();
    let seen = follow(&*store, 7, total).await;
    for writer in join_all(writers).await {
        writer.unwrap();
    }
    assert_eq!(seen.len(), total);
    assert_ordered(&seen);
}

/// Two events, half of the time as a unit of work.
async fn write(store: &dyn EventStore, id: &str, writer: u64, n: u64) {
    loop {
        let head = load(store, id).await.len() as u64;
        let appends = append(id, head, vec![event(writer), event(n)]);
        let answer = if (writer + n).is_multiple_of(2) {
            store.append(appends).await.map(|_| ())
        } else {
            store.commit(UnitOfWork { appends: vec![appends], ..UnitOfWork::default() }).await
        };
        match answer {
            Ok(()) => return,
            Err(Error::Conflict { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

pub async fn an_append_stands_behind_what_was_committed_before(store: Fixture) {
    let mut last = Cursor::default();
    for n in 0..10 {
        let cursor = store.append(append(&format!("s{n}"), 0, vec![event(n)])).await.unwrap();
        assert!(cursor > last);
        last = cursor;
    }
    // A reader that has passed an append's cursor has passed its events.
    let seen = follow(&*store, 3, 10).await;
    assert_eq!(seen.last().map(|event| event.cursor), Some(last));
}
