//! Looking into the event stores of a real shop: events, streams, stories, and the shop as of any moment.

mod folds;
mod followed;

use std::process::{Command, Output};
use std::sync::Arc;

use reqwest::Method;
use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::PATIENCE;
use crate::folder::Folder;
use crate::process::sagashop;
use crate::room_for_a_small_shop;
use crate::up::{Up, settled};

/// A shop with one order of each fate.
struct Looked {
    shop: Up,
    lamp: String,
    confirmed: String,
    declined: String,
    given_back: String,
}

impl Looked {
    async fn start() -> Self {
        let shop = Up::start(&["--empty"]).await;
        let admin = shop.admin().await;
        let customer = shop.customer("customer").await;
        let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
        let desk = shop.product(&admin, "Desk", "250", 5).await;
        let confirmed = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 2 })).await;
        assert_eq!(shop.ended(&customer, &confirmed).await["status"], "confirmed");
        let lines = json!([{ "product_id": lamp, "quantity": 1 }, { "product_id": desk, "quantity": 1 }]);
        let declined = shop.place(&customer, &json!({ "lines": lines, "payment_method": "tok_declined" })).await;
        assert_eq!(shop.ended(&customer, &declined).await["status"], "cancelled");
        let given_back = shop.place(&customer, &json!({ "lines": lines })).await;
        assert_eq!(shop.ended(&customer, &given_back).await["status"], "confirmed");
        let path = format!("/orders/{given_back}/cancel");
        shop.send(shop.request(Method::POST, Role::Order, &path, &customer)).await;
        shop.reaches(&customer, &given_back, "cancelled").await;
        settled(&shop.folder).await;
        eventually(PATIENCE, async || {
            shop.folder.count(Role::Notification, "notifications WHERE status <> 'sent'").await == 0
        })
        .await;
        Self { shop, lamp, confirmed, declined, given_back }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        run(&self.shop.folder, arguments).await
    }

    /// What a command prints, which must have succeeded.
    async fn text(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).expect("text")
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.text(&[arguments, &["--output", "json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {text}"))
    }

    /// The values of one field of what a list has.
    async fn listed(&self, arguments: &[&str], field: &str) -> Vec<Value> {
        let list = self.json(&[&["events", "list"], arguments].concat()).await;
        list.as_array().expect("a list").iter().map(|event| event[field].clone()).collect()
    }
}

