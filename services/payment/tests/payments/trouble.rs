//! Crashes, lost replies and outages: nobody is charged twice, and every payment ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use event_schemas::Published;
use event_schemas::commands::ChargePayment;
use event_schemas::topics::PAYMENT_COMMANDS;
use payment_service::Config;
use serde_json::json;
use testkit::eventually;

use crate::fixture::{Order, PATIENCE, World, config, entry};
use crate::providers::Observed;

/// Nothing is swept or given up on while a test lasts.
fn patient() -> Config {
    Config { provider_timeout: PATIENCE * 2, sweep_after: PATIENCE * 2, ..config() }
}

#[tokio::test]
async fn a_crash_between_charge_and_record_charges_once() {
    let world = World::new().await;
    let silent = Observed::silent(&world.database.pool);
    let service = world.start_with(silent, patient()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    eventually(PATIENCE, async || world.ledger(&order).await == [entry("charge", "captured")]).await;
    service.kill().await;
    assert_eq!(world.events(&order).await, ["charge_requested"]);

    // Even when the read model had not come that far.
    sqlx::raw_sql("DELETE FROM payments; DELETE FROM checkpoints WHERE follower = 'payments'")
        .execute(&world.database.pool)
        .await
        .unwrap();
    let provider = Arc::new(Observed::new(&world.database.pool));
    let _service = world.start_with(Arc::clone(&provider) as _, patient()).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured")]);
    assert_eq!(provider.finds.load(Ordering::SeqCst), 1);
    assert_eq!(provider.charges.load(Ordering::SeqCst), 0, "it was sent again though its result was known");
}

#[tokio::test]
async fn a_crash_before_the_charge_charges_once() {
    let world = World::new().await;
    let away = Observed::new(&world.database.pool);
    away.outages.store(usize::MAX, Ordering::SeqCst);
    let service = world.start_with(Arc::new(away), config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.until(&order, "charge_requested").await;
    service.kill().await;

    let provider = Arc::new(Observed::new(&world.database.pool));
    let _service = world.start_with(Arc::clone(&provider) as _, config()).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured")]);
    assert_eq!(provider.charges.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_refund_during_the_charge_waits_for_it() {
    let world = World::new().await;
    let provider = Observed::silent(&world.database.pool);
    let _service = world.start_with(Arc::clone(&provider) as _, patient()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    eventually(PATIENCE, async || provider.charges.load(Ordering::SeqCst) == 1).await;
    world.refund(&order).await;
    world.until(&order, "refund_deferred").await;
    assert_eq!(world.published(&order).await, Vec::<serde_json::Value>::new());
    provider.answers.add_permits(1);
    let refunded = world.expect(&order, &["payment_success", "payment_refunded"]).await.remove(1);
    assert_eq!(refunded["amount"].to_string(), "999.99");
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
}

#[tokio::test]
async fn a_refund_during_a_slow_charge_that_is_declined_pays_nothing_back() {
    let world = World::new().await;
    let provider = Observed::silent(&world.database.pool);
    let _service = world.start_with(Arc::clone(&provider) as _, patient()).await;
    let order = Order::paid_with("tok_declined");
    world.charge(&order).await;
    eventually(PATIENCE, async || provider.charges.load(Ordering::SeqCst) == 1).await;
    world.refund(&order).await;
    world.until(&order, "refund_deferred").await;
    provider.answers.add_permits(1);
    let refunded = world.expect(&order, &["payment_failed", "payment_refunded"]).await.remove(1);
    assert_eq!(refunded["amount"].to_string(), "0.00");
    assert_eq!(world.ledger(&order).await, [entry("charge", "declined")]);
}

#[tokio::test]
async fn lost_replies_and_late_failures_charge_once() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    for token in ["tok_timeout", "tok_flaky"] {
        let order = Order::paid_with(token);
        world.charge(&order).await;
        world.expect(&order, &["payment_success"]).await;
        assert_eq!(world.ledger(&order).await, [entry("charge", "captured")], "{token}");
        assert_eq!(world.events(&order).await, ["charge_requested", "payment_captured"], "{token}");
    }
}

#[tokio::test]
async fn a_provider_slower_than_anybody_waits_charges_once() {
    let world = World::new().await;
    let slow = Config { latency: Duration::from_millis(400), ..config() };
    let _service = world.start(slow).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn an_outage_of_the_provider_declines_nothing() {
    let world = World::new().await;
    let provider = Arc::new(Observed::new(&world.database.pool));
    provider.outages.store(4, Ordering::SeqCst);
    let _service = world.start_with(Arc::clone(&provider) as _, config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn a_refused_refund_is_said_and_may_be_asked_again() {
    let world = World::new().await;
    let provider = Arc::new(Observed::new(&world.database.pool));
    provider.refusals.store(1, Ordering::SeqCst);
    let _service = world.start_with(Arc::clone(&provider) as _, config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.refund(&order).await;
    let failed = world.expect(&order, &["payment_success", "refund_failed"]).await.remove(1);
    assert_eq!(failed["reason"], json!("account_closed"));
    world.until_status(&order, "refund_failed").await;
    world.refund(&order).await;
    world.expect(&order, &["payment_success", "refund_failed", "payment_refunded"]).await;
    let key: String = sqlx::query_scalar("SELECT key FROM provider_ledger WHERE kind = 'refund'")
        .fetch_one(&world.database.pool)
        .await
        .unwrap();
    assert_eq!(key, format!("{}/refund/2", order.payment()));
}

#[tokio::test]
async fn the_same_key_many_times_at_once_is_charged_once() {
    use payment_service::provider::{ChargeRequest, Outcome, Provider};
    let world = World::new().await;
    world.start(config()).await.stop().await;
    let order = Order::paid_with("tok_flaky");
    let request = ChargeRequest {
        key: format!("{}/charge", order.payment()),
        payment_id: order.payment(),
        amount: order.total,
        payment_method: order.payment_method.parse().unwrap(),
    };
    let provider = Observed::new(&world.database.pool);
    let answers =
        futures::future::join_all((0..50).map(|_| provider.charge(kernel::Live::because("a test"), &request))).await;
    let (done, failed): (Vec<_>, Vec<_>) = answers.into_iter().partition(Result::is_ok);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(done.iter().all(|answer| *answer == done[0] && matches!(answer, Ok(Outcome::Done { .. }))));
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured")]);
}

#[tokio::test]
async fn what_can_never_be_handled_is_put_aside_and_others_go_on() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    let (unknown, broken, free) = (Order::paid_with("tok_ok"), Order::paid_with("4242"), Order::paid_with("tok_ok"));
    world.send_raw(PAYMENT_COMMANDS, &unknown.id.to_string(), "split_payment", b"{}").await;
    world.charge(&broken).await;
    let nothing = ChargePayment { amount: event_schemas::Amount::zero(), ..free.charge() };
    world.send(&nothing).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    let reasons = eventually(PATIENCE, async || {
        let reasons: Vec<String> = sqlx::query_scalar("SELECT reason FROM dead_letters ORDER BY reason")
            .fetch_all(&world.database.pool)
            .await
            .unwrap();
        (reasons.len() == 3).then_some(reasons)
    })
    .await;
    assert!(reasons[0].starts_with("an amount to charge is more than 0"), "{reasons:?}");
    assert!(reasons[1].contains("\"split_payment\" are not known"), "{reasons:?}");
    assert!(reasons[2].starts_with(&format!("the data of {} cannot be read", ChargePayment::TYPE)), "{reasons:?}");
}
