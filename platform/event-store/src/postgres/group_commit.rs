//! Group commit: concurrent appends of this process share one INSERT and one flush.
//!
//! A group is what arrived while the last one was being written; an append alone never waits for
//! company. A version conflict fails only the append that caused it.

use std::collections::HashSet;
use std::sync::Arc;

use sqlx::PgPool;
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::rows::{self, EventRows, insert_events};
use super::{StoreOptions, is_unique_violation, translate};
use crate::{Append, Cursor, Error};

/// Rounds of taking conflicting appends out of a group before the rest is failed as well: each
/// round needs a writer elsewhere that overtook this one again.
const ROUNDS_MAX: usize = 8;

struct Pending {
    append: Append,
    reply: oneshot::Sender<Result<Cursor, Error>>,
}

/// Where appends wait for a writer.
pub(super) struct Queue {
    sender: mpsc::Sender<Pending>,
}

impl Queue {
    pub(super) async fn append(&self, append: Append) -> Result<Cursor, Error> {
        if append.events.is_empty() {
            return Ok(Cursor::default());
        }
        let (reply, answer) = oneshot::channel();
        let ended = || Error::Unavailable("the store's writers have ended".to_owned());
        self.sender.send(Pending { append, reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Starts the writers; they end when the queue is dropped.
pub(super) fn start(pool: &PgPool, options: StoreOptions, commits: &watch::Sender<u64>) -> Queue {
    let (sender, receiver) = mpsc::channel(options.queue_max);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..options.writers.max(1) {
        let (pool, receiver, commits) = (pool.clone(), Arc::clone(&receiver), commits.clone());
        tokio::spawn(async move {
            while let Some(group) = next_group(&receiver, options.group_events_max).await {
                write(&pool, group, &commits).await;
            }
        });
    }
    Queue { sender }
}

/// The first append that waits and whatever else has arrived by then, up to the limit.
async fn next_group(receiver: &Mutex<mpsc::Receiver<Pending>>, events_max: usize) -> Option<Vec<Pending>> {
    let mut receiver = receiver.lock().await;
    let first = receiver.recv().await?;
    let mut events = first.append.events.len();
    let mut streams = HashSet::from([first.append.stream.clone()]);
    let mut group = vec![first];
    while events < events_max {
        let Ok(next) = receiver.try_recv() else { break };
        // Two decisions on the same version of one stream: the second is stale whatever comes.
        if !streams.insert(next.append.stream.clone()) {
            let conflict = conflict(&next.append);
            let _ = next.reply.send(Err(conflict));
            continue;
        }
        events += next.append.events.len();
        group.push(next);
    }
    Some(group)
}

async fn write(pool: &PgPool, mut group: Vec<Pending>, commits: &watch::Sender<u64>) {
    for _ in 0..ROUNDS_MAX {
        if group.is_empty() {
            return;
        }
        match insert(pool, &group).await {
            Ok(cursor) => {
                commits.send_modify(|n| *n += 1);
                for pending in group {
                    let _ = pending.reply.send(Ok(cursor));
                }
                return;
            }
            Err(error) if is_unique_violation(&error) => match rows::stale(pool, group.iter().map(|p| &p.append)).await
            {
                Ok(stale) => {
                    let stale: HashSet<_> = stale.into_iter().collect();
                    let (failed, rest): (Vec<_>, Vec<_>) =
                        group.into_iter().partition(|pending| stale.contains(&pending.append.stream));
                    for pending in failed {
                        let conflict = conflict(&pending.append);
                        let _ = pending.reply.send(Err(conflict));
                    }
                    group = rest;
                }
                Err(error) => return fail_all(group, &error),
            },
            Err(error) => return fail_all(group, &translate(error)),
        }
    }
    for pending in group {
        let conflict = conflict(&pending.append);
        let _ = pending.reply.send(Err(conflict));
    }
}

/// One statement is one transaction and one round trip. All of the group's appends get the cursor
/// of its last event: a reader that has passed it has passed each of them.
async fn insert(pool: &PgPool, group: &[Pending]) -> Result<Cursor, sqlx::Error> {
    const STATEMENT: &str = concat!(
        "WITH inserted AS (",
        insert_events!(),
        " RETURNING position) SELECT pg_current_xact_id()::text, max(position) FROM inserted"
    );
    let arguments = EventRows::of(group.iter().map(|pending| &pending.append))
        .into_arguments()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let (transaction_id, position): (String, i64) = sqlx::query_as_with(STATEMENT, arguments).fetch_one(pool).await?;
    Ok(Cursor { transaction_id: transaction_id.parse().unwrap_or(0), position })
}

fn conflict(append: &Append) -> Error {
    Error::Conflict { stream: append.stream.clone(), expected: append.expected }
}

fn fail_all(group: Vec<Pending>, error: &Error) {
    for pending in group {
        let copy = match error {
            Error::Unavailable(reason) => Error::Unavailable(reason.clone()),
            other => Error::Failed(other.to_string()),
        };
        let _ = pending.reply.send(Err(copy));
    }
}
