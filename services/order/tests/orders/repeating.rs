//! Idempotency keys: a request that is sent again takes effect once.

use std::collections::HashSet;

use futures::future::join_all;
use reqwest::StatusCode;
use serde_json::{Value, json};
use testkit::eventually;

use crate::catalogue::{BESPOKE, LAPTOP, permits};
use crate::fixture::{Answer, PATIENCE, Shop};

fn order(quantity: u32) -> Value {
    json!({ "product_id": LAPTOP, "quantity": quantity })
}

fn is_replay(answer: &Answer) -> bool {
    answer.headers.get("idempotency-replayed").is_some_and(|replayed| replayed == "true")
}

fn kind(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["type"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_repeated_order_is_placed_once_and_answered_byte_for_byte() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let first = shop.post_once(&shop.http, &user, "/orders", &order(2), "order-1").await;
    assert_eq!((first.status, is_replay(&first)), (StatusCode::CREATED, false), "{}", first.text);
    // Meanwhile the order has ended; what was answered stays.
    shop.confirm(first.id()).await;
    let path = format!("/orders/{}?wait=30s", first.id());
    assert_eq!(shop.get(&user, &path).await.body["status"], "confirmed");
    for path in ["/orders", "/api/v1/orders"] {
        let again = shop.post_once(&shop.http, &user, path, &order(2), "order-1").await;
        assert_eq!((again.status, &again.text, is_replay(&again)), (StatusCode::CREATED, &first.text, true));
        assert_eq!(again.headers["location"], first.headers["location"]);
        assert_eq!(again.headers["content-type"], first.headers["content-type"]);
    }
    let other_body = shop.post_once(&shop.http, &user, "/orders", &order(3), "order-1").await;
    assert_eq!(kind(&other_body), (422, "/problems/idempotency-key-reused"));
    let cancel = format!("/orders/{}/cancel", first.id());
    let other_path = shop.post_once(&shop.http, &user, &cancel, &json!({}), "order-1").await;
    assert_eq!(kind(&other_path), (422, "/problems/idempotency-key-reused"));
    // Another's key of the same text is another key.
    let others = shop.post_once(&shop.http, &shop.customer(), "/orders", &order(2), "order-1").await;
    assert_eq!((others.status, is_replay(&others)), (StatusCode::CREATED, false));
    assert_ne!(others.id(), first.id());
    for key in ["", "two words", "é", &"k".repeat(256)] {
        let refused = shop.post_once(&shop.http, &user, "/orders", &order(2), key).await;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec!["Idempotency-Key"]), "{key}");
    }
    assert_eq!(shop.events().await, 3, "two orders placed, one confirmed");
}

#[tokio::test]
async fn fifty_at_once_are_one_order() {
    let shop = Shop::open().await;
    let (user, twin) = (shop.customer(), shop.twin().await);
    for round in 0..4 {
        let (key, body) = (format!("round-{round}"), order(1));
        let at_once = (0..50).map(|n| {
            let instance = if n % 2 == 0 { &shop.http } else { &twin };
            shop.post_once(instance, &user, "/orders", &body, &key)
        });
        let answers = join_all(at_once).await;
        let (placed, refused): (Vec<_>, Vec<_>) =
            answers.iter().partition(|answer| answer.status == StatusCode::CREATED);
        for refused in refused {
            assert_eq!(kind(refused), (409, "/problems/idempotency-key-in-use"), "{}", refused.text);
            assert_eq!(refused.headers["retry-after"], "1");
        }
        let texts: HashSet<&str> = placed.iter().map(|answer| answer.text.as_str()).collect();
        assert_eq!(texts.len(), 1, "{texts:?}");
        assert_eq!(placed.iter().filter(|answer| !is_replay(answer)).count(), 1);
        assert_eq!(shop.events().await, round + 1);
        let later = shop.post_once(&twin, &user, "/orders", &body, &key).await;
        assert_eq!((texts.contains(later.text.as_str()), is_replay(&later)), (true, true));
    }
    shop.close().await;
}

