//! The read models of a real shop: compared with their events, made anew beside traffic, killed in every phase of that, and
//! made anew by a service whose code is of a later version.

use std::process::{Command, Output};
use std::sync::Arc;

use sagashop::ports::Role;
use serde_json::{Value, json};
use testkit::eventually;

use crate::folder::Folder;
use crate::process::{Process, sagashop};
use crate::traffic::{Catalogue, Traffic};
use crate::up::{Up, settled};
use crate::{PATIENCE, room_for_a_small_shop};

/// Where a rebuild can be killed, in the order of its phases.
const POINTS: [&str; 8] = [
    "rebuild.planned",
    "rebuild.filled",
    // After each of the indexes.
    "rebuild.indexed",
    "rebuild.indexed",
    "rebuild.caught_up",
    "rebuild.verified",
    "rebuild.before_swap",
    "rebuild.swapped",
];
const REBUILD: [&str; 5] = ["projection", "rebuild", "orders", "--verify", "--yes"];

async fn run(folder: &Arc<Folder>, arguments: &[&str]) -> Output {
    let mut command: Command = sagashop();
    command.args(arguments).arg("--data-dir").arg(folder.data());
    tokio::task::spawn_blocking(move || command.output().expect("the binary starts")).await.expect("no panic")
}

/// What it prints as JSON, when it ends with this code.
async fn json(folder: &Arc<Folder>, arguments: &[&str], code: i32) -> Value {
    let output = run(folder, &[arguments, &["--output", "json"]].concat()).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {said}"))
}

/// Once the read models have what happened.
async fn assert_verified(folder: &Arc<Folder>, names: &[&str]) -> Value {
    let verdicts = json(folder, &[&["projection", "verify"], names].concat(), 0).await;
    for verdict in verdicts.as_array().expect("verdicts") {
        assert_eq!((&verdict["ok"], &verdict["different_rows"]), (&json!(true), &json!(0)), "{verdict:#}");
        assert_eq!(verdict["checksum_events"], verdict["checksum_table"]);
    }
    verdicts
}

/// A table without its figures: times, rates, sizes, checksums and ids change from run to run.
fn redacted(table: &str) -> String {
    let word = |word: &str| match word {
        word if uuid::Uuid::parse_str(word).is_ok() => "[id]".to_owned(),
        word if word.len() == 16 && word.chars().all(|letter| letter.is_ascii_hexdigit()) => "[checksum]".to_owned(),
        word if word.contains('T') && word.contains(':') => "[time]".to_owned(),
        word if word.trim_start_matches('~').starts_with(|first: char| first.is_ascii_digit()) => "[n]".to_owned(),
        word => word.to_owned(),
    };
    let line = |line: &str| line.split_whitespace().map(word).collect::<Vec<_>>().join(" ");
    // Some service may be behind by an event just now.
    table.lines().map(line).collect::<Vec<_>>().join("\n").replace("[n] events, [n] s", "[n]")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn read_models_are_compared_and_made_anew_whatever_is_killed() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let folder = &shop.folder;
    let admin = shop.admin().await;
    let catalogue = Catalogue::fill(&shop, &admin).await;
    let tokens = vec![shop.customer("one").await, shop.customer("two").await];
    let traffic = Traffic::begin(&shop, &catalogue, tokens, 20_260_404);
    eventually(PATIENCE, async || traffic.placed() >= 30).await;

    // Beside traffic: each kill leaves what serves as it was, and the next run goes on.
    for point in POINTS {
        let data = folder.data();
        let arguments = [&REBUILD[..], &["--data-dir", data.to_str().expect("text")]].concat();
        Process::start(folder.path(), point, arguments, &[("SAGASHOP_FAILPOINT", point)]).aborted().await;
        assert_verified(folder, &["orders"]).await;
    }
    let before = traffic.placed();
    eventually(PATIENCE, async || traffic.placed() >= before + 5).await;
    let made = json(folder, &REBUILD, 0).await;
    assert!(made[0]["verified_rows"].as_u64() >= Some(30), "{made:#}");
    traffic.end(&shop).await;
    settled(folder).await;

    // Every read model of every service is as its events have it, and once more when it was made from them.
    let verdicts = assert_verified(folder, &[]).await;
    let rows = |name: &str| {
        let verdict = verdicts.as_array().and_then(|all| all.iter().find(|verdict| verdict["projection"] == name));
        verdict.and_then(|verdict| verdict["rows"].as_u64()).unwrap_or_default()
    };
    for name in ["users", "products", "orders", "payments", "notifications", "sagas"] {
        assert!(rows(name) > 0, "{name}: {verdicts:#}");
    }
    let all = ["users", "products", "payments", "notifications", "webhooks", "sagas"];
    json(folder, &[&["projection", "rebuild"], &all[..], &["--parallel", "2", "--verify", "--yes"]].concat(), 0).await;
    assert_verified(folder, &[]).await;
    shop.assert_clean().await;
    shows(folder).await;
}

