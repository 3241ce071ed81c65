//! Rebuilds that have begun: planned once, written down, and taken up again by whoever comes after a kill.

use event_store::Cursor;
use sqlx::{Connection, PgConnection};

use super::database::{checkpoint, cursor, end, events_about, quantiles};
use super::model::Table;
use super::{Error, Options, shadow};

/// What the lock of a rebuild is called, before the table's name.
pub(super) const LOCK: &str = "sagashop: rebuild of ";
/// About so many events a part: what is between two parts' ends is not held by anybody.
const PART_EVENTS: u64 = 25_000;
const PARTS_MAX: u64 = 128;

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Filling,
    Indexing,
    CatchingUp,
}

impl Phase {
    fn as_str(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Indexing => "indexing",
            Self::CatchingUp => "catching_up",
        }
    }
}

/// A rebuild that is ours.
#[derive(Debug)]
pub(super) struct Begun {
    pub(super) epoch: i64,
    pub(super) phase: Phase,
    /// Rows without an event since then are taken over from the table that serves.
    pub(super) since: Option<Cursor>,
    /// What the table has, or will have once it is filled.
    pub(super) at: Cursor,
    pub(super) events_total: u64,
    /// Whether an earlier run began it.
    pub(super) is_resumed: bool,
}

/// Holds the place of the one who rebuilds this projection, until the connection ends. It keeps people from doing it
/// twice; what keeps rows right is the epoch.
pub(super) async fn hold(connection: &mut PgConnection, table: &Table) -> Result<(), Error> {
    let is_held: bool = sqlx::query_scalar("SELECT pg_try_advisory_lock(hashtextextended($1, 0))")
        .bind(format!("{LOCK}{}", table.name))
        .fetch_one(connection)
        .await?;
    if is_held { Ok(()) } else { Err(Error::Busy { table: table.name }) }
}

/// Takes up the rebuild that was left, or begins one.
pub(super) async fn begin(connection: &mut PgConnection, table: &Table, options: &Options) -> Result<Begun, Error> {
    let shape = shadow::shape(connection, table).await?;
    let dependents = shadow::dependents(connection, table).await?;
    if !dependents.is_empty() {
        return Err(Error::HasDependents { table: table.name, dependents: dependents.join(", ") });
    }
    if !options.restart
        && let Some(begun) = resume(connection, table, options, &shape).await?
    {
        return Ok(begun);
    }
    plan(connection, table, options, &shape).await
}

async fn resume(
    connection: &mut PgConnection,
    table: &Table,
    options: &Options,
    shape: &str,
) -> Result<Option<Begun>, Error> {
    if !shadow::exists(connection, shadow::NEW, table).await? {
        return Ok(None);
    }
    type Found = (i64, String, Option<String>, Option<i64>, String, i64, i64);
    let since = options.since.map(|since| (since.transaction_id.to_string(), since.position)).unzip();
    // What was begun with fewer of the rows that serve does for more of them; no answer to the comparison is none.
    // One whose place no transaction of this server has passed was restored from another's dump.
    let found: Option<Found> = sqlx::query_as(
        "UPDATE projection_rebuilds SET epoch = epoch + 1, updated_at = clock_timestamp()
          WHERE projection = $1 AND version = $2 AND shape = $3
            AND (since_xid IS NULL OR (since_xid, since_position) <= ($4::text::xid8, $5))
            AND transaction_id < pg_snapshot_xmin(pg_current_snapshot())
        RETURNING epoch, phase, since_xid::text, since_position, transaction_id::text, position, events_total",
    )
    .bind(table.name)
    .bind(table.version)
    .bind(shape)
    .bind(since.0)
    .bind(since.1)
    .fetch_optional(connection)
    .await?;
    let Some((epoch, phase, since_xid, since_position, transaction_id, position, total)) = found else {
        return Ok(None);
    };
    Ok(Some(Begun {
        epoch,
        phase: match phase.as_str() {
            "filling" => Phase::Filling,
            "indexing" => Phase::Indexing,
            _ => Phase::CatchingUp,
        },
        since: since_xid.zip(since_position).map(|(xid, position)| cursor(&xid, position)).transpose()?,
        at: cursor(&transaction_id, position)?,
        events_total: u64::try_from(total).unwrap_or(0),
        is_resumed: true,
    }))
}

/// Everything is looked at before the first write: from then on the transaction has an id, and whoever follows events
/// waits for its end.
async fn plan(connection: &mut PgConnection, table: &Table, options: &Options, shape: &str) -> Result<Begun, Error> {
    let (parts, at, total) = match options.since {
        // One part: what is taken over is cheap.
        Some(since) => (Vec::new(), since.min(checkpoint(connection, table).await?), 0),
        None => {
            let about = events_about(connection, table).await?;
            let parts = about.div_ceil(PART_EVENTS).clamp(1, PARTS_MAX);
            let parts = quantiles(connection, table, about, usize::try_from(parts).unwrap_or(1)).await?;
            (parts, end(connection).await?, about)
        }
    };
    let mut transaction = connection.begin().await?;
    sqlx::query("DELETE FROM projection_rebuilds WHERE projection = $1")
        .bind(table.name)
        .execute(&mut *transaction)
        .await?;
    shadow::create(&mut transaction, table).await?;
    let since = options.since.map(|since| (since.transaction_id.to_string(), since.position)).unzip();
    let epoch: i64 = sqlx::query_scalar(
        "INSERT INTO projection_rebuilds (projection, version, phase, shape, since_xid, since_position, transaction_id,
                                          position, events_total)
         VALUES ($1, $2, 'filling', $3, $4::text::xid8, $5, $6::text::xid8, $7, $8) RETURNING epoch",
    )
    .bind(table.name)
    .bind(table.version)
    .bind(shape)
    .bind(since.0)
    .bind(since.1)
    .bind(at.transaction_id.to_string())
    .bind(at.position)
    .bind(i64::try_from(total).unwrap_or(i64::MAX))
    .fetch_one(&mut *transaction)
    .await?;
    let numbers: Vec<i32> = (0..=i32::try_from(parts.len()).unwrap_or(0)).collect();
    let after: Vec<Option<&str>> = [None].into_iter().chain(parts.iter().map(|id| Some(id.as_str()))).collect();
    let up_to: Vec<Option<&str>> = parts.iter().map(|id| Some(id.as_str())).chain([None]).collect();
    sqlx::query(
        "INSERT INTO projection_rebuild_parts (projection, part, after_id, up_to_id)
         SELECT $1, * FROM UNNEST($2::int[], $3::text[], $4::text[])",
    )
    .bind(table.name)
    .bind(numbers)
    .bind(after)
    .bind(up_to)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    let phase = Phase::Filling;
    Ok(Begun { epoch, phase, since: options.since, at, events_total: total, is_resumed: false })
}

impl Begun {
    /// Writes down that the next phase begins.
    pub(super) async fn enter(
        &mut self,
        connection: &mut PgConnection,
        table: &Table,
        phase: Phase,
    ) -> Result<(), Error> {
        let entered = sqlx::query(
            "UPDATE projection_rebuilds SET phase = $3, updated_at = clock_timestamp()
              WHERE projection = $1 AND epoch = $2",
        )
        .bind(table.name)
        .bind(self.epoch)
        .bind(phase.as_str())
        .execute(connection)
        .await?;
        self.phase = phase;
        if entered.rows_affected() == 1 { Ok(()) } else { Err(Error::TakenOver { table: table.name }) }
    }
}
