//! History read again on a real shop: it has no effect at any edge, and what newer programs wrote stops whoever meets it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use broker::{Broker, FetchLimits, PostgresBroker, PostgresOptions, Record, TopicPartition, partition_of};
use event_schemas::topics;
use reqwest::Method;
use runtime::Message;
use runtime::message::REPLAY;
use sagashop::ports::Role;
use sagashop::shop::BROKER_DATABASE;
use serde_json::{Value, json};
use testkit::eventually;

use crate::PATIENCE;
use crate::process::sagashop;
use crate::room_for_a_small_shop;
use crate::up::{Up, settled};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");
const PARTITIONS: i32 = 4;

/// A mail server that takes everything and counts it.
struct Mails {
    url: String,
    taken: Arc<AtomicU64>,
}

impl Mails {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("smtp://127.0.0.1:{}", listener.local_addr().expect("bound").port());
        let taken = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&taken);
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let counted = Arc::clone(&counted);
                std::thread::spawn(move || serve(&connection, &counted));
            }
        });
        Self { url, taken }
    }
}

/// As much of SMTP as a client needs to be content. Ends with the connection.
fn serve(connection: &TcpStream, taken: &AtomicU64) -> Option<()> {
    let mut writer = connection;
    let mut say = |line: &str| writer.write_all(format!("{line}\r\n").as_bytes()).ok();
    say("220 ready")?;
    let mut in_data = false;
    for line in BufReader::new(connection).lines() {
        let line = line.ok()?;
        match line.split_whitespace().next().unwrap_or_default().to_ascii_uppercase().as_str() {
            "." if in_data => {
                in_data = false;
                taken.fetch_add(1, Ordering::SeqCst);
                say("250 taken")?;
            }
            _ if in_data => {}
            "DATA" => {
                in_data = true;
                say("354 go on")?;
            }
            "QUIT" => return say("221 bye"),
            _ => say("250 fine")?,
        }
    }
    Some(())
}

struct Replayed {
    shop: Up,
    mails: Mails,
    broker: PostgresBroker,
}

