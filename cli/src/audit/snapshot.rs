//! One database as it was at one moment.
//!
//! All that is read of a database is read in one read-only transaction with one snapshot: events, read models and
//! checkpoints are those of one moment, and what a running shop does meanwhile does not matter. Such a transaction has
//! no transaction id, so it does not keep relays and projections behind their gate.

use super::chain::{Head, Text};
use crate::ports::Role;
use crate::postgres::Server;
use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use event_store::chain::{Hash, Link};
use event_store::{Cursor, Metadata, RecordedEvent};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions, Connection, Executor, FromRow, PgConnection, Row};
use std::time::Duration;
use tokio::sync::Mutex;
use uuid::Uuid;

const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// Events a page: some megabytes.
const PAGE_EVENTS: i64 = 4_000;

/// The columns of an event, as [`recorded`] reads them.
const COLUMNS: &str = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
       metadata::text AS metadata, position, transaction_id::text AS xid, recorded_at";

/// A range of streams has about so many events.
const RANGE_EVENTS: f64 = 100_000.0;
/// Of so many of them the ids are looked at, to find the ends of ranges.
const SAMPLED: f64 = 20_000.0;
const RANGES_MAX: usize = 256;

/// A database at one moment, for as many connections as want to look at it.
pub(super) struct Moment {
    pub(super) role: Role,
    options: PgConnectOptions,
    /// Keeps the snapshot.
    holder: Mutex<PgConnection>,
    snapshot: String,
    /// That moment, by the database's clock.
    pub(super) at: DateTime<Utc>,
}

impl Moment {
    /// Takes it now.
    pub(super) async fn take(server: &Server, role: Role) -> anyhow::Result<Self> {
        let options = options(server, role.database());
        let mut holder = connect_with(&options, role.database()).await?;
        let begun = async {
            holder.execute(BEGIN).await?;
            // The snapshot is that of the first query, not of BEGIN.
            sqlx::query_as("SELECT pg_export_snapshot(), clock_timestamp()").fetch_one(&mut holder).await
        };
        let (snapshot, at) = begun.await.with_context(|| role.database())?;
        Ok(Self { role, options, holder: Mutex::new(holder), snapshot, at })
    }

    /// A connection that sees the database as it was then.
    pub(super) async fn look(&self) -> anyhow::Result<Snapshot> {
        let database = self.role.database();
        let mut connection = connect_with(&self.options, database).await?;
        connection.execute(BEGIN).await.with_context(|| database)?;
        let same = format!("SET TRANSACTION SNAPSHOT '{}'", self.snapshot);
        connection.execute(same.as_str()).await.with_context(|| database)?;
        Ok(Snapshot { connection })
    }

    /// Ends it; whoever lets go without this leaves a line in the server's log.
    pub(super) async fn close(&self) {
        // Nothing more is asked of it.
        let _ = self.holder.lock().await.execute("COMMIT").await;
    }
}

type Asked<'q> = sqlx::query::QueryAs<'q, sqlx::Postgres, (String, i64), sqlx::postgres::PgArguments>;

/// Some of the streams of a kind.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    /// Those whose ids come after the one, up to the other.
    Range(Option<String>, Option<String>),
    /// These.
    Streams(Vec<String>),
}

impl Scope {
    /// What the first page comes after.
    pub(super) fn beginning(&self) -> (String, i64) {
        match self {
            Self::Range(Some(after), _) => (after.clone(), i64::MAX),
            Self::Range(None, _) | Self::Streams(_) => (String::new(), 0),
        }
    }
}

/// A connection to a database that sees it as it was at its moment.
pub(super) struct Snapshot {
    connection: PgConnection,
}

impl Snapshot {
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
    pub(super) async fn events(
        &mut self,
        kind: &str,
        scope: &Scope,
        after: &(String, i64),
    ) -> anyhow::Result<Vec<RecordedEvent>> {
        let rows = self.page(kind, scope, after).await?;
        Ok(rows.iter().map(recorded).collect::<Result<_, _>>()?)
    }

    async fn page(&mut self, kind: &str, scope: &Scope, after: &(String, i64)) -> anyhow::Result<Vec<PgRow>> {
        let within = match scope {
            Scope::Range(_, None) => "",
            Scope::Range(_, Some(_)) => "AND aggregate_id <= $5",
            Scope::Streams(_) => "AND aggregate_id = ANY($5)",
        };
        let query = format!(
            "SELECT {COLUMNS} FROM events
              WHERE aggregate_type = $1 AND (aggregate_id, sequence) > ($2, $3) {within}
              ORDER BY aggregate_type, aggregate_id, sequence LIMIT $4"
        );
        let query = sqlx::query(&query).bind(kind).bind(&after.0).bind(after.1).bind(PAGE_EVENTS);
        let query = match scope {
            Scope::Range(_, None) => query,
            Scope::Range(_, Some(up_to)) => query.bind(up_to),
            Scope::Streams(ids) => query.bind(ids),
        };
        Ok(query.fetch_all(&mut self.connection).await?)
    }

