//! Forms of several versions, in the store and on a topic: earlier ones are read as what they mean today, and what a newer
//! program wrote stops whoever meets it, until it is as new.

use std::collections::BTreeSet;
use std::sync::Arc;

use event_store::{Error, StreamId, clock};
use futures::future::join_all;
use runtime::consumer::{self, Consumer};
use runtime::message::REPLAY;
use runtime::{Message, commands};
use sqlx::PgPool;
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use crate::fixture::{self, LEASE, PARTITIONS, PATIENCE, Process, Service, Topic, message, origin};
use crate::tally::{Command, Follows, NumberAdded, Tally};

/// An event as another version of the program has written it.
pub async fn written(pool: &PgPool, id: &str, sequence: i64, (event_type, version): (&str, &str), payload: &str) {
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('tally', $1, $2, $3, $4, $5::json, '{}')",
    )
    .bind(id)
    .bind(sequence)
    .bind(event_type)
    .bind(version)
    .bind(payload)
    .execute(pool)
    .await
    .expect("written");
}

/// A metric's value; 0 where there is none.
pub fn metric(name: &str, label: &str) -> u64 {
    let line = |line: &str| line.starts_with(name) && line.contains(label);
    let rendered = telemetry::metrics::render();
    let value = rendered.lines().find(|text| line(text)).and_then(|text| text.rsplit(' ').next()?.parse().ok());
    value.unwrap_or_default()
}

/// A consumer with a name of its own, as its metrics have it, that acts on this replay.
fn consumer(
    service: &Service,
    topic: &Topic,
    name: &'static str,
    replay: Option<&str>,
) -> (AbortOnDropHandle<()>, CancellationToken) {
    let usual = consumer::Options::new(name, &[topic.name], PARTITIONS);
    let options = consumer::Options { lease: LEASE, replay: replay.map(str::to_owned), ..usual };
    let (broker, handler) = (Arc::clone(&topic.broker), Arc::new(Follows::<true>));
    let consumer = Consumer::new(service.store(), broker, clock::system(), handler, options, Uuid::now_v7());
    let shutdown = CancellationToken::new();
    (AbortOnDropHandle::new(tokio::spawn(consumer.run(shutdown.clone()))), shutdown)
}

