//! Databases that a benchmark makes and drops.

use super::counter::{Event, TYPE};
use crate::postgres::Server;
use anyhow::Context;
use event_store::clock::Clock;
use runtime::Origin;
use sqlx::PgPool;
use uuid::Uuid;

/// Connections of a scratch database's pool: more than a service has, so that the store is the limit.
const CONNECTIONS_MAX: u32 = 32;
/// Rows of one INSERT when a store is filled.
const FILL_ROWS: u64 = 20_000;
/// The first of the ids that [`fill`] gives.
const FIRST_ID: u128 = 0x0000_0000_0000_7000_8000_0000_0000_0000;

/// A database of a benchmark's own. The name is always the same, so that the next run clears away what a killed one
/// left.
pub(super) struct Scratch {
    pub(super) pool: PgPool,
    name: &'static str,
}

impl Scratch {
    /// Makes it, empty.
    pub(super) async fn make(server: &Server, name: &'static str) -> anyhow::Result<Self> {
        server.drop_database(name).await.context("clearing away an earlier benchmark (does another one run?)")?;
        server.ensure_database(name).await?;
        Ok(Self { pool: runtime::service::pool(server.options(name), "bench", CONNECTIONS_MAX), name })
    }

    /// Drops it.
    pub(super) async fn drop(self, server: &Server) -> anyhow::Result<()> {
        self.pool.close().await;
        server.drop_database(self.name).await?;
        Ok(())
    }
}

/// The id of the n-th stream that [`fill`] makes.
pub(super) fn stream_id(n: u64) -> String {
    Uuid::from_u128(FIRST_ID + u128::from(n)).to_string()
}

/// Writes so many streams of so many events each into an event table, ours or postgres-es' own, in many transactions.
pub(super) async fn fill(pool: &PgPool, streams: u64, events_each: u64, clock: &dyn Clock) -> anyhow::Result<()> {
    let origin = Origin::request(clock.new_id(), clock.new_id(), "system");
    let (event, metadata) = (Event::one(), origin.metadata(clock).to_json());
    let payload = serde_json::to_string(&event)?;
    let step = (FILL_ROWS / events_each).max(1);
    for from in (0..streams).step_by(usize::try_from(step)?) {
        sqlx::query(
            "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
             SELECT $1, '00000000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), sequence, $2, $3, $4::json, $5::json
               FROM generate_series($6::bigint, $7::bigint - 1) AS n, generate_series(1, $8::bigint) AS sequence",
        )
        .bind(TYPE)
        .bind(event.event_type())
        .bind(event.event_version())
        .bind(&payload)
        .bind(&metadata)
        .bind(i64::try_from(from)?)
        .bind(i64::try_from((from + step).min(streams))?)
        .bind(i64::try_from(events_each)?)
        .execute(pool)
        .await
        .context("the scratch store cannot be filled")?;
    }
    sqlx::query("ANALYZE events").execute(pool).await?;
    Ok(())
}
