//! What stands beside the events: inbox, checkpoints, dead letters, timers, snapshots.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use sqlx::PgPool;
use uuid::Uuid;

use super::{Kept, printable, translate};
use crate::{Cursor, DueTimer, Error, Snapshot, StreamId};

pub(super) async fn handled(kept: &Kept, consumer: &str, command_ids: &[Uuid]) -> Result<Vec<Uuid>, Error> {
    let mut connection = kept.lend().await.map_err(translate)?;
    let found = sqlx::query_scalar("SELECT command_id FROM inbox WHERE consumer = $1 AND command_id = ANY($2)")
        .bind(consumer)
        .bind(command_ids)
        .fetch_all(&mut *connection)
        .await;
    connection.done(found).map_err(translate)
}

pub(super) async fn checkpoint(pool: &PgPool, follower: &str) -> Result<Cursor, Error> {
    let found: Option<(String, i64)> =
        sqlx::query_as("SELECT transaction_id::text, position FROM checkpoints WHERE follower = $1")
            .bind(follower)
            .fetch_optional(pool)
            .await
            .map_err(translate)?;
    Ok(found.map_or_else(Cursor::default, |(transaction_id, position)| Cursor {
        transaction_id: transaction_id.parse().unwrap_or(0),
        position,
    }))
}

/// Forward only: of two instances that follow at once the later place stands.
pub(super) async fn save_checkpoint(kept: &Kept, follower: &str, at: Cursor) -> Result<(), Error> {
    let mut connection = kept.lend().await.map_err(translate)?;
    let saved = sqlx::query(
        "INSERT INTO checkpoints (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)
         ON CONFLICT (follower) DO UPDATE
            SET transaction_id = EXCLUDED.transaction_id, position = EXCLUDED.position, updated_at = clock_timestamp()
          WHERE (checkpoints.transaction_id, checkpoints.position) < (EXCLUDED.transaction_id, EXCLUDED.position)",
    )
    .bind(follower)
    .bind(at.transaction_id.to_string())
    .bind(at.position)
    .execute(&mut *connection)
    .await;
    connection.done(saved).map_err(translate)?;
    Ok(())
}

pub(super) async fn blocked_keys(
    pool: &PgPool,
    consumer: &str,
    topic: &str,
    keys: &[String],
) -> Result<HashMap<String, i64>, Error> {
    // As the letters' keys are written.
    let stored: Vec<String> = keys.iter().map(|key| printable(key)).collect();
    let rows: Vec<(String, i64)> = sqlx::query_as(
        "SELECT key, min(\"offset\") FROM dead_letters
          WHERE consumer = $1 AND topic = $2 AND key = ANY($3) GROUP BY key",
    )
    .bind(consumer)
    .bind(topic)
    .bind(&stored)
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    let blocked: HashMap<String, i64> = rows.into_iter().collect();
    let offset = |(key, stored): (&String, &String)| Some((key.clone(), *blocked.get(stored)?));
    Ok(keys.iter().zip(&stored).filter_map(offset).collect())
}

pub(super) async fn has_dead_letters(pool: &PgPool, consumer: &str) -> Result<bool, Error> {
    sqlx::query_scalar("SELECT EXISTS (SELECT FROM dead_letters WHERE consumer = $1)")
        .bind(consumer)
        .fetch_one(pool)
        .await
        .map_err(translate)
}

pub(super) async fn due_timers(
    pool: &PgPool,
    aggregate_type: &str,
    now: DateTime<Utc>,
    limit: usize,
) -> Result<(Vec<DueTimer>, Option<DateTime<Utc>>), Error> {
    type Row = (String, DateTime<Utc>, Option<String>, Uuid);
    let limit = i64::try_from(limit).unwrap_or(i64::MAX - 1);
    // One row more than asked for tells when to look again.
    let rows: Vec<Row> = sqlx::query_as(
        "(SELECT aggregate_id, due_at, traceparent, correlation_id FROM timers
           WHERE aggregate_type = $1 AND due_at <= $2 ORDER BY due_at, aggregate_id LIMIT $3)
         UNION ALL
         (SELECT aggregate_id, due_at, traceparent, correlation_id FROM timers
           WHERE aggregate_type = $1 AND due_at > $2 ORDER BY due_at, aggregate_id LIMIT 1)
         ORDER BY due_at, aggregate_id",
    )
    .bind(aggregate_type)
    .bind(now)
    .bind(limit + 1)
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let next = rows.iter().enumerate().find(|(n, row)| *n >= limit || row.1 > now).map(|(_, row)| row.1);
    let due = rows
        .into_iter()
        .filter(|row| row.1 <= now)
        .take(limit)
        .map(|(aggregate_id, due_at, traceparent, correlation_id)| DueTimer {
            aggregate_id,
            due_at,
            traceparent,
            correlation_id,
        })
        .collect();
    Ok((due, next))
}

pub(super) async fn snapshots(pool: &PgPool, streams: &[StreamId]) -> Result<Vec<Option<Snapshot>>, Error> {
    let types: Vec<&str> = streams.iter().map(|stream| stream.aggregate_type).collect();
    let ids: Vec<&str> = streams.iter().map(|stream| stream.aggregate_id.as_str()).collect();
    let rows: Vec<(i64, i64, String)> = sqlx::query_as(
        "SELECT w.n, s.last_sequence, s.payload::text
           FROM UNNEST($1::text[], $2::text[]) WITH ORDINALITY AS w(aggregate_type, aggregate_id, n)
           JOIN snapshots s ON s.aggregate_type = w.aggregate_type AND s.aggregate_id = w.aggregate_id",
    )
    .bind(types)
    .bind(ids)
    .fetch_all(pool)
    .await
    .map_err(translate)?;
    let mut answer = vec![None; streams.len()];
    for (n, sequence, state) in rows {
        let Some(n) = usize::try_from(n - 1).ok().filter(|n| *n < streams.len()) else { continue };
        let sequence = u64::try_from(sequence).unwrap_or(0);
        answer[n] = Some(Snapshot { stream: streams[n].clone(), sequence, state });
    }
    Ok(answer)
}

pub(super) async fn save_snapshot(pool: &PgPool, snapshot: Snapshot) -> Result<(), Error> {
    sqlx::query(
        "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, payload) VALUES ($1, $2, $3, $4::json)
         ON CONFLICT (aggregate_type, aggregate_id) DO UPDATE
            SET last_sequence = EXCLUDED.last_sequence, payload = EXCLUDED.payload,
                current_snapshot = snapshots.current_snapshot + 1, saved_at = clock_timestamp()
          WHERE snapshots.last_sequence < EXCLUDED.last_sequence",
    )
    .bind(snapshot.stream.aggregate_type)
    .bind(&snapshot.stream.aggregate_id)
    .bind(i64::try_from(snapshot.sequence).unwrap_or(i64::MAX))
    .bind(&snapshot.state)
    .execute(pool)
    .await
    .map_err(translate)?;
    Ok(())
}
