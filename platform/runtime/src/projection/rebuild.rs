//! Making a read model anew while the old one serves: filled, indexed, caught up, compared, and put in its place in the
//! transaction that moves the checkpoint.

use std::sync::Arc;
use std::time::Duration;

use event_store::Cursor;
use sqlx::{Connection, PgConnection};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::begun::{self, Begun, Phase};
use super::catch_up::CatchingUp;
use super::database::{cursor, types};
use super::model::{ReadModel, Table};
use super::progress::{Pace, Progress, Stage};
use super::verify::{self, Verified};
use super::{Database, fill, shadow};
use crate::failpoint;

/// Maintenance of the table (autovacuum) gives way after a second of waiting; nobody else is kept from the table.
const MAINTENANCE_MAX: &str = "SET LOCAL lock_timeout = '3s'";
/// Whoever asks the serving table waits so long at most for the swap to wait for those who asked before.
const LOCK_MAX: &str = "SET LOCAL lock_timeout = '50ms'";
/// Somebody always reads: it is tried again and again, and given up after so long.
const SWAP_MAX: Duration = Duration::from_secs(60);
/// It is tried less often the longer it takes: while it waits for the lock, nobody can use the table.
const SWAP_AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// How a read model is made anew.
#[derive(Debug, Clone)]
pub struct Options {
    /// Workers that fill the table.
    pub parallel: usize,
    /// Rows without an event after this place are taken over from the table that serves; without it, none is.
    pub since: Option<Cursor>,
    /// Forgets an earlier run that was ended.
    pub restart: bool,
    /// Compares the new table with the fold before it serves.
    pub verify: Option<verify::Options>,
    /// Drops the table that served before; else it is kept until the next time.
    pub drop_old: bool,
    /// How much of the machine it takes.
    pub pace: Pace,
}

impl Default for Options {
    fn default() -> Self {
        Self { parallel: 1, since: None, restart: false, verify: None, drop_old: false, pace: Pace::default() }
    }
}

/// What can go wrong.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else rebuilds it.
    #[error("{table} is being rebuilt already, by another process")]
    Busy {
        /// Which.
        table: &'static str,
    },
    /// Somebody else went on with it.
    #[error("another process has gone on with the rebuild of {table}")]
    TakenOver {
        /// Which.
        table: &'static str,
    },
    /// It is not there.
    #[error("there is no table {table}: run `sagashop migrate`")]
    NoTable {
        /// Which.
        table: &'static str,
    },
    /// The table is of another version.
    #[error("the table {table} has no column {column}: run `sagashop migrate`")]
    NoColumn {
        /// Which.
        table: &'static str,
        /// Which of its columns.
        column: String,
    },
    /// Views or foreign keys would go on with the old table.
    #[error(
        "{dependents} would go on using the old table {table}: drop what depends on it first, and make it again then"
    )]
    HasDependents {
        /// Which.
        table: &'static str,
        /// What depends on it.
        dependents: String,
    },
    /// The database role may not.
    #[error("this database user may make no tables in the schemas of rebuilds ({0}): run it as the tables' owner")]
    NotAllowed(String),
    /// The table is read all the time.
    #[error(
        "{table} is used without a pause{by}: the new table could not take its place; the same command tries it again"
    )]
    NeverIdle {
        /// Which.
        table: &'static str,
        /// By whom, as far as it is known.
        by: String,
    },
    /// The new table is not what the events say. It serves nobody, and is kept to be looked at.
    #[error("{} of the new table's rows are not as the events have them: it does not take the old one's place", .0.found)]
    Differs(Box<Verified>),
    /// The database, or an event that cannot be read.
    #[error(transparent)]
    Failed(#[from] anyhow::Error),
}

impl From<sqlx::Error> for Error {
    fn from(error: sqlx::Error) -> Self {
        match error.as_database_error().filter(|error| error.code().as_deref() == Some("42501")) {
            Some(denied) => Self::NotAllowed(denied.message().to_owned()),
            None => Self::Failed(error.into()),
        }
    }
}

/// What was done.
#[derive(Debug, Clone)]
pub struct Report {
    /// Events that the table was filled from.
    pub events: u64,
    /// Rows that it was filled with.
    pub rows: u64,
    /// Events that came meanwhile.
    pub caught_up: u64,
    /// How long this run took.
    pub took: Duration,
    /// How long the swap held the table.
    pub swap: Duration,
    /// An earlier run had begun it.
    pub is_resumed: bool,
    /// What the comparison found, if it was asked for.
    pub verified: Option<Verified>,
}

