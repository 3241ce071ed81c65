//! Streams: append, load, conflicts.

use event_store::{Append, Error, History, StreamId};
use futures::future::join_all;

use crate::fixture::{Fixture, PATIENCE, append, event, load, stream, with_payload};

pub async fn appended_events_load_as_written(store: Fixture) {
    let events = vec![event(1), event(2)];
    store.append(append("a", 0, events.clone())).await.unwrap();
    store.append(append("a", 2, vec![event(3)])).await.unwrap();

    let loaded = load(&*store, "a").await;
    assert_eq!(loaded.iter().map(|event| event.sequence).collect::<Vec<_>>(), [1, 2, 3]);
    for (loaded, written) in loaded.iter().zip(&events) {
        assert_eq!((&*loaded.aggregate_type, &*loaded.aggregate_id), ("parcel", "a"));
        assert_eq!((&loaded.event_type, &loaded.event_version), (&written.event_type, &written.event_version));
        assert_eq!(loaded.payload, written.payload);
        assert_eq!(loaded.metadata, written.metadata);
    }
    let after: Vec<_> = store.load(&[(stream("a"), 2)]).await.unwrap().remove(0);
    assert_eq!(after.iter().map(|event| event.sequence).collect::<Vec<_>>(), [3]);
}

pub async fn loads_answer_in_the_order_asked(store: Fixture) {
    for (id, count) in [("a", 1), ("b", 2), ("c", 3)] {
        let events = (0..count).map(event).collect();
        store.append(append(id, 0, events)).await.unwrap();
    }
    let other = StreamId { aggregate_type: "letter", aggregate_id: "a".to_owned() };
    store.append(Append { stream: other.clone(), expected: 0, events: vec![event(9)] }).await.unwrap();

    let asked =
        [(stream("c"), 1), (stream("nobody"), 0), (stream("a"), 0), (other, 0), (stream("b"), 2), (stream("c"), 0)];
    let loaded = store.load(&asked).await.unwrap();
    assert_eq!(loaded.iter().map(Vec::len).collect::<Vec<_>>(), [2, 0, 1, 1, 0, 3]);
    assert_eq!(loaded[3][0].aggregate_type, "letter");
    assert!(store.load(&[]).await.unwrap().is_empty());
}

pub async fn histories_asked_for_at_once_are_each_their_own(store: Fixture) {
    for n in 0..40 {
        store.append(append(&format!("h{n}"), 0, (0..=n).map(event).collect())).await.unwrap();
    }
    // More than one group takes, some twice, some of streams that are not there.
    let asked = (0..600).map(|n| {
        let (id, after) = (format!("h{}", n % 50), n % 3);
        let store = store.store.clone();
        tokio::spawn(async move { (n % 50, after, store.history(stream(&id), after).await) })
    });
    for answer in join_all(asked).await {
        let (n, after, history) = answer.unwrap();
        let all = if n < 40 { (0..=n).collect::<Vec<_>>() } else { Vec::new() };
        let skipped = usize::try_from(after).unwrap();
        let payloads = all.into_iter().skip(skipped).map(|n| event(n).payload).collect::<Vec<_>>();
        assert_eq!(history.unwrap(), History { after, payloads, evolved: false }, "h{n} after {after}");
    }
}

pub async fn a_history_sees_what_was_committed_before(store: Fixture) {
    let writers = (0..8).map(|n| {
        let store = store.store.clone();
        tokio::spawn(async move {
            let id = format!("own {n}");
            for head in 0..25 {
                store.append(append(&id, head, vec![event(0)])).await.unwrap();
                let seen = store.history(stream(&id), 0).await.unwrap().payloads.len() as u64;
                assert_eq!(seen, head + 1);
            }
        })
    });
    for writer in join_all(writers).await {
        writer.unwrap();
    }
}

