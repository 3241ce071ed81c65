//! What is known of read models: how far they are behind, which version their rows are of, when they were made anew.

use chrono::{DateTime, Utc};
use event_store::Cursor;
use sqlx::{PgConnection, Row};

use super::database::cursor;
use super::model::Table;
use super::shadow::{self, NEW, OLD};
use super::{Database, Error};

/// Events behind are counted up to here.
const LAG_MAX: i64 = 10_000;

/// A read model as it stands.
#[derive(Debug, Clone, Default)]
pub struct State {
    /// The version of its rows; none before its service first started.
    pub version: Option<i32>,
    /// Events behind its checkpoint, counted up to 10,000.
    pub lag_events: i64,
    /// The age of the oldest of them.
    pub lag_seconds: f64,
    /// About so many rows, as the planner knows.
    pub rows: i64,
    /// On the disk, with its indexes.
    pub bytes: i64,
    /// When it was last made anew.
    pub rebuilt_at: Option<DateTime<Utc>>,
    /// How long that took.
    pub rebuild_seconds: Option<f64>,
    /// A rebuild that has begun and not ended.
    pub underway: Option<Underway>,
    /// The table that served before, if it is kept: its size.
    pub old_bytes: Option<i64>,
}

/// A rebuild that has begun and not ended.
#[derive(Debug, Clone)]
pub struct Underway {
    /// What is being done.
    pub phase: String,
    /// Events that are folded and written.
    pub events: i64,
    /// Of about so many.
    pub total: i64,
    /// Somebody is at it now.
    pub is_running: bool,
    /// When it began.
    pub began_at: DateTime<Utc>,
}

const STATE: &str = "
SELECT (SELECT count(*)
          FROM (SELECT FROM events AS e
                 WHERE (e.transaction_id, e.position) > (COALESCE(c.transaction_id, '0'::xid8), COALESCE(c.position, 0))
                 ORDER BY e.transaction_id, e.position LIMIT $4) AS few) AS lag_events,
       (SELECT extract(epoch FROM clock_timestamp() - e.recorded_at)::float8
          FROM events AS e
         WHERE (e.transaction_id, e.position) > (COALESCE(c.transaction_id, '0'::xid8), COALESCE(c.position, 0))
         ORDER BY e.transaction_id, e.position LIMIT 1) AS lag_seconds,
       p.version, p.rebuilt_at, p.rebuild_seconds,
       COALESCE((SELECT greatest(reltuples, 0)::bigint FROM pg_class WHERE oid = to_regclass('public.' || f.name)), 0) AS rows,
       COALESCE(pg_total_relation_size(to_regclass('public.' || f.name)), 0) AS bytes,
       pg_total_relation_size(to_regclass($3 || '.' || f.name)) AS old_bytes,
       r.phase, r.began_at, r.events_total,
       (SELECT COALESCE(sum(events), 0)::bigint FROM projection_rebuild_parts AS t WHERE t.projection = f.name) AS events,
       EXISTS (SELECT FROM pg_locks AS l
                WHERE l.locktype = 'advisory' AND l.granted
                  AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
                  AND (l.classid::bigint << 32 | l.objid::bigint) = hashtextextended($2 || f.name, 0)) AS is_running
  FROM (SELECT $1 AS name) AS f
  LEFT JOIN checkpoints AS c ON c.follower = f.name
  LEFT JOIN projections AS p ON p.projection = f.name
  LEFT JOIN projection_rebuilds AS r ON r.projection = f.name";

/// Each of these read models as it stands.
///
/// # Errors
/// Those of the database.
pub async fn states(database: &Database, tables: &[&'static Table]) -> Result<Vec<State>, Error> {
    let mut connection = database.connect().await?;
    let mut states = Vec::new();
    for table in tables {
        states.push(state(&mut connection, table).await?);
    }
    Ok(states)
}

async fn state(connection: &mut PgConnection, table: &Table) -> Result<State, Error> {
    let row = sqlx::query(STATE)
        .bind(table.name)
        .bind(super::begun::LOCK)
        .bind(OLD)
        .bind(LAG_MAX)
        .fetch_one(connection)
        .await?;
    let underway = match row.try_get::<Option<String>, _>("phase")? {
        Some(phase) => Some(Underway {
            phase,
            events: row.try_get("events")?,
            total: row.try_get("events_total")?,
            is_running: row.try_get("is_running")?,
            began_at: row.try_get("began_at")?,
        }),
        None => None,
    };
    Ok(State {
        version: row.try_get("version")?,
        lag_events: row.try_get("lag_events")?,
        lag_seconds: row.try_get::<Option<f64>, _>("lag_seconds")?.unwrap_or(0.0).max(0.0),
        rows: row.try_get("rows")?,
        bytes: row.try_get("bytes")?,
        rebuilt_at: row.try_get("rebuilt_at")?,
        rebuild_seconds: row.try_get("rebuild_seconds")?,
        underway,
        old_bytes: row.try_get("old_bytes")?,
    })
}

/// What a rebuild would read and write.
#[derive(Debug, Clone)]
pub struct Description {
    /// About so many events, as the planner guesses.
    pub events: u64,
    /// An unfinished rebuild would go on.
    pub is_begun: bool,
    /// A table from before would be dropped at the swap.
    pub has_old: bool,
}

/// What a rebuild would do, without doing it.
///
/// # Errors
/// Those of the database, or what keeps it from being rebuilt.
pub async fn describe(database: &Database, table: &Table) -> Result<Description, Error> {
    let mut connection = database.connect().await?;
    shadow::shape(&mut connection, table).await?;
    let dependents = shadow::dependents(&mut connection, table).await?;
    if !dependents.is_empty() {
        return Err(Error::HasDependents { table: table.name, dependents: dependents.join(", ") });
    }
    Ok(Description {
        events: super::database::events_about(&mut connection, table).await?,
        is_begun: shadow::exists(&mut connection, NEW, table).await?,
        has_old: shadow::exists(&mut connection, OLD, table).await?,
    })
}

/// The place before the first event that was recorded at this time or later.
///
/// # Errors
/// Those of the database.
pub async fn place_since(database: &Database, at: DateTime<Utc>) -> Result<Cursor, Error> {
    before(database, "e.recorded_at >= $1::timestamptz", at.to_rfc3339()).await
}

/// The place before the first event with this position or a later one.
///
/// # Errors
/// Those of the database.
pub async fn place_of(database: &Database, position: i64) -> Result<Cursor, Error> {
    before(database, "e.position >= $1::bigint", position.to_string()).await
}

async fn before(database: &Database, condition: &str, value: String) -> Result<Cursor, Error> {
    let mut connection = database.connect().await?;
    let query = format!(
        "SELECT e.transaction_id::text, e.position - 1 FROM events AS e WHERE {}
          ORDER BY e.transaction_id, e.position LIMIT 1",
        condition.replace("$1", "($1::text)")
    );
    let first: Option<(String, i64)> = sqlx::query_as(&query).bind(value).fetch_optional(&mut connection).await?;
    match first {
        Some((transaction_id, position)) => Ok(cursor(&transaction_id, position)?),
        None => Ok(super::database::end(&mut connection).await?),
    }
}