/// Makes a read model anew, or goes on with that. None when it was interrupted: then the same call goes on.
///
/// # Errors
/// See [`Error`]; whatever it is, the serving table is as it was.
pub async fn rebuild(
    database: &Database,
    model: &Arc<dyn ReadModel>,
    options: &Options,
    progress: &Arc<Progress>,
    stop: &CancellationToken,
) -> Result<Option<Report>, Error> {
    let (began, table) = (Instant::now(), model.table());
    progress.enter(Stage::Planning);
    let mut connection = database.connect().await?;
    begun::hold(&mut connection, table).await?;
    let mut begun = begun::begin(&mut connection, table, options).await?;
    failpoint::pass("rebuild.planned");
    if begun.phase == Phase::Filling {
        progress.enter(Stage::Filling);
        let now = Arc::new(Begun { ..begun });
        if !fill::fill(database, model, now, options, progress, stop).await? {
            return Ok(None);
        }
        begun.enter(&mut connection, table, Phase::Indexing).await?;
    }
    if begun.phase == Phase::Indexing {
        progress.enter(Stage::Indexing);
        if !index(&mut connection, table, stop).await? {
            return Ok(None);
        }
        begun.enter(&mut connection, table, Phase::CatchingUp).await?;
    }
    let key_kind = types(&mut connection, table).await?.remove(0);
    let work = Work { database, model, options, progress, stop, begun: &begun };
    let mut catching_up = CatchingUp::new(model.as_ref(), &begun, key_kind);
    let finished = work.finish(&mut connection, &mut catching_up, began).await?;
    if finished.is_some() && options.drop_old {
        shadow::drop_old(database, table).await?;
    }
    Ok(finished)
}

/// Makes the indexes that are not there yet. Whether it came to the end.
async fn index(connection: &mut PgConnection, table: &Table, stop: &CancellationToken) -> Result<bool, Error> {
    for index in shadow::missing_indexes(connection, table).await? {
        if stop.is_cancelled() {
            return Ok(false);
        }
        shadow::make(connection, table, &index).await?;
        failpoint::pass("rebuild.indexed");
    }
    // Plans of the first queries should not be guesses.
    sqlx::query(&format!("ANALYZE {}", shadow::name(table))).execute(connection).await?;
    Ok(true)
}

struct Work<'a> {
    database: &'a Database,
    model: &'a Arc<dyn ReadModel>,
    options: &'a Options,
    progress: &'a Arc<Progress>,
    stop: &'a CancellationToken,
    begun: &'a Begun,
}

