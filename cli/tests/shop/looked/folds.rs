//! A stream and the shop as of any moment: the same as folding the events by hand.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use domain::order::{Event, Order, OrderStatus};
use proptest::test_runner::{Config, TestRunner};
use sagashop::ports::Role;
use serde_json::{Value, json};

use super::Looked;
use crate::room_for_a_small_shop;

/// An order's event, and when the database recorded it.
struct Recorded {
    order: String,
    at: DateTime<Utc>,
    event: Event,
}

async fn recorded(looked: &Looked) -> Vec<Recorded> {
    let sql = "SELECT aggregate_id, payload::text AS payload,
                      to_char(recorded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"') AS at
                 FROM events WHERE aggregate_type = 'order' ORDER BY aggregate_id, sequence";
    let rows = looked.shop.folder.query(Role::Order, sql).await;
    let text = |row: &Value, name: &str| row[name].as_str().expect("text").to_owned();
    let one = |row: &Value| Recorded {
        order: text(row, "aggregate_id"),
        at: text(row, "at").parse().expect("a time"),
        event: serde_json::from_str(&text(row, "payload")).expect("an event"),
    };
    rows.as_array().expect("rows").iter().map(one).collect()
}

/// The orders as of a moment.
fn folded(events: &[Recorded], at: DateTime<Utc>) -> BTreeMap<&str, Order> {
    let mut orders: BTreeMap<&str, Vec<Event>> = BTreeMap::new();
    for recorded in events.iter().filter(|recorded| recorded.at <= at) {
        orders.entry(&recorded.order).or_default().push(recorded.event.clone());
    }
    orders.into_iter().map(|(id, events)| (id, kernel::fold::<Order>(events))).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_state_at_any_time_is_the_fold_up_to_it() {
    let _room = room_for_a_small_shop().await;
    let looked = Looked::start().await;
    let events = recorded(&looked).await;
    let (first, last) =
        (events.iter().map(|e| e.at).min().expect("some"), events.iter().map(|e| e.at).max().expect("some"));
    let span_us = (last - first).num_microseconds().expect("short") + 2_000;

    // The moments of events themselves, and any between them, from just before the first to just after the last.
    same_at(&looked, &events, events[0].at).await;
    same_at(&looked, &events, last).await;
    let runtime = tokio::runtime::Handle::current();
    let mut runner =
        TestRunner::new(Config { failure_persistence: None, max_shrink_iters: 20, ..Config::with_cases(10) });
    let same = runner.run(&(0..span_us), |us| {
        let at = first - TimeDelta::milliseconds(1) + TimeDelta::microseconds(us);
        tokio::task::block_in_place(|| runtime.block_on(same_at(&looked, &events, at)));
        Ok(())
    });
    same.unwrap_or_else(|error| panic!("{error}"));
}

/// What the commands say of a moment is what folding by hand says.
async fn same_at(looked: &Looked, events: &[Recorded], at: DateTime<Utc>) {
    let time = at.to_rfc3339_opts(SecondsFormat::Micros, true);
    let orders = folded(events, at);
    let expected = orders.get(looked.given_back.as_str()).cloned().unwrap_or_default();
    let shown = looked.json(&["stream", &format!("order/{}", looked.given_back), "--at", &time]).await;
    assert_eq!(shown["state"], serde_json::to_value(&expected).expect("JSON"), "at {time}");

    let shop = looked.json(&["state", "--at", &time]).await;
    for status in OrderStatus::ALL {
        let is = |order: &&Order| matches!(order, Order::Placed(placed) if placed.status == status);
        assert_eq!(figure(&shop, "orders", status.as_str()), orders.values().filter(is).count(), "at {time}: {shop}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_and_the_shop_are_shown_at_any_version() {
    let _room = room_for_a_small_shop().await;
    let looked = Looked::start().await;
    let order = format!("order/{}", looked.given_back);

    let whole = looked.json(&["stream", &order]).await;
    assert_eq!((whole["version"].as_u64(), &whole["service"]), (Some(4), &json!("order")));
    let changed = |n: usize, path: &str| {
        let changes = whole["events"][n]["changes"].as_array().expect("changes").clone();
        changes.into_iter().find(|change| change["path"] == path).unwrap_or_else(|| panic!("{path}: {whole}"))
    };
    let status = changed(1, "Placed.status");
    assert_eq!((&status["before"], &status["after"]), (&json!("pending"), &json!("confirmed")));
    assert_eq!(changed(2, "Placed.cancellation_requested")["after"], true);
    assert_eq!(looked.json(&["stream", &order, "--version", "0"]).await["state"], "Unknown");
    let first = looked.json(&["stream", &order, "--version", "1"]).await;
    assert_eq!(first["state"]["Placed"]["status"], "pending");
    let diff = looked.json(&["stream", &order, "--diff", "1..4"]).await;
    let paths: Vec<_> = diff.as_array().expect("a list").iter().filter_map(|change| change["path"].as_str()).collect();
    assert!(paths.contains(&"Placed.status") && paths.contains(&"Placed.cancel_reason"), "{diff}");

    // An id that several kinds have: the order is meant, and its saga is named.
    let output = looked.run(&["stream", &looked.confirmed]).await;
    assert!(super::said(&output).contains("order_fulfilment/"), "{}", super::said(&output));
    let stock = looked.json(&["stream", &format!("stock/{}", looked.lamp)]).await;
    assert_eq!((&stock["state"]["sold"], &stock["state"]["available"]), (&json!(2), &json!(8)));

    // No hash of a password is shown.
    let users = looked.text(&["events", "list", "--service", "user", "--output", "jsonl"]).await;
    assert!(users.contains("password_hash") && !users.contains("$argon2"), "{users}");

    let shop = looked.json(&["state"]).await;
    for (of, what, count) in [
        ("orders", "placed", 3),
        ("orders", "pending", 0),
        ("orders", "confirmed", 1),
        ("orders", "cancelled", 2),
        ("stock", "products in the catalogue", 2),
        ("stock", "available", 13),
        ("stock", "reserved", 0),
        ("stock", "sold", 2),
        ("money", "payments in flight", 0),
        ("money", "payments captured", 2),
        ("money", "payments declined or voided", 1),
        ("money", "refunds paid", 1),
    ] {
        assert_eq!(figure(&shop, of, what), count, "{of} {what}: {shop}");
    }
    let money = |what: &str| value(&shop, "money", what).as_str().expect("an amount").to_owned();
    assert_eq!(
        ["captured", "refunded", "kept"].map(money),
        ["309.70 EUR", "269.90 EUR", "39.80 EUR"].map(str::to_owned)
    );
    let diff = looked.json(&["state", "--diff", "-1h", "now"]).await;
    let placed = diff["figures"].as_array().expect("a list").iter().find(|figure| figure["what"] == "placed").cloned();
    assert_eq!(placed, Some(json!({ "of": "orders", "what": "placed", "before": 0, "after": 3, "change": 3 })));
    insta::assert_snapshot!(looked.text(&["state"]).await, @r"
    of      what                         how many
    orders  placed                                3
    orders  pending                               0
    orders  confirmed                             1
    orders  cancelled                             2
    orders  worth of those confirmed     39.80 EUR
    stock   products in the catalogue             2
    stock   available                            13
    stock   reserved                              0
    stock   sold                                  2
    money   payments in flight                    0
    money   payments captured                     2
    money   payments declined or voided           1
    money   refunds on their way                  0
    money   refunds refused                       0
    money   refunds paid                          1
    money   captured                     309.70 EUR
    money   refunded                     269.90 EUR
    money   kept                         39.80 EUR
    ");
}

fn value(shop: &Value, of: &str, what: &str) -> Value {
    let figures = shop["figures"].as_array().expect("figures");
    let found = figures.iter().find(|figure| figure["of"] == of && figure["what"] == what);
    found.unwrap_or_else(|| panic!("{of} {what} is not told: {shop}"))["amount"].clone()
}

fn figure(shop: &Value, of: &str, what: &str) -> usize {
    usize::try_from(value(shop, of, what).as_u64().expect("a number")).expect("few")
}
