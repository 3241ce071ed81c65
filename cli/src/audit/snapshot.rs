//! One database as it was at one moment.
//!
//! All that is read of a database is read in one read-only transaction with one snapshot: events, read models and
//! checkpoints are those of one moment, and what a running shop does meanwhile does not matter. Such a transaction has
//! no transaction id, so it does not keep relays and projections behind their gate.

use crate::postgres::Server;
use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use event_store::{Cursor, Metadata, RecordedEvent};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, Connection, Executor, FromRow, PgConnection, Row};
use std::collections::HashMap;
use std::time::Duration;
use uuid::Uuid;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Events a page: some megabytes.
const PAGE_EVENTS: i64 = 4_000;

const EVENTS: &str = "
SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, transaction_id::text AS xid, recorded_at
  FROM events
 WHERE aggregate_type = $1 AND (aggregate_id, sequence) > ($2, $3)
 ORDER BY aggregate_type, aggregate_id, sequence
 LIMIT $4";

/// A database at the moment at which this was taken.
pub(super) struct Snapshot {
    connection: PgConnection,
    /// That moment, by the database's clock.
    pub(super) at: DateTime<Utc>,
}

impl Snapshot {
    /// Takes it now.
    pub(super) async fn take(server: &Server, database: &str) -> anyhow::Result<Self> {
        let mut connection = connect(server, database).await?;
        let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";
        connection.execute(begin).await.with_context(|| database.to_owned())?;
        // The snapshot is that of the first query, not of BEGIN.
        let at = sqlx::query_scalar("SELECT clock_timestamp()")
            .fetch_one(&mut connection)
            .await
            .with_context(|| database.to_owned())?;
        Ok(Self { connection, at })
    }

    /// Ends it; whoever lets go without this leaves a line in the server's log.
    pub(super) async fn close(self) {
        // Nothing more is asked of it.
        let _ = self.connection.close().await;
    }

    /// For queries of other modules.
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.connection
    }

    /// A page of one kind of streams, stream after stream; empty at the end.
    pub(super) async fn events(&mut self, kind: &str, after: &(String, i64)) -> anyhow::Result<Vec<RecordedEvent>> {
        let rows = sqlx::query(EVENTS)
            .bind(kind)
            .bind(&after.0)
            .bind(after.1)
            .bind(PAGE_EVENTS)
            .fetch_all(&mut self.connection)
            .await?;
        Ok(rows.iter().map(recorded).collect::<Result<_, _>>()?)
    }

    /// How far a follower of the event table has come; the beginning, if it has none.
    pub(super) async fn checkpoint(&mut self, follower: &str) -> anyhow::Result<Cursor> {
        let query = "SELECT transaction_id::text, position FROM checkpoints WHERE follower = $1";
        let found: Option<(String, i64)> =
            sqlx::query_as(query).bind(follower).fetch_optional(&mut self.connection).await?;
        let Some((transaction_id, position)) = found else { return Ok(Cursor::default()) };
        Ok(Cursor { transaction_id: transaction_id.parse()?, position })
    }

    /// Rows by ids, which the query takes as `$1::uuid[]`.
    pub(super) async fn rows<R>(&mut self, query: &str, ids: &[Uuid]) -> anyhow::Result<Vec<R>>
    where
        R: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        Ok(sqlx::query_as(query).bind(ids).fetch_all(&mut self.connection).await?)
    }
}

/// A connection with which nothing can be changed.
pub(crate) async fn connect(server: &Server, database: &str) -> anyhow::Result<PgConnection> {
    let options = server.options(database).application_name("sagashop-audit").options([
        ("default_transaction_read_only", "on"),
        // Some queries look at every event.
        ("statement_timeout", "300s"),
        ("jit", "off"),
    ]);
    let options: PgConnectOptions = options.disable_statement_logging();
    match tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(&options)).await {
        Ok(connected) => connected.with_context(|| database.to_owned()),
        Err(_) => bail!("{database}: no answer within {} s", CONNECT_MAX.as_secs()),
    }
}

/// An event as it lies in its row.
pub(crate) fn recorded(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let aggregate_type: String = row.try_get("aggregate_type")?;
    let aggregate_id: String = row.try_get("aggregate_id")?;
    let sequence = u64::try_from(row.try_get::<i64, _>("sequence")?).unwrap_or(0);
    let recorded_at: DateTime<Utc> = row.try_get("recorded_at")?;
    let metadata: HashMap<String, String> =
        serde_json::from_str(row.try_get::<&str, _>("metadata")?).unwrap_or_default();
    // As the event store itself names an event that a stock repository wrote.
    let place = || Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{aggregate_type}/{aggregate_id}/{sequence}").as_bytes());
    Ok(RecordedEvent {
        metadata: Metadata::from_map(&metadata, place, recorded_at),
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get("payload")?,
        cursor: Cursor {
            transaction_id: row.try_get::<&str, _>("xid")?.parse().unwrap_or(0),
            position: row.try_get("position")?,
        },
        aggregate_type,
        aggregate_id,
        sequence,
        recorded_at,
    })
}
