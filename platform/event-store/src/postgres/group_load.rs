//! Group load: streams that are asked for at the same time are read by one query.
//!
//! A group is what arrived while the last one was being read, so a load never waits for company.
//! The query begins after the last of its group has asked: each sees all that was committed before.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{Mutex, mpsc, oneshot};

use super::{Kept, StoreOptions, translate};
use crate::measures::Storing;
use crate::{Error, History, StreamId};

/// Each stream is one index range, whatever the planner guesses of the arrays; the inner order is the
/// index's own, so that nothing is sorted.
const LOAD: &str = "
SELECT s.n, e.payloads, e.last, e.evolved
  FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS s(aggregate_type, aggregate_id, after, n)
 CROSS JOIN LATERAL (
       SELECT array_agg(o.payload) AS payloads, max(o.sequence) AS last, bool_or(o.event_version <> '1') AS evolved
         FROM (SELECT payload::text AS payload, sequence, event_version
                 FROM events
                WHERE aggregate_type = s.aggregate_type AND aggregate_id = s.aggregate_id AND sequence > s.after
                ORDER BY sequence) AS o) AS e";

struct Pending {
    stream: StreamId,
    after: u64,
    reply: oneshot::Sender<Result<History, Error>>,
}

/// Where loads wait for a reader.
pub(super) struct Queue {
    sender: mpsc::Sender<Pending>,
    /// Loads under way, alone or gathered.
    loading: AtomicUsize,
}

/// A load under way.
pub(super) struct Loading<'a>(&'a AtomicUsize);

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Queue {
    /// A place for a load of one's own, as long as no other is under way.
    pub(super) fn alone(&self) -> Option<Loading<'_>> {
        let free = self.loading.compare_exchange(0, 1, Ordering::AcqRel, Ordering::Relaxed);
        free.is_ok().then(|| Loading(&self.loading))
    }

    pub(super) async fn load(&self, stream: StreamId, after: u64) -> Result<History, Error> {
        self.loading.fetch_add(1, Ordering::AcqRel);
        let _loading = Loading(&self.loading);
        let (reply, answer) = oneshot::channel();
        let ended = || Error::Unavailable("the store's readers have ended".to_owned());
        self.sender.send(Pending { stream, after, reply }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

/// Starts the readers; they end when the queue is dropped.
pub(super) fn start(kept: &Arc<Kept>, options: StoreOptions, measures: &Storing) -> Queue {
    let (sender, receiver) = mpsc::channel(options.queue_max);
    let receiver = Arc::new(Mutex::new(receiver));
    for _ in 0..options.readers.max(1) {
        let (kept, receiver, measures) = (Arc::clone(kept), Arc::clone(&receiver), measures.clone());
        tokio::spawn(async move {
            let mut group = Vec::new();
            // One reader waits for work, the others for their turn to wait.
            while receiver.lock().await.recv_many(&mut group, options.group_loads_max).await > 0 {
                let began = Instant::now();
                answer(&kept, std::mem::take(&mut group)).await;
                measures.loaded(began.elapsed());
            }
        });
    }
    Queue { sender, loading: AtomicUsize::new(0) }
}

async fn answer(kept: &Kept, group: Vec<Pending>) {
    match read(kept, &group).await {
        Ok(histories) => {
            for (pending, history) in group.into_iter().zip(histories) {
                // Whoever went away meanwhile needs no answer.
                let _ = pending.reply.send(history);
            }
        }
        Err(error) => {
            for pending in group {
                let _ = pending.reply.send(Err(error.for_another()));
            }
        }
    }
}

/// Which of the streams asked for, from 1; its payloads, the sequence of the last of them, and whether any is of a later
/// version than the first.
type Found = (i64, Option<Vec<String>>, Option<i64>, Option<bool>);

async fn read(kept: &Kept, group: &[Pending]) -> Result<Vec<Result<History, Error>>, Error> {
    let types: Vec<&str> = group.iter().map(|pending| pending.stream.aggregate_type).collect();
    let ids: Vec<&str> = group.iter().map(|pending| pending.stream.aggregate_id.as_str()).collect();
    let after: Vec<i64> = group.iter().map(|pending| i64::try_from(pending.after).unwrap_or(i64::MAX)).collect();
    let mut connection = kept.lend().await.map_err(translate)?;
    let found = sqlx::query_as(LOAD).bind(types).bind(ids).bind(after).fetch_all(&mut *connection).await;
    let mut found: Vec<Found> = connection.done(found).map_err(translate)?;
    if found.len() != group.len() {
        return Err(Error::Failed("a group load found other streams than were asked for".to_owned()));
    }
    found.sort_unstable_by_key(|(n, ..)| *n);
    Ok(group.iter().zip(found).map(|(pending, found)| history(pending, found)).collect())
}

fn history(asked: &Pending, (_, payloads, last, evolved): Found) -> Result<History, Error> {
    let payloads = payloads.unwrap_or_default();
    let end = asked.after + payloads.len() as u64;
    // Streams have no gaps; one that has would fold to a state that never was.
    if last.is_some_and(|last| u64::try_from(last).ok() != Some(end)) {
        let StreamId { aggregate_type, aggregate_id } = &asked.stream;
        return Err(Error::Failed(format!("the stream {aggregate_type}/{aggregate_id} has a gap before {last:?}")));
    }
    Ok(History { after: asked.after, payloads, evolved: evolved.unwrap_or(false) })
}
