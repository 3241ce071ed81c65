//! What the provider tells by itself: believed if it is the provider's, recorded once.

use chrono::{DateTime, TimeDelta, Utc};
use payment_service::Config;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;
use tokio::net::TcpListener;
use web::{SIGNATURE, WebhookKey};

use crate::fixture::{Order, PATIENCE, Running, World, entry};
use crate::psp::{Psp, config_for, key, settings};

/// Nobody answers there: results come by webhook alone.
const NOWHERE: &str = "http://127.0.0.1:9";

fn event(order: &Order, attempt: u32) -> Value {
    json!({
        "id": "evt_1", "type": "charge.succeeded", "attempt": attempt,
        "data": {
            "key": format!("{}/charge", order.payment()), "kind": "charge", "reference": order.payment().0,
            "amount_minor": 99_999, "currency": "EUR", "status": "succeeded", "transaction_id": "TXN-told",
            "created_at": Utc::now(),
        },
    })
}

async fn post(service: &Running, body: &str, signature: Option<String>) -> (StatusCode, Value) {
    let url = format!("{}/webhooks/psp", service.url);
    let mut request = web::http_client().build().unwrap().post(url).header("Content-Type", "application/json");
    if let Some(signature) = signature {
        request = request.header(SIGNATURE, signature);
    }
    let answer = request.body(body.to_owned()).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

async fn tell(service: &Running, event: &Value) -> (StatusCode, Value) {
    let body = event.to_string();
    post(service, &body, Some(key().sign(Utc::now(), body.as_bytes()))).await
}

/// The service, and an order whose charge is asked for in vain.
async fn waiting(world: &World) -> (Running, Order) {
    let service = world.start(config_for(NOWHERE)).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.until(&order, "charge_requested").await;
    (service, order)
}

#[tokio::test]
async fn a_result_that_is_told_is_recorded_once() {
    let world = World::new().await;
    let (service, order) = waiting(&world).await;
    assert_eq!(
        tell(&service, &event(&order, 1)).await,
        (StatusCode::OK, json!({ "received": true, "recorded": true }))
    );
    let success = world.expect(&order, &["payment_success"]).await.remove(0);
    assert_eq!(success["transaction_id"], json!("TXN-told"));
    // Late and repeated ones are harmless.
    for attempt in 2..5 {
        assert_eq!(tell(&service, &event(&order, attempt)).await.1["recorded"], json!(false));
    }
    assert_eq!(world.events(&order).await, ["charge_requested", "payment_captured"]);
    let unknown = Order::paid_with("tok_ok");
    assert_eq!(tell(&service, &event(&unknown, 1)).await.1["recorded"], json!(false));
    assert_eq!(world.events(&unknown).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_refund_that_waited_is_asked_for_once_the_charge_is_told() {
    let world = World::new().await;
    let (service, order) = waiting(&world).await;
    world.refund(&order).await;
    world.until(&order, "refund_deferred").await;
    assert_eq!(tell(&service, &event(&order, 1)).await.0, StatusCode::OK);
    world.until(&order, "refund_requested").await;
    let mut refunded = event(&order, 1);
    refunded["type"] = json!("refund.succeeded");
    refunded["data"]["kind"] = json!("refund");
    refunded["data"]["key"] = json!(format!("{}/refund/1", order.payment()));
    refunded["data"]["transaction_id"] = json!("TXN-back");
    assert_eq!(tell(&service, &refunded).await.1["recorded"], json!(true));
    world.expect(&order, &["payment_success", "payment_refunded"]).await;
}

#[tokio::test]
async fn what_is_not_the_providers_or_not_of_now_is_not_believed() {
    let world = World::new().await;
    let (service, order) = waiting(&world).await;
    let body = event(&order, 1).to_string();
    let signed = |at: DateTime<Utc>| key().sign(at, body.as_bytes());
    let stranger = WebhookKey::new("another secret of more than 32 chars").unwrap();
    let (past, future) = (Utc::now() - TimeDelta::seconds(310), Utc::now() + TimeDelta::seconds(310));
    for signature in [
        None,
        Some("t=1,v1=00".to_owned()),
        Some(stranger.sign(Utc::now(), body.as_bytes())),
        Some(signed(past)),
        Some(signed(future)),
        Some(key().sign(Utc::now(), b"{}")),
    ] {
        let (status, problem) = post(&service, &body, signature.clone()).await;
        assert_eq!(
            (status, &problem["type"]),
            (StatusCode::UNAUTHORIZED, &json!("/problems/signature")),
            "{signature:?}"
        );
    }
    assert_eq!(world.events(&order).await, ["charge_requested"]);

    let signature = signed(Utc::now());
    assert_eq!(post(&service, &body, Some(signature.clone())).await.0, StatusCode::OK);
    let (status, problem) = post(&service, &body, Some(signature)).await;
    assert_eq!((status, &problem["type"]), (StatusCode::CONFLICT, &json!("/problems/replayed")));
}

#[tokio::test]
async fn what_contradicts_the_payment_is_refused() {
    let world = World::new().await;
    let (service, order) = waiting(&world).await;
    let mut less = event(&order, 1);
    less["data"]["amount_minor"] = json!(1);
    assert_eq!(tell(&service, &less).await.0, StatusCode::CONFLICT);
    let mut vague = event(&order, 2);
    vague["data"].as_object_mut().unwrap().remove("transaction_id");
    assert_eq!(tell(&service, &vague).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(tell(&service, &json!({})).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.events(&order).await, ["charge_requested"]);
}

#[tokio::test]
async fn a_shop_with_the_simulated_provider_takes_no_webhooks() {
    let world = World::new().await;
    let service = world.start(crate::fixture::config()).await;
    let order = Order::paid_with("tok_ok");
    assert_eq!(tell(&service, &event(&order, 1)).await.0, StatusCode::NOT_FOUND);
    // It may still be connecting; a database is not dropped before that has ended.
    service.stop().await;
}

/// The provider's replies never come, and its webhooks come twice.
#[tokio::test]
async fn the_provider_tells_what_its_replies_did_not() {
    let world = World::new().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = settings();
    settings.behaviour.latency = PATIENCE * 2;
    settings.behaviour.chaos.duplicated = 1.0;
    settings.webhook_url = Some(format!("http://{}/webhooks/psp", listener.local_addr().unwrap()));
    let psp = Psp::start(settings).await;
    // Longer than the test waits: nothing is asked by key.
    let patient = Config { provider_timeout: PATIENCE * 2, sweep_after: PATIENCE * 2, ..psp.config() };
    let service = world.start_on(listener, patient.clone()).await;
    let order = Order::paid_with("tok_ok");
    world.charge(&order).await;
    world.expect(&order, &["payment_success"]).await;
    world.refund(&order).await;
    world.expect(&order, &["payment_success", "payment_refunded"]).await;
    assert_eq!(psp.ledger(&order).await, [entry("charge", "captured"), entry("refund", "refunded")]);
    let told = "SELECT count(*) FROM provider_ledger WHERE webhook_taken_at IS NOT NULL AND webhook_next_at IS NULL";
    eventually(PATIENCE, async || sqlx::query_scalar::<_, i64>(told).fetch_one(&psp.database.pool).await.unwrap() == 2)
        .await;

    // While nobody takes them they are told again, and given up after the last.
    service.stop().await;
    let unheard = Order::paid_with("tok_ok");
    let provider = payment_service::provider::HttpProvider::new(
        &payment_service::provider::HttpSettings {
            url: psp.url.clone(),
            key: key(),
            timeout: std::time::Duration::from_millis(300),
            connections_max: 1,
        },
        event_store::clock::system(),
    );
    let request = payment_service::provider::ChargeRequest {
        key: format!("{}/charge", unheard.payment()),
        payment_id: unheard.payment(),
        amount: unheard.total,
        payment_method: unheard.payment_method.parse().unwrap(),
    };
    use payment_service::provider::Provider;
    provider.unwrap().charge(kernel::Live::because("a test"), &request).await.unwrap_err();
    let given_up = "SELECT count(*) FROM provider_ledger
                     WHERE webhook_attempts = 6 AND webhook_next_at IS NULL AND webhook_taken_at IS NULL";
    eventually(PATIENCE, async || {
        sqlx::query_scalar::<_, i64>(given_up).fetch_one(&psp.database.pool).await.unwrap() == 1
    })
    .await;
}
