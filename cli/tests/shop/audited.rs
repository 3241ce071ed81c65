//! The audit: clean while the shop is at work; and each promise that is broken on purpose is found broken, it alone.

mod evidence;

use std::collections::BTreeSet;
use std::time::Duration;

use cqrs_es::Aggregate;
use domain::stock::Stock;
use event_store::StreamId;
use reqwest::Method;
use rustix::process::Signal;
use sagashop::args::{ProviderArgs, ServerArgs};
use sagashop::audit::{Report, Verdict, examine};
use sagashop::exit::Code;
use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};
use sagashop::shop::BROKER_DATABASE;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, PgPool};
use testkit::eventually;

use crate::process::assert_audit_clean;
use crate::traffic::{Catalogue, Traffic};
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shop_at_work_is_clean_at_every_moment() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty", "--audit-every", "2s"]).await;
    let catalogue = Catalogue::fill(&shop, &shop.admin().await).await;
    let tokens = vec![shop.customer("one").await, shop.customer("two").await, shop.customer("three").await];
    let traffic = Traffic::begin(&shop, &catalogue, tokens, 11);
    for audits in 1..=6 {
        eventually(PATIENCE, async || traffic.placed() > audits * 10).await;
        assert_audit_clean(&shop.folder.data(), None).await;
    }
    traffic.end(&shop).await;
    shop.assert_clean().await;
    // So it was at each look of the orchestrator's own.
    eventually(PATIENCE, async || runs(&shop, "clean").await >= 3.0).await;
    assert_eq!((runs(&shop, "violated").await, runs(&shop, "unchecked").await), (0.0, 0.0));
}

