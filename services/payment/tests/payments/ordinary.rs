//! What is asked is done, once, and published.

use payment_service::Config;
use serde_json::json;
use testkit::eventually;

use crate::fixture::{Order, PATIENCE, World, config, entry};

#[tokio::test]
async fn a_charge_succeeds_and_is_refunded() {
    let world = World::new().await;
    let service = world.start(config()).await;
    let order = Order::paid_with("tok_ok");

    world.charge(&order).await;
    let success = world.expect(&order, &["payment_success"]).await.remove(0);
    let transaction = success["transaction_id"].clone();
    assert!(transaction.as_str().unwrap().starts_with("TXN-"));
    let expected = json!({
        "payment_id": order.payment().0, "order_id": order.id.0, "user_id": order.user.0,
        "amount": success["amount"], "currency": "EUR", "status": "success", "transaction_id": transaction,
        "event_type": "payment_success",
    });
    assert_eq!((success["amount"].to_string().as_str(), &success), ("999.99", &expected));

    world.refund(&order).await;
    let refunded = world.expect(&order, &["payment_success", "payment_refunded"]).await.remove(1);
    assert_eq!(refunded["amount"].to_string(), "999.99");
    assert_ne!(refunded["transaction_id"], transaction);
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
    world.until_status(&order, "refunded").await;
    service.stop().await;
}

#[tokio::test]
async fn the_answer_belongs_to_the_story_of_the_request() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    let metadata: Vec<sqlx::types::Json<std::collections::HashMap<String, String>>> =
        sqlx::query_scalar("SELECT metadata FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(order.payment().to_string())
            .fetch_all(&world.database.pool)
            .await
            .unwrap();
    let [requested, captured] = metadata.as_slice() else { panic!("{metadata:?}") };
    assert_eq!(captured["correlation_id"], requested["correlation_id"]);
    assert_eq!(captured["causation_id"], requested["event_id"]);
    assert_eq!(captured["actor"], "service:payment");
}

#[tokio::test]
async fn a_declined_charge_moves_no_money() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    for (token, reason) in [("tok_declined", "card_declined"), ("tok_insufficient_funds", "insufficient_funds")] {
        let order = Order::paid_with(token);
        world.charge(&order).await;
        let failed = world.expect(&order, &["payment_failed"]).await.remove(0);
        assert_eq!((&failed["reason"], &failed["transaction_id"]), (&json!(reason), &json!("")));
        // A refund of it pays nothing back, and says so.
        world.refund(&order).await;
        let refunded = world.expect(&order, &["payment_failed", "payment_refunded"]).await.remove(1);
        assert_eq!(refunded["amount"], json!(0));
        assert_eq!(world.ledger(&order).await, [entry("charge", "declined")]);
        world.until_status(&order, "failed").await;
    }
}

#[tokio::test]
async fn a_refund_before_the_charge_prevents_it() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    let order = Order::paid_with("tok_ok");
    world.refund(&order).await;
    let refunded = world.expect(&order, &["payment_refunded"]).await.remove(0);
    assert_eq!(refunded["amount"], json!(0));
    world.charge(&order).await;
    let failed = world.expect(&order, &["payment_refunded", "payment_failed"]).await.remove(1);
    assert_eq!(failed["reason"], json!("voided"));
    assert_eq!(world.ledger(&order).await, []);
    world.until_status(&order, "voided").await;
}

#[tokio::test]
async fn commands_that_come_many_times_take_effect_once() {
    let world = World::new().await;
    let _service = world.start(config()).await;
    let order = Order::paid_with("tok_ok");
    for _ in 0..5 {
        world.charge(&order).await;
    }
    world.expect(&order, &["payment_success"]).await;
    for _ in 0..5 {
        world.charge(&order).await;
        world.refund(&order).await;
    }
    world.expect(&order, &["payment_success", "payment_refunded"]).await;
    let last = Order::paid_with("tok_ok");
    world.charge(&Order { id: last.id, ..order.clone() }).await;
    world.expect(&last, &["payment_success"]).await;
    assert_eq!(world.ledger(&order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
    assert_eq!(
        world.events(&order).await,
        ["charge_requested", "payment_captured", "refund_requested", "payment_refunded"]
    );
}

#[tokio::test]
async fn many_at_once_all_end_as_the_provider_has_them() {
    let world = World::new().await;
    let service = world.start(Config { success_rate: 0.7, ..config() }).await;
    let orders: Vec<Order> = (0..400).map(|_| Order::paid_with("tok_ok")).collect();
    for order in &orders {
        world.charge(order).await;
    }
    eventually(PATIENCE, async || {
        let ended: i64 = sqlx::query_scalar("SELECT count(*) FROM payments WHERE status IN ('success', 'failed')")
            .fetch_one(&world.database.pool)
            .await
            .unwrap();
        ended == 400
    })
    .await;
    let (agreeing, accepted): (i64, i64) = sqlx::query_as(
        "SELECT count(*), count(*) FILTER (WHERE p.status = 'success')
           FROM payments p JOIN provider_ledger l USING (payment_id)
          WHERE p.amount_minor = l.amount_minor AND p.transaction_id IS NOT DISTINCT FROM l.transaction_id
            AND (p.status, l.outcome) IN (('success', 'captured'), ('failed', 'declined'))",
    )
    .fetch_one(&world.database.pool)
    .await
    .unwrap();
    assert_eq!(agreeing, 400);
    assert!((220..340).contains(&accepted), "{accepted}");
    let metrics = web::http_client()
        .build()
        .unwrap()
        .get(format!("{}/metrics", service.url))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(metrics.contains("payment_processed_total{status=\"success\"}"), "{metrics}");
}