pub async fn a_stale_append_conflicts(store: Fixture) {
    store.append(append("a", 0, vec![event(1), event(2)])).await.unwrap();
    for expected in [0, 1] {
        match store.append(append("a", expected, vec![event(3)])).await {
            Err(Error::Conflict { stream: at, expected: seen }) => {
                assert_eq!((at, seen), (stream("a"), expected));
            }
            other => panic!("expected {expected}: {other:?}"),
        }
    }
    assert_eq!(load(&*store, "a").await.len(), 2);
}

pub async fn a_conflict_fails_only_its_own_append(store: Fixture) {
    store.append(append("old", 0, vec![event(0)])).await.unwrap();
    // A quarter of them wants the same place, another quarter a place long taken.
    let appends = (0..200).map(|n| {
        let store = store.store.clone();
        let (id, wanted) = match n % 4 {
            0 => ("hot".to_owned(), "one of all"),
            1 => ("old".to_owned(), "none"),
            _ => (format!("own {n}"), "each"),
        };
        async move {
            (wanted, tokio::spawn(async move { store.append(append(&id, 0, vec![event(n)])).await }).await.unwrap())
        }
    });
    let answers = join_all(appends).await;
    let succeeded = |wanted| answers.iter().filter(|(group, answer)| *group == wanted && answer.is_ok()).count();
    assert_eq!((succeeded("one of all"), succeeded("none"), succeeded("each")), (1, 0, 100));
    assert!(answers.iter().all(|(_, answer)| matches!(answer, Ok(_) | Err(Error::Conflict { .. }))));

    assert_eq!(load(&*store, "hot").await.len(), 1);
    assert_eq!(load(&*store, "old").await.len(), 1);
    let own: Vec<_> = (0..200).filter(|n| n % 4 > 1).map(|n| (stream(&format!("own {n}")), 0)).collect();
    assert!(store.load(&own).await.unwrap().iter().all(|events| events.len() == 1));
}

pub async fn writers_that_try_again_leave_no_gap(store: Fixture) {
    let writers = (0..20).map(|n| {
        let store = store.store.clone();
        tokio::spawn(tokio::time::timeout(PATIENCE, async move {
            loop {
                let head = load(&*store, "hot").await.len() as u64;
                // Two at once now and then.
                let events = (0..=n % 2).map(|_| event(n)).collect();
                match store.append(append("hot", head, events)).await {
                    Ok(_) => break,
                    Err(Error::Conflict { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
        }))
    });
    for writer in join_all(writers).await {
        writer.unwrap().expect("written in time");
    }
    let sequences: Vec<u64> = load(&*store, "hot").await.iter().map(|event| event.sequence).collect();
    assert_eq!(sequences, (1..=30).collect::<Vec<_>>());
}

pub async fn payloads_come_back_as_they_were(store: Fixture) {
    let large = format!(r#"{{"text":"{}"}}"#, "x".repeat(100 << 10));
    let payloads =
        [large.as_str(), r#"{"text":"žluťoučký кінь 🐴 '; DROP"}"#, r#"{ "price": 1.10,  "nul": "\u0000" }"#, "null"];
    let id = "ид 🐴 'quoted' \"{},\\";
    store.append(append(id, 0, payloads.iter().map(|payload| with_payload(payload)).collect())).await.unwrap();
    let loaded = load(&*store, id).await;
    assert_eq!(loaded.iter().map(|event| event.payload.as_str()).collect::<Vec<_>>(), payloads);
    assert_eq!(loaded[0].aggregate_id, id);
}

pub async fn commits_wake_followers(store: Fixture) {
    let mut commits = store.commits();
    commits.mark_unchanged();
    store.append(append("a", 0, vec![event(1)])).await.unwrap();
    tokio::time::timeout(PATIENCE, commits.changed()).await.expect("woken").unwrap();
    let work = event_store::UnitOfWork { appends: vec![append("a", 1, vec![event(2)])], ..Default::default() };
    store.commit(work).await.unwrap();
    tokio::time::timeout(PATIENCE, commits.changed()).await.expect("woken").unwrap();
}
