//! Connections for work that takes long, and what is written down about it.

use anyhow::Context;
use event_store::Cursor;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, PgConnection, PgPool, Row};

use super::Error;
use super::model::Table;

/// A service's database, for rebuilds and verifications of its read models.
#[derive(Debug, Clone)]
pub struct Database {
    options: PgConnectOptions,
}

/// The usual for all of them. No statement of theirs is short, and none holds a transaction id for long.
const SETTINGS: [(&str, &str); 7] = [
    ("statement_timeout", "0"),
    ("lock_timeout", "30s"),
    ("idle_in_transaction_session_timeout", "10min"),
    ("client_connection_check_interval", "2s"),
    ("standard_conforming_strings", "on"),
    ("jit", "off"),
    // An index takes one processor, and leaves the others to the shop.
    ("max_parallel_maintenance_workers", "0"),
];
/// Streams are read along their index, in its order: to sort them all would take the memory that the order saves.
const IN_ORDER: [(&str, &str); 4] = [
    ("enable_sort", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("max_parallel_workers_per_gather", "0"),
];

impl Database {
    /// The one that these options lead to.
    pub fn new(options: PgConnectOptions) -> Self {
        let options = options.application_name("sagashop-projection").options(SETTINGS);
        Self { options: options.disable_statement_logging() }
    }

    /// The one of a service's pool.
    pub fn of(pool: &PgPool) -> Self {
        Self::new((*pool.connect_options()).clone())
    }

    pub(super) async fn connect(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.options).await
    }

    /// For reading streams.
    pub(super) async fn reader(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.options.clone().options(IN_ORDER)).await
    }

    /// For filling a table that nobody reads yet: how far it is filled is lost together with the rows, if it is lost.
    pub(super) async fn filler(&self) -> sqlx::Result<PgConnection> {
        PgConnection::connect_with(&self.options.clone().options([("synchronous_commit", "off")])).await
    }
}

/// A place in the store, of a row's columns.
pub(super) fn cursor(transaction_id: &str, position: i64) -> anyhow::Result<Cursor> {
    Ok(Cursor { transaction_id: transaction_id.parse().context("a transaction id")?, position })
}

/// Where the last event stands that every reader may see; the beginning, if there is none.
pub(super) async fn end(connection: &mut PgConnection) -> anyhow::Result<Cursor> {
    let last: Option<(String, i64)> = sqlx::query_as(
        "SELECT e.transaction_id::text, e.position FROM events AS e
          WHERE e.transaction_id < pg_snapshot_xmin(pg_current_snapshot())
          ORDER BY e.transaction_id DESC, e.position DESC LIMIT 1",
    )
    .fetch_optional(connection)
    .await?;
    last.map_or(Ok(Cursor::default()), |(transaction_id, position)| cursor(&transaction_id, position))
}

/// Where the projection stands.
pub(super) async fn checkpoint(connection: &mut PgConnection, table: &Table) -> anyhow::Result<Cursor> {
    let found: Option<(String, i64)> =
        sqlx::query_as("SELECT transaction_id::text, position FROM checkpoints WHERE follower = $1")
            .bind(table.name)
            .fetch_optional(connection)
            .await?;
    found.map_or(Ok(Cursor::default()), |(transaction_id, position)| cursor(&transaction_id, position))
}

/// The columns' types, in the order of [`Table::columns`].
pub(super) async fn types(connection: &mut PgConnection, table: &Table) -> Result<Vec<String>, Error> {
    let rows = sqlx::query(
        "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute
          WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    )
    .bind(format!("public.{}", table.name))
    .fetch_all(connection)
    .await?;
    let found: Vec<(String, String)> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<sqlx::Result<_>>()?;
    if found.is_empty() {
        return Err(Error::NoTable { table: table.name });
    }
    let of = |column: &&str| {
        let kind = found.iter().find(|(name, _)| name == column).map(|(_, kind)| kind.clone());
        kind.ok_or_else(|| Error::NoColumn { table: table.name, column: (*column).to_owned() })
    };
    table.columns.iter().map(of).collect()
}

/// The projection's version as its rows have it. One that is new is of this code; one that is older than the record is of
/// the first.
pub(super) async fn register(pool: &PgPool, table: &Table) -> sqlx::Result<i32> {
    let mut connection = pool.acquire().await?;
    let known = "SELECT version FROM projections WHERE projection = $1";
    if let Some(version) = sqlx::query_scalar(known).bind(table.name).fetch_optional(&mut *connection).await? {
        return Ok(version);
    }
    sqlx::query(
        "INSERT INTO projections (projection, version)
         VALUES ($1, CASE WHEN EXISTS (SELECT FROM checkpoints WHERE follower = $1) THEN 1 ELSE $2 END)
         ON CONFLICT DO NOTHING",
    )
    .bind(table.name)
    .bind(table.version)
    .execute(&mut *connection)
    .await?;
    sqlx::query_scalar(known).bind(table.name).fetch_one(&mut *connection).await
}

/// Where the planner guesses less, it is counted.
const COUNTED_MAX: u64 = 50_000;

/// About so many events of the table's kinds, as the planner guesses.
pub(super) async fn events_about(connection: &mut PgConnection, table: &Table) -> anyhow::Result<u64> {
    let kinds: Vec<String> = table.kinds.iter().map(|kind| super::streams::literal(kind)).collect();
    let statement = format!("EXPLAIN (FORMAT JSON) SELECT FROM events WHERE aggregate_type IN ({})", kinds.join(", "));
    let plan: sqlx::types::Json<serde_json::Value> = sqlx::query_scalar(&statement).fetch_one(&mut *connection).await?;
    let guess = plan.0.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if guess >= COUNTED_MAX {
        return Ok(guess);
    }
    // Of a small table the planner may know nothing yet.
    let count = "SELECT count(*) FROM (SELECT FROM events WHERE aggregate_type = ANY($1) LIMIT $2) AS few";
    let limit = i64::try_from(COUNTED_MAX).unwrap_or(i64::MAX);
    let count: i64 = sqlx::query_scalar(count).bind(table.kinds.to_vec()).bind(limit).fetch_one(connection).await?;
    Ok(guess.max(u64::try_from(count).unwrap_or(0)))
}

/// Ids that part the streams into so many ranges of about as many events each.
pub(super) async fn quantiles(
    connection: &mut PgConnection,
    table: &Table,
    about: u64,
    parts: usize,
) -> anyhow::Result<Vec<String>> {
    /// As many events are looked at.
    const SAMPLE: f64 = 20_000.0;
    if parts <= 1 {
        return Ok(Vec::new());
    }
    let percent = (100.0 * SAMPLE / (about as f64).max(1.0)).clamp(0.01, 100.0);
    let statement = format!(
        "SELECT aggregate_id FROM events TABLESAMPLE SYSTEM ({percent})
          WHERE aggregate_type = ANY($1) ORDER BY aggregate_id"
    );
    let kinds: Vec<&str> = table.kinds.to_vec();
    let sample: Vec<String> = sqlx::query_scalar(&statement).bind(kinds).fetch_all(connection).await?;
    let mut ids: Vec<String> = (1..parts).filter_map(|part| sample.get(part * sample.len() / parts).cloned()).collect();
    ids.dedup();
    Ok(ids)
}
