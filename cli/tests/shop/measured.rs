//! What the shop tells of itself: each metric moves when its thing happens, its labels stay bounded, and each line of the
//! log is a JSON object that names the request or message it belongs to.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker::{Broker, PostgresBroker, PostgresOptions, Record, TopicPartition, partition_of};
use reqwest::Method;
use sagashop::metrics;
use sagashop::ports::Role;
use sagashop::shop::BROKER_DATABASE;
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use telemetry::metrics::Values;
use testkit::eventually;
use uuid::Uuid;

use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// What this shop has no cause to tell: it pays in the process, has neither Redis nor a collector, and audits nothing.
const NOT_HERE: &[&str] = &[
    "audit_violations",
    "audit_unchecked",
    "audit_last_run_timestamp_seconds",
    "audit_duration_seconds",
    "audit_interval_seconds",
    "audit_runs_total",
    "psp_operations_total",
    "psp_webhooks_total",
    "redis_pool_connections",
    "redis_pool_connections_max",
    "redis_pool_waiting",
    "product_cache_redis_failures_total",
    "product_cache_redis_left_out_total",
    "product_cache_redis_open",
    "gateway_upstream_failures_total",
    "notification_attempts_failed_total",
    "sagashop_telemetry_spans_dropped_total",
    "sagashop_telemetry_spans_exported_total",
];
/// Series of one metric: routes × methods × statuses are the most.
const SERIES_MAX: usize = 500;
/// What was done is seen by then; what is from the database after five seconds.
const MOVES_WITHIN: Duration = Duration::from_secs(30);

/// Samples by their series, as one scrape has them.
struct Scrape(BTreeMap<String, f64>);

impl Scrape {
    async fn of(shop: &Up) -> Self {
        let text = shop.get(Role::Order, "/metrics", "").await.expect(200);
        let lines = text.as_str().expect("text").lines().filter(|line| !line.starts_with('#'));
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.to_owned(), value.parse().expect("a number"))
        };
        Self(lines.map(sample).collect())
    }

    /// The sum of a metric's series that have all of these labels: `{service="order"`, each as the text format has it.
    fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        let fits = |series: &str| {
            let (of, rest) = series.split_once('{').unwrap_or((series, ""));
            of == name && labels.iter().all(|label| rest.contains(label))
        };
        self.0.iter().filter(|(series, _)| fits(series)).map(|(_, value)| value).sum()
    }

    fn has(&self, name: &str) -> bool {
        let of = |series: &String| series.split('{').next().is_some_and(|of| of == name);
        self.0.keys().any(of)
    }
}

/// `name{a="x",b="y"}`, taken apart.
fn labels(series: &str) -> BTreeMap<&str, &str> {
    let inside = series.split_once('{').map_or("", |(_, rest)| rest.trim_end_matches('}'));
    let pairs = inside.split("\",").filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').expect("a label"));
    pairs.map(|(name, value)| (name, value.trim_matches('"'))).collect()
}

/// Everything that a shop does, once at least.
async fn live(shop: &Up, admin: &str) {
    let (lamp, customer) = (shop.product(admin, "Lamp", "19.90", 1_000).await, shop.customer("measured").await);
    let wrong = json!({ "email": "measured@customers.example", "password": "a wrong password" });
    shop.post(Role::User, "/login", "", &wrong).await.expect(401);
    for _ in 0..3 {
        shop.get(Role::Product, &format!("/products/{lamp}"), "").await.expect(200);
    }
    let order = |token: &str| json!({ "product_id": lamp, "quantity": 1, "payment_method": token });
    for (token, status) in [("tok_visa", "confirmed"), ("tok_declined", "cancelled")] {
        let id = shop.place(&customer, &order(token)).await;
        assert_eq!(shop.ended(&customer, &id).await["status"], status);
        for _ in 0..3 {
            shop.order(&customer, &id).await;
        }
        if status == "confirmed" {
            let cancel = shop.request(Method::POST, Role::Order, &format!("/orders/{id}/cancel"), &customer);
            shop.send(cancel).await.expect(202);
            shop.reaches(&customer, &id, "cancelled").await;
        }
    }
    // What must not become a label of its own.
    for _ in 0..20 {
        let id = Uuid::now_v7();
        shop.get(Role::Order, &format!("/orders/{id}"), &customer).await.expect(404);
        shop.get(Role::Order, &format!("/nothing/{id}"), &customer).await.expect(404);
        shop.get(Role::Product, &format!("/products/{id}?x={id}"), "").await.expect(404);
    }
    poison(shop).await;
    settled(&shop.folder).await;
}