/// How many audits of the shop's own ended so.
async fn runs(shop: &Up, outcome: &str) -> f64 {
    let metrics = shop.get(Role::Orchestrator, "/metrics", "").await.expect(200);
    let text = metrics.as_str().expect("a text");
    let series = format!("audit_runs_total{{outcome=\"{outcome}\"}} ");
    let value = text.lines().find_map(|line| line.strip_prefix(&series)).unwrap_or("0");
    value.parse().expect("a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_broken_is_found() {
    let _room = room_for_a_small_shop().await;
    let mut shop = Up::start(&["--empty", "--hash-chain"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let desk = shop.product(&admin, "Desk", "250", 5).await;
    let order = json!({ "product_id": lamp, "quantity": 2 });
    let request = shop.request(Method::POST, Role::Order, "/orders", &customer).header("Idempotency-Key", "once");
    let placed = shop.send(request.json(&order)).await.expect(201);
    let bought = placed["id"].as_str().expect("an id").to_owned();
    assert_eq!(shop.ended(&customer, &bought).await["status"], "confirmed");
    let lines = json!([{ "product_id": lamp, "quantity": 1 }, { "product_id": desk, "quantity": 1 }]);
    let declined = shop.place(&customer, &json!({ "lines": lines, "payment_method": "tok_declined" })).await;
    assert_eq!(shop.ended(&customer, &declined).await["status"], "cancelled");
    let given_back = shop.place(&customer, &json!({ "lines": lines })).await;
    assert_eq!(shop.ended(&customer, &given_back).await["status"], "confirmed");
    shop.send(shop.request(Method::POST, Role::Order, &format!("/orders/{given_back}/cancel"), &customer)).await;
    shop.reaches(&customer, &given_back, "cancelled").await;
    settled(&shop.folder).await;
    eventually(PATIENCE, async || {
        shop.folder.count(Role::Notification, "notifications WHERE status <> 'sent'").await == 0
    })
    .await;

    shop.process.signal(Signal::TERM);
    shop.process.ended(PATIENCE).await;
    let scratch = Scratch::of(Server::start(&Options::private(shop.folder.data())).await.expect("starts")).await;
    snapshot(&scratch, &lamp).await;
    scratch.keep().await;
    evidence::is_found(&scratch, &shop.folder.data(), &bought).await;
    evidence::goes_on_from_a_mark(&scratch, &shop.folder.data(), &bought).await;

    let whole = scratch.examine().await;
    assert!(whole.ok && whole.code() == Code::Done, "{whole:#?}");
    let idle: Vec<_> = whole.checks.iter().filter(|check| check.checked == 0).map(|check| check.name).collect();
    assert!(idle.is_empty(), "nothing was checked of {idle:?}");

    for (database, damage, red) in damages(&bought, &lamp) {
        scratch.execute(database, &damage).await;
        let report = scratch.examine().await;
        assert_eq!(names(&report, Verdict::Violated), red.iter().copied().collect(), "{damage}\n{report:#?}");
        assert_eq!(report.code(), Code::Violated);
        assert!(report.checks.iter().all(|check| check.ids.is_empty() == (check.violated == 0)), "{report:#?}");
        scratch.restore(database).await;
    }
    for database in DATABASES {
        scratch.drop(database).await;
        let report = scratch.examine().await;
        assert_eq!(report.code(), Code::Unchecked, "without {database}: {report:#?}");
        assert!(names(&report, Verdict::Unchecked).contains("store = broker"), "without {database}: {report:#?}");
        scratch.restore(database).await;
    }
    assert!(scratch.examine().await.ok);
    scratch.server.stop().await.expect("stops");
}

/// Each damage: in which database, by which statement, and the checks that must find it.
fn damages(bought: &str, lamp: &str) -> Vec<(&'static str, String, Vec<&'static str>)> {
    let [user, product, order, payment, notification, saga, broker] = DATABASES;
    let stream = |kind: &str, id: &str| format!("aggregate_type = '{kind}' AND aggregate_id = '{id}'");
    let (ordered, fulfilled, stocked) =
        (stream("order", bought), stream("order_fulfilment", bought), stream("stock", lamp));
    let columns = "aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata";
    vec![
        (
            order,
            format!("DELETE FROM events WHERE {ordered} AND sequence = 1"),
            vec!["contiguous streams", "store = broker", "orders end", "projection = fold"],
        ),
        (
            user,
            "UPDATE events SET payload = '{\"user_vanished\":{}}' WHERE event_type = 'user_registered'".to_owned(),
            vec!["readable events", "store = broker"],
        ),
        // A message is lost, and another there twice.
        (
            broker,
            "UPDATE topic_records r SET headers = o.headers FROM topic_records o
              WHERE r.partition_id = o.partition_id AND r.\"offset\" = 1 AND o.\"offset\" = 0
                AND r.partition_id = (SELECT min(partition_id) FROM topic_records WHERE \"offset\" = 1)"
                .to_owned(),
            vec!["store = broker"],
        ),
        // Two messages of one stream change places.
        (
            broker,
            format!(
                "WITH mine AS (SELECT r.partition_id, r.\"offset\", r.headers FROM topic_records r
                                 JOIN topic_partitions p ON p.id = r.partition_id
                                WHERE p.topic = 'order_events' AND r.key = '{bought}'::bytea)
                 UPDATE topic_records r SET headers = other.headers FROM mine, mine AS other
                  WHERE (r.partition_id, r.\"offset\") = (mine.partition_id, mine.\"offset\")
                    AND mine.\"offset\" <> other.\"offset\""
            ),
            vec!["store = broker"],
        ),
        // The order says no, all others yes.
        (
            order,
            format!(
                "UPDATE events SET event_type = 'order_cancelled', payload = json_build_object('order_cancelled',
                        json_build_object('user_id', payload->'order_confirmed'->'user_id', 'reason', 'none',
                                          'at', payload->'order_confirmed'->'at'))
                  WHERE {ordered} AND event_type = 'order_confirmed'"
            ),
            vec!["orders end", "money", "stock of orders", "projection = fold"],
        ),
        (
            saga,
            format!("DELETE FROM events WHERE {fulfilled} AND event_type = 'saga_completed'"),
            vec!["store = broker", "orders end", "projection = fold"],
        ),
        (
            payment,
            "UPDATE provider_ledger SET amount_minor = amount_minor + 1 WHERE outcome = 'captured'".to_owned(),
            vec!["money"],
        ),
        (
            payment,
            "INSERT INTO provider_ledger (key, kind, payment_id, amount_minor, currency, outcome, transaction_id)
             SELECT key || '/again', kind, payment_id, amount_minor, currency, outcome, transaction_id || '/again'
               FROM provider_ledger WHERE outcome = 'captured'"
                .to_owned(),
            vec!["charged once", "money"],
        ),
        (
            payment,
            "INSERT INTO provider_ledger (key, kind, payment_id, amount_minor, currency, outcome, transaction_id)
             VALUES ('stray', 'charge', gen_random_uuid(), 100, 'EUR', 'captured', 'stray')"
                .to_owned(),
            vec!["money"],
        ),
        (
            product,
            format!(
                "UPDATE events SET payload = replace(payload::text, '\"quantity\":10', '\"quantity\":1')::json
                  WHERE {stocked} AND sequence = 1"
            ),
            vec!["stock adds up", "projection = fold", "snapshot = fold"],
        ),
        // A sale is forgotten: the order is confirmed, and its stock held.
        (
            product,
            format!(
                "DELETE FROM events WHERE {stocked} AND event_type = 'stock_committed'
                    AND payload->'stock_committed'->>'order_id' = '{bought}'"
            ),
            vec!["contiguous streams", "store = broker", "stock of orders", "projection = fold", "snapshot = fold"],
        ),
        (order, format!("UPDATE orders SET status = 'cancelled' WHERE id = '{bought}'"), vec!["projection = fold"]),
        (order, format!("UPDATE orders SET sequence = 1 WHERE id = '{bought}'"), vec!["projection = fold"]),
        (saga, "UPDATE sagas SET state = 'reserving'".to_owned(), vec!["projection = fold"]),
        (payment, "DELETE FROM payments".to_owned(), vec!["projection = fold"]),
        (product, "UPDATE products SET available = available + 1".to_owned(), vec!["projection = fold"]),
        (notification, "UPDATE notifications SET attempts = 7".to_owned(), vec!["projection = fold"]),
        (
            user,
            "INSERT INTO users SELECT gen_random_uuid(), name, email, role, status, created_at, 1 FROM users LIMIT 1"
                .to_owned(),
            vec!["projection = fold"],
        ),
        // Somebody can be read, or cannot any more.
        (
            user,
            "UPDATE events SET payload = jsonb_set(payload::jsonb, '{user_registered,name}', '\"John Doe\"')::json
              WHERE event_type = 'user_registered'"
                .to_owned(),
            vec!["personal data sealed", "projection = fold"],
        ),
        (user, "DELETE FROM person_keys".to_owned(), vec!["personal data sealed"]),
        (
            notification,
            "UPDATE events SET metadata = jsonb_set(metadata::jsonb, '{actor}', '\"john@example.com\"')::json"
                .to_owned(),
            vec!["personal data sealed"],
        ),
        (
            broker,
            "UPDATE topic_records SET value = value || '{\"email\":\"john@example.com\"}' WHERE \"offset\" = 0"
                .to_owned(),
            vec!["personal data sealed"],
        ),
        (
            product,
            "UPDATE snapshots SET payload = replace(payload::text, '\"sold\":', '\"sold\":1')::json".to_owned(),
            vec!["snapshot = fold"],
        ),
        (
            notification,
            format!(
                "INSERT INTO events ({columns})
                 SELECT aggregate_type, aggregate_id, 3, event_type, event_version, payload, metadata
                   FROM events WHERE event_type = 'notification_sent' AND sequence = 2 LIMIT 1"
            ),
            vec!["notified once", "one effect a command"],
        ),
        // Restocked twice by one command, and with a wrong count.
        (
            product,
            format!(
                "INSERT INTO events ({columns})
                 SELECT e.aggregate_type, e.aggregate_id, last + n, 'stock_restocked', '1',
                        json_build_object('stock_restocked', json_build_object('quantity', 1, 'available', 0)), metadata
                   FROM events e, generate_series(1, 2) AS n,
                        (SELECT max(sequence) AS last FROM events WHERE {stocked}) AS stream
                  WHERE {stocked} AND sequence = 1"
            ),
            vec!["stock adds up", "one effect a command"],
        ),
        (product, "DELETE FROM inbox".to_owned(), vec!["one effect a command"]),
        (
            order,
            "UPDATE idempotency_keys SET body = '{\"id\":\"0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d\"}'".to_owned(),
            vec!["acknowledged = stored"],
        ),
        (order, "UPDATE consumer_offsets SET next_offset = 1000000".to_owned(), vec!["offsets in bounds"]),
        (order, "UPDATE checkpoints SET transaction_id = '9999999999'".to_owned(), vec!["offsets in bounds"]),
        (
            payment,
            "INSERT INTO dead_letters VALUES ('payment', 'payment_commands', 0, 5, 'k', '{}', '', 0, 'poison')"
                .to_owned(),
            vec!["no dead letters"],
        ),
    ]
}

fn names(report: &Report, verdict: Verdict) -> BTreeSet<&'static str> {
    report.checks.iter().filter(|check| check.verdict == verdict).map(|check| check.name).collect()
}

/// A snapshot of the stock as it is: a stream as short as this has none of its own.
async fn snapshot(scratch: &Scratch, product: &str) {
    let pool = PgPool::connect_with(scratch.server.options(Role::Product.database())).await.expect("connected");
    let events = event_store::load(&pool, &[(StreamId::of::<Stock>(product), 0)]).await.expect("read").remove(0);
    let last = i64::try_from(events.len()).expect("small");
    let stock: Stock = kernel::fold(events.iter().flat_map(|event| event.decode_all::<Stock>().expect("readable")));
    sqlx::query(
        "INSERT INTO snapshots (aggregate_type, aggregate_id, last_sequence, payload) VALUES ($1, $2, $3, $4::json)",
    )
    .bind(Stock::TYPE)
    .bind(product)
    .bind(last)
    .bind(serde_json::to_string(&stock).expect("JSON"))
    .execute(&pool)
    .await
    .expect("written");
    pool.close().await;
}

const DATABASES: [&str; 7] =
    ["userdb", "productdb", "orderdb", "paymentdb", "notificationdb", "sagadb", BROKER_DATABASE];

/// Databases of a shop that is at rest, to be damaged and restored.
struct Scratch {
    server: Server,
}

impl Scratch {
    async fn of(server: Server) -> Self {
        Self { server }
    }

    async fn examine(&self) -> Report {
        let servers = ServerArgs { partitions: 4, ..ServerArgs::default() };
        let provider = ProviderArgs::default();
        tokio::time::timeout(Duration::from_secs(60), examine(&self.server, &servers, &provider))
            .await
            .expect("it ends")
    }

    async fn execute(&self, database: &str, statement: &str) {
        let mut connection = PgConnection::connect_with(&self.server.options(database)).await.expect("connected");
        let done = connection.execute(statement).await.unwrap_or_else(|error| panic!("{statement}: {error}"));
        assert!(database == "postgres" || done.rows_affected() > 0, "nothing was damaged by {statement}");
        connection.close().await.expect("closed");
    }

    /// Keeps all of them as they are.
    async fn keep(&self) {
        for database in DATABASES {
            self.execute("postgres", &format!("CREATE DATABASE kept_{database} TEMPLATE {database}")).await;
        }
    }

    async fn drop(&self, database: &str) {
        self.execute("postgres", &format!("DROP DATABASE IF EXISTS {database} WITH (FORCE)")).await;
    }

    async fn restore(&self, database: &str) {
        self.drop(database).await;
        self.execute("postgres", &format!("CREATE DATABASE {database} TEMPLATE kept_{database}")).await;
    }
}
