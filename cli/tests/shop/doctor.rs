//! `sagashop doctor`: a sound shop is sound, and each thing that is really broken is found, with what to do about it.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use rustix::process::Signal;
use sagashop::args::{Args, Command, DoctorArgs, GlobalArgs};
use sagashop::diagnosis::{Diagnosis, Finding, Verdict};
use sagashop::doctor::examine;
use sagashop::exit::Code;
use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use testkit::eventually;

use crate::folder::Folder;
use crate::process::sagashop;
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

/// A change for the worse, and how to take it back.
struct Harm {
    database: &'static str,
    worse: &'static str,
    better: &'static str,
    /// The check that must find it, in whom, and how grave it is.
    found: (&'static str, &'static str, Verdict),
}

const HARMS: [Harm; 19] = [
    Harm {
        database: "postgres",
        worse: "ALTER SYSTEM SET fsync = off",
        better: "ALTER SYSTEM RESET fsync",
        found: ("fsync", "", Verdict::Fail),
    },
    Harm {
        database: "postgres",
        worse: "ALTER SYSTEM SET full_page_writes = off",
        better: "ALTER SYSTEM RESET full_page_writes",
        found: ("full_page_writes", "", Verdict::Fail),
    },
    Harm {
        database: "postgres",
        worse: "ALTER SYSTEM SET synchronous_commit = off",
        better: "ALTER SYSTEM RESET synchronous_commit",
        found: ("synchronous_commit", "", Verdict::Fail),
    },
    Harm {
        database: "postgres",
        worse: "ALTER DATABASE paymentdb SET synchronous_commit = off",
        better: "ALTER DATABASE paymentdb RESET synchronous_commit",
        found: ("settings of roles", "", Verdict::Fail),
    },
    Harm {
        database: "postgres",
        worse: "ALTER SYSTEM SET idle_in_transaction_session_timeout = 0",
        better: "ALTER SYSTEM RESET idle_in_transaction_session_timeout",
        found: ("idle_in_transaction_session_timeout", "", Verdict::Warn),
    },
    Harm {
        database: "postgres",
        worse: "ALTER SYSTEM SET default_transaction_isolation = 'serializable'",
        better: "ALTER SYSTEM RESET default_transaction_isolation",
        found: ("default_transaction_isolation", "", Verdict::Warn),
    },
    Harm {
        database: "postgres",
        worse: "SELECT pg_create_physical_replication_slot('forgotten', true)",
        better: "SELECT pg_drop_replication_slot('forgotten')",
        found: ("replication slots", "", Verdict::Warn),
    },
    Harm {
        database: "paymentdb",
        worse: "BEGIN; CREATE TABLE forgotten (); PREPARE TRANSACTION 'forgotten'",
        better: "ROLLBACK PREPARED 'forgotten'",
        found: ("prepared transactions", "", Verdict::Warn),
    },
    Harm {
        database: "orderdb",
        worse: "UPDATE _sqlx_migrations SET version = 42 WHERE version = 100",
        better: "UPDATE _sqlx_migrations SET version = 100 WHERE version = 42",
        found: ("schema", "orderdb", Verdict::Fail),
    },
    Harm {
        database: "orderdb",
        worse: "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
                VALUES (9999, 'of the future', true, '', 0)",
        better: "DELETE FROM _sqlx_migrations WHERE version = 9999",
        found: ("schema", "orderdb", Verdict::Warn),
    },
    Harm {
        database: "orderdb",
        worse: "UPDATE _sqlx_migrations SET success = false WHERE version = 100",
        better: "UPDATE _sqlx_migrations SET success = true WHERE version = 100",
        found: ("schema", "orderdb", Verdict::Fail),
    },
    Harm {
        database: "sagadb",
        worse: "INSERT INTO checkpoints VALUES ('restored', '9999999999', 1)",
        better: "DELETE FROM checkpoints WHERE follower = 'restored'",
        found: ("transaction ids", "sagadb", Verdict::Fail),
    },
    Harm {
        database: "sagadb",
        worse: "INSERT INTO checkpoints VALUES ('slow', '0', 0); UPDATE events SET recorded_at = recorded_at - interval '1 h'",
        better: "DELETE FROM checkpoints WHERE follower = 'slow'; UPDATE events SET recorded_at = recorded_at + interval '1 h'",
        found: ("projection", "orchestrator slow", Verdict::Fail),
    },
    Harm {
        database: "paymentdb",
        worse: "INSERT INTO dead_letters VALUES ('payment', 'payment_commands', 0, 5, 'k', '{}', '', 0, 'poison')",
        better: "DELETE FROM dead_letters",
        found: ("dead letters", "payment", Verdict::Fail),
    },
    Harm {
        database: "sagadb",
        worse: "INSERT INTO timers VALUES ('ghost', 'one', now() - interval '1 hour', NULL, gen_random_uuid())",
        better: "DELETE FROM timers WHERE aggregate_type = 'ghost'",
        found: ("timers", "orchestrator", Verdict::Fail),
    },
    Harm {
        database: "sagadb",
        worse: "INSERT INTO sagas SELECT gen_random_uuid(), user_id, 'stuck', 'charge_payment', NULL, 1, 'EUR', 1, NULL, now(),
                       now(), NULL, 1 FROM sagas LIMIT 1",
        better: "DELETE FROM sagas WHERE state = 'stuck'",
        found: ("stuck sagas", "orchestrator", Verdict::Fail),
    },
    Harm {
        database: "sagadb",
        worse: "INSERT INTO sagas SELECT gen_random_uuid(), user_id, 'charging', NULL, NULL, 1, 'EUR', 1,
                       now() - interval '5 minutes', now(), now(), NULL, 1 FROM sagas LIMIT 1",
        better: "DELETE FROM sagas WHERE state = 'charging'",
        found: ("overdue sagas", "orchestrator", Verdict::Fail),
    },
    Harm {
        database: "orderdb",
        worse: "UPDATE consumer_offsets SET next_offset = next_offset + 1000000 WHERE consumer = 'order' AND partition = 0",
        better: "UPDATE consumer_offsets SET next_offset = next_offset - 1000000 WHERE consumer = 'order' AND partition = 0",
        found: ("consumer", "order order_commands", Verdict::Fail),
    },
    Harm {
        database: "orderdb",
        worse: "INSERT INTO consumer_offsets VALUES ('order', 'order_commands', 77)",
        better: "DELETE FROM consumer_offsets WHERE partition = 77",
        found: ("consumer", "order order_commands", Verdict::Fail),
    },
];