/// A record that nobody can read, and one behind it.
async fn poison(shop: &Up) {
    let options = shop.folder.server().await.options(BROKER_DATABASE);
    let pool = PgPoolOptions::new().max_connections(2).connect_with(options).await.expect("connected");
    let broker = PostgresBroker::new(pool, PostgresOptions::default());
    let bad = Record { key: "poison".into(), headers: BTreeMap::new(), value: "{".into(), timestamp_ms: 1 };
    let place = TopicPartition::new("order_commands", partition_of("poison", 4));
    broker.publish(LIVE.into(), vec![(place, vec![bad.clone(), bad])]).await.expect("published");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_metric_moves_when_its_thing_happens() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let before = Scrape::of(&shop).await;
    live(&shop, &admin).await;
    all_have_moved(&shop, &before).await;

    let after = Scrape::of(&shop).await;
    assert!(after.sum("process_resident_memory_bytes", &[]) > 1e6 && after.sum("process_open_fds", &[]) > 10.0);
    assert!(after.sum("tokio_workers", &[]) >= 1.0 && after.sum("tokio_alive_tasks", &[]) > 10.0);
    for service in Role::ALL.map(Role::name) {
        let of = format!("service=\"{service}\"");
        assert!((after.sum("database_up", &[&of]) - 1.0).abs() < f64::EPSILON, "{service}");
        assert!(after.sum("db_pool_connections_max", &[&of]) >= 1.0, "{service}");
    }
    // Nothing is behind, and nothing in flight.
    eventually(PATIENCE, async || {
        let now = Scrape::of(&shop).await;
        let behind = ["relay_pending_events", "projection_lag_events", "consumer_lag_records", "saga_in_flight"];
        behind.iter().all(|name| now.has(name) && now.sum(name, &[]) == 0.0)
    })
    .await;
    bounded(&Scrape::of(&shop).await);
}

