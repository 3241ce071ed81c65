//! Whether others are at work in the same server: then a rebuild leaves them more of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::PgConnection;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Database;

/// The server's counts are brought up to date about so often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A server that does not answer is asked again after so long.
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// More transactions a second than an idle shop and a rebuild make: a few orders a second do.
const BUSY_PER_S: f64 = 120.0;
/// Traffic makes pauses; so many looks without any are its end.
const QUIET_LOOKS: u32 = 3;

/// Watches how much others do, until the last clone is dropped. It counts transactions, whoever makes them.
#[derive(Debug, Clone)]
pub struct Others(Arc<Watch>);

#[derive(Debug)]
struct Watch {
    are_busy: Arc<AtomicBool>,
    watching: JoinHandle<()>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.watching.abort();
    }
}

impl Others {
    /// Begins to watch. Until it is known otherwise, others are at work.
    pub fn watch(database: &Database) -> Self {
        let are_busy = Arc::new(AtomicBool::new(true));
        let watching = tokio::spawn(watch(database.clone(), Arc::clone(&are_busy)));
        Self(Arc::new(Watch { are_busy, watching }))
    }

    /// Whether they are at work now, as far as it is known.
    pub fn are_busy(&self) -> bool {
        self.0.are_busy.load(Ordering::Relaxed)
    }
}

async fn watch(database: Database, are_busy: Arc<AtomicBool>) {
    loop {
        let Err(error) = look(&database, &are_busy).await;
        tracing::debug!(%error, "it is not known whether others are at work");
        are_busy.store(true, Ordering::Relaxed);
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

async fn look(database: &Database, are_busy: &AtomicBool) -> sqlx::Result<std::convert::Infallible> {
    let mut connection = database.connect().await?;
    let (mut ended, mut when, mut quiet) = (ended(&mut connection).await?, Instant::now(), 0);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = self::ended(&mut connection).await?;
        let per_s = (now - ended) as f64 / when.elapsed().as_secs_f64();
        (ended, when) = (now, Instant::now());
        quiet = if per_s >= BUSY_PER_S { 0 } else { quiet + 1 };
        are_busy.store(quiet < QUIET_LOOKS, Ordering::Relaxed);
    }
}

/// Transactions of all databases that have ended.
async fn ended(connection: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT COALESCE(sum(xact_commit + xact_rollback), 0)::bigint FROM pg_stat_database")
        .fetch_one(connection)
        .await
}
