//! The relay's checkpoint moves after the acks: killed in between, it publishes again.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use broker::{Broker, Error, FetchLimits, Fetched, Permit, Record, TopicPartition};
use event_store::Cursor;
use runtime::Precedence;
use runtime::relay::FOLLOWER;
use testkit::eventually;

use crate::fixture::{PATIENCE, Process, Service, Topic, commands, origin};
use crate::tally::{Command, Tally};

/// Takes what is published, and never says so.
struct Speechless {
    inner: Arc<dyn Broker>,
    taken: AtomicUsize,
}

#[async_trait]
impl Broker for Speechless {
    async fn ensure_topics(&self, topics: &[(String, i32)]) -> Result<(), Error> {
        self.inner.ensure_topics(topics).await
    }

    async fn publish(&self, permit: Permit<'_>, batch: Vec<(TopicPartition, Vec<Record>)>) -> Result<(), Error> {
        self.inner.publish(permit, batch).await?;
        self.taken.fetch_add(1, Ordering::SeqCst);
        std::future::pending().await
    }

    async fn fetch(&self, from: &TopicPartition, offset: i64, limits: FetchLimits) -> Result<Fetched, Error> {
        self.inner.fetch(from, offset, limits).await
    }

    async fn bounds(&self, of: &TopicPartition) -> Result<(i64, i64), Error> {
        self.inner.bounds(of).await
    }
}

async fn add(service: &Service, id: &str, numbers: std::ops::Range<u64>) {
    let commands = commands(service.store());
    for number in numbers {
        commands.execute::<Tally>(id, &origin(), Command::Add(number)).await.expect("appended");
    }
}

/// How many records there are, and how many of them are different messages.
async fn counted(topic: &Topic) -> (usize, usize) {
    let records = topic.records().await;
    let ids: BTreeSet<_> = records.iter().map(|stored| stored.record.headers["ce_id"].clone()).collect();
    (records.len(), ids.len())
}

pub async fn a_relay_killed_before_its_checkpoint_repeats_and_effects_happen_once(topic: Topic) {
    let (source, target) = (Service::new().await, Service::new().await);
    let _consumer = Process::consumer::<true>(target.store(), &topic);
    add(&source, "a", 0..4).await;

    // Other tests' transactions on the same server may hide some of them for a while.
    let visible = "SELECT count(*) FROM events WHERE transaction_id < pg_snapshot_xmin(pg_current_snapshot())";
    eventually(PATIENCE, async || {
        sqlx::query_scalar::<_, i64>(visible).fetch_one(&source.database.pool).await.expect("read") == 4
    })
    .await;

    // Twice, each time on the same events: no checkpoint was ever saved.
    for killed in 1..=2 {
        let broker = Arc::new(Speechless { inner: Arc::clone(&topic.broker), taken: AtomicUsize::new(0) });
        let relay = Process::relay(source.store(), Arc::<Speechless>::clone(&broker), topic.name);
        eventually(PATIENCE, async || broker.taken.load(Ordering::SeqCst) == 1).await;
        relay.kill().await;
        assert_eq!(source.store().checkpoint(FOLLOWER).await.expect("read"), Cursor::default());
        assert_eq!(counted(&topic).await, (4 * killed, 4));
    }

    add(&source, "b", 0..4).await;
    let _relay = Process::relay(source.store(), Arc::clone(&topic.broker), topic.name);
    eventually(PATIENCE, async || counted(&topic).await.1 == 8).await;
    assert_eq!(counted(&topic).await, (16, 8), "what stood behind no checkpoint was published a third time, once");
    eventually(PATIENCE, async || target.consumed().await == 16).await;
    for id in ["a", "b"] {
        assert_eq!(target.tally(id).await.numbers, [0, 1, 2, 3], "{id}");
    }
}

pub async fn of_two_relays_one_works_and_the_other_takes_over(topic: Topic) {
    let source = Service::new().await;
    let first = Process::relay(source.store(), Arc::clone(&topic.broker), topic.name);
    add(&source, "a", 0..10).await;
    eventually(PATIENCE, async || counted(&topic).await.1 == 10).await;
    let second = Process::relay(source.store(), Arc::clone(&topic.broker), topic.name);
    add(&source, "a", 10..20).await;
    eventually(PATIENCE, async || counted(&topic).await.1 == 20).await;
    first.stop().await;
    add(&source, "a", 20..30).await;
    eventually(PATIENCE, async || counted(&topic).await.1 == 30).await;
    second.stop().await;
    assert_eq!(counted(&topic).await, (30, 30), "nobody was killed, so nothing was published twice");
}

pub async fn a_crowd_of_requests_goes_before_the_relay_and_the_rest_after_it(topic: Topic) {
    let (source, precedence) = (Service::new().await, Arc::new(Precedence::default()));
    let crowd = (precedence.enter(), precedence.enter());
    add(&source, "a", 0..200).await;
    let trickle = (Duration::from_millis(50), 2);
    let _relay = Process::polite_relay(&source, &topic, &precedence, trickle, Duration::MAX);
    // Nobody starves beside a crowd.
    let beside = eventually(PATIENCE, async || Some(counted(&topic).await.0).filter(|count| *count > 0)).await;
    assert!(beside < 100, "{beside} events were published while requests crowded");
    drop(crowd);
    eventually(PATIENCE, async || counted(&topic).await.0 == 200).await;
}

pub async fn a_crowd_that_stays_holds_the_relay_up_for_so_long_and_no_longer(topic: Topic) {
    let (source, precedence) = (Service::new().await, Arc::new(Precedence::default()));
    let _crowd = (precedence.enter(), precedence.enter());
    add(&source, "a", 0..100).await;
    // One by one it would take longer than anybody waits here.
    let trickle = (Duration::from_secs(2), 1);
    let _relay = Process::polite_relay(&source, &topic, &precedence, trickle, Duration::from_millis(100));
    eventually(PATIENCE, async || counted(&topic).await.0 == 100).await;
}
