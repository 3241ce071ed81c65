//! One store: whether it is there, of which schema, and whether it is of this server.

use super::{Diagnosis, Verdict, database_of};
use crate::ports::Role;
use crate::postgres::Server;
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{Connection, PgConnection, PgPool};
use std::collections::BTreeMap;
use std::time::Duration;

const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A role's database that answers.
pub(super) struct Store {
    pub(super) role: Role,
    /// With sessions as the service has them.
    pub(super) pool: PgPool,
}

impl Store {
    /// Connects, or tells why not.
    pub(super) async fn open(server: &Server, role: Role, diagnosis: &mut Diagnosis) -> Option<Self> {
        let database = role.database();
        // A pool would try until its time is over, and not tell why.
        let connected = tokio::time::timeout(CONNECT_MAX, PgConnection::connect_with(&server.options(database))).await;
        let found = match connected {
            Ok(Ok(connection)) => {
                let _ = connection.close().await;
                diagnosis.ok("database", database, format!("of the {}, answers", role.title()));
                return Some(Self { role, pool: runtime::service::pool(server.options(database), "doctor", 1) });
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", CONNECT_MAX.as_secs()),
        };
        let advice = format!("start it, or make it: sagashop migrate {}", role.name());
        diagnosis.add(Verdict::Fail, "database", database, found, advice);
        None
    }

    pub(super) fn name(&self) -> &'static str {
        self.role.name()
    }

    pub(super) async fn close(self) {
        self.pool.close().await;
    }
}

pub(super) async fn check(store: &Store, diagnosis: &mut Diagnosis) {
    let expected = [&event_store::MIGRATOR, store.role.migrator()];
    schema(&store.pool, Some(store.role), &expected, diagnosis).await;
    transaction_ids(store, diagnosis).await;
}

/// The database's schema is what this binary expects. No role: the topic log's.
pub(super) async fn schema(pool: &PgPool, role: Option<Role>, expected: &[&Migrator], diagnosis: &mut Diagnosis) {
    const CHECK: &str = "schema";
    let (of, roles) = (database_of(role), role.map(|role| format!(" {}", role.name())).unwrap_or_default());
    type Row = (i64, bool, Vec<u8>);
    let applied = sqlx::query_as("SELECT version, success, checksum FROM _sqlx_migrations").fetch_all(pool).await;
    let applied: Vec<Row> = match applied {
        Ok(applied) => applied,
        Err(error) if error.as_database_error().and_then(|e| e.code()).as_deref() == Some("42P01") => {
            diagnosis.add(Verdict::Fail, CHECK, of, "never migrated", format!("sagashop migrate{roles}"));
            return;
        }
        Err(error) => return diagnosis.unchecked(CHECK, of, error),
    };
    let mut known: BTreeMap<i64, &Migration> = BTreeMap::new();
    for migration in expected.iter().flat_map(|migrator| migrator.iter()) {
        if !matches!(migration.migration_type, MigrationType::ReversibleDown) {
            known.insert(migration.version, migration);
        }
    }
    let list = |versions: Vec<i64>| versions.iter().map(|v| format!("{v:04}")).collect::<Vec<_>>().join(", ");
    let is_there = |version: i64| applied.iter().any(|(there, ..)| *there == version);
    let missing: Vec<i64> = known.keys().copied().filter(|version| !is_there(*version)).collect();
    let broken: Vec<i64> = applied.iter().filter(|(_, success, _)| !success).map(|(version, ..)| *version).collect();
    let foreign = |(version, _, checksum): &&Row| known.get(version).is_some_and(|m| *m.checksum != **checksum);
    let changed: Vec<i64> = applied.iter().filter(foreign).map(|(version, ..)| *version).collect();
    let newer: Vec<i64> = applied.iter().map(|(version, ..)| *version).filter(|v| !known.contains_key(v)).collect();
    if !broken.is_empty() {
        let found = format!("migration {} ended half-way", list(broken));
        let advice =
            "look at what it has left, mend it by hand, delete its row from _sqlx_migrations, and migrate again";
        diagnosis.add(Verdict::Fail, CHECK, of, found, advice);
    } else if !changed.is_empty() {
        let found = format!("migration {} is another one than this binary's", list(changed));
        diagnosis.add(Verdict::Fail, CHECK, of, found, "use the binary that made this database");
    } else if !missing.is_empty() {
        let found = format!("behind: {} missing", list(missing));
        diagnosis.add(Verdict::Fail, CHECK, of, found, format!("sagashop migrate{roles}"));
    } else if !newer.is_empty() {
        let found = format!("{} unknown to this binary, which is older", list(newer));
        diagnosis.add(Verdict::Warn, CHECK, of, found, "finish the upgrade: run the newer binary everywhere");
    } else {
        let last = known.keys().next_back().copied().unwrap_or_default();
        diagnosis.ok(CHECK, of, format!("{} migrations, the last is {last:04}", known.len()));
    }
}

/// Readers page by transaction ids, and those of a restored dump are of another server.
async fn transaction_ids(store: &Store, diagnosis: &mut Diagnosis) {
    const CHECK: &str = "transaction ids";
    let counted = runtime::foreign::count(&store.pool).await;
    match counted {
        Ok(foreign) if foreign.is_none() => diagnosis.ok(CHECK, store.role.database(), "of this server"),
        Ok(foreign) => {
            let found = format!("{foreign}: no reader sees them");
            let advice = "the database was restored from a dump: stop its services, then sagashop restore-check";
            diagnosis.add(Verdict::Fail, CHECK, store.role.database(), found, advice);
        }
        Err(error) => diagnosis.unchecked(CHECK, store.role.database(), error),
    }
}