/// A shop at rest, with one order behind it.
struct Patient {
    shop: Up,
    server: Server,
}

impl Patient {
    async fn admitted() -> Self {
        let folder = Arc::new(Folder::new());
        // Made first, so that it can be told to prepare transactions.
        let server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
        server.stop().await.expect("stops");
        let file = folder.data().join("postgres/data/postgresql.conf");
        let text = std::fs::read_to_string(&file).expect("readable");
        std::fs::write(&file, text + "\nmax_prepared_transactions = 2\n").expect("writable");
        let shop = Up::start_in(folder, &["--empty"]).await;
        let server = shop.folder.server().await;
        let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
        let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
        let order = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
        assert_eq!(shop.ended(&customer, &order).await["status"], "confirmed");
        settled(&shop.folder).await;
        Self { shop, server }
    }

    async fn execute(&self, database: &str, statements: &str) {
        let mut connection = PgConnection::connect_with(&self.server.options(database)).await.expect("connected");
        // One by one: some of them may not be part of a larger transaction.
        for statement in statements.split("; ") {
            connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        }
        connection.execute("SELECT pg_reload_conf()").await.expect("reloaded");
        connection.close().await.expect("closed");
    }

    async fn examined(&self, flags: &[&str]) -> Diagnosis {
        let (global, doctor) = arguments(&self.shop.folder, flags);
        let examined = Box::pin(examine(&global, &doctor, &self.server));
        tokio::time::timeout(PATIENCE, examined).await.expect("it ends")
    }