pub async fn earlier_forms_are_read_as_what_they_mean_today(topic: Topic) {
    let service = Service::new().await;
    let pool = &service.database.pool;
    written(pool, "old", 1, ("many_added", "1"), r#"{"ManyAdded":{"numbers":[1,2]}}"#).await;
    written(pool, "old", 2, ("many_added", "1"), r#"{"ManyAdded":{"numbers":[]}}"#).await;
    let commands = fixture::commands(service.store());
    let executed = commands.execute::<Tally>("old", &origin(), Command::Add(3)).await.expect("appended");
    assert_eq!((executed.state.numbers, executed.sequence), (vec![1, 2, 3], 3));

    // Alone and in groups, by one and by many: all loads fold the same.
    let loads = join_all((0..50).map(|_| commands.load::<Tally>("old"))).await;
    assert!(loads.into_iter().all(|load| load.expect("loaded").0.numbers == [1, 2, 3]));

    // One row is several messages in their order, each with an id of its own, the same at each publishing.
    let published = async |times: usize| {
        let relay = Process::relay(service.store(), Arc::clone(&topic.broker), topic.name);
        eventually(PATIENCE, async || topic.records().await.len() == 3 * times).await;
        // What the consumer records would be published, and come back to it.
        relay.stop().await;
        let messages = topic.records().await.into_iter().map(|stored| {
            let message = Message::from_record(&stored.record).expect("a message");
            (message.id, message.data::<NumberAdded>().expect("a number").number)
        });
        messages.collect::<Vec<_>>()
    };
    let once = published(1).await;
    assert_eq!(once.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(once.iter().map(|(id, _)| *id).collect::<BTreeSet<Uuid>>().len(), 3);
    let events = service.store().load(&[(StreamId::of::<Tally>("old"), 0)]).await.expect("events").remove(0);
    assert_eq!((once[0].0, once[2].0), (events[0].metadata.event_id, events[2].metadata.event_id));
    sqlx::query("DELETE FROM checkpoints").execute(pool).await.expect("set back");
    assert_eq!(published(2).await, once.repeat(2));

    // A consumer goes on from there, and takes each once.
    let _consumer = Process::consumer::<true>(service.store(), &topic);
    eventually(PATIENCE, async || service.consumed().await == 6).await;
    assert_eq!(service.tally("old").await.numbers, [1, 2, 3, 1, 2, 3]);
}

pub async fn what_a_newer_program_wrote_stops_whoever_meets_it(topic: Topic) {
    let service = Service::new().await;
    let commands = fixture::commands(service.store());
    commands.execute::<Tally>("new", &origin(), Command::Add(1)).await.expect("appended");
    written(&service.database.pool, "new", 2, ("added", "2"), r#"{"Added":{"number":2}}"#).await;

    // It could be read as if it were of today: that is a guess.
    let refused = commands.execute::<Tally>("new", &origin(), Command::Add(3)).await.expect_err("refused");
    let commands::Error::NotRecorded(error @ Error::UnknownVersion { .. }) = refused else { panic!("{refused}") };
    let position: i64 = sqlx::query_scalar("SELECT position FROM events WHERE event_version = '2'")
        .fetch_one(&service.database.pool)
        .await
        .expect("a position");
    let told =
        format!("event 2 of tally/new at position {position}: added is of version 2, and this program knows it up");
    assert!(error.to_string().contains(&told), "{error}");
    let loads = join_all((0..50).map(|_| commands.load::<Tally>("new"))).await;
    assert!(loads.into_iter().all(|load| matches!(load, Err(Error::UnknownVersion { .. }))));

    let relay = Process::relay(service.store(), Arc::clone(&topic.broker), topic.name);
    let stopped = r#"{follower="relay",service="source"}"#;
    eventually(PATIENCE, async || metric("follower_stopped_by_version", stopped) == 1).await;
    let beyond = service.store().checkpoint("relay").await.expect("read");
    let events = service.store().load(&[(StreamId::of::<Tally>("new"), 1)]).await.expect("events").remove(0);
    assert!(beyond < events[0].cursor, "it was not passed by");
    // What was recorded before it is published, although both were read at once.
    eventually(PATIENCE, async || topic.records().await.len() == 1).await;

    // A program that is as new (here: the event is as old) goes on where it stood, up to what is still newer: a type
    // that nobody here has heard of.
    written(&service.database.pool, "new", 3, ("gift_wrapped", "1"), r#"{"GiftWrapped":{}}"#).await;
    relay.stop().await;
    let known = async |what: &str| {
        let change = format!("UPDATE events SET event_type = 'added', event_version = '1', {what}");
        sqlx::query(&change).execute(&service.database.pool).await.expect("changed");
    };
    known("payload = payload WHERE event_version = '2'").await;
    let relay = Process::relay(service.store(), Arc::clone(&topic.broker), topic.name);
    eventually(PATIENCE, async || topic.records().await.len() == 2).await;
    eventually(PATIENCE, async || metric("follower_stopped_by_version", stopped) == 1).await;
    relay.stop().await;
    known(r#"payload = '{"Added":{"number":3}}' WHERE event_type = 'gift_wrapped'"#).await;
    let _relay = Process::relay(service.store(), Arc::clone(&topic.broker), topic.name);
    eventually(PATIENCE, async || metric("follower_stopped_by_version", stopped) == 0).await;
    eventually(PATIENCE, async || topic.records().await.len() == 3).await;
}

pub async fn a_message_of_a_newer_form_stops_the_consumer_before_it(topic: Topic) {
    let service = Service::new().await;
    let mut newer = message("a", 2);
    newer.headers.insert("ce_dataversion".to_owned(), "2".into());
    topic.publish([message("a", 1)]).await;
    let name: &'static str = Box::leak(format!("newer_{}", Uuid::now_v7().simple()).into_boxed_str());
    let (_running, _) = consumer(&service, &topic, name, None);
    eventually(PATIENCE, async || service.tally("a").await.numbers == [1]).await;
    topic.publish([newer, message("a", 3)]).await;
    let stopped = format!("follower=\"{name}\"");
    eventually(PATIENCE, async || metric("follower_stopped_by_version", &stopped) == 1).await;
    let offset: i64 = sqlx::query_scalar("SELECT sum(next_offset)::bigint FROM consumer_offsets WHERE consumer = $1")
        .bind(name)
        .fetch_one(&service.database.pool)
        .await
        .expect("offsets");
    let letters: i64 = sqlx::query_scalar("SELECT count(*) FROM dead_letters")
        .fetch_one(&service.database.pool)
        .await
        .expect("letters");
    assert_eq!((offset, letters), (1, 0), "neither skipped nor put aside");
    assert_eq!(service.tally("a").await.numbers, [1]);
}

pub async fn a_replayed_record_is_acted_on_within_its_own_replay_alone(topic: Topic) {
    let service = Service::new().await;
    let replayed = |number, replay: &str| {
        let mut record = message("a", number);
        record.headers.insert(REPLAY.to_owned(), replay.to_owned().into());
        record
    };
    topic.publish([message("a", 1), replayed(2, "mine"), replayed(3, "another"), message("a", 4)]).await;
    let name =
        |text: &str| -> &'static str { Box::leak(format!("{text}_{}", Uuid::now_v7().simple()).into_boxed_str()) };
    let live = name("live");
    let (_running, _) = consumer(&service, &topic, live, None);
    let refused = |consumer: &str| metric("consumer_replays_refused_total", &format!("consumer=\"{consumer}\""));
    eventually(PATIENCE, async || service.tally("a").await.numbers == [1, 4] && refused(live) == 2).await;

    let (other, own) = (Service::new().await, name("own"));
    let (_running, _) = consumer(&other, &topic, own, Some("mine"));
    eventually(PATIENCE, async || other.tally("a").await.numbers == [1, 2, 4] && refused(own) == 1).await;
}