async fn run(folder: &Arc<Folder>, arguments: &[&str]) -> Output {
    let mut command: Command = sagashop();
    command.args(arguments).arg("--data-dir").arg(folder.data());
    tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await.expect("no panic")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn is_id(text: &str) -> bool {
    uuid::Uuid::parse_str(text).is_ok()
}

/// Whose event it is and what it says, without its times and ids, and without its place in the tree.
fn redacted(line: &str) -> String {
    // Two columns of times.
    let told: String = line.chars().skip(23).filter(|letter| !"├└│".contains(*letter)).collect();
    let word = |word: &str| match word {
        word if word.matches(':').count() == 2 => "[time]".to_owned(),
        word if word.contains("TXN-") => "[transaction]".to_owned(),
        word if word.split(':').any(is_id) => {
            word.split(':').map(|part| if is_id(part) { "[id]" } else { part }).collect::<Vec<_>>().join(":")
        }
        word => word.to_owned(),
    };
    told.split_whitespace().map(word).collect::<Vec<_>>().join(" ")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_listed_counted_and_shown() {
    let _room = room_for_a_small_shop().await;
    let looked = Looked::start().await;

    // An order's own events, in commit order.
    let order = format!("order/{}", looked.given_back);
    let types = looked.listed(&["--aggregate", &order], "event_type").await;
    assert_eq!(types, ["order_placed", "order_confirmed", "cancellation_requested", "order_cancelled"]);
    let first = looked.listed(&["--aggregate", &order, "--earliest", "--limit", "1"], "event_type").await;
    assert_eq!(first, ["order_placed"]);

    // One story in all stores.
    let correlation = looked.listed(&["--aggregate", &order, "--limit", "1", "--earliest"], "correlation_id").await;
    let correlation = correlation[0].as_str().expect("an id").to_owned();
    let services = looked.listed(&["--correlation", &correlation], "service").await;
    for service in ["order", "product", "payment", "notification", "orchestrator"] {
        assert!(services.contains(&json!(service)), "{service}: {services:?}");
    }
    assert!(looked.listed(&["--correlation", &correlation, "--service", "user"], "service").await.is_empty());

    // By actor, by cause, by time, by position.
    let by_saga = looked.listed(&["--service", "order", "--actor", "service:orch*"], "event_type").await;
    assert!(by_saga.len() == 4 && !by_saga.contains(&json!("order_placed")), "{by_saga:?}");
    let now = looked.listed(&["--service", "order", "--since", "now"], "event_type").await;
    assert!(now.is_empty(), "{now:?}");
    let all = looked.listed(&["--service", "order", "--since", "-1h"], "position").await;
    assert_eq!(i64::try_from(all.len()).expect("few"), looked.shop.folder.count(Role::Order, "events").await);
    let until = all[2].to_string();
    assert_eq!(looked.listed(&["--service", "order", "--to-position", &until], "position").await, &all[..3]);
    let causes = looked.listed(&["--aggregate", &order], "causation_id").await;
    let caused = causes[1].as_str().expect("an id").to_owned();
    assert_eq!(looked.listed(&["--causation", &caused, "--service", "order"], "event_type").await, ["order_confirmed"]);

    // Counting.
    let counted = looked.json(&["events", "count", "--by", "type", "--service", "order"]).await;
    assert_eq!(counted[0], json!({ "name": "order_placed", "events": 3 }));
    let all: i64 = looked.shop.folder.events().await.into_iter().sum();
    assert_eq!(looked.json(&["events", "count", "--all"]).await["events"], all);

    // One event, by each of its names.
    let ids = looked.listed(&["--aggregate", &order], "event_id").await;
    let positions = looked.listed(&["--aggregate", &order], "position").await;
    let id = ids[0].as_str().expect("an id");
    for name in [&[id] as &[&str], &[&positions[0].to_string(), "--service", "order"], &[&format!("{order}/1")]] {
        let shown = looked.json(&[&["events", "show"], name].concat()).await;
        assert_eq!((&shown["event_id"], &shown["event_type"]), (&ids[0], &json!("order_placed")), "{name:?}");
    }
    let table = looked.text(&["events", "show", id]).await;
    assert!(table.contains("correlation") && table.contains("\"order_placed\""), "{table}");

    predicates(&looked).await;
    refusals(&looked).await;
}

/// Predicates: money as its decimal, texts, what is in a list, and what there is not.
async fn predicates(looked: &Looked) {
    for (predicate, count) in [
        ("payload.total >= 39.80", 3),
        ("payload.total > 39.80", 2),
        ("payload.total = 39.8", 1),
        ("payload.total.minor = 3980", 1),
        ("payload.total.currency != EUR", 0),
        ("payload.lines.0.quantity > 1", 1),
        ("payload.lines.7", 0),
        ("payload.payment_method ~ declined", 1),
        ("payload.payment_method = \"tok_declined\"", 1),
        ("metadata.actor ~ user:", 3),
        ("payload.payment_method = ' OR true --'", 0),
    ] {
        let found =
            looked.listed(&["--service", "order", "--type", "order_placed", "--where", predicate], "sequence").await;
        assert_eq!(found.len(), count, "{predicate}");
    }
}

/// What is not understood, not known or not there: what is said, and the exit code.
async fn refusals(looked: &Looked) {
    let nobody = "0198c5d0-6a6e-7cc0-8a51-8f0f4b1a2c3d";
    for (arguments, code, text) in [
        (&["events", "list", "--type", "order_plcaed"] as &[&str], 2, "did you mean order_placed?"),
        (&["events", "list", "--service", "ordr"], 2, "'order'"),
        (&["events", "list", "--aggregate", "odrer/1"], 2, "did you mean order?"),
        (&["events", "list", "--where", "total >= 1"], 2, "payload. or metadata."),
        (&["events", "list", "--since", "yesterday"], 2, "-15m"),
        (&["events", "list", "--from-position", "1"], 2, "--service"),
        (&["events", "list", "--output", "mermaid"], 2, "trace"),
        (&["events", "show", "7"], 2, "--service"),
        (&["events", "show", nobody], 4, "there is no event"),
        (&["stream", nobody], 4, "there are no events"),
        (&["stream", "order"], 2, "order/ID"),
        (&["stream", &looked.confirmed, "--version", "99"], 4, "the last one is"),
        (&["trace", nobody], 4, "neither an order's id nor a correlation id"),
        (&["state", "--diff", "now", "-1h"], 2, "before the second"),
    ] {
        let output = looked.run(arguments).await;
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(text), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    // A user who may not read, and a store that is not there.
    let folder = &looked.shop.folder;
    let server = folder.server().await;
    folder.execute(Role::User, "CREATE ROLE reader LOGIN").await;
    let host = crate::database_roles::host(&server);
    let mut command = sagashop();
    command.args(["events", "list"]).env("DB_HOST", host).env("DB_USER", "reader");
    let output = tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await;
    let output = output.expect("no panic");
    assert_eq!(output.status.code(), Some(6), "{}", said(&output));
    assert!(said(&output).contains("may not be read by this database user"), "{}", said(&output));
    let nowhere = Arc::new(Folder::new());
    for arguments in [&["events", "list"] as &[&str], &["stream", nobody], &["trace", nobody], &["state"]] {
        let output = run(&nowhere, arguments).await;
        assert_eq!(output.status.code(), Some(6), "{arguments:?}: {}", said(&output));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_story_is_told_across_all_services() {
    let _room = room_for_a_small_shop().await;
    let looked = Looked::start().await;

    let story = looked.json(&["trace", &looked.declined]).await;
    let events = story["events"].as_array().expect("a list");
    let named = |n: &Value| events[usize::try_from(n.as_u64().expect("a number")).expect("few")]["event"].clone();
    let cause_of = |event: &str| {
        let found = events.iter().find(|scene| scene["event"] == event);
        let found = found.unwrap_or_else(|| panic!("{event} is not told: {story}"));
        (named(&found["cause"]), found["message"].clone())
    };
    assert_eq!(cause_of("saga_started"), (json!("order_placed"), json!("order_created")));
    assert_eq!(cause_of("stock_reserved"), (json!("command_issued"), json!("reserve_stock")));
    assert_eq!(cause_of("charge_requested"), (json!("command_issued"), json!("charge_payment")));
    assert_eq!(cause_of("payment_declined"), (json!("charge_requested"), Value::Null));
    assert_eq!(cause_of("compensation_started"), (json!("payment_declined"), json!("payment_failed")));
    assert_eq!(cause_of("stock_released"), (json!("command_issued"), json!("release_stock")));
    assert_eq!(cause_of("order_cancelled"), (json!("command_issued"), json!("cancel_order")));
    let roots: Vec<_> = events.iter().filter(|scene| scene["cause"].is_null()).map(|scene| &scene["event"]).collect();
    assert_eq!(roots, ["order_placed"], "{story}");

    // A cancellation that was asked for later is part of the order's story, with a beginning of its own.
    let story = looked.json(&["trace", &looked.given_back]).await;
    let events = story["events"].as_array().expect("a list");
    let roots: Vec<_> = events.iter().filter(|scene| scene["cause"].is_null()).map(|scene| &scene["event"]).collect();
    assert_eq!(roots, ["order_placed", "cancellation_requested"], "{story}");

    // What services do side by side has no order: the lines are compared as a set.
    let text = looked.text(&["trace", &looked.confirmed]).await;
    let mut lines: Vec<String> = text.lines().skip(2).map(redacted).collect();
    lines.sort_unstable();
    insta::assert_snapshot!("trace_of_a_confirmed_order", lines.join("\n"));

    let diagram = looked.text(&["trace", &looked.confirmed, "--output", "mermaid"]).await;
    assert!(diagram.starts_with("sequenceDiagram\n"), "{diagram}");
    for arrow in [
        "outside->>order: user:",
        "order->>orchestrator: order_created",
        "orchestrator->>product: reserve_stock",
        "product->>orchestrator: stock_reserved",
        "orchestrator->>payment: charge_payment",
        "payment->>orchestrator: payment_success",
        "orchestrator->>order: confirm_order",
    ] {
        assert!(diagram.contains(arrow), "{arrow}: {diagram}");
    }

    // The story of any request.
    let found = looked
        .listed(&["--type", "product_created", "--aggregate", &format!("product/{}", looked.lamp)], "correlation_id")
        .await;
    let told = looked.json(&["trace", found[0].as_str().expect("an id")]).await;
    assert_eq!(told["is_order"], false);
    assert!(told["events"].as_array().is_some_and(|events| events.len() >= 2), "{told}");
}