    /// Waits until the diagnosis, with these flags, is exactly this beside what is ok.
    async fn shows(&self, flags: &[&str], wanted: &[(&str, &str, Verdict)]) {
        let mut last;
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            last = trouble(&self.examined(flags).await);
            let told: BTreeSet<_> = last.iter().map(|f| (f.check, f.of.as_str(), f.verdict as u8)).collect();
            let wanted =
                wanted.iter().all(|(check, of, verdict)| {
                    told.iter().any(|(c, o, v)| c == check && o.contains(of) && *v == *verdict as u8)
                }) && told.iter().all(|(c, o, _)| wanted.iter().any(|(check, of, _)| c == check && o.contains(of)));
            if wanted {
                break;
            }
            assert!(tokio::time::Instant::now() < deadline, "{last:#?}");
        }
        assert!(last.iter().all(|finding| !finding.advice.is_empty()), "no advice: {last:#?}");
    }
}

fn arguments(folder: &Folder, flags: &[&str]) -> (GlobalArgs, DoctorArgs) {
    let (data, offset) = (folder.data(), folder.offset.to_string());
    let line = ["sagashop", "doctor", "--data-dir", data.to_str().expect("text"), "--port-offset", &offset];
    // Not the Kafka of the tests that are given one.
    let args = Args::parse_from(line.iter().chain(&["--kafka-broker", ""]).chain(flags));
    let Command::Doctor(doctor) = args.command else { panic!("doctor") };
    (args.global, *doctor)
}

fn trouble(diagnosis: &Diagnosis) -> Vec<Finding> {
    diagnosis.findings().iter().filter(|finding| finding.verdict != Verdict::Ok).cloned().collect()
}

