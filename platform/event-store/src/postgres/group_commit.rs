//! Group commit: concurrent appends of this process share one INSERT and one flush.
//!
//! A group is what arrived while the last one was being written; an append alone never waits for
//! company. A version conflict fails only the append that caused it.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use sqlx::PgPool;
use sqlx::postgres::PgArguments;
use telemetry::{Kind, Span, Tracer, trace};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use super::answers::{self, bind_answers, insert_answers};
use super::chain;
use super::rows::{self, EventRows, insert_events};
use super::{Kept, StoreOptions, is_unique_violation, translate};
use crate::measures::Writing;
use crate::{Answer, Append, Cursor, Error};

/// Rounds of taking conflicting appends out of a group before the rest is failed as well: each
/// round needs a writer elsewhere that overtook this one again.
const ROUNDS_MAX: usize = 8;

struct Pending {
    append: Append,
    answer: Option<Answer>,
    reply: oneshot::Sender<Result<Cursor, Error>>,
    /// The span that waits for it.
    span: Option<trace::Current>,
}

/// Where appends wait for a writer.
pub(super) struct Queue {
    sender: mpsc::Sender<Pending>,
}

impl Queue {
    pub(super) async fn append(&self, append: Append, answer: Option<Answer>) -> Result<Cursor, Error> {
        if append.events.is_empty() && answer.is_none() {
            return Ok(Cursor::default());
        }
        let (reply, outcome) = oneshot::channel();
        let ended = || Error::Unavailable("the store's writers have ended".to_owned());
        self.sender.send(Pending { append, answer, reply, span: trace::current_span() }).await.map_err(|_| ended())?;
        outcome.await.map_err(|_| ended())?
    }
}

/// Starts the writers; they end when the queue is dropped.
pub(super) fn start(
    kept: &Arc<Kept>,
    options: StoreOptions,
    commits: &watch::Sender<u64>,
    measures: &Writing,
) -> Queue {
    let (sender, receiver) = mpsc::channel(options.queue_max);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..options.writers.max(1) {
        let (kept, receiver, commits) = (Arc::clone(kept), Arc::clone(&receiver), commits.clone());
        let (measures, tracer) = (measures.clone(), Tracer::of(options.service));
        tokio::spawn(async move {
            while let Some(mut group) = next_group(&receiver, options.group_events_max, &measures).await {
                let appends = group.iter_mut().map(|pending| &mut pending.append);
                if let Err(error) = chain::chain(kept.pool(), options.hash_chain, appends).await {
                    fail_all(group, &error, &measures);
                    continue;
                }
                write(&kept, group, &commits, &measures, tracer).await;
            }
        });
    }
    Queue { sender }
}

/// The first append that waits and whatever else has arrived by then, up to the limit.
async fn next_group(
    receiver: &Mutex<mpsc::Receiver<Pending>>,
    events_max: usize,
    measures: &Writing,
) -> Option<Vec<Pending>> {
    let mut receiver = receiver.lock().await;
    let first = receiver.recv().await?;
    // Whoever is about to append goes along; where nobody is, this costs nothing.
    tokio::task::yield_now().await;
    let mut events = first.append.events.len();
    let mut streams = HashSet::from([first.append.stream.clone()]);
    let mut keys: HashSet<_> = first.key().into_iter().collect();
    let mut group = vec![first];
    while events < events_max {
        let Ok(next) = receiver.try_recv() else { break };
        // Two decisions on the same version of one stream: the second is stale whatever comes. Two
        // under one idempotency key: the second finds out when it is decided again.
        let new = streams.insert(next.append.stream.clone()) && next.key().is_none_or(|key| keys.insert(key));
        if !new {
            next.conflicted(measures);
            continue;
        }
        events += next.append.events.len();
        group.push(next);
    }
    Some(group)
}

async fn write(kept: &Kept, mut group: Vec<Pending>, commits: &watch::Sender<u64>, measures: &Writing, tracer: Tracer) {
    for _ in 0..ROUNDS_MAX {
        if group.is_empty() {
            return;
        }
        let began = Instant::now();
        let span = commit_span(tracer, &group);
        match insert(kept, &group).await {
            Ok(cursor) => {
                let events = group.iter().map(|pending| pending.append.events.len()).sum();
                committed(span, &group);
                measures.committed(group.len(), events, began.elapsed());
                commits.send_modify(|n| *n += 1);
                for pending in group {
                    let _ = pending.reply.send(Ok(cursor));
                }
                return;
            }
            Err(error) if is_unique_violation(&error) => {
                span.forget();
                group = match without_repeated(kept.pool(), group, measures).await {
                    Ok(rest) => rest,
                    Err((group, error)) => return fail_all(group, &error, measures),
                };
                match rows::stale(kept.pool(), group.iter().map(|p| &p.append)).await {
                    Ok(stale) => {
                        let stale: HashSet<_> = stale.into_iter().collect();
                        let (failed, rest): (Vec<_>, Vec<_>) =
                            group.into_iter().partition(|pending| stale.contains(&pending.append.stream));
                        failed.into_iter().for_each(|pending| pending.conflicted(measures));
                        group = rest;
                    }
                    Err(error) => return fail_all(group, &error, measures),
                }
            }
            Err(error) => {
                span.forget();
                return fail_all(group, &translate(error), measures);
            }
        }
    }
    group.into_iter().for_each(|pending| pending.conflicted(measures));
}

