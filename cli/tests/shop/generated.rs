//! A history that was written by `bench generate --all`: the audit finds nothing to say against it, and a shop goes on
//! from it.

use std::sync::Arc;

use sagashop::args::{ProviderArgs, ServerArgs};
use sagashop::audit::examine;
use sagashop::exit::Code;
use sagashop::ports::Role;
use sagashop::postgres::{Options, Server};
use serde_json::{Value, json};

use crate::folder::Folder;
use crate::process::sagashop;
use crate::room_for_a_small_shop;
use crate::up::Up;

const ORDERS: i64 = 150;

/// Runs the program on this folder's shop: its exit code, and what it said.
async fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = sagashop();
    command.args(arguments).arg("--data-dir").arg(folder.data());
    let output = tokio::task::spawn_blocking(move || command.output().expect("the binary starts"));
    let output = output.await.expect("no panic");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_generated_shop_is_clean_and_goes_on() {
    let _room = room_for_a_small_shop().await;
    let folder = Arc::new(Folder::new());
    let orders = ORDERS.to_string();
    let generate =
        ["bench", "generate", "--all", "--hash-chain", "--seed", "7", "--orders", &orders, "--output", "json"];
    let (code, said, complaints) = run(&folder, &generate).await;
    assert_eq!(code, Some(0), "{complaints}");
    let written: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(written["orders"], ORDERS);
    let (confirmed, cancelled) = (written["confirmed"].as_i64().unwrap(), written["cancelled"].as_i64().unwrap());
    assert!(confirmed > ORDERS * 3 / 4 && cancelled > ORDERS / 50 && confirmed + cancelled == ORDERS, "{written}");

    // At rest, before any service has seen it.
    let server = Server::start(&Options::private(folder.data())).await.expect("starts");
    let provider = ProviderArgs::default();
    let report = examine(&server, &ServerArgs { partitions: 4, ..ServerArgs::default() }, &provider).await;
    assert!(report.ok && report.code() == Code::Done, "{report:#?}");
    let checked = |name: &str| report.checks.iter().find(|check| check.name == name).map(|check| check.checked);
    assert_eq!(checked("orders end"), u64::try_from(ORDERS).ok(), "{report:#?}");
    server.stop().await.expect("stops");
    let (code, _, complaints) = run(&folder, &generate).await;
    assert!(code == Some(Code::InUse as i32) && complaints.contains("not empty"), "{code:?} {complaints}");

    let shop = Up::start_in(Arc::clone(&folder), &["--hash-chain"]).await;
    assert_eq!(folder.count(Role::Order, "orders").await, ORDERS);
    let customer = shop.customer("somebody").await;
    let sold = folder.query(Role::Product, "SELECT id FROM products WHERE available > 10 LIMIT 1").await;
    let order = shop.place(&customer, &json!({ "product_id": sold[0]["id"], "quantity": 2 })).await;
    assert_eq!(shop.ended(&customer, &order).await["status"], "confirmed");
    shop.assert_clean().await;
    let (code, chained, _) = run(&folder, &["audit", "--chain"]).await;
    assert_eq!(code, Some(0), "{chained}");

    let cancelled = "SELECT id FROM orders WHERE status = 'cancelled' AND cancel_requested ORDER BY id LIMIT 1";
    let cancelled = folder.query(Role::Order, cancelled).await;
    let (code, story, _) = run(&folder, &["trace", cancelled[0]["id"].as_str().unwrap()]).await;
    assert!(code == Some(0) && story.contains("cancelled"), "{story}");
    let (code, state, _) = run(&folder, &["state", "--output", "json"]).await;
    assert_eq!(code, Some(0), "{state}");
    let state: Value = serde_json::from_str(&state).expect("JSON");
    let figures = state["figures"].as_array().expect("figures");
    let is_confirmed = |figure: &&Value| figure["of"] == "orders" && figure["what"] == "confirmed";
    let counted = figures.iter().find(is_confirmed).map(|figure| figure["amount"].clone());
    assert_eq!(counted, Some(json!(confirmed + 1)), "{state}");
}