/// Its exit code, and its report.
async fn said(folder: &Folder) -> (Option<i32>, Value) {
    let (data, offset) = (folder.data(), folder.offset.to_string());
    let mut command = sagashop();
    command.args(["doctor", "--output", "json", "--port-offset", &offset, "--data-dir"]).arg(data);
    let output = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic");
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sound_shop_is_sound_and_each_harm_is_found() {
    let _room = room_for_a_small_shop().await;
    let mut patient = Patient::admitted().await;
    patient.shows(&[], &[]).await;
    let (code, report) = said(&patient.shop.folder).await;
    assert!(code == Some(0) && report["ok"] == true, "{report:#}");
    assert!(report["findings"].as_array().expect("findings").len() > 50, "{report:#}");

    for Harm { database, worse, better, found } in &HARMS {
        patient.execute(database, worse).await;
        patient.shows(&[], &[*found]).await;
        patient.execute(database, better).await;
    }
    patient.shows(&[], &[]).await;

    let closed = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port");
    let (closed, silent) = (closed.port().to_string(), TcpListener::bind("127.0.0.1:0").expect("a port"));
    let (silent_at, nobody) = (silent.local_addr().expect("bound"), format!("http://127.0.0.1:{closed}"));
    let silent_port = silent_at.port().to_string();
    let redis = ["--redis-host", "127.0.0.1", "--redis-port"];
    patient.shows(&[&redis[..], &[closed.as_str()][..]].concat(), &[("redis", "", Verdict::Warn)]).await;
    patient.shows(&[&redis[..], &[silent_port.as_str()][..]].concat(), &[("redis", "", Verdict::Warn)]).await;
    patient.shows(&["--otlp-endpoint", &nobody], &[("telemetry", "", Verdict::Warn)]).await;
    patient.shows(&["--otlp-endpoint", &silent_at.to_string()], &[]).await;
    let keys = [("service", "user", Verdict::Fail), ("token keys", "user", Verdict::Fail)];
    patient.shows(&["--user-service-url", &nobody], &keys).await;
    let product = patient.shop.url(Role::Product, "");
    patient.shows(&["--order-service-url", &product], &[("service", "order", Verdict::Fail)]).await;
    let consumers = ["product", "order", "payment", "notification", "orchestrator"];
    let consumers = consumers.map(|name| ("consumer", name, Verdict::Fail));
    for partitions in ["3", "5"] {
        let wrong = [&[("topics", "brokerdb", Verdict::Fail)][..], &consumers[..]].concat();
        patient.shows(&["--partitions", partitions], &wrong).await;
    }
    crowded(&patient).await;
    stalled(&patient).await;
    gone(&mut patient).await;
}

/// Nearly every connection is taken: nine tenths and a little, with those of the doctor itself.
async fn crowded(patient: &Patient) {
    const CROWD: i64 = 174;
    let mut crowd = vec![PgConnection::connect_with(&patient.server.options("postgres")).await.expect("connected")];
    let used = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
    let used: i64 = sqlx::query_scalar(used).fetch_one(&mut crowd[0]).await.expect("answered");
    for _ in used..CROWD {
        crowd.push(PgConnection::connect_with(&patient.server.options("postgres")).await.expect("connected"));
    }
    patient.shows(&[], &[("connections", "", Verdict::Fail)]).await;
    drop(crowd);
    patient.shows(&[], &[]).await;
}

/// A transaction of another database stays open, and the shop is told to go on.
async fn stalled(patient: &Patient) {
    let mut forgotten = PgConnection::connect_with(&patient.server.options("postgres")).await.expect("connected");
    forgotten.execute("BEGIN; CREATE TABLE forgotten ()").await.expect("open");
    forgotten.execute("SET LOCAL idle_in_transaction_session_timeout = 0").await.expect("unlimited");
    let pid: i32 = sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut forgotten).await.expect("answered");
    patient.shop.customer("somebody-else").await;
    let stalled = [
        ("oldest transaction", "", Verdict::Warn),
        ("relay", "user", Verdict::Warn),
        ("projection", "user users", Verdict::Warn),
    ];
    patient.shows(&[], &stalled).await;
    let told = trouble(&patient.examined(&[]).await);
    let advice = format!("pg_terminate_backend({pid})");
    assert!(told.iter().any(|finding| finding.advice.contains(&advice)), "{told:#?}");
    forgotten.close().await.expect("closed");
    patient.shows(&[], &[]).await;
}

/// The shop is stopped, and its cluster started alone; then a database is missing; then all is away.
async fn gone(patient: &mut Patient) {
    patient.shop.process.signal(Signal::TERM);
    patient.shop.process.ended(PATIENCE).await;
    let folder = Arc::clone(&patient.shop.folder);
    let (code, report) = said(&folder).await;
    assert!(code == Some(3) && report.is_null(), "{code:?} {report}");
    patient.server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
    let of_each = |check| move |role: Role| (check, role.name(), Verdict::Fail);
    let mut wanted: Vec<_> =
        Role::ALL.into_iter().flat_map(|r| [of_each("service")(r), of_each("instances")(r)]).collect();
    wanted.extend(Role::ALL.map(|role| ("rights", role.database(), Verdict::Unchecked)));
    wanted.extend(["user", "product", "order", "payment", "orchestrator"].map(|of| ("relay lease", of, Verdict::Fail)));
    wanted.extend(
        ["product", "order", "payment", "notification", "orchestrator"].map(|of| ("consumer", of, Verdict::Fail)),
    );
    wanted.push(("token keys", "user", Verdict::Fail));
    let told = trouble(&patient.examined(&[]).await);
    let is_wanted =
        |f: &Finding| wanted.iter().any(|(check, of, v)| f.check == *check && f.of.contains(of) && f.verdict == *v);
    assert!(told.iter().all(is_wanted), "{told:#?}");
    assert!(
        wanted.iter().all(|(check, of, _)| told.iter().any(|f| f.check == *check && f.of.contains(of))),
        "{told:#?}"
    );

    patient.execute("postgres", "ALTER DATABASE userdb RENAME TO elsewhere").await;
    let told = patient.examined(&["user"]).await;
    let missing = |f: &&Finding| f.check == "database" && f.of == "userdb" && f.verdict == Verdict::Fail;
    assert!(told.findings().iter().find(missing).is_some_and(|f| f.advice.contains("sagashop migrate user")));
    assert_eq!(told.code(), Code::Violated);
    patient.execute("postgres", "ALTER DATABASE elsewhere RENAME TO userdb").await;
    let (code, report) = said(&folder).await;
    assert!(code == Some(1) && report["ok"] == false, "{report:#}");
}

