//! A provider across a network: whatever goes wrong there, everybody is charged once.

use std::time::Duration;

use payment_service::{Choice, Config};
use testkit::eventually;
use tokio::net::TcpListener;

use crate::fixture::{Order, PATIENCE, World, config, entry};
use crate::psp::{Psp, SECRET, config_for, settings};

#[tokio::test]
async fn a_charge_succeeds_and_is_refunded() {
    let (world, psp) = (World::new().await, Psp::start(settings()).await);
    let _service = world.start(psp.config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    let success = world.expect(&order, &["payment_success"]).await.remove(0);
    world.refund(&order).await;
    let refunded = world.expect(&order, &["payment_success", "payment_refunded"]).await.remove(1);
    assert_eq!(refunded["amount"].to_string(), "999.99");
    assert_ne!(refunded["transaction_id"], success["transaction_id"]);
    assert_eq!(psp.ledger(&order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
    assert_eq!(world.ledger(&order).await, [], "the book is the provider's alone");
}

#[tokio::test]
async fn tokens_choose_the_outcome() {
    let (world, psp) = (World::new().await, Psp::start(settings()).await);
    let _service = world.start(psp.config()).await;
    for (token, reason) in [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")] {
        let order = Order::paid_with(token);
        world.charge(&order).await;
        assert_eq!(world.expect(&order, &["payment_failed"]).await[0]["reason"], reason);
        assert_eq!(psp.ledger(&order).await, [entry("charge", "declined")]);
    }
    // The reply of one comes too late, and the first answers about the other are failures.
    for token in ["tok_timeout", "tok_flaky"] {
        let order = Order::paid_with(token);
        world.charge(&order).await;
        world.expect(&order, &["payment_success"]).await;
        assert_eq!(psp.ledger(&order).await, [entry("charge", "captured")], "{token}");
        assert_eq!(world.events(&order).await, ["charge_requested", "payment_captured"], "{token}");
    }
}

#[tokio::test]
async fn replies_slower_than_anybody_waits_charge_once() {
    let mut slow = settings();
    slow.behaviour.latency = Duration::from_millis(600);
    let (world, psp) = (World::new().await, Psp::start(slow).await);
    let _service = world.start(psp.config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(psp.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn lost_replies_to_many_at_once_charge_each_once() {
    let mut careless = settings();
    careless.behaviour.chaos.lost = 0.3;
    let (world, psp) = (World::new().await, Psp::start(careless).await);
    let _service = world.start(psp.config()).await;
    let orders: Vec<Order> = (0..60).map(|_| Order::paid_with("tok_ok")).collect();
    for order in &orders {
        world.charge(order).await;
    }
    for order in &orders {
        world.expect(order, &["payment_success"]).await;
        assert_eq!(psp.ledger(order).await, [entry("charge", "captured")]);
    }
}

#[tokio::test]
async fn a_crash_between_charge_and_record_charges_once() {
    let mut silent = settings();
    silent.behaviour.latency = PATIENCE * 2;
    let (world, psp) = (World::new().await, Psp::start(silent).await);
    let patient = Config { provider_timeout: PATIENCE * 2, sweep_after: PATIENCE * 2, ..psp.config() };
    let service = world.start(patient).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    eventually(PATIENCE, async || psp.ledger(&order).await == [entry("charge", "captured")]).await;
    service.kill().await;
    assert_eq!(world.events(&order).await, ["charge_requested"]);

    let _service = world.start(psp.config()).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(psp.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn a_provider_that_is_away_is_waited_for() {
    let world = World::new().await;
    // A port that nobody listens on.
    let away = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let service = world.start(config_for(&format!("http://{away}"))).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.until(&order, "charge_requested").await;
    service.stop().await;

    let psp = Psp::start(settings()).await;
    let _service = world.start(psp.config()).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(psp.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn a_provider_with_another_secret_gets_no_money_moved() {
    let (world, psp) = (World::new().await, Psp::start(settings()).await);
    let stranger = Choice::http(&psp.url, &SECRET.replace("psp", "xxx")).unwrap();
    let service = world.start(Config { provider: stranger, ..config() }).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.until(&order, "charge_requested").await;
    eventually(PATIENCE, async || {
        let metrics = reqwest::get(format!("{}/metrics", service.url)).await.unwrap().text().await.unwrap();
        metrics
            .lines()
            .any(|line| line.starts_with("payment_provider_call_seconds_count") && line.contains("\"failed\""))
    })
    .await;
    assert_eq!(psp.ledger(&order).await, []);
    service.stop().await;

    // It was nothing that ends a payment: with the right secret it goes on.
    let _service = world.start(psp.config()).await;
    world.expect(&order, &["payment_success"]).await;
}
