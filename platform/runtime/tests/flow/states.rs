//! States as they are loaded and read: from snapshots, and behind one's own writes.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_store::{Cursor, RecordedEvent, StreamId};
use runtime::projection::{self, Projection};
use sqlx::PgConnection;
use testkit::eventually;

use crate::fixture::{Kind, PATIENCE, Process, Service, Topic, commands, message, origin};
use crate::tally::{Command, Tally};

async fn fold(service: &Service, id: &str, up_to: u64) -> Tally {
    let streams = [(StreamId::of::<Tally>(id), 0)];
    let events = service.store().load(&streams).await.expect("events").remove(0);
    let events = events.iter().filter(|event| event.sequence <= up_to);
    kernel::fold(events.flat_map(|event| event.decode_all::<Tally>().expect("an event")))
}

/// The snapshot's sequence, and that its state is the fold up to there.
async fn checked_snapshot(service: &Service, id: &str) -> Option<u64> {
    let snapshot = service.store().snapshots(&[StreamId::of::<Tally>(id)]).await.expect("read").remove(0)?;
    let state: Tally = serde_json::from_str(&snapshot.state).expect("a state");
    assert_eq!(state, fold(service, id, snapshot.sequence).await, "the snapshot of {id} at {}", snapshot.sequence);
    Some(snapshot.sequence)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_the_fold() {
    let service = Service::new().await;
    let commands = commands(service.store());
    for number in 0..57 {
        commands.execute::<Tally>("by-command", &origin(), Command::Add(number)).await.expect("appended");
        if number % 9 == 0 {
            checked_snapshot(&service, "by-command").await;
        }
    }
    // Saved beside the commands: the one that is due with the tenth event may be of a later one.
    eventually(PATIENCE, async || checked_snapshot(&service, "by-command").await >= Some(48)).await;
    let (state, sequence) = commands.load::<Tally>("by-command").await.expect("loaded");
    assert_eq!((state, sequence), (fold(&service, "by-command", 57).await, 57));

    // A consumer keeps states in memory and decides many times before it appends.
    let topic = Topic::on(Kind::Memory).await.expect("memory");
    let _consumer = Process::consumer::<true>(service.store(), &topic);
    topic.publish((0..57).map(|number| message("by-message", number))).await;
    eventually(PATIENCE, async || service.consumed().await == 57).await;
    eventually(PATIENCE, async || checked_snapshot(&service, "by-message").await >= Some(48)).await;
    assert_eq!(service.tally("by-message").await.numbers, (0..57).collect::<Vec<u64>>());
}

/// Counts each tally's events.
struct Counts {
    pace: Duration,
}

#[async_trait]
impl Projection for Counts {
    fn name(&self) -> &'static str {
        "counts"
    }

    fn pace(&self) -> Duration {
        self.pace
    }

    fn reads(&self, _event: &RecordedEvent) -> bool {
        true
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        for event in events {
            let count = "INSERT INTO counts VALUES ($1, 1) ON CONFLICT (id) DO UPDATE SET n = counts.n + 1";
            sqlx::query(count).bind(&event.aggregate_id).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_for_the_projection_reads_its_own_writes() {
    let service = Service::new().await;
    let (store, pool) = (service.store(), service.database.pool.clone());
    sqlx::query("CREATE TABLE counts (id text PRIMARY KEY, n bigint NOT NULL)").execute(&pool).await.expect("made");
    let (handle, follower) = {
        // So slow that only those who wait bring it on.
        let counts = Counts { pace: PATIENCE * 100 };
        projection::follow("test", Arc::clone(&store), pool.clone(), Arc::new(counts))
    };
    let commands = commands(Arc::clone(&store));
    let first = commands.execute::<Tally>("mine", &origin(), Command::Add(1)).await.expect("appended");
    let first = first.cursor.expect("recorded");
    assert!(!handle.wait_for(first, Duration::from_millis(1)).await, "nobody follows yet");

    let follower = Process::spawn(|shutdown| tokio::spawn(follower.run(shutdown)));
    assert!(handle.wait_for(first, PATIENCE).await);
    for n in 2..=30_i64 {
        let executed = commands.execute::<Tally>("mine", &origin(), Command::Add(1)).await.expect("appended");
        assert!(handle.wait_for(executed.cursor.expect("recorded"), PATIENCE).await);
        let counted: i64 = sqlx::query_scalar("SELECT n FROM counts").fetch_one(&pool).await.expect("counted");
        assert_eq!(counted, n);
    }
    let never = Cursor { transaction_id: u64::MAX, position: 0 };
    assert!(!handle.wait_for(never, Duration::from_millis(20)).await);

    // Killed at any moment, the next one goes on behind the last row that was committed; and of
    // two that follow at once, one writes each page.
    follower.kill().await;
    let followers: Vec<_> = (0..2)
        .map(|_| projection::follow("test", service.store(), pool.clone(), Arc::new(Counts { pace: Duration::ZERO })).1)
        .map(|follower| Process::spawn(|shutdown| tokio::spawn(follower.run(shutdown))))
        .collect();
    for _ in 0..20 {
        commands.execute::<Tally>("mine", &origin(), Command::Add(1)).await.expect("appended");
    }
    let count = async || sqlx::query_scalar::<_, i64>("SELECT n FROM counts").fetch_one(&pool).await.expect("counted");
    eventually(PATIENCE, async || count().await >= 50).await;
    drop(followers);
    assert_eq!(count().await, 50);
}