/// Whom a service connects as, and what that user may do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_are_those_that_the_work_needs() {
    let _room = room_for_a_small_shop().await;
    let folder = Folder::new();
    let server = Server::start(&Options::private(folder.data())).await.expect("a cluster");
    sagashop::shop::migrate(&server, Role::Order, Role::Order.database()).await.expect("migrated");
    let options = server.options(Role::Order.database());
    let mut admin = PgConnection::connect_with(&options).await.expect("connected");
    let service = options.clone().username("order_service").application_name("sagashop-order");
    admin.execute("CREATE ROLE order_service LOGIN").await.expect("made");
    let _session = PgConnection::connect_with(&service).await.expect("connected");
    for (grant, verdicts) in [
        ("SELECT 1", [Verdict::Fail, Verdict::Fail]),
        ("GRANT SELECT ON events TO order_service", [Verdict::Fail, Verdict::Fail]),
        ("GRANT INSERT ON events TO order_service", [Verdict::Ok, Verdict::Ok]),
        ("GRANT UPDATE ON events TO order_service", [Verdict::Ok, Verdict::Fail]),
        ("REVOKE UPDATE ON events FROM order_service", [Verdict::Ok, Verdict::Ok]),
        ("GRANT TRUNCATE ON events TO PUBLIC", [Verdict::Ok, Verdict::Fail]),
        ("REVOKE TRUNCATE ON events FROM PUBLIC", [Verdict::Ok, Verdict::Ok]),
        ("ALTER TABLE events OWNER TO order_service", [Verdict::Ok, Verdict::Fail]),
        (
            "ALTER TABLE events OWNER TO postgres; GRANT SELECT, INSERT ON events TO order_service",
            [Verdict::Ok, Verdict::Ok],
        ),
        ("ALTER ROLE order_service SUPERUSER", [Verdict::Ok, Verdict::Fail]),
    ] {
        admin.execute(grant).await.expect(grant);
        for (mode, verdict) in ["development", "production"].into_iter().zip(verdicts) {
            let (global, doctor) = arguments(&folder, &["order", "--mode", mode]);
            let told = Box::pin(examine(&global, &doctor, &server)).await;
            let rights = told.findings().iter().filter(|finding| finding.found.contains("order_service"));
            let rights: Vec<_> = rights.filter(|finding| finding.check == "rights").collect();
            assert!(rights.len() == 1 && rights[0].verdict == verdict, "{grant}, {mode}: {rights:#?}");
        }
    }
    admin.close().await.expect("closed");
    server.stop().await.expect("stops");
}

/// A shop of another kind: nothing runs, nothing is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_nothing_can_be_looked_at_there_is_no_verdict() {
    let folder = Folder::new();
    let (code, report) = said(&folder).await;
    assert!(code == Some(3) && report.is_null(), "{code:?} {report}");
    eventually(PATIENCE, async || !folder.data().join("postgres").exists()).await;
}