impl Work<'_> {
    /// From the filled table to the serving one.
    async fn finish(
        &self,
        connection: &mut PgConnection,
        catching_up: &mut CatchingUp<'_>,
        began: Instant,
    ) -> Result<Option<Report>, Error> {
        let mut reader = self.database.reader().await?;
        self.progress.enter(Stage::CatchingUp);
        let Some(mut caught_up) = self.catch_up(catching_up, &mut reader, connection).await? else { return Ok(None) };
        let Some(verified) = self.verify(catching_up.at).await? else { return Ok(None) };
        self.progress.enter(Stage::Swapping);
        shadow::make_room(connection, self.model.table()).await?;
        let (trying, mut again) = (Instant::now(), SWAP_AGAIN.0);
        loop {
            let Some(events) = self.catch_up(catching_up, &mut reader, connection).await? else { return Ok(None) };
            caught_up += events;
            let in_the_way = shadow::in_the_way(connection, self.model.table()).await?;
            if in_the_way.is_empty()
                && let Some(swap) = self.swap(connection, catching_up, &mut reader, began.elapsed()).await?
            {
                failpoint::pass("rebuild.swapped");
                let (events, rows) = (self.progress.events(), self.progress.rows());
                let (took, is_resumed) = (began.elapsed(), self.begun.is_resumed);
                return Ok(Some(Report { events, rows, caught_up, took, swap, is_resumed, verified }));
            }
            if trying.elapsed() >= SWAP_MAX {
                let by = if in_the_way.is_empty() { String::new() } else { format!(" by {}", in_the_way.join(", ")) };
                return Err(Error::NeverIdle { table: self.model.table().name, by });
            }
            tokio::select! {
                () = tokio::time::sleep(again) => {}
                () = self.stop.cancelled() => return Ok(None),
            }
            again = (again * 2).min(SWAP_AGAIN.1);
        }
    }

    /// Follows what was recorded, until little is left. How many events that were; none when it was interrupted.
    async fn catch_up(
        &self,
        catching_up: &mut CatchingUp<'_>,
        reader: &mut PgConnection,
        writer: &mut PgConnection,
    ) -> Result<Option<u64>, Error> {
        let (mut events, mut steps) = (0, self.options.pace.steps(1));
        while !self.stop.is_cancelled() {
            let round = catching_up.round(reader, writer).await?;
            events += round.events;
            failpoint::pass("rebuild.caught_up");
            if !round.more {
                return Ok(Some(events));
            }
            steps.done(round.events).await;
        }
        Ok(None)
    }

    /// Compares the new table with the fold, if that is wanted. None when it was interrupted.
    async fn verify(&self, at: Cursor) -> Result<Option<Option<Verified>>, Error> {
        let Some(options) = &self.options.verify else { return Ok(Some(None)) };
        let (events, rows) = (self.progress.events(), self.progress.rows());
        let place = verify::Place::New { at };
        let verified = verify::compare(self.database, self.model, place, options, self.progress, self.stop).await?;
        self.progress.of(self.begun.events_total, events, rows);
        failpoint::pass("rebuild.verified");
        match verified {
            None => Ok(None),
            Some(verified) if verified.found > 0 => Err(Error::Differs(Box::new(verified))),
            Some(verified) => Ok(Some(Some(verified))),
        }
    }

    /// Puts the new table in the old one's place, with all that the old one has. How long that held the table; none if it
    /// could not be had, or has too much that the new one does not have.
    async fn swap(
        &self,
        connection: &mut PgConnection,
        catching_up: &mut CatchingUp<'_>,
        reader: &mut PgConnection,
        took: Duration,
    ) -> Result<Option<Duration>, Error> {
        let (table, at) = (self.model.table(), catching_up.at);
        let mut transaction = connection.begin().await?;
        sqlx::query(MAINTENANCE_MAX).execute(&mut *transaction).await?;
        // This lock keeps off neither who reads nor who writes, and the transaction has no id yet.
        let maintenance = format!("LOCK TABLE public.{} IN SHARE UPDATE EXCLUSIVE MODE", table.name);
        if is_refused(sqlx::query(&maintenance).execute(&mut *transaction).await)? {
            return Ok(None);
        }
        sqlx::query(LOCK_MAX).execute(&mut *transaction).await?;
        // The table first, then the checkpoint: in the order in which the projection's own transaction takes them.
        let lock = format!("LOCK TABLE public.{} IN ACCESS EXCLUSIVE MODE", table.name);
        if is_refused(sqlx::query(&lock).execute(&mut *transaction).await)? {
            return Ok(None);
        }
        let locked = Instant::now();
        let held = "SELECT transaction_id::text, position FROM checkpoints WHERE follower = $1 FOR UPDATE";
        let standing: Option<(String, i64)> =
            match sqlx::query_as(held).bind(table.name).fetch_optional(&mut *transaction).await {
                Err(error) if is_timeout(&error) => return Ok(None),
                standing => standing?,
            };
        let standing = standing.map_or(Ok(Cursor::default()), |(xid, position)| cursor(&xid, position))?;
        if !catching_up.last_round(reader, &mut transaction, standing).await? {
            catching_up.rolled_back(at);
            return Ok(None);
        }
        shadow::take_over(&mut transaction, table).await?;
        shadow::move_checkpoint(&mut transaction, table, catching_up.at).await?;
        self.record(&mut transaction, took).await?;
        failpoint::pass("rebuild.before_swap");
        transaction.commit().await?;
        Ok(Some(locked.elapsed()))
    }

    /// What is known about the rebuild is known of the projection from now on.
    async fn record(&self, transaction: &mut PgConnection, took: Duration) -> Result<(), Error> {
        let table = self.model.table();
        let ended = sqlx::query("DELETE FROM projection_rebuilds WHERE projection = $1 AND epoch = $2")
            .bind(table.name)
            .bind(self.begun.epoch)
            .execute(&mut *transaction)
            .await?;
        if ended.rows_affected() != 1 {
            return Err(Error::TakenOver { table: table.name });
        }
        sqlx::query(
            "INSERT INTO projections AS p (projection, version, rebuilt_at, rebuild_seconds, rebuilt_events, rebuilt_rows,
                                           verified_at)
             VALUES ($1, $2, clock_timestamp(), $3, $4, $5, CASE WHEN $6 THEN clock_timestamp() END)
             ON CONFLICT (projection) DO UPDATE
                SET (version, rebuilt_at, rebuild_seconds, rebuilt_events, rebuilt_rows, verified_at)
                  = (EXCLUDED.version, EXCLUDED.rebuilt_at, EXCLUDED.rebuild_seconds, EXCLUDED.rebuilt_events,
                     EXCLUDED.rebuilt_rows, EXCLUDED.verified_at)",
        )
        .bind(table.name)
        .bind(table.version)
        .bind(took.as_secs_f64())
        .bind(i64::try_from(self.progress.events()).unwrap_or(i64::MAX))
        .bind(i64::try_from(self.progress.rows()).unwrap_or(i64::MAX))
        .bind(self.options.verify.is_some())
        .execute(&mut *transaction)
        .await?;
        if let Some(channel) = table.channel {
            sqlx::query("SELECT pg_notify($1, 'rebuilt')").bind(channel).execute(&mut *transaction).await?;
        }
        Ok(())
    }
}

/// Whether a lock was not to be had in time.
fn is_refused<T>(locked: sqlx::Result<T>) -> Result<bool, Error> {
    match locked {
        Err(error) if is_timeout(&error) => Ok(true),
        Err(error) => Err(error.into()),
        Ok(_) => Ok(false),
    }
}

fn is_timeout(error: &sqlx::Error) -> bool {
    error.as_database_error().and_then(|error| error.code()).as_deref() == Some("55P03")
}