/// Counters and histograms, with labels, that must have risen by so much at least.
const MOVES: &[(&str, &[&str], f64)] = &[
    ("http_requests_total", &["service=\"order\"", "endpoint=\"/orders\"", "status=\"201\""], 2.0),
    ("http_requests_total", &["endpoint=\"unmatched\"", "status=\"404\""], 20.0),
    ("http_request_duration_seconds_count", &["service=\"user\"", "endpoint=\"/login\""], 2.0),
    ("grpc_requests_total", &["rpc_service=\"product.ProductService\"", "code=\"OK\""], 2.0),
    ("grpc_request_duration_seconds_count", &["rpc_service=\"product.ProductService\""], 2.0),
    ("event_store_appended_events_total", &["service=\"order\"", "path=\"group\""], 2.0),
    ("event_store_appended_events_total", &["service=\"orchestrator\"", "path=\"unit\""], 10.0),
    ("event_store_appends_total", &["service=\"order\"", "result=\"ok\""], 2.0),
    ("event_store_batch_events_count", &["service=\"order\""], 2.0),
    ("event_store_commit_seconds_count", &["service=\"payment\""], 2.0),
    ("event_store_load_seconds_count", &[], 1.0),
    ("relay_events_total", &["service=\"order\""], 4.0),
    ("relay_messages_published_total", &["topic=\"payment_commands\""], 2.0),
    ("relay_batch_messages_count", &["service=\"orchestrator\""], 2.0),
    ("relay_publish_seconds_count", &["service=\"orchestrator\""], 2.0),
    ("consumer_records_total", &["consumer=\"payment\"", "topic=\"payment_commands\""], 2.0),
    ("consumer_batch_records_count", &["service=\"notification\""], 1.0),
    ("consumer_batch_seconds_count", &["service=\"product\""], 1.0),
    ("consumer_dead_letters_total", &["consumer=\"order\"", "kind=\"dead\""], 1.0),
    ("consumer_dead_letters_total", &["consumer=\"order\"", "kind=\"parked\""], 1.0),
    ("consumer_dead_letters", &["consumer=\"order\"", "kind=\"dead\""], 1.0),
    ("projection_events_total", &["service=\"order\""], 4.0),
    ("projection_commit_seconds_count", &["service=\"payment\""], 1.0),
    ("saga_started_total", &[], 2.0),
    ("saga_finished_total", &["outcome=\"completed\""], 1.0),
    ("saga_finished_total", &["outcome=\"cancelled\""], 2.0),
    ("saga_duration_seconds_count", &["outcome=\"completed\""], 1.0),
    ("saga_step_duration_seconds_count", &["step=\"charge_payment\"", "outcome=\"succeeded\""], 1.0),
    ("saga_step_duration_seconds_count", &["step=\"charge_payment\"", "outcome=\"failed\""], 1.0),
    ("saga_commands_total", &["step=\"reserve_stock\"", "direction=\"undo\"", "attempt=\"first\""], 1.0),
    ("saga_compensations_total", &["cause=\"refused\""], 1.0),
    ("saga_compensations_total", &["cause=\"customer\""], 1.0),
    ("orders_placed_total", &[], 2.0),
    ("orders_ended_total", &["outcome=\"confirmed\""], 1.0),
    ("orders_ended_total", &["outcome=\"cancelled\""], 2.0),
    ("order_fulfilment_seconds_count", &["outcome=\"confirmed\""], 1.0),
    ("payment_processed_total", &["status=\"success\""], 1.0),
    ("payment_processed_total", &["status=\"failed\""], 1.0),
    ("payment_processed_total", &["status=\"refunded\""], 1.0),
    ("payment_provider_call_seconds_count", &["call=\"charge\"", "result=\"answered\""], 2.0),
    ("payment_provider_call_seconds_count", &["call=\"refund\""], 1.0),
    ("notifications_sent_total", &["event_type=\"order_confirmed\""], 1.0),
    ("notification_delivery_seconds_count", &["channel=\"log\""], 2.0),
    ("product_cache_reads_total", &["found=\"process\""], 1.0),
    ("product_cache_reads_total", &["found=\"database\""], 1.0),
    ("cache_reads_total", &["cache=\"ended_orders\"", "result=\"hit\""], 1.0),
    ("cache_reads_total", &["cache=\"access_tokens\"", "result=\"hit\""], 1.0),
    ("circuit_breaker_calls_total", &["to=\"product\"", "outcome=\"answered\""], 2.0),
    ("password_hash_seconds_count", &["operation=\"hash\""], 1.0),
    ("password_hash_seconds_count", &["operation=\"verify\""], 2.0),
    ("password_hash_wait_seconds_count", &[], 3.0),
    ("process_cpu_seconds_total", &[], 0.01),
    ("tokio_workers_busy_seconds_total", &[], 0.001),
    ("log_lines_total", &["level=\"error\""], 1.0),
];

/// Waits until all of them have risen.
async fn all_have_moved(shop: &Up, before: &Scrape) {
    let still = RefCell::new(Vec::new());
    let moved = eventually(PATIENCE, async || {
        let now = Scrape::of(shop).await;
        let rose = |name, labels, by| now.sum(name, labels) - before.sum(name, labels) >= by;
        let missing = MOVES.iter().filter(|(name, labels, by)| !rose(name, labels, *by));
        *still.borrow_mut() = missing.map(|(name, labels, _)| format!("{name} {labels:?}")).collect();
        still.borrow().is_empty()
    });
    let moved = tokio::time::timeout(MOVES_WITHIN, moved).await;
    assert!(moved.is_ok(), "these did not move: {:#?}", still.borrow());
}

