//! A store that is being filled from an export, and is not full yet.
//!
//! How many events are in is written among the checkpoints, in the transactions of the events themselves: an import that
//! was ended goes on from there. Until it has ended nothing else starts on the store: it would take a part of history for
//! all of it.

use sqlx::{PgConnection, PgPool};

/// The name of the checkpoint.
const IMPORT: &str = "import";

/// How many events of an export are in, while there are more to come.
///
/// # Errors
/// Those of the database.
pub async fn of(connection: &mut PgConnection) -> Result<Option<i64>, sqlx::Error> {
    let query = "SELECT to_regclass('checkpoints') IS NOT NULL";
    let is_migrated: bool = sqlx::query_scalar(query).fetch_one(&mut *connection).await?;
    if !is_migrated {
        return Ok(None);
    }
    let query = "SELECT position FROM checkpoints WHERE follower = $1";
    sqlx::query_scalar(query).bind(IMPORT).fetch_optional(connection).await
}

/// More are in, and not all yet: to be written with them. Events of an import have one transaction id.
///
/// # Errors
/// Another import has moved it meanwhile; those of the database.
pub async fn moved(connection: &mut PgConnection, transaction_id: u64, from: i64, to: i64) -> anyhow::Result<()> {
    let moved = sqlx::query(
        "INSERT INTO checkpoints AS c (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)
         ON CONFLICT (follower) DO UPDATE SET position = EXCLUDED.position, updated_at = clock_timestamp()
          WHERE c.position = $4",
    )
    .bind(IMPORT)
    .bind(transaction_id.to_string())
    .bind(to)
    .bind(from)
    .execute(connection)
    .await?;
    anyhow::ensure!(moved.rows_affected() == 1, "another import is filling this store");
    Ok(())
}

/// All are in, or none any more.
///
/// # Errors
/// Those of the database.
pub async fn end(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    sqlx::query("DELETE FROM checkpoints WHERE follower = $1").bind(IMPORT).execute(connection).await?;
    Ok(())
}

/// Refuses a store that is not full yet.
///
/// # Errors
/// It is not; or the database is away.
pub async fn refuse(pool: &PgPool) -> anyhow::Result<()> {
    if let Some(events) = of(&mut *pool.acquire().await?).await? {
        anyhow::bail!(
            "an import of this store's events has not ended ({events} are in): complete it with the same \
             `sagashop events import`, or begin it anew with --anew"
        );
    }
    Ok(())
}
