//! Transaction ids of another server.
//!
//! Readers see only what is below the oldest transaction in flight, and follow on by transaction id. A dump carries the
//! ids of the server that it was taken from: restored into another, its events may be above all ids there, hidden until
//! those have caught up, and what is appended meanwhile is below the checkpoints, skipped for ever. So nothing starts on
//! such a database; `sagashop restore-check` mends it.

use std::fmt;

use sqlx::PgPool;

/// Rows whose transaction id this server has never handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// Of the event table.
    pub events: i64,
    /// Of those who follow it.
    pub checkpoints: i64,
}

impl Foreign {
    /// Whether there is none.
    pub fn is_none(&self) -> bool {
        self.events == 0 && self.checkpoints == 0
    }
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events and {} checkpoints of another server", self.events, self.checkpoints)
    }
}

/// Counts them. Whatever a statement sees was written below its snapshot's end, unless it came from elsewhere.
///
/// # Errors
/// Those of the database.
pub async fn count(pool: &PgPool) -> Result<Foreign, sqlx::Error> {
    let (events, checkpoints) = sqlx::query_as(
        "WITH this AS MATERIALIZED (SELECT pg_snapshot_xmax(pg_current_snapshot()) AS next)
         SELECT (SELECT count(*) FROM events WHERE transaction_id >= (SELECT next FROM this)),
                (SELECT count(*) FROM checkpoints WHERE transaction_id >= (SELECT next FROM this))",
    )
    .fetch_one(pool)
    .await?;
    Ok(Foreign { events, checkpoints })
}

/// Refuses a database that has any.
///
/// # Errors
/// It has; or the database is away.
pub async fn refuse(pool: &PgPool) -> anyhow::Result<()> {
    let foreign = count(pool).await?;
    anyhow::ensure!(
        foreign.is_none(),
        "the database was restored from a dump ({foreign}): run `sagashop restore-check` before its services"
    );
    Ok(())
}