/// Every series is of a declared metric, each of its labels of a bounded set; and every declared metric is there.
fn bounded(scrape: &Scrape) {
    let mut series: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for sample in scrape.0.keys() {
        let name = sample.split('{').next().expect("a name");
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let family = metrics::all().find(|family| family.name == name || Some(family.name) == of_histogram);
        let family = family.unwrap_or_else(|| panic!("{name} is not declared"));
        let mut labels = labels(sample);
        labels.remove("le");
        let declared: BTreeSet<&str> = family.labels.iter().map(|label| label.name).collect();
        assert_eq!(labels.keys().copied().collect::<BTreeSet<_>>(), declared, "{sample}");
        for label in family.labels {
            let value = labels[label.name];
            let known = match label.values {
                Values::OneOf(values) => values.contains(&value),
                Values::Open(_) => !looks_like_an_id(value),
            };
            assert!(known, "{} is no value of {} in {sample}", value, label.name);
        }
        series.entry(family.name).or_default().insert(format!("{labels:?}"));
    }
    for (name, series) in &series {
        assert!(series.len() <= SERIES_MAX, "{name} has {} series", series.len());
    }
    let unseen: Vec<_> = metrics::all().map(|family| family.name).filter(|name| !series.contains_key(name)).collect();
    let unseen: Vec<_> = unseen.into_iter().filter(|name| !NOT_HERE.contains(name)).collect();
    assert!(unseen.is_empty(), "declared, and not to be seen: {unseen:?}");
}

/// A version and a partition are numbers too, but short ones.
fn looks_like_an_id(value: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    digits > 4 || value.contains('@') || Uuid::parse_str(value).is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_line_of_the_log_tells_its_request() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty", "--access-log", "all"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("logged").await);
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let filter = async |filter: &str, token: &str| {
        let request = shop.request(Method::PUT, Role::Order, "/admin/log-level", token);
        shop.send(request.json(&json!({ "filter": filter }))).await
    };
    let bad = filter("info,sqlx=loud", &admin).await;
    assert_eq!((bad.status, bad.fields()), (422, vec!["filter"]), "{bad:?}");
    assert!(bad.body["detail"].as_str().is_some_and(|said| said.contains("sqlx=loud")), "{bad:?}");
    filter("info", &customer).await.expect(403);
    filter("info", "").await.expect(401);

    let trace = |n: u8| format!("{n:032x}");
    let correlation = |n: u8| Uuid::from_u128(u128::from(n) << 64);
    let place = async |n: u8| {
        let request = shop.request(Method::POST, Role::Order, "/orders", &customer);
        let request = request.header("traceparent", format!("00-{}-00000000000000{n:02x}-01", trace(n)));
        let request = request.header("x-correlation-id", correlation(n).to_string());
        let order = shop.send(request.json(&json!({ "product_id": lamp, "quantity": 1 }))).await.expect(201);
        shop.ended(&customer, order["id"].as_str().expect("an id")).await;
    };
    place(0xa1).await;
    // That it came in, was paid and is confirmed is told after the order has ended.
    eventually(PATIENCE, async || {
        let pending = shop.folder.count(Role::Notification, "notifications WHERE status <> 'sent'").await;
        let told = "notifications WHERE order_id IS NOT NULL";
        pending == 0 && shop.folder.count(Role::Notification, told).await == 3
    })
    .await;
    assert_eq!(filter("info", &admin).await.expect(200)["filter"], "info");
    let shown = shop.get(Role::Payment, "/admin/log-level", &admin).await.expect(200);
    assert_eq!(shown["filter"], "info", "all roles of a process share its log");
    place(0xb2).await;

    // One process after the other has told the customer of it.
    let of = |n: u8, target: &str| {
        let lines = lines(&shop).into_iter().filter(|line| line["trace.id"] == trace(n).as_str());
        lines.filter(|line| line["target"].as_str().is_some_and(|of| of.starts_with(target))).collect::<Vec<_>>()
    };
    eventually(PATIENCE, async || !of(0xb2, "notification_service").is_empty()).await;
    assert!(of(0xa1, "notification_service").is_empty(), "it was not logged then");
    for n in [0xa1, 0xb2] {
        let told = of(n, "access");
        assert!(told.iter().any(|line| line["http.route"] == "/orders" && line["duration_ms"].is_number()), "{told:?}");
    }
    let told = of(0xb2, "notification_service");
    assert!(told.iter().all(|line| line["correlation.id"] == correlation(0xb2).to_string().as_str()), "{told:?}");
    for line in lines(&shop) {
        for field in ["timestamp", "level", "target", "message", "service.name"] {
            assert!(line[field].is_string(), "{field} is missing in {line}");
        }
    }
}

/// Each line is a JSON object.
fn lines(shop: &Up) -> Vec<Value> {
    let log = shop.process.stderr();
    let whole = log.rfind('\n').map_or("", |end| &log[..end]);
    whole.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}
