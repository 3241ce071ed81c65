//! What goes on in the whole server: long transactions stall every reader behind the xmin gate, whatever database they
//! are in.

use super::database::Store;
use super::{Diagnosis, Verdict, delay};
use crate::postgres::Server;

/// A snapshot that old keeps dead rows from being cleaned up.
const SNAPSHOT_AGE_S_MAX: f64 = 3_600.0;
/// A slot may hold so much log back.
const SLOT_BYTES_MAX: i64 = 4 << 30;
/// A slot may hold so many transactions' dead rows.
const SLOT_XIDS_MAX: i32 = 10_000_000;

pub(super) async fn check(server: &Server, store: &Store, diagnosis: &mut Diagnosis) {
    let of = server.describe();
    if let Err(error) = transactions(store, &of, diagnosis).await {
        diagnosis.unchecked("oldest transaction", of.clone(), error);
    }
    if let Err(error) = prepared(store, &of, diagnosis).await {
        diagnosis.unchecked("prepared transactions", of.clone(), error);
    }
    if let Err(error) = slots(store, &of, diagnosis).await {
        diagnosis.unchecked("replication slots", of.clone(), error);
    }
    if let Err(error) = wraparound(store, &of, diagnosis).await {
        diagnosis.unchecked("transaction id age", of, error);
    }
}

async fn transactions(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    const CHECK: &str = "oldest transaction";
    let sees_all: bool = sqlx::query_scalar("SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')")
        .fetch_one(&store.pool)
        .await?;
    if !sees_all {
        let reason = "this user does not see others' sessions: GRANT pg_monitor TO it, or use another";
        diagnosis.unchecked(CHECK, of, reason);
        return Ok(());
    }
    // Those with an id are what readers wait for; those with only a snapshot hold up the cleaning.
    let oldest: Vec<(i32, String, f64, bool)> = sqlx::query_as(
        "SELECT pid, concat_ws(' ', usename, 'in', datname, application_name, state),
                extract(epoch FROM clock_timestamp() - xact_start)::float8, backend_xid IS NOT NULL
           FROM pg_stat_activity
          WHERE xact_start IS NOT NULL AND pid <> pg_backend_pid() AND (backend_xid IS NOT NULL OR backend_xmin IS NOT NULL)
            AND backend_type IN ('client backend', 'background worker', 'walsender')
          ORDER BY xact_start LIMIT 50",
    )
    .fetch_all(&store.pool)
    .await?;
    let writing = oldest.iter().find(|(.., has_id)| *has_id);
    match writing {
        None => diagnosis.ok(CHECK, of, "none is open that writes"),
        Some((pid, who, age, _)) => {
            let (verdict, age) = delay(*age);
            let advice = match verdict {
                Verdict::Ok => String::new(),
                _ => format!("every relay and projection waits for it: end it, or SELECT pg_terminate_backend({pid})"),
            };
            diagnosis.add(verdict, CHECK, of, format!("{age}: pid {pid}, {who}"), advice);
        }
    }
    if let Some((pid, who, age, _)) = oldest.iter().find(|(_, _, age, has_id)| !has_id && *age > SNAPSHOT_AGE_S_MAX) {
        let found = format!("{age:.0} s: pid {pid}, {who}");
        let advice = format!("dead rows pile up behind it: SELECT pg_terminate_backend({pid})");
        diagnosis.add(Verdict::Warn, "oldest snapshot", of, found, advice);
    }
    Ok(())
}