    /// A page of one kind of streams as it lies there, stream after stream; empty at the end.
    pub(super) async fn texts(
        &mut self,
        kind: &str,
        scope: &Scope,
        after: &(String, i64),
    ) -> anyhow::Result<Vec<Text>> {
        let rows = self.page(kind, scope, after).await?;
        let text = |row: &PgRow| -> Result<Text, sqlx::Error> {
            Ok(Text {
                aggregate_id: row.try_get("aggregate_id")?,
                sequence: row.try_get("sequence")?,
                event_type: row.try_get("event_type")?,
                event_version: row.try_get("event_version")?,
                payload: row.try_get("payload")?,
                metadata: row.try_get("metadata")?,
                cursor: cursor(row)?,
            })
        };
        Ok(rows.iter().map(text).collect::<Result<_, _>>()?)
    }

    /// The hashes of the events that these heads name, in their order; none of those that are not there.
    pub(super) async fn hashes(&mut self, heads: &[Head<'_>]) -> anyhow::Result<Vec<Option<Hash>>> {
        let mut hashes = vec![None; heads.len()];
        let kinds: Vec<&str> = heads.iter().map(|head| head.kind.as_ref()).collect();
        let ids: Vec<&str> = heads.iter().map(|head| head.id.as_ref()).collect();
        let sequences: Vec<i64> = heads.iter().map(|head| head.sequence).collect();
        // The lateral subquery keeps each event one look into the primary key.
        let rows = sqlx::query(
            "SELECT s.n, e.*
               FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS s(kind, id, number, n)
              CROSS JOIN LATERAL (
                    SELECT event_type, event_version, payload::text AS payload, metadata::text AS metadata
                      FROM events WHERE aggregate_type = s.kind AND aggregate_id = s.id AND sequence = s.number
                    OFFSET 0) AS e",
        )
        .bind(kinds)
        .bind(ids)
        .bind(sequences)
        .fetch_all(&mut self.connection)
        .await?;
        for row in rows {
            let n = usize::try_from(row.try_get::<i64, _>("n")?)?;
            let head = &heads[n - 1];
            let link = Link {
                aggregate_type: &head.kind,
                aggregate_id: &head.id,
                sequence: u64::try_from(head.sequence)?,
                event_type: row.try_get("event_type")?,
                event_version: row.try_get("event_version")?,
                payload: row.try_get("payload")?,
                metadata: row.try_get("metadata")?,
            };
            hashes[n - 1] = Some(link.hash()?);
        }
        Ok(hashes)
    }

    /// The kinds of streams that there are: from one to the next through the primary key.
    pub(super) async fn kinds(&mut self) -> anyhow::Result<Vec<String>> {
        let query = "WITH RECURSIVE kinds AS (
                (SELECT aggregate_type AS kind FROM events ORDER BY aggregate_type LIMIT 1)
                UNION ALL
                SELECT (SELECT e.aggregate_type FROM events e
                         WHERE e.aggregate_type > k.kind ORDER BY e.aggregate_type LIMIT 1)
                  FROM kinds k WHERE k.kind IS NOT NULL
             )
             SELECT kind FROM kinds WHERE kind IS NOT NULL";
        Ok(sqlx::query_scalar(query).fetch_all(&mut self.connection).await?)
    }

