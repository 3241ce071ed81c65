//! How `up` ends, and what it says when it cannot begin.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use sagashop::ports::{GATEWAY_PORT, Role};
use serde_json::json;
use testkit::eventually;

use crate::folder::Folder;
use crate::process::Process;
use crate::up::Up;
use crate::{PATIENCE, room_for_a_small_shop};

const STOP_MAX: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ctrl_c_ends_it_in_time_and_the_next_start_goes_on() {
    let _room = room_for_a_small_shop().await;
    let mut shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let customer = shop.customer("customer").await;
    let product = shop.product(&admin, "Lamp", "19.90", 10).await;
    let orders = [shop.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await];
    for signal in [Signal::INT, Signal::TERM] {
        let told = Instant::now();
        shop.process.signal(signal);
        let status = shop.process.ended(PATIENCE).await;
        assert!(told.elapsed() < STOP_MAX, "it took {:?}", told.elapsed());
        assert_eq!(status.code(), Some(0), "{}", shop.process.last_words());
        assert!(!shop.folder.data().join("postgres/data/postmaster.pid").exists(), "its PostgreSQL still runs");
        let Up { folder, .. } = shop;
        shop = Up::start_in(folder, &["--empty"]).await;
        // Who was logged in still is.
        for order in &orders {
            assert_eq!(shop.ended(&customer, order).await["status"], "confirmed");
        }
    }
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_shop_in_the_same_folder_is_refused_with_a_sentence() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let mut second = Up::spawn(&shop.folder, "second", &[]);
    let status = second.ended(PATIENCE).await;
    let said = second.stderr();
    assert_eq!(status.code(), Some(5), "{said}");
    let owner = format!("process {}", shop.process.id());
    assert!(said.contains("in use") && said.contains(&owner), "{said}");
    // Nothing was lost by it.
    shop.customer("customer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_taken_port_is_named_with_its_remedy() {
    let _room = room_for_a_small_shop().await;
    let folder = Folder::new();
    let port = Role::Order.http_port() + folder.offset;
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("free");
    let mut refused = Up::spawn(&folder, "refused", &[]);
    let status = refused.ended(PATIENCE).await;
    let said = refused.stderr();
    assert_eq!(status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("port {port} (order service) is in use")), "{said}");
    assert!(said.contains("--port-offset"), "{said}");
    assert!(!folder.data().join("postgres/data/postmaster.pid").exists(), "its PostgreSQL still runs");

    drop(taken);
    let shop = Up::start_in(folder.into(), &["--empty"]).await;
    shop.customer("customer").await;
}

/// Longer than what is in flight may take to end.
const DRAIN_DELAY: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_goes_on_for_its_whole_delay_before_the_drain() {
    let folder = Folder::new();
    let port = (GATEWAY_PORT + folder.offset).to_string();
    let arguments = ["serve", "gateway", "--listen", "127.0.0.1", "--http-port", &port, "--drain-delay", "5s"];
    let mut gateway = Process::start(folder.path(), "gateway", arguments, &[]);
    let client = web::http_client().build().expect("a client");
    let status = async |path: &str| {
        let answer = client.get(format!("http://127.0.0.1:{port}{path}")).send().await;
        answer.ok().map(|answer| answer.status().as_u16())
    };
    eventually(PATIENCE, async || (status("/health/ready").await == Some(200)).then_some(())).await;

    let told = Instant::now();
    gateway.signal(Signal::TERM);
    eventually(PATIENCE, async || (status("/health/ready").await == Some(503)).then_some(())).await;
    while told.elapsed() < DRAIN_DELAY - Duration::from_millis(500) {
        assert_eq!(status("/health/live").await, Some(200), "{:?} after it was told", told.elapsed());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let ended = gateway.ended(PATIENCE).await;
    assert!(told.elapsed() >= DRAIN_DELAY, "it took {:?}", told.elapsed());
    assert_eq!(ended.code(), Some(0), "{}", gateway.last_words());
}