async fn prepared(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    const CHECK: &str = "prepared transactions";
    let oldest: Option<(String, String, f64, i64)> = sqlx::query_as(
        "SELECT gid, database::text, extract(epoch FROM clock_timestamp() - prepared)::float8, count(*) OVER ()
           FROM pg_prepared_xacts ORDER BY prepared LIMIT 1",
    )
    .fetch_optional(&store.pool)
    .await?;
    match oldest {
        None => diagnosis.ok(CHECK, of, "none"),
        Some((gid, database, age, count)) => {
            // Nothing of the shop prepares: what is there was forgotten, and no timeout ends it.
            let verdict = if delay(age).0 == Verdict::Fail { Verdict::Fail } else { Verdict::Warn };
            let found = format!("{count}, the oldest for {age:.1} s: {gid} in {database}");
            let advice = format!("every relay and projection waits for it: in {database}, ROLLBACK PREPARED '{gid}'");
            diagnosis.add(verdict, CHECK, of, found, advice);
        }
    }
    Ok(())
}

async fn slots(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    const CHECK: &str = "replication slots";
    type Slot = (String, bool, Option<i64>, Option<i32>);
    let slots: Vec<Slot> = sqlx::query_as(
        "SELECT slot_name::text, active,
                CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), restart_lsn)::bigint END,
                greatest(age(xmin), age(catalog_xmin))
           FROM pg_replication_slots ORDER BY slot_name",
    )
    .fetch_all(&store.pool)
    .await?;
    let mut good = Vec::new();
    for (name, is_active, bytes, age) in slots {
        let (bytes, age) = (bytes.unwrap_or(0), age.unwrap_or(0));
        let found = format!("{name}: holds {} MiB of log, {age} transactions", bytes >> 20);
        if is_active && bytes < SLOT_BYTES_MAX && age < SLOT_XIDS_MAX {
            good.push(found);
            continue;
        }
        let state = if is_active { "lags" } else { "nobody reads it" };
        let advice = format!(
            "the disk fills and dead rows stay: bring its reader back, or SELECT pg_drop_replication_slot('{name}')"
        );
        diagnosis.add(Verdict::Warn, CHECK, of, format!("{found}, {state}"), advice);
    }
    if !good.is_empty() {
        diagnosis.ok(CHECK, of, good.join("; "));
    } else if diagnosis.findings().iter().all(|finding| finding.check != CHECK) {
        diagnosis.ok(CHECK, of, "none");
    }
    Ok(())
}

async fn wraparound(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let (database, age, limit): (String, i32, i32) = sqlx::query_as(
        "SELECT datname::text, age(datfrozenxid), current_setting('autovacuum_freeze_max_age')::int
           FROM pg_database ORDER BY age(datfrozenxid) DESC LIMIT 1",
    )
    .fetch_one(&store.pool)
    .await?;
    let found = format!("{age} in {database}");
    // Twice what autovacuum lets it become: it does not get through.
    if age > limit.saturating_mul(2) {
        let advice = format!("VACUUM (FREEZE) {database}; look for what keeps autovacuum from it");
        diagnosis.add(Verdict::Warn, "transaction id age", of, found, advice);
    } else {
        diagnosis.ok("transaction id age", of, found);
    }
    Ok(())
}

/// Connections in use, and as many as the services that run may ask for.
pub(super) async fn connections(store: &Store, wanted: u32, diagnosis: &mut Diagnosis) {
    const CHECK: &str = "connections";
    let counted: Result<(i64, i64), _> = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE coalesce(backend_type, 'client backend') = 'client backend'),
                current_setting('max_connections')::bigint - current_setting('superuser_reserved_connections')::bigint
           FROM pg_stat_activity",
    )
    .fetch_one(&store.pool)
    .await;
    let (used, limit) = match counted {
        Ok(counted) => counted,
        Err(error) => return diagnosis.unchecked(CHECK, "", error),
    };
    let found = format!("{used} of {limit} in use; the services that run may ask for {wanted}");
    let advice = "raise max_connections (a restart), or run fewer instances";
    if used * 10 >= limit * 9 {
        diagnosis.add(Verdict::Fail, CHECK, store.role.database(), found, advice);
    } else if i64::from(wanted) > limit {
        diagnosis.add(Verdict::Warn, CHECK, store.role.database(), found, advice);
    } else {
        diagnosis.ok(CHECK, store.role.database(), found);
    }
}
