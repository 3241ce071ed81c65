//! Waking the readers in other processes, by LISTEN and NOTIFY.
//!
//! It only saves waiting: a lost notification costs [`PostgresOptions::recheck_after`] at most.
//!
//! [`PostgresOptions::recheck_after`]: crate::PostgresOptions::recheck_after

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sqlx::postgres::PgListener;
use tokio::sync::Notify;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::Log;

const CHANNEL: &str = "topic_records";
/// Keeps a payload far below PostgreSQL's 8,000 bytes.
const PARTITIONS_PER_PAYLOAD: usize = 150;
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Partitions that grew, and their ends, not announced yet. However much is published while one
/// announcement is under way, the next one holds each partition once.
#[derive(Debug, Default)]
pub(super) struct Grown {
    ends: Mutex<BTreeMap<i32, i64>>,
    filled: Notify,
}

impl Grown {
    pub(super) fn add(&self, partition_id: i32, end: i64) {
        let mut ends = self.ends.lock();
        let known = ends.entry(partition_id).or_insert(end);
        *known = end.max(*known);
        drop(ends);
        self.filled.notify_one();
    }
}

/// Announces what grew, outside the transactions that made it grow: a NOTIFY takes a lock of the
/// whole cluster until its transaction ends.
pub(super) async fn announce(log: Arc<Log>) {
    loop {
        log.grown.filled.notified().await;
        let ends: Vec<(i32, i64)> = std::mem::take(&mut *log.grown.ends.lock()).into_iter().collect();
        for ends in ends.chunks(PARTITIONS_PER_PAYLOAD) {
            let payload: Vec<_> = ends.iter().map(|(id, end)| format!("{id}:{end}")).collect();
            let notify = sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload.join(","));
            if let Err(error) = log.call(notify.execute(&log.pool)).await {
                debug!(%error, "other processes were not told of new records and find them by themselves");
            }
        }
    }
}

/// Learns what others announce. Whatever could have been missed is asked for anew.
pub(super) async fn listen(log: Arc<Log>) {
    loop {
        if let Err(error) = listen_until_an_error(&log).await {
            warn!(%error, "no news of other processes' records for now: they are found with a delay");
        }
        sleep(RETRY_AFTER).await;
    }
}

async fn listen_until_an_error(log: &Log) -> Result<(), sqlx::Error> {
    let mut listener = PgListener::connect_with(&log.pool).await?;
    listener.listen(CHANNEL).await?;
    log.doubt_all();
    loop {
        match listener.try_recv().await? {
            Some(notification) => {
                for (id, end) in parse(notification.payload()) {
                    log.learn_by_id(id, end);
                }
            }
            // The connection was lost and is there again.
            None => log.doubt_all(),
        }
    }
}

fn parse(payload: &str) -> impl Iterator<Item = (i32, i64)> {
    payload.split(',').filter_map(|part| {
        let (id, end) = part.split_once(':')?;
        Some((id.parse().ok()?, end.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_that_is_not_ours_says_nothing() {
        assert_eq!(parse("1:10,2:9000000000").collect::<Vec<_>>(), [(1, 10), (2, 9_000_000_000)]);
        assert_eq!(parse("").count() + parse("x:1,1:x,1").count(), 0);
    }
}
