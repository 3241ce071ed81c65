//! Reading: whole streams, and the visible order.

use chrono::{DateTime, Utc};
use sqlx::postgres::PgRow;
use sqlx::{PgPool, Row};
use uuid::Uuid;

use super::{Kept, translate};
use crate::{Cursor, Error, Metadata, Page, RecordedEvent, StreamId};

/// The lateral subquery keeps each stream one index range, whatever the planner guesses of the arrays.
const LOAD: &str = "
SELECT s.n, e.*
  FROM UNNEST($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY AS s(aggregate_type, aggregate_id, after, n)
 CROSS JOIN LATERAL (
       SELECT aggregate_type, aggregate_id, sequence, event_type, event_version, payload::text AS payload,
              metadata::text AS metadata, position, transaction_id::text AS xid, recorded_at
         FROM events
        WHERE aggregate_type = s.aggregate_type AND aggregate_id = s.aggregate_id AND sequence > s.after
        ORDER BY sequence OFFSET 0) AS e
 ORDER BY s.n, e.sequence";

/// Ordered by the columns themselves: `ORDER BY xid` would sort the text. The gate is computed
/// once, under the statement's own snapshot, and bounds the index range: what it hides is not read,
/// but for the transaction of the first such event, in a last row of its own.
const READ_AFTER: &str = "
WITH gate AS MATERIALIZED (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin)
(SELECT e.aggregate_type, e.aggregate_id, e.sequence, e.event_type, e.event_version, e.payload::text AS payload,
        e.metadata::text AS metadata, e.position, e.transaction_id::text AS xid, e.recorded_at, false AS hidden
   FROM events AS e
  WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.transaction_id < (SELECT xmin FROM gate)
  ORDER BY e.transaction_id, e.position
  LIMIT $3)
UNION ALL
(SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, e.transaction_id::text, NULL, true
   FROM events AS e
  WHERE (e.transaction_id, e.position) > ($1::text::xid8, $2) AND e.transaction_id >= (SELECT xmin FROM gate)
  ORDER BY e.transaction_id, e.position
  LIMIT 1)";

pub(super) async fn load(pool: &PgPool, streams: &[(StreamId, u64)]) -> Result<Vec<Vec<RecordedEvent>>, Error> {
    let mut answer = vec![Vec::new(); streams.len()];
    if streams.is_empty() {
        return Ok(answer);
    }
    let types: Vec<&str> = streams.iter().map(|(stream, _)| stream.aggregate_type).collect();
    let ids: Vec<&str> = streams.iter().map(|(stream, _)| stream.aggregate_id.as_str()).collect();
    let after: Vec<i64> = streams.iter().map(|(_, after)| i64::try_from(*after).unwrap_or(i64::MAX)).collect();
    let rows = sqlx::query(LOAD).bind(types).bind(ids).bind(after).fetch_all(pool).await.map_err(translate)?;
    for row in rows {
        let n: i64 = row.try_get("n").map_err(translate)?;
        if let Some(stream) = usize::try_from(n - 1).ok().and_then(|n| answer.get_mut(n)) {
            stream.push(event(&row).map_err(translate)?);
        }
    }
    Ok(answer)
}

pub(super) async fn read_after(kept: &Kept, after: Cursor, limit: usize) -> Result<Page, Error> {
    let mut connection = kept.lend().await.map_err(translate)?;
    let rows = sqlx::query(READ_AFTER)
        .bind(after.transaction_id.to_string())
        .bind(after.position)
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(&mut *connection)
        .await;
    let rows = connection.done(rows).map_err(translate)?;
    let mut page = Page { events: Vec::with_capacity(rows.len()), ..Page::default() };
    for row in &rows {
        if row.try_get("hidden").map_err(translate)? {
            page.hidden = row.try_get::<&str, _>("xid").map_err(translate)?.parse().ok();
        } else {
            page.events.push(event(row).map_err(translate)?);
        }
    }
    page.more = page.events.len() >= limit;
    Ok(page)
}

fn event(row: &PgRow) -> Result<RecordedEvent, sqlx::Error> {
    let aggregate_type: String = row.try_get("aggregate_type")?;
    let aggregate_id: String = row.try_get("aggregate_id")?;
    let sequence = u64::try_from(row.try_get::<i64, _>("sequence")?).unwrap_or(0);
    let recorded_at: DateTime<Utc> = row.try_get("recorded_at")?;
    let metadata: &str = row.try_get("metadata")?;
    // Only for events that carry no id of their own.
    let place = || {
        let place = format!("{aggregate_type}/{aggregate_id}/{sequence}");
        Uuid::new_v5(&Uuid::NAMESPACE_OID, place.as_bytes())
    };
    Ok(RecordedEvent {
        metadata: Metadata::from_json(metadata, place, recorded_at),
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