/// The span of a group's commit: a trace of its own, linked to the appends that it carries.
fn commit_span(tracer: Tracer, group: &[Pending]) -> Span {
    let waiting = group.iter().filter_map(|pending| pending.span.as_ref());
    let mut span = tracer.batch(Kind::Client, "INSERT events", waiting.map(trace::Current::at));
    span.set("db.system.name", "postgresql");
    span.set("db.operation.name", "INSERT");
    span.set("db.collection.name", "events");
    span.set("db.operation.batch.size", i64::try_from(group.len()).unwrap_or(i64::MAX));
    span
}

/// Links the appends to the commit that has carried them.
fn committed(span: Span, group: &[Pending]) {
    if let Some(at) = span.at() {
        let waiting = group.iter().filter_map(|pending| pending.span.as_ref());
        waiting.for_each(|current| current.with(|append| append.link(at)));
    }
}

/// Takes those out of the group whose idempotency key has an answer already.
async fn without_repeated(
    pool: &PgPool,
    group: Vec<Pending>,
    measures: &Writing,
) -> Result<Vec<Pending>, (Vec<Pending>, Error)> {
    let (keyed, mut rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|pending| pending.answer.is_some());
    let answers: Vec<&Answer> = keyed.iter().filter_map(|pending| pending.answer.as_ref()).collect();
    let repeated: HashSet<usize> = match answers::repeated(pool, &answers).await {
        Ok(repeated) => repeated.into_iter().collect(),
        Err(error) => {
            rest.extend(keyed);
            return Err((rest, error));
        }
    };
    for (n, pending) in keyed.into_iter().enumerate() {
        if repeated.contains(&n) {
            measures.failed(1, &Error::Repeated);
            let _ = pending.reply.send(Err(Error::Repeated));
        } else {
            rest.push(pending);
        }
    }
    Ok(rest)
}

/// One statement is one transaction and one round trip. All of the group's appends get the cursor
/// of its last event: a reader that has passed it has passed each of them.
async fn insert(kept: &Kept, group: &[Pending]) -> Result<Cursor, sqlx::Error> {
    const STATEMENT: &str = concat!(
        "WITH inserted AS (",
        insert_events!(),
        " RETURNING position) SELECT pg_current_xact_id()::text, COALESCE(max(position), 0) FROM inserted"
    );
    static ANSWERED: LazyLock<String> = LazyLock::new(|| {
        format!("WITH answered AS ({}), {}", insert_answers(EventRows::ARGUMENTS + 1), &STATEMENT["WITH ".len()..])
    });
    let mut arguments = EventRows::of(group.iter().map(|pending| &pending.append))
        .into_arguments()
        .map_err(|error| sqlx::Error::Encode(error.into()))?;
    let statement = if group.iter().any(|pending| pending.answer.is_some()) {
        add_answers(&mut arguments, group).map_err(sqlx::Error::Encode)?;
        ANSWERED.as_str()
    } else {
        STATEMENT
    };
    let mut connection = kept.lend().await?;
    let inserted = sqlx::query_as_with(statement, arguments).fetch_one(&mut *connection).await;
    let (transaction_id, position): (String, i64) = connection.done(inserted)?;
    Ok(Cursor { transaction_id: transaction_id.parse().unwrap_or(0), position })
}

fn add_answers(arguments: &mut PgArguments, group: &[Pending]) -> Result<(), sqlx::error::BoxDynError> {
    bind_answers(arguments, group.iter().filter_map(|pending| pending.answer.as_ref()))
}

impl Pending {
    /// Its idempotency key.
    fn key(&self) -> Option<(String, String)> {
        self.answer.as_ref().map(|answer| (answer.scope.clone(), answer.key.clone()))
    }

    /// Somebody else was faster.
    fn conflicted(self, measures: &Writing) {
        let Append { stream, expected, .. } = self.append;
        let conflict = Error::Conflict { stream, expected };
        measures.failed(1, &conflict);
        let _ = self.reply.send(Err(conflict));
    }
}

fn fail_all(group: Vec<Pending>, error: &Error, measures: &Writing) {
    measures.failed(group.len(), error);
    for pending in group {
        let _ = pending.reply.send(Err(error.for_another()));
    }
}
