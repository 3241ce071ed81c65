//! The simulated provider with bad manners.

use std::time::Duration;

use payment_service::Config;
use payment_service::provider::Chaos;

use crate::fixture::{Order, World, config, entry};

#[tokio::test]
async fn replies_that_are_lost_late_and_doubled_charge_once() {
    let world = World::new().await;
    let chaos = Chaos { lost: 0.3, late: 0.5, late_by: Duration::from_millis(40), duplicated: 0.5 };
    let _service = world.start(Config { chaos, ..config() }).await;
    let orders: Vec<Order> = (0..60).map(|_| Order::paid_with("tok_ok")).collect();
    for order in &orders {
        world.charge(order).await;
    }
    for order in &orders {
        world.expect(order, &["payment_success"]).await;
        world.refund(order).await;
    }
    for order in &orders {
        world.expect(order, &["payment_success", "payment_refunded"]).await;
        assert_eq!(world.ledger(order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
    }
}

#[tokio::test]
async fn shares_beyond_one_are_refused() {
    let world = World::new().await;
    let chaos = Chaos { lost: 1.5, ..Chaos::default() };
    assert!(world.try_start(Config { chaos, ..config() }).await.is_err());
}
