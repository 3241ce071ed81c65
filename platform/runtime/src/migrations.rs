//! A service's database, brought up to date.

use anyhow::Context;
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migration, Migrator};

/// The code for what a database role may not do.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// The code for a table that is not there.
const UNDEFINED_TABLE: &str = "42P01";

/// What helps a service that may change no table.
const NOT_OURS: &str =
    "the database is older than this version, and may not be changed by this user: run `sagashop migrate` as its owner";

/// Applies what is due of the event store's migrations and of the service's own.
///
/// # Errors
/// If the database is away, a migration fails, or one is due that this database role may not apply.
pub(crate) async fn apply(pool: &PgPool, own: &Migrator) -> anyhow::Result<()> {
    if is_current(pool, own).await.context("the database could not be looked at")? {
        return Ok(());
    }
    for migrator in [&event_store::MIGRATOR, own] {
        // Both keep their record in one table; neither minds the other's versions.
        let migrator = Migrator { migrations: migrator.migrations.clone(), ignore_missing: true, ..Migrator::DEFAULT };
        migrator.run(pool).await.map_err(explained)?;
    }
    Ok(())
}

/// Whether every migration that this binary knows was applied as it knows it. Later ones may have been, too.
async fn is_current(pool: &PgPool, own: &Migrator) -> sqlx::Result<bool> {
    let query = "SELECT version, checksum FROM _sqlx_migrations WHERE success";
    let applied: Vec<(i64, Vec<u8>)> = match sqlx::query_as(query).fetch_all(pool).await {
        Err(error) if has_code(&error, UNDEFINED_TABLE) => return Ok(false),
        applied => applied?,
    };
    let is_applied = |known: &Migration| {
        applied.iter().any(|(version, checksum)| (*version, checksum.as_slice()) == (known.version, &*known.checksum))
    };
    Ok([&event_store::MIGRATOR, own].into_iter().flat_map(Migrator::iter).all(is_applied))
}

fn explained(error: MigrateError) -> anyhow::Error {
    let may_not = match &error {
        MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _) => {
            has_code(cause, INSUFFICIENT_PRIVILEGE)
        }
        _ => false,
    };
    let error = anyhow::Error::from(error);
    match may_not {
        true => error.context(NOT_OURS),
        false => error.context("the database could not be migrated"),
    }
}

fn has_code(error: &sqlx::Error, code: &str) -> bool {
    error.as_database_error().and_then(|error| error.code()).is_some_and(|found| found == code)
}
