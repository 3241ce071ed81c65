//! What operators mend by the command line: dead letters, sagas, places. Each act is recorded.

mod golden;
mod stuck;
mod told;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Output;

use broker::{Broker, PostgresBroker, PostgresOptions, Record, TopicPartition, partition_of};
use bytes::Bytes;
use event_schemas::topics::PAYMENT_COMMANDS;
use sagashop::ports::Role;
use sagashop::shop::BROKER_DATABASE;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::folder::Folder;
use crate::process::sagashop;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// Partitions of a topic, unless said otherwise.
const PARTITIONS: i32 = 4;

/// What a command said.
struct Said {
    code: Option<i32>,
    answer: Value,
    stderr: String,
}

impl Said {
    #[track_caller]
    fn ended_with(self, code: i32) -> Value {
        assert_eq!(self.code, Some(code), "{}\n{:#}", self.stderr, self.answer);
        self.answer
    }
}

async fn run(data: PathBuf, arguments: &[&str]) -> Said {
    let output = said(data, &[arguments, &["--output", "json"]].concat()).await;
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_default();
    Said { code: output.status.code(), answer, stderr: String::from_utf8_lossy(&output.stderr).into_owned() }
}

async fn said(data: PathBuf, arguments: &[&str]) -> Output {
    let mut command = sagashop();
    command.args(arguments).arg("--data-dir").arg(data).env("SAGASHOP_OPERATOR", "ann");
    command.stdin(std::process::Stdio::null());
    tokio::task::spawn_blocking(move || command.output().expect("it starts")).await.expect("no panic")
}

/// Messages with this key among the payment service's commands.
async fn publish(folder: &Folder, key: &str, headers: BTreeMap<String, Bytes>, value: &str, count: usize) {
    let pool = runtime::service::pool(folder.server().await.options(BROKER_DATABASE), "test", 1);
    let broker = PostgresBroker::new(pool, PostgresOptions::default());
    let record = |_| Record {
        key: key.to_owned(),
        headers: headers.clone(),
        value: value.as_bytes().to_vec().into(),
        timestamp_ms: chrono::Utc::now().timestamp_millis(),
    };
    let place = TopicPartition::new(PAYMENT_COMMANDS, partition_of(key, PARTITIONS));
    broker.publish(LIVE.into(), vec![(place, (0..count).map(record).collect())]).await.expect("published");
}

/// Messages that nobody can read, all with this key.
async fn publish_garbage(folder: &Folder, key: &str, count: usize) {
    publish(folder, key, BTreeMap::new(), "{}", count).await;
}

