//! Answers kept under idempotency keys: with their effect, or not at all.

use std::time::Duration;

use event_store::{Answer, Error, EventStore, UnitOfWork};

use crate::fixture::{Fixture, append, event, load};

fn answer(scope: &str, key: &str, body: &str) -> Answer {
    Answer {
        scope: scope.to_owned(),
        key: key.to_owned(),
        fingerprint: vec![0, 255, 7],
        status: 201,
        headers: vec![("location".to_owned(), "/parcels/žluť".to_owned()), ("x".to_owned(), String::new())],
        body: body.as_bytes().to_vec(),
    }
}

async fn kept(store: &dyn EventStore, scope: &str, key: &str) -> Option<String> {
    let answer = store.answer(scope, key).await.unwrap()?;
    Some(String::from_utf8(answer.body).unwrap())
}

pub async fn an_answer_is_written_with_its_append(store: Fixture) {
    let first = Answer { body: vec![0, 159, 146, 150], ..answer("ann", "k", "") };
    store.append_answered(append("a", 0, vec![event(1)]), Some(first.clone())).await.unwrap();
    assert_eq!(store.answer("ann", "k").await.unwrap(), Some(first));
    // Another's key of the same name is another key.
    store.append_answered(append("b", 0, vec![event(1)]), Some(answer("bob", "k", "b"))).await.unwrap();
    assert_eq!(kept(&*store, "bob", "k").await.as_deref(), Some("b"));
    assert_eq!(store.answer("ann", "other").await.unwrap(), None);
}

pub async fn a_repeated_key_fails_only_its_own_append(store: Fixture) {
    store.append_answered(append("a", 0, vec![event(1)]), Some(answer("ann", "k0", "first"))).await.unwrap();
    let appends = (0..40).map(|n| {
        let (store, key) = (store.store.clone(), format!("k{}", n % 20));
        tokio::spawn(async move {
            let append = append(&format!("s{n}"), 0, vec![event(n)]);
            let answer = (n % 2 == 0).then(|| answer("ann", &key, "second"));
            (n, store.append_answered(append, answer).await)
        })
    });
    let mut repeated = 0;
    for appended in appends.collect::<Vec<_>>() {
        let (n, appended) = appended.await.unwrap();
        match appended {
            Ok(_) => assert_eq!(load(&*store, &format!("s{n}")).await.len(), 1),
            // The second of a group is told to decide again.
            Err(Error::Repeated | Error::Conflict { .. }) => {
                assert_eq!(n % 2, 0, "an append without a key does not fail");
                assert_eq!(load(&*store, &format!("s{n}")).await.len(), 0);
                repeated += 1;
            }
            other => panic!("{n}: {other:?}"),
        }
    }
    // k0 twice; of k2, k4 … k18 one of two.
    assert_eq!(repeated, 11);
    assert_eq!(kept(&*store, "ann", "k0").await.as_deref(), Some("first"));
}

pub async fn a_conflict_leaves_no_answer(store: Fixture) {
    store.append(append("a", 0, vec![event(1)])).await.unwrap();
    let stale = store.append_answered(append("a", 0, vec![event(2)]), Some(answer("ann", "k", "stale"))).await;
    assert!(matches!(stale, Err(Error::Conflict { .. })), "{stale:?}");
    assert_eq!(kept(&*store, "ann", "k").await, None);
    store.append_answered(append("a", 1, vec![event(2)]), Some(answer("ann", "k", "good"))).await.unwrap();
    assert_eq!(kept(&*store, "ann", "k").await.as_deref(), Some("good"));
}

pub async fn of_many_appends_under_one_key_one_is_written(store: Fixture) {
    let appends = (0..50).map(|n| {
        let store = store.store.clone();
        tokio::spawn(async move {
            let answer = answer("ann", "k", &n.to_string());
            store.append_answered(append(&format!("s{n}"), 0, vec![event(n)]), Some(answer)).await.is_ok()
        })
    });
    let mut written = Vec::new();
    for (n, appended) in appends.collect::<Vec<_>>().into_iter().enumerate() {
        let appended = appended.await.unwrap();
        assert_eq!(load(&*store, &format!("s{n}")).await.len(), usize::from(appended), "{n}");
        written.extend(appended.then(|| n.to_string()));
    }
    assert_eq!(written.len(), 1);
    assert_eq!(kept(&*store, "ann", "k").await, written.pop());
}

pub async fn a_unit_of_work_with_a_repeated_key_writes_nothing(store: Fixture) {
    let work = |id: &str, answers: Vec<Answer>| UnitOfWork {
        appends: vec![append(id, 0, vec![event(1)])],
        answers,
        ..UnitOfWork::default()
    };
    store.commit(work("a", vec![answer("ann", "k", "a"), answer("ann", "l", "b")])).await.unwrap();
    let repeated = store.commit(work("b", vec![answer("ann", "m", "c"), answer("ann", "k", "d")])).await;
    assert!(matches!(repeated, Err(Error::Repeated)), "{repeated:?}");
    assert!(load(&*store, "b").await.is_empty());
    assert_eq!(kept(&*store, "ann", "m").await, None);
    assert_eq!(kept(&*store, "ann", "k").await.as_deref(), Some("a"));
    // An answer alone, of a request that had nothing to do.
    store.commit(UnitOfWork { answers: vec![answer("ann", "m", "c")], ..UnitOfWork::default() }).await.unwrap();
    assert_eq!(kept(&*store, "ann", "m").await.as_deref(), Some("c"));
}

pub async fn old_answers_are_forgotten(store: Fixture) {
    let answers = (0..5).map(|n| answer("ann", &n.to_string(), "x")).collect();
    store.commit(UnitOfWork { answers, ..UnitOfWork::default() }).await.unwrap();
    assert_eq!(store.forget_answers(Duration::from_secs(3_600), 10).await.unwrap(), 0);
    assert_eq!(store.forget_answers(Duration::ZERO, 3).await.unwrap(), 3);
    assert_eq!(store.forget_answers(Duration::ZERO, 3).await.unwrap(), 2);
    assert_eq!(store.forget_answers(Duration::ZERO, 3).await.unwrap(), 0);
}