impl Replayed {
    async fn start() -> Self {
        let mails = Mails::start();
        let shop = Up::start(&["--empty", "--smtp-url", &mails.url]).await;
        let admin = shop.admin().await;
        let customer = shop.customer("customer").await;
        let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
        let confirmed = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 2 })).await;
        assert_eq!(shop.ended(&customer, &confirmed).await["status"], "confirmed");
        let declined = json!({ "product_id": lamp, "quantity": 1, "payment_method": "tok_declined" });
        let declined = shop.place(&customer, &declined).await;
        assert_eq!(shop.ended(&customer, &declined).await["status"], "cancelled");
        let given_back = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
        assert_eq!(shop.ended(&customer, &given_back).await["status"], "confirmed");
        shop.send(shop.request(Method::POST, Role::Order, &format!("/orders/{given_back}/cancel"), &customer)).await;
        shop.reaches(&customer, &given_back, "cancelled").await;
        settled(&shop.folder).await;
        eventually(PATIENCE, async || {
            shop.folder.count(Role::Notification, "notifications WHERE status <> 'sent'").await == 0
        })
        .await;
        let pool = runtime::service::pool(shop.folder.server().await.options(BROKER_DATABASE), "test", 2);
        Self { shop, mails, broker: PostgresBroker::new(pool, PostgresOptions::default()) }
    }

    /// What has happened at every edge: events, charges and refunds, mails, and records on the shop's topics.
    async fn edges(&self) -> BTreeMap<String, i64> {
        let mut edges = BTreeMap::new();
        for role in Role::ALL {
            edges.insert(format!("events of {}", role.name()), self.shop.folder.count(role, "events").await);
        }
        edges.insert("provider".to_owned(), self.shop.folder.count(Role::Payment, "provider_ledger").await);
        edges.insert("notifications".to_owned(), self.shop.folder.count(Role::Notification, "notifications").await);
        let mails = self.mails.taken.load(Ordering::SeqCst);
        edges.insert("mails".to_owned(), i64::try_from(mails).expect("few"));
        for topic in topics::ALL {
            edges.insert(topic.to_owned(), i64::try_from(self.records(topic).await.len()).expect("few"));
        }
        edges
    }

    async fn records(&self, topic: &str) -> Vec<Arc<Record>> {
        let mut records = Vec::new();
        for number in 0..PARTITIONS {
            let partition = TopicPartition::new(topic, number);
            let (mut at, end) = self.broker.bounds(&partition).await.expect("bounds");
            while at < end {
                let page = self.broker.fetch(&partition, at, FetchLimits::default()).await.expect("a page").records;
                at = page.last().map_or(end, |last| last.offset + 1);
                records.extend(page.into_iter().map(|stored| stored.record));
            }
        }
        records
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        let mut command = sagashop();
        command.args(arguments).arg("--data-dir").arg(self.shop.folder.data()).stdin(std::process::Stdio::null());
        tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await.expect("no panic")
    }

    /// A metric of the shop, all series whose labels hold this together.
    async fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.shop.get(Role::Order, "/metrics", "").await.expect(200);
        let lines = text.as_str().expect("text").lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn ids(records: &[Arc<Record>]) -> Vec<uuid::Uuid> {
    let mut ids: Vec<_> = records.iter().map(|record| Message::from_record(record).expect("a message").id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_read_again_without_any_effect() {
    let _room = room_for_a_small_shop().await;
    let replayed = Replayed::start().await;
    let before = replayed.edges().await;
    assert!(before["mails"] > 0 && before["provider"] > 0 && before["order_events"] > 0, "{before:?}");

    // Every decision is what it was.
    let what_if = replayed.run(&["replay", "--what-if", "--output", "json"]).await;
    assert_eq!(what_if.status.code(), Some(0), "{}\n{}", said(&what_if), String::from_utf8_lossy(&what_if.stdout));
    assert!(said(&what_if).contains("0 would be others"), "{}", said(&what_if));

    // A dry run makes no topic.
    let onto_new = ["replay", "--to", "log", "--topic", "new_consumer", "--service", "order", "--output", "json"];
    let dry = replayed.run(&[&onto_new[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.status.code(), Some(0), "{}", said(&dry));
    let place = TopicPartition::new("new_consumer", 0);
    assert!(replayed.broker.bounds(&place).await.is_err(), "it was not made");

    let published = replayed.run(&[&onto_new[..], &["--rate", "500/s", "--replay", "mine"]].concat()).await;
    assert_eq!(published.status.code(), Some(0), "{}", said(&published));
    let line: Value = serde_json::from_slice(&published.stdout).expect("JSON");
    let (again, live) = (replayed.records("new_consumer").await, replayed.records("order_events").await);
    assert_eq!(line[0]["messages"], again.len());
    assert_eq!(ids(&again), ids(&live), "the messages are those that there were");
    assert!(again.iter().all(|record| record.headers[REPLAY] == "mine"));
    assert_eq!(replayed.edges().await, before, "nothing else has happened");

    // Adding to what is there is asked for, and the shop's topics are refused.
    let more = replayed.run(&[&onto_new[..], &["--from", "-1h"]].concat()).await;
    assert_eq!(more.status.code(), Some(2), "{}", said(&more));
    assert!(said(&more).contains("--yes"), "{}", said(&more));
    let live_topic = replayed.run(&["replay", "--to", "log", "--topic", "order_events"]).await;
    assert_eq!(live_topic.status.code(), Some(2));
    assert!(said(&live_topic).contains("order_events is a topic of the running shop"), "{}", said(&live_topic));
    let silent = replayed.run(&["replay", "--to", "log", "--topic", "x", "--service", "notification"]).await;
    assert!(silent.status.code() == Some(2) && said(&silent).contains("publishes nothing"), "{}", said(&silent));

    // By hand onto a live topic: nobody acts on it, and it is counted.
    let created = again.iter().find(|record| record.headers["ce_type"] == "order_created").expect("an order");
    let place = TopicPartition::new(topics::ORDER_EVENTS, partition_of(&created.key, PARTITIONS));
    replayed.broker.publish(LIVE.into(), vec![(place, vec![created.as_ref().clone()])]).await.expect("published");
    eventually(PATIENCE, async || {
        replayed.metric("consumer_replays_refused_total", "consumer=\"orchestrator\"").await > 0.5
            && replayed.metric("consumer_replays_refused_total", "consumer=\"notification\"").await > 0.5
    })
    .await;
    let mut after = replayed.edges().await;
    *after.get_mut("order_events").expect("there") -= 1;
    assert_eq!(after, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_events_of_two_versions_are_read_and_a_newer_one_stops_whoever_meets_it() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let path = format!("/products/{lamp}/restock");
    let restocked = async |expected: i64| {
        let answer = shop.post(Role::Product, &path, &admin, &json!({ "quantity": 5 })).await;
        assert!((200..300).contains(&answer.status), "{}", answer.body);
        eventually(PATIENCE, async || shop.stock(&lamp).await == expected).await;
    };
    restocked(15).await;

    // The next program's version of the past: the same event in its first form, without its time.
    let first_form = "UPDATE events SET event_version = '1',
                             payload = json_build_object('stock_restocked', json_build_object('quantity', 5, 'available', 15))
                       WHERE event_type = 'stock_restocked'";
    assert_eq!(shop.folder.execute(Role::Product, first_form).await, 1);
    restocked(20).await;
    let versions = shop
        .folder
        .query(
            Role::Product,
            "SELECT event_version AS v FROM events WHERE event_type = 'stock_restocked' ORDER BY sequence",
        )
        .await;
    assert_eq!(versions, json!([{ "v": "1" }, { "v": "2" }]));
    let history = shop.get(Role::Product, &format!("/products/{lamp}/stock/history"), &admin).await;
    let kinds: Vec<_> = history.body.as_array().expect("movements").iter().map(|one| one["kind"].clone()).collect();
    assert_eq!(kinds, ["restocked", "restocked", "opened"]);
    shop.assert_clean().await;

    let newer =
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
                 SELECT aggregate_type, aggregate_id, sequence + 1, event_type, '9', payload, metadata
                   FROM events WHERE aggregate_type = 'stock' ORDER BY sequence DESC LIMIT 1";
    assert_eq!(shop.folder.execute(Role::Product, newer).await, 1);
    let doctor = async || {
        let mut command = sagashop();
        command.args(["doctor", "product", "--data-dir"]).arg(shop.folder.data());
        command.args(["--port-offset", &shop.folder.offset.to_string()]);
        let output = tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    eventually(PATIENCE, async || {
        let told = doctor().await;
        let stands =
            |who: &str| told.contains(&format!("{who} stands before stock/stock_restocked of version 9, 2 is known"));
        stands("relay") && stands("products")
    })
    .await;
    let stopped = |who: &str| format!(r#"follower_stopped_by_version{{follower="{who}",service="product"}} 1"#);
    eventually(PATIENCE, async || {
        let metrics = shop.get(Role::Product, "/metrics", "").await.expect(200);
        let metrics = metrics.as_str().expect("text");
        metrics.contains(&stopped("relay")) && metrics.contains(&stopped("products"))
    })
    .await;
    // What is there goes on being served.
    assert_eq!(shop.stock(&lamp).await, 20);
}
