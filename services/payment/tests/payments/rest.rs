//! REST: everybody sees their own payments, administrators all.

use kernel::UserId;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;
use web::auth::Role;

use crate::fixture::{Order, Running, World, config};

async fn get(service: &Running, path: &str, token: &str) -> (StatusCode, Value) {
    let answer = web::http_client()
        .build()
        .unwrap()
        .get(format!("{}{path}", service.url))
        .bearer_auth(token)
        .send()
        .await
        .unwrap();
    let status = answer.status();
    (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap())
}

fn orders(payments: &Value) -> Vec<&str> {
    payments.as_array().unwrap().iter().map(|payment| payment["order_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn everybody_sees_their_own() {
    let world = World::new().await;
    let service = world.start(config()).await;
    let (mine, other) = (Order::paid_with("tok_ok"), Order::paid_with("tok_declined"));
    for order in [&mine, &other] {
        world.charge(order).await;
    }
    world.until_status(&mine, "success").await;
    world.until_status(&other, "failed").await;
    let customer = world.token(mine.user, Role::Customer);
    let admin = world.token(UserId(Uuid::now_v7()), Role::Admin);

    let (status, payments) = get(&service, "/payments", &customer).await;
    assert_eq!((status, orders(&payments)), (StatusCode::OK, vec![mine.id.to_string().as_str()]));
    let own = &payments[0];
    assert_eq!(own["amount"].to_string(), "999.99");
    assert_eq!(
        (&own["status"], &own["currency"], &own["id"], &own["user_id"]),
        (&json!("success"), &json!("EUR"), &json!(mine.payment().0), &json!(mine.user.0))
    );
    assert!(own["transaction_id"].as_str().unwrap().starts_with("TXN-"));
    assert!(chrono::DateTime::parse_from_rfc3339(own["created_at"].as_str().unwrap()).is_ok());

    let path = |order: &Order| format!("/api/v1/payments/{}", order.payment());
    assert_eq!(get(&service, &path(&mine), &customer).await, (StatusCode::OK, own.clone()));
    assert_eq!(get(&service, &path(&other), &customer).await.0, StatusCode::NOT_FOUND);
    let (status, declined) = get(&service, &path(&other), &admin).await;
    assert_eq!((status, &declined["status"]), (StatusCode::OK, &json!("failed")));
    assert_eq!(declined["reason"], json!("card_declined"));

    let of_order = |order: &Order| format!("/payments?order_id={}", order.id);
    assert_eq!(orders(&get(&service, &of_order(&other), &customer).await.1), Vec::<&str>::new());
    assert_eq!(orders(&get(&service, &of_order(&other), &admin).await.1), [other.id.to_string()]);
    assert_eq!(get(&service, "/payments?limit=1", &admin).await.1.as_array().unwrap().len(), 1);
    assert_eq!(get(&service, "/payments", &admin).await.1.as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn refunds_are_shown_with_what_became_of_them() {
    let world = World::new().await;
    let provider = std::sync::Arc::new(crate::providers::Observed::new(&world.database.pool));
    provider.refusals.store(1, std::sync::atomic::Ordering::SeqCst);
    let service = world.start_with(provider, config()).await;
    let order = Order::paid_with("tok_ok");
    let customer = world.token(order.user, Role::Customer);
    let path = format!("/payments/{}", order.payment());
    world.charge(&order).await;
    world.until_status(&order, "success").await;
    assert_eq!(get(&service, &path, &customer).await.1["refunds"], json!([]));
    world.refund(&order).await;
    world.until_status(&order, "refund_failed").await;
    world.refund(&order).await;
    world.until_status(&order, "refunded").await;
    let payment = get(&service, &path, &customer).await.1;
    let refunds = payment["refunds"].as_array().unwrap();
    let seen: Vec<_> = refunds.iter().map(|r| (&r["attempt"], &r["status"], &r["failure"], &r["reason"])).collect();
    let (why, none) = (&json!("out_of_stock"), &Value::Null);
    assert_eq!(
        seen,
        [(&json!(1), &json!("failed"), &json!("account_closed"), why), (&json!(2), &json!("succeeded"), none, why)]
    );
    assert_eq!((refunds[1]["amount"].to_string(), payment["refunded"].to_string()), ("999.99".into(), "999.99".into()));
    assert!(refunds[1]["transaction_id"].as_str().unwrap().starts_with("TXN-"));
}

#[tokio::test]
async fn bad_requests_are_refused() {
    let world = World::new().await;
    let service = world.start(config()).await;
    let customer = world.token(UserId(Uuid::now_v7()), Role::Customer);
    for (path, field) in
        [("/payments?limit=0", "limit"), ("/payments?limit=501", "limit"), ("/payments?order_id=7", "order_id")]
    {
        let (status, problem) = get(&service, path, &customer).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (StatusCode::BAD_REQUEST, &json!(field)), "{path}");
    }
    assert!(get(&service, "/payments/abc", &customer).await.0.is_client_error());
    assert_eq!(get(&service, "/payments", "nonsense").await.0, StatusCode::UNAUTHORIZED);
    let health = web::http_client().build().unwrap().get(format!("{}/health", service.url)).send().await.unwrap();
    assert_eq!(health.json::<Value>().await.unwrap()["service"], json!("payment-service"));
}

#[test]
fn the_api_describes_itself() {
    let document: Value = serde_json::from_str(&payment_service::openapi()).unwrap();
    assert!(document["paths"]["/payments/{id}"]["get"].is_object());
}
