use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::catalogue::LAPTOP;
use crate::fixture::{PATIENCE, Shop, User};

async fn place(shop: &Shop, user: &User) -> Uuid {
    shop.post(user, "/orders", &json!({ "product_id": LAPTOP, "quantity": 1 })).await.id()
}

#[tokio::test]
async fn whoever_waits_is_woken_when_the_order_ends() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let path = format!("/orders/{id}?wait=30s");
    let asked_at = Instant::now();
    let (answer, ()) = tokio::join!(shop.get(&user, &path), async {
        // Most likely the wait has begun by then; if not, the answer must be the same.
        eventually(PATIENCE, || async { !shop.published(id).await.is_empty() }).await;
        shop.confirm(id).await;
    });
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("confirmed")));
    assert!(asked_at.elapsed() < Duration::from_secs(25), "woken, not timed out");
    let again = Instant::now();
    assert_eq!(shop.get(&user, &path).await.body, answer.body);
    assert!(again.elapsed() < Duration::from_secs(10), "an order that has ended is not waited for");
    let published = eventually(PATIENCE, || async { shop.published(id).await.into_iter().nth(1) }).await;
    assert_eq!(published.0, "order_confirmed");
    assert_eq!(
        (published.1["total_price"].to_string(), &published.1["user_id"]),
        ("999.99".to_owned(), &json!(user.id))
    );
    shop.close().await;
}

#[tokio::test]
async fn a_wait_that_is_over_answers_with_what_there_is() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let asked_at = Instant::now();
    let answer = shop.get(&user, &format!("/orders/{id}?wait=200ms")).await;
    assert_eq!((answer.status, &answer.body["status"]), (StatusCode::OK, &json!("pending")));
    assert!(asked_at.elapsed() >= Duration::from_millis(200));
}

#[tokio::test]
async fn a_shutdown_does_not_wait_for_those_who_wait() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = place(&shop, &user).await;
    let waiting =
        web::http_client().build().unwrap().get(format!("{}/orders/{id}?wait=30s", shop.http)).bearer_auth(&user.token);
    let waiting = tokio::spawn(waiting.send());
    // The wait has begun once the request has been taken; that cannot be seen from here, and either way it must end.
    eventually(PATIENCE, || async { !shop.published(id).await.is_empty() }).await;
    tokio::time::timeout(Duration::from_secs(10), shop.close()).await.expect("closes in time");
    let _ = tokio::time::timeout(PATIENCE, waiting).await.expect("answered or cut off");
}

#[tokio::test]
async fn a_customer_cancels_and_the_history_tells_it() {
    let shop = Shop::open().await;
    let (user, other) = (shop.customer(), shop.customer());
    let id = place(&shop, &user).await;
    let cancel = format!("/orders/{id}/cancel");
    let reason = json!({ "reason": "changed my mind" });
    assert_eq!(shop.post(&other, &cancel, &reason).await.status, StatusCode::NOT_FOUND);
    assert_eq!(shop.send(Method::POST, None, &cancel, None).await.status, StatusCode::UNAUTHORIZED);
    for (body, status, field) in [
        (json!({ "why": "?" }), StatusCode::UNPROCESSABLE_ENTITY, "why"),
        (json!({ "reason": 7 }), StatusCode::BAD_REQUEST, "reason"),
        (json!({ "reason": "x".repeat(201) }), StatusCode::BAD_REQUEST, "reason"),
    ] {
        let refused = shop.post(&user, &cancel, &body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{body}: {}", refused.body);
    }

    let accepted = shop.post(&user, &cancel, &reason).await;
    assert_eq!((accepted.status, &accepted.body["status"]), (StatusCode::ACCEPTED, &json!("pending")));
    assert_eq!(accepted.body["cancel_requested"], true);
    eventually(PATIENCE, || async { shop.get(&user, &format!("/orders/{id}")).await.body == accepted.body }).await;
    let repeated = shop.send(Method::POST, Some(&user), &cancel, None).await;
    assert_eq!((repeated.status, repeated.body), (StatusCode::ACCEPTED, accepted.body), "once more, without a body");

    shop.cancel(id, "changed my mind").await;
    let ended = shop.get(&user, &format!("/orders/{id}?wait=30s")).await.body;
    assert_eq!((&ended["status"], &ended["cancel_reason"]), (&json!("cancelled"), &json!("changed my mind")));
    let refused = shop.post(&user, &cancel, &reason).await;
    assert_eq!((refused.status, &refused.body["error"]), (StatusCode::CONFLICT, &json!("the order is cancelled")));

    let history = shop.get(&user, &format!("/orders/{id}/history")).await.body;
    let told = |name: &str| {
        let happenings = history.as_array().unwrap().iter();
        happenings.map(|happening| happening[name].clone()).collect::<Vec<Value>>()
    };
    assert_eq!(told("sequence"), [1, 2, 3]);
    assert_eq!(told("event"), ["order_placed", "cancellation_requested", "order_cancelled"]);
    assert_eq!(
        told("text"),
        [
            "The order was placed: 1 line, 999.99 EUR in all, to be paid with tok_ok",
            "Its cancellation was asked for: changed my mind",
            "The order is cancelled: changed my mind",
        ]
    );
    let customer = format!("user:{}", user.id);
    assert_eq!(told("actor"), [customer.as_str(), &customer, "service:orchestrator"]);
    let published = eventually(PATIENCE, || async {
        let kinds = shop.published(id).await.into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
        (kinds.len() == 3).then_some(kinds)
    })
    .await;
    assert_eq!(published, ["order_created", "order_cancel_requested", "order_cancelled"]);
}
