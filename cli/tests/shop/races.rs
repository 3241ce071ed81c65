//! Many at once: the same order with the same key, the same product in two hands.

use futures::future::join_all;
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::json;

use crate::room_for_a_small_shop;
use crate::up::Up;

const AT_ONCE: usize = 50;
/// Every order's first event.
const ORDERS: &str = "events WHERE aggregate_type = 'order' AND sequence = 1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_fifty_times_at_once_is_one_order() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let (admin, customer, other) = (shop.admin().await, shop.customer("one").await, shop.customer("other").await);
    let product = shop.product(&admin, "Lamp", "19.90", 1_000).await;
    let order = json!({ "product_id": product, "quantity": 1 });
    let place = |token: &str, key: &str, body: &serde_json::Value| {
        let request = shop.request(Method::POST, Role::Order, "/orders", token).header("idempotency-key", key);
        shop.send(request.json(body))
    };

    let answers = join_all((0..AT_ONCE).map(|_| place(&customer, "a-key", &order))).await;
    let (placed, running): (Vec<_>, Vec<_>) = answers.into_iter().partition(|answer| answer.status == 201);
    for answer in &running {
        assert_eq!(answer.status, 409, "{answer:?}");
        assert!(!answer.header("retry-after").is_empty(), "{answer:?}");
    }
    let first = placed.first().expect("one of them was first");
    for answer in &placed {
        assert_eq!((&answer.body, answer.header("location")), (&first.body, first.header("location")));
    }
    let fresh = placed.iter().filter(|answer| answer.header("idempotency-replayed").is_empty());
    assert_eq!(fresh.count(), 1, "of {} answers with 201", placed.len());
    assert_eq!(shop.folder.count(Role::Order, ORDERS).await, 1);

    // Later it is told again, another request is refused, and another's key is another.
    let again = place(&customer, "a-key", &order).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(201), first.body);
    let changed = json!({ "product_id": product, "quantity": 2 });
    let reused = place(&customer, "a-key", &changed).await.expect(422);
    assert!(reused["type"].as_str().is_some_and(|kind| kind.ends_with("idempotency-key-reused")), "{reused}");
    let others = place(&other, "a-key", &order).await.expect(201);
    assert_ne!(others["id"], first.body["id"]);
    for key in ["", "a\u{7f}key", &"k".repeat(256)] {
        let Ok(key) = reqwest::header::HeaderValue::from_bytes(key.as_bytes()) else { continue };
        let request = shop.request(Method::POST, Role::Order, "/orders", &customer).header("idempotency-key", key);
        shop.send(request.json(&order)).await.expect(400);
    }
    assert_eq!(shop.folder.count(Role::Order, ORDERS).await, 2);
    shop.assert_clean().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_who_edit_one_product_one_is_told_that_it_has_changed() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let admin = shop.admin().await;
    let product = shop.product(&admin, "Lamp", "19.90", 1_000).await;
    let path = format!("/products/{product}");
    let seen = shop.get(Role::Product, &path, "").await;
    let tag = seen.header("etag").to_owned();
    assert!(tag.starts_with('"') || tag.starts_with("W/\""), "{seen:?}");
    let edit = |name: &str, tag: &str| {
        let request = shop.request(Method::PUT, Role::Product, &path, &admin).header("if-match", tag);
        shop.send(request.json(&json!({ "name": name })))
    };

    let (one, two) = tokio::join!(edit("Lamp of one", &tag), edit("Lamp of two", &tag));
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{one:?} {two:?}");
    let edited = if one.status == 200 { one } else { two };
    let (next, name) = (edited.header("etag").to_owned(), edited.expect(200)["name"].clone());
    assert_eq!(shop.get(Role::Product, &path, "").await.expect(200)["name"], name);
    // Whoever looks again may edit again.
    edit("Lamp of both", &next).await.expect(200);
    edit("Lamp of the past", &tag).await.expect(412);
}