#[tokio::test]
async fn a_request_that_is_still_running_is_not_run_again() {
    let shop = Shop::open().await;
    let (user, body) = (shop.customer(), json!({ "product_id": BESPOKE, "quantity": 7 }));
    let first = shop.post_once(&shop.http, &user, "/orders", &body, "slow");
    let second = async {
        let refused = eventually(PATIENCE, || async {
            let answer = shop.post_once(&shop.http, &user, "/orders", &order(1), "slow").await;
            // Another request under a key that runs: nothing can be said of it yet.
            (answer.status == StatusCode::CONFLICT).then_some(answer)
        })
        .await;
        permits(7).add_permits(1);
        refused
    };
    // Both may begin first; whoever does not, is refused.
    let (first, second) = tokio::join!(first, second);
    assert_eq!(kind(&second), (409, "/problems/idempotency-key-in-use"));
    assert_eq!(first.status, StatusCode::CREATED, "{}", first.text);
    let again = shop.post_once(&shop.http, &user, "/orders", &body, "slow").await;
    assert_eq!((&again.text, is_replay(&again)), (&first.text, true));
}

#[tokio::test]
async fn a_refusal_leaves_the_key_free() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let refused = shop.post_once(&shop.http, &user, "/orders", &order(51), "k").await;
    assert_eq!((refused.status, &refused.body["stock"]), (StatusCode::BAD_REQUEST, &json!(50)));
    let placed = shop.post_once(&shop.http, &user, "/orders", &order(50), "k").await;
    assert_eq!((placed.status, is_replay(&placed)), (StatusCode::CREATED, false));
}

#[tokio::test]
async fn a_cancellation_is_asked_for_once_and_answered_as_before() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let id = shop.post(&user, "/orders", &order(1)).await.id();
    let (path, body) = (format!("/orders/{id}/cancel"), json!({ "reason": "changed my mind" }));
    let first = shop.post_once(&shop.http, &user, &path, &body, "cancel").await;
    assert_eq!((first.status, is_replay(&first)), (StatusCode::ACCEPTED, false), "{}", first.text);
    // Nothing is left to be done under this key, and that is remembered too.
    let done = shop.post_once(&shop.http, &user, &path, &body, "cancel-again").await;
    assert_eq!((done.status, is_replay(&done)), (StatusCode::ACCEPTED, false));
    shop.cancel(id, "changed my mind").await;
    assert_eq!(shop.get(&user, &format!("/orders/{id}?wait=30s")).await.body["status"], "cancelled");
    for (key, before) in [("cancel", &first), ("cancel-again", &done)] {
        let again = shop.post_once(&shop.http, &user, &path, &body, key).await;
        assert_eq!((again.status, &again.text, is_replay(&again)), (StatusCode::ACCEPTED, &before.text, true));
    }
    let late = shop.post_once(&shop.http, &user, &path, &body, "too-late").await;
    assert_eq!(late.status, StatusCode::CONFLICT);
    assert_eq!(shop.events().await, 3);
}

#[tokio::test]
async fn the_answer_is_there_exactly_if_the_order_is() {
    let shop = Shop::open().await;
    let user = shop.customer();
    // As if the disk were full: the answer cannot be written, and so the order is not either.
    let refuse = "ALTER TABLE idempotency_keys ADD CONSTRAINT full_up CHECK (false) NOT VALID";
    sqlx::query(refuse).execute(&shop.database.pool).await.unwrap();
    let failed = shop.post_once(&shop.http, &user, "/orders", &order(1), "k").await;
    assert!(failed.status.is_server_error(), "{}", failed.text);
    assert_eq!(shop.events().await, 0);
    let without_key = shop.post(&user, "/orders", &order(1)).await;
    assert_eq!(without_key.status, StatusCode::CREATED, "a request without a key has nothing to do with it");
    sqlx::query("ALTER TABLE idempotency_keys DROP CONSTRAINT full_up").execute(&shop.database.pool).await.unwrap();
    let placed = shop.post_once(&shop.http, &user, "/orders", &order(1), "k").await;
    assert_eq!((placed.status, is_replay(&placed)), (StatusCode::CREATED, false));
    let kept: Vec<u8> =
        sqlx::query_scalar("SELECT body FROM idempotency_keys").fetch_one(&shop.database.pool).await.unwrap();
    assert_eq!(kept, placed.text.as_bytes());
    assert_eq!(shop.events().await, 2);
}