    /// How many events there are, nearly.
    pub(super) async fn events_estimate(&mut self) -> anyhow::Result<f64> {
        let known: f32 = sqlx::query_scalar("SELECT reltuples FROM pg_class WHERE oid = 'events'::regclass")
            .fetch_one(&mut self.connection)
            .await?;
        if known > 0.0 {
            return Ok(f64::from(known));
        }
        // Nobody has counted so far: then there are few.
        let counted: i64 = sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&mut self.connection).await?;
        Ok(counted as f64)
    }

    /// All streams of a kind, in ranges of about the same size.
    pub(super) async fn ranges(&mut self, kind: &str) -> anyhow::Result<Vec<Scope>> {
        let events = self.events_estimate().await?;
        if events <= RANGE_EVENTS {
            return Ok(vec![Scope::Range(None, None)]);
        }
        let percent = (100.0 * SAMPLED / events).min(100.0);
        let ids: Vec<String> = sqlx::query_scalar(
            "SELECT aggregate_id FROM events TABLESAMPLE SYSTEM ($2) WHERE aggregate_type = $1 ORDER BY 1",
        )
        .bind(kind)
        .bind(percent as f32)
        .fetch_all(&mut self.connection)
        .await?;
        let of_kind = ids.len() as f64 * 100.0 / percent;
        let wanted = ((of_kind / RANGE_EVENTS).ceil() as usize).clamp(1, RANGES_MAX);
        let step = ids.len().div_ceil(wanted).max(1);
        let mut ends: Vec<Option<String>> = ids.into_iter().skip(step - 1).step_by(step).map(Some).collect();
        ends.dedup();
        ends.pop();
        let ends = [vec![None], ends, vec![None]].concat();
        Ok(ends.windows(2).map(|ends| Scope::Range(ends[0].clone(), ends[1].clone())).collect())
    }

    /// The first event in the visible order for which this holds.
    pub(super) async fn first(
        &mut self,
        condition: &str,
        bind: impl for<'q> FnOnce(Asked<'q>) -> Asked<'q>,
    ) -> anyhow::Result<Option<Cursor>> {
        // Found by their times or positions first: in the visible order, all would have to be looked at.
        let query = format!(
            "WITH found AS MATERIALIZED (SELECT e.transaction_id, e.position FROM events e WHERE {condition})
             SELECT f.transaction_id::text, f.position FROM found f ORDER BY f.transaction_id, f.position LIMIT 1"
        );
        let found: Option<(String, i64)> = bind(sqlx::query_as(&query)).fetch_optional(&mut self.connection).await?;
        let cursor = |(xid, position): (String, i64)| anyhow::Ok(Cursor { transaction_id: xid.parse()?, position });
        found.map(cursor).transpose()
    }

    /// The streams of a kind that have an event after this one.
    pub(super) async fn touched(&mut self, kind: &str, since: Cursor) -> anyhow::Result<Vec<String>> {
        let query = "SELECT DISTINCT e.aggregate_id FROM events e
                      WHERE e.aggregate_type = $1 AND (e.transaction_id, e.position) > ($2::text::xid8, $3)";
        let query = sqlx::query_scalar(query).bind(kind).bind(since.transaction_id.to_string()).bind(since.position);
        Ok(query.fetch_all(&mut self.connection).await?)
    }

    /// When the first event after this one was recorded.
    pub(super) async fn recorded_after(&mut self, since: Cursor) -> anyhow::Result<Option<DateTime<Utc>>> {
        let query = "SELECT e.recorded_at FROM events e WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2)
                      ORDER BY e.transaction_id, e.position LIMIT 1";
        let query = sqlx::query_scalar(query).bind(since.transaction_id.to_string()).bind(since.position);
        Ok(query.fetch_optional(&mut self.connection).await?)
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
    connect_with(&options(server, database), database).await
}

fn options(server: &Server, database: &str) -> PgConnectOptions {
    let options = server.options(database).application_name("sagashop-audit").options([
        ("default_transaction_read_only", "on"),
        // Some queries look at every event, and one connection waits for all others.
        ("statement_timeout", "900s"),
        ("idle_in_transaction_session_timeout", "0"),
        ("jit", "off"),
    ]);
    options.disable_statement_logging()
}

async fn connect_with(options: &PgConnectOptions, database: &str) -> anyhow::Result<PgConnection> {
    match tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(options)).await {
        Ok(connected) => connected.with_context(|| database.to_owned()),
        Err(_) => bail!("{database}: no answer within {} s", CONNECT_MAX.as_secs()),
    }
}

fn cursor(row: &PgRow) -> Result<Cursor, sqlx::Error> {
    Ok(Cursor {
        transaction_id: row.try_get::<&str, _>("xid")?.parse().unwrap_or(0),
        position: row.try_get("position")?,
    })
}

/// An event as it lies in its row.
pub(crate) fn recorded(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let aggregate_type: String = row.try_get("aggregate_type")?;
    let aggregate_id: String = row.try_get("aggregate_id")?;
    let sequence = u64::try_from(row.try_get::<i64, _>("sequence")?).unwrap_or(0);
    let recorded_at: DateTime<Utc> = row.try_get("recorded_at")?;
    // As the event store itself names an event that a stock repository wrote.
    let place = || Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{aggregate_type}/{aggregate_id}/{sequence}").as_bytes());
    Ok(RecordedEvent {
        metadata: Metadata::from_json(row.try_get("metadata")?, place, recorded_at),
        event_type: row.try_get("event_type")?,
        event_version: row.try_get("event_version")?,
        payload: row.try_get("payload")?,
        cursor: cursor(row)?,
        aggregate_type,
        aggregate_id,
        sequence,
        recorded_at,
    })
}