/// What people see: a row that was corrupted is found, named, and mended.
async fn shows(folder: &Arc<Folder>) {
    let corrupt = "UPDATE orders SET status = 'pending', total_minor = 1
                    WHERE id = (SELECT id FROM orders WHERE status = 'confirmed' ORDER BY id LIMIT 1)";
    assert_eq!(folder.execute(Role::Order, corrupt).await, 1);
    let found = run(folder, &["projection", "verify", "orders", "payments"]).await;
    assert_eq!(found.status.code(), Some(1));
    insta::assert_snapshot!("differences_found", redacted(&String::from_utf8_lossy(&found.stdout)));

    let planned = run(folder, &["projection", "rebuild", "orders", "--dry-run"]).await;
    insta::assert_snapshot!("rebuild_planned", redacted(&String::from_utf8_lossy(&planned.stdout)));
    let unasked = run(folder, &["projection", "rebuild", "orders"]).await;
    assert_eq!(unasked.status.code(), Some(2), "nobody is there to be asked");
    let made = run(folder, &REBUILD).await;
    assert_eq!(made.status.code(), Some(0), "{}", String::from_utf8_lossy(&made.stderr));
    insta::assert_snapshot!("rebuild_made", redacted(&String::from_utf8_lossy(&made.stdout)));
    assert_verified(folder, &["orders"]).await;
    let listed = run(folder, &["projection", "list"]).await;
    insta::assert_snapshot!("projections_listed", redacted(&String::from_utf8_lossy(&listed.stdout)));

    // The old table is kept until somebody wants it to go.
    let kept = || async { folder.query(Role::Order, "SELECT to_regclass('projection_old.orders') AS kept").await };
    assert!(!kept().await[0]["kept"].is_null());
    json(folder, &["projection", "drop-old", "orders", "--dry-run"], 0).await;
    assert!(!kept().await[0]["kept"].is_null());
    json(folder, &["projection", "drop-old", "orders", "--yes"], 0).await;
    assert!(kept().await[0]["kept"].is_null());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_of_a_later_version_makes_its_rows_anew_while_the_old_ones_serve() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let lamp = shop.product(&admin, "Lamp", "19.90", 10).await;
    let order = shop.place(&customer, &json!({ "product_id": lamp, "quantity": 1 })).await;
    assert_eq!(shop.ended(&customer, &order).await["status"], "confirmed");
    settled(&shop.folder).await;

    // Rows of an earlier version, which wrote them otherwise. As long as somebody else is at it, the service waits.
    let Up { process, folder, .. } = shop;
    process.kill();
    for (role, statement) in [
        (Role::Order, "UPDATE projections SET version = 0 WHERE projection = 'orders'"),
        (Role::Order, "UPDATE orders SET payment_method = 'tok_of_before'"),
        (Role::Orchestrator, "UPDATE projections SET version = 0 WHERE projection = 'sagas'"),
    ] {
        assert_eq!(folder.execute(role, statement).await, 1, "{statement}");
    }
    let pool = runtime::service::pool(folder.server().await.options(Role::Order.database()), "test", 1);
    let mut held = pool.acquire().await.expect("a connection");
    let hold = "SELECT pg_advisory_lock(hashtextextended('sagashop: rebuild of orders', 0))";
    sqlx::query(hold).execute(&mut *held).await.expect("held");
    let shop = Up::start_in(folder, &["--empty"]).await;
    let line = async |name: &str| -> Value {
        let listed = json(&shop.folder, &["projection", "list"], 0).await;
        let listed = listed.as_array().expect("read models").clone();
        listed.into_iter().find(|line| line["projection"] == name).expect("listed")
    };
    eventually(PATIENCE, async || line("sagas").await["rows_version"] == json!(1)).await;
    let outdated = line("orders").await;
    assert_eq!((&outdated["state"], &outdated["rows_version"]), (&json!("outdated"), &json!(0)), "{outdated}");
    let columns = "SELECT payment_method FROM orders";
    let payment_method = async || shop.folder.query(Role::Order, columns).await[0]["payment_method"].clone();
    assert_eq!(payment_method().await, "tok_of_before");
    assert_eq!(shop.order(&customer, &order).await["status"], "confirmed");

    drop(held);
    pool.close().await;
    eventually(PATIENCE, async || line("orders").await["rows_version"] == json!(1)).await;
    assert_ne!(payment_method().await, "tok_of_before");
    assert_eq!(shop.order(&customer, &order).await["status"], "confirmed");
    assert_verified(&shop.folder, &[]).await;
    shop.assert_clean().await;
}