fn texts(rows: &Value, name: &str) -> Vec<String> {
    let rows = rows.as_array().into_iter().flatten();
    rows.map(|row| row[name].as_str().unwrap_or_default().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_edited_retried_and_given_up_and_it_is_recorded() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let data = || shop.folder.data();
    let key = Uuid::now_v7().to_string();
    publish_garbage(&shop.folder, &key, 3).await;
    let list = ["dead-letters", "list", "payment", "--parked"];
    eventually(PATIENCE, async || run(data(), &list).await.answer.as_array().map(Vec::len) == Some(3)).await;
    let letters = run(data(), &list).await.ended_with(0);
    assert_eq!(texts(&letters, "state"), ["dead", "waits", "waits"]);
    assert_eq!((&letters[0]["followers"], &letters[0]["attempts"]), (&json!(2), &json!(1)));
    let first = texts(&letters, "letter").remove(0);

    // What is not said enough, or nobody agrees to, changes nothing.
    run(data(), &["dead-letters", "discard", "payment", &first, "--yes"]).await.ended_with(2);
    run(data(), &["dead-letters", "discard", "payment", &first, "--reason", "x"]).await.ended_with(2);
    run(data(), &["dead-letters", "discard", "payment", &first, "--reason", "x", "--dry-run"]).await.ended_with(0);
    run(data(), &["dead-letters", "edit", "payment", &first, "--value", "{", "--yes"]).await.ended_with(2);
    run(data(), &["dead-letters", "show", "payment", "payment_commands/0/999999"]).await.ended_with(4);
    assert_eq!(run(data(), &["ops", "log"]).await.ended_with(0), json!([]));

    // Tried again in vain: the order stays as it was.
    run(data(), &["dead-letters", "edit", "payment", &first, "--value", r#"{"a":1}"#, "--yes"]).await.ended_with(0);
    run(data(), &["dead-letters", "retry", "payment", &first, "--reason", "mended", "--yes"]).await.ended_with(0);
    eventually(PATIENCE, async || {
        let whole = run(data(), &["dead-letters", "show", "payment", &first]).await.answer;
        whole["attempts"] == 2 && whole["edits"] == 1 && whole["value"] == r#"{"a":1}"#
    })
    .await;

    // Given up: the next one is tried, and is dead itself.
    run(data(), &["dead-letters", "discard", "payment", &first, "--reason", "paid by hand", "--yes"])
        .await
        .ended_with(0);
    eventually(PATIENCE, async || {
        let left = run(data(), &list).await.answer;
        texts(&left, "state") == ["dead", "waits"] && !texts(&left, "letter").contains(&first)
    })
    .await;
    let next = texts(&run(data(), &list).await.answer, "letter").remove(0);
    let all = ["dead-letters", "discard", "payment", &next, "--followers", "--reason", "garbage", "--yes"];
    run(data(), &all).await.ended_with(0);
    assert_eq!(run(data(), &list).await.ended_with(0), json!([]));

    let log = run(data(), &["ops", "log", "payment"]).await.ended_with(0);
    let acts = ["dead_letter_edited", "dead_letters_retried", "dead_letter_discarded", "dead_letter_discarded"];
    assert_eq!(texts(&log, "act"), acts);
    assert!(texts(&log, "actor").iter().all(|actor| actor == "operator:ann"), "{log:#}");
    assert_eq!(log[2]["reason"], "paid by hand");
    // The relay has passed the records of the acts.
    eventually(PATIENCE, async || run(data(), &["relay", "status"]).await.code == Some(0)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sagas_are_mended_by_what_they_have_in_common() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let data = || shop.folder.data();
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    let slow = json!({ "product_id": product, "quantity": 1, "payment_method": "tok_timeout" });
    let orders = [shop.place(&customer, &slow).await, shop.place(&customer, &slow).await];
    let charging = ["saga", "list", "--state", "charging"];
    eventually(PATIENCE, async || run(data(), &charging).await.answer.as_array().map(Vec::len) == Some(2)).await;
    assert_eq!(run(data(), &["saga", "list", "--age", "24h"]).await.ended_with(0), json!([]));
    assert_eq!(run(data(), &["saga", "list", "--customer", &Uuid::nil().to_string()]).await.ended_with(0), json!([]));

    run(data(), &["saga", "cancel", "--reason", "all of them", "--yes"]).await.ended_with(2);
    run(data(), &["saga", "cancel", "--state", "charging", "--yes"]).await.ended_with(2);
    let shown = ["saga", "cancel", "--state", "charging", "--reason", "recalled", "--dry-run"];
    assert_eq!(run(data(), &shown).await.ended_with(0).as_array().map(Vec::len), Some(2));
    assert_eq!(run(data(), &charging).await.ended_with(0).as_array().map(Vec::len), Some(2));

    // Nothing is stuck: a retry is refused, and not recorded.
    let refused = ["saga", "retry", orders[0].as_str(), "--reason", "again", "--yes"];
    assert_eq!(run(data(), &refused).await.ended_with(4)[0]["done"], false);
    let done = ["saga", "cancel", "--state", "charging", "--reason", "recalled", "--yes"];
    let done = run(data(), &done).await.ended_with(0);
    assert!(done.as_array().is_some_and(|done| done.len() == 2 && done.iter().all(|d| d["done"] == true)), "{done:#}");
    for order in &orders {
        assert_eq!(shop.ended(&customer, order).await["status"], "cancelled");
    }
    let log = run(data(), &["ops", "log", "orchestrator"]).await.ended_with(0);
    assert_eq!(texts(&log, "act"), ["saga_cancelled", "saga_cancelled"]);
    assert_eq!(texts(&log, "reason"), ["recalled", "recalled"]);
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn places_do_not_move_under_those_who_hold_them() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let data = || shop.folder.data();
    let places = run(data(), &["offsets", "list", "payment"]).await.ended_with(0);
    let held = places.as_array().into_iter().flatten().find(|place| place["owner"].is_string()).expect("a place");
    let place = format!("{}/{}", held["topic"].as_str().unwrap(), held["partition"]);
    let consumer = held["consumer"].as_str().unwrap();
    run(data(), &["offsets", "set", "payment", consumer, &place, "--to", "0", "--yes"]).await.ended_with(5);
    run(data(), &["offsets", "set", "payment", "nobody", &place, "--to", "0", "--yes"]).await.ended_with(2);
    let rewind = ["relay", "rewind", "order", "--events", "5", "--reason", "lost", "--yes"];
    run(data(), &rewind).await.ended_with(5);
    run(data(), &["relay", "rewind", "notification", "--events", "5", "--reason", "lost", "--yes"]).await.ended_with(2);
    run(data(), &["relay", "pending"]).await.ended_with(0);
    run(data(), &["idempotency", "show", "nobodys-key"]).await.ended_with(4);
    assert_eq!(shop.folder.count(Role::Order, "events WHERE aggregate_type = 'operation'").await, 0);
    shop.assert_clean().await;
}
