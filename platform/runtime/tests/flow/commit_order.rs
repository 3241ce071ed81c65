//! Sequence order is not commit order: writers hold their transactions open and commit in reverse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use event_store::{Cursor, RecordedEvent};
use runtime::projection::{self, Projection};
use sqlx::{Acquire, PgConnection, PgPool, Postgres, Transaction};
use testkit::eventually;
use uuid::Uuid;

use crate::fixture::{PATIENCE, Process, Service, Topic, commands, origin};
use crate::tally::{Command, Tally};

const ROUNDS: usize = 5;
const WRITERS: usize = 6;

/// Writes down what it sees as it sees it.
struct Diary;

#[async_trait]
impl Projection for Diary {
    fn name(&self) -> &'static str {
        "diary"
    }

    fn reads(&self, _event: &RecordedEvent) -> bool {
        true
    }

    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()> {
        for event in events {
            let line = "INSERT INTO diary (stream, sequence) VALUES ($1, $2)";
            let sequence = i64::try_from(event.sequence)?;
            sqlx::query(line).bind(&event.aggregate_id).bind(sequence).execute(&mut *connection).await?;
        }
        Ok(())
    }
}

/// An append as its first write, in a transaction that stays open.
async fn append_and_hold<'c>(pool: &PgPool, stream: &str, sequence: i64) -> Transaction<'c, Postgres> {
    let mut transaction = pool.begin().await.expect("a transaction");
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('tally', $1, $2, 'added', '1', '{\"Added\":{\"number\":1}}', json_build_object('event_id', $3))",
    )
    .bind(stream)
    .bind(sequence)
    .bind(Uuid::now_v7().to_string())
    .execute(transaction.acquire().await.expect("the connection"))
    .await
    .expect("inserted");
    transaction
}

pub async fn nothing_is_skipped_or_reversed(topic: Topic) {
    let service = Service::new().await;
    let (store, pool) = (service.store(), service.database.pool.clone());
    let diary = "CREATE TABLE diary (line bigserial PRIMARY KEY, stream text NOT NULL, sequence bigint NOT NULL)";
    sqlx::query(diary).execute(&pool).await.expect("made");
    let _relay = Process::relay(Arc::clone(&store), Arc::clone(&topic.broker), topic.name);
    let (handle, follower) = projection::follow("test", Arc::clone(&store), pool.clone(), Arc::new(Diary));
    let _projection = Process::spawn(|shutdown| tokio::spawn(follower.run(shutdown)));

    let commands = commands(Arc::clone(&store));
    for round in 1..=ROUNDS {
        let mut open = Vec::new();
        for writer in 0..WRITERS {
            let sequence = i64::try_from(round).expect("small");
            open.push(append_and_hold(&pool, &format!("slow-{writer}"), sequence).await);
            // Committed at once, while everything before it is still open.
            commands.execute::<Tally>("quick", &origin(), Command::Add(1)).await.expect("appended");
        }
        let last = commands.execute::<Tally>("quick", &origin(), Command::Add(2)).await.expect("appended");
        let last = last.cursor.expect("recorded");
        assert!(handle.at() < last, "a reader has passed a transaction that is still open");
        let page = store.read_after(handle.at(), 100).await.expect("a page");
        assert!(
            (page.hidden.is_some() || page.more) && page.events.iter().all(|event| event.cursor < last),
            "{page:?}"
        );
        for transaction in open.into_iter().rev() {
            transaction.commit().await.expect("committed");
        }
        // The next round's transactions are open while this one's are being read.
        if round % 2 == 0 {
            assert!(handle.wait_for(last, PATIENCE).await, "the projection does not come on");
        }
    }

    let total = ROUNDS * (2 * WRITERS + 1);
    // Transactions of other tests on this server may hide the last ones for a while.
    let written = eventually(PATIENCE, async || {
        let page = store.read_after(Cursor::default(), 10 * total).await.expect("all");
        (page.events.len() >= total).then_some(page.events)
    })
    .await;
    assert_eq!(written.len(), total);
    let diary_lines = async || -> Vec<(String, i64)> {
        let lines = sqlx::query_as("SELECT stream, sequence FROM diary ORDER BY line");
        lines.fetch_all(&pool).await.expect("the diary")
    };
    eventually(PATIENCE, async || diary_lines().await.len() >= total).await;
    assert_in_order(diary_lines().await);

    eventually(PATIENCE, async || topic.records().await.len() >= total).await;
    let text = |record: &broker::Record, name: &str| String::from_utf8(record.headers[name].to_vec()).expect("text");
    let published: Vec<_> = topic.records().await.into_iter().map(|stored| stored.record).collect();
    assert_in_order(
        published.iter().map(|r| (r.key.clone(), text(r, "ce_sequence").parse().expect("a number"))).collect(),
    );
    let ids: BTreeSet<String> = published.iter().map(|record| text(record, "ce_id")).collect();
    assert_eq!(ids, written.iter().map(|event| event.metadata.event_id.to_string()).collect());
}

/// Every stream from 1 on, each sequence once, none before the one that it follows.
fn assert_in_order(seen: Vec<(String, i64)>) {
    let mut last: BTreeMap<String, i64> = BTreeMap::new();
    for (stream, sequence) in seen {
        let last = last.entry(stream.clone()).or_default();
        assert_eq!(sequence, *last + 1, "{stream}");
        *last = sequence;
    }
    let slow = i64::try_from(ROUNDS).expect("small");
    let quick = i64::try_from(ROUNDS * (WRITERS + 1)).expect("small");
    assert_eq!(last.remove("quick"), Some(quick));
    assert_eq!(last.len(), WRITERS);
    assert!(last.values().all(|sequence| *sequence == slow), "{last:?}");
}
