//! The settings of PostgreSQL that the shop's promises stand on.

use super::database::Store;
use super::{Diagnosis, Verdict};
use crate::postgres::Server;
use sqlx::{Connection, PgConnection};
use std::collections::HashMap;

/// A setting with what is to be said of it where it is not as it should be.
struct Rule {
    name: &'static str,
    is_good: fn(&str) -> bool,
    otherwise: Verdict,
    advice: &'static str,
}

const RULES: [Rule; 7] = [
    Rule {
        name: "fsync",
        is_good: |value| value == "on",
        otherwise: Verdict::Fail,
        advice: "ALTER SYSTEM SET fsync = on; SELECT pg_reload_conf(): else a crash of the machine loses orders",
    },
    Rule {
        name: "full_page_writes",
        is_good: |value| value == "on",
        otherwise: Verdict::Fail,
        advice: "ALTER SYSTEM SET full_page_writes = on; SELECT pg_reload_conf(): else a crash can tear pages",
    },
    Rule {
        name: "synchronous_commit",
        is_good: |value| value != "off",
        otherwise: Verdict::Fail,
        advice: "ALTER SYSTEM SET synchronous_commit = on; SELECT pg_reload_conf(): else the relay publishes what a crash \
                 erases",
    },
    Rule {
        name: "default_transaction_read_only",
        is_good: |value| value == "off",
        otherwise: Verdict::Fail,
        advice: "ALTER SYSTEM RESET default_transaction_read_only; SELECT pg_reload_conf()",
    },
    Rule {
        name: "default_transaction_isolation",
        is_good: |value| value == "read committed",
        otherwise: Verdict::Warn,
        advice: "ALTER SYSTEM RESET default_transaction_isolation; SELECT pg_reload_conf(): the shop detects its conflicts \
                 itself",
    },
    Rule {
        name: "idle_in_transaction_session_timeout",
        is_good: |value| value != "0 ms",
        otherwise: Verdict::Warn,
        advice: "ALTER SYSTEM SET idle_in_transaction_session_timeout = '1min'; SELECT pg_reload_conf(): a forgotten psql \
                 holds every reader up (the services' own sessions have one)",
    },
    Rule {
        name: "wal_level",
        is_good: |value| value != "minimal",
        otherwise: Verdict::Warn,
        advice: "ALTER SYSTEM SET wal_level = replica, and restart: else there are no base backups to roll forward",
    },
];

/// What every session of a service sets for itself; a pooler in between can lose it.
const OF_SESSIONS: [&str; 4] =
    ["statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "client_connection_check_interval"];

pub(super) async fn check(server: &Server, store: &Store, diagnosis: &mut Diagnosis) {
    let of = server.describe();
    if let Err(error) = of_server(server, store, &of, diagnosis).await {
        diagnosis.unchecked("settings", of.clone(), error);
    }
    if let Err(error) = of_roles(store, &of, diagnosis).await {
        diagnosis.unchecked("settings of roles", of.clone(), error);
    }
    if let Err(error) = of_sessions(store, &of, diagnosis).await {
        diagnosis.unchecked("session limits", of, error);
    }
}

/// By a session that sets nothing for itself.
async fn of_server(server: &Server, store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let mut connection = PgConnection::connect_with(&server.options(store.role.database())).await?;
    // What is set for this very user says nothing of the others.
    let rows: Result<Vec<(String, String)>, _> = sqlx::query_as(
        "SELECT name, concat_ws(' ', CASE source WHEN 'user' THEN boot_val ELSE setting END, unit) FROM pg_settings",
    )
    .fetch_all(&mut connection)
    .await;
    let _ = connection.close().await;
    let settings: HashMap<String, String> = rows?.into_iter().collect();
    let value = |name: &str| settings.get(name).cloned().unwrap_or_default();
    diagnosis.ok("version", of, value("server_version"));
    if value("in_hot_standby") == "on" {
        diagnosis.add(
            Verdict::Fail,
            "primary",
            of,
            "a standby",
            "name the primary: the shop never reads from a replica",
        );
    } else {
        diagnosis.ok("primary", of, "it is one");
    }
    for Rule { name, is_good, otherwise, advice } in RULES {
        match value(name) {
            value if is_good(&value) => diagnosis.ok(name, of, value),
            value => diagnosis.add(otherwise, name, of, value, advice),
        }
    }
    Ok(())
}

/// `ALTER ROLE … SET` and `ALTER DATABASE … SET` go before the server's.
async fn of_roles(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let loose: Vec<(String, String)> = sqlx::query_as(
        "SELECT concat_ws(' in ', coalesce(r.rolname::text, 'every role'), d.datname::text), setting
           FROM pg_db_role_setting s
           LEFT JOIN pg_roles r ON r.oid = s.setrole
           LEFT JOIN pg_database d ON d.oid = s.setdatabase, unnest(s.setconfig) AS setting
          WHERE setting ~* '^synchronous_commit=(off|false|no|0)$'",
    )
    .fetch_all(&store.pool)
    .await?;
    if loose.is_empty() {
        diagnosis.ok("settings of roles", of, "none against the server's");
    }
    for (whose, setting) in loose {
        let name = setting.split('=').next().unwrap_or_default().to_owned();
        let advice = format!("ALTER ROLE … RESET {name}, or ALTER DATABASE … RESET {name}");
        diagnosis.add(Verdict::Fail, "settings of roles", of, format!("{whose}: {setting}"), advice);
    }
    Ok(())
}

async fn of_sessions(store: &Store, of: &str, diagnosis: &mut Diagnosis) -> Result<(), sqlx::Error> {
    let unlimited: Vec<String> =
        sqlx::query_scalar("SELECT name FROM pg_settings WHERE name = ANY($1) AND setting = '0' ORDER BY name")
            .bind(OF_SESSIONS.as_slice())
            .fetch_all(&store.pool)
            .await?;
    if unlimited.is_empty() {
        diagnosis.ok("session limits", of, "arrive as the services set them");
        return Ok(());
    }
    let found = format!("{} of the services' sessions are lost", unlimited.join(", "));
    let advice = "let the pooler between pass start-up options on, or set them by ALTER ROLE … SET";
    diagnosis.add(Verdict::Fail, "session limits", of, found, advice);
    Ok(())
}
