//! More than the shop can do: it says so at once, keeps its health, loses nothing that it took, and recovers.

use std::time::Duration;

use futures::future::join_all;
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::json;
use testkit::eventually;

use crate::up::Up;
use crate::{PATIENCE, room_for_a_large_shop};

const CLIENTS: usize = 100;
const ORDERS_EACH: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_too_much_is_refused_and_what_was_taken_is_done() {
    let _room = room_for_a_large_shop().await;
    let shop = Up::start(&["--empty", "--concurrency-max", "2", "--queue-max", "4"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    let product = shop.product(&admin, "Lamp", "19.90", 100_000).await;
    let order = json!({ "product_id": product, "quantity": 1 });

    let client = async || {
        let mut answers = Vec::with_capacity(ORDERS_EACH);
        for _ in 0..ORDERS_EACH {
            answers.push(shop.send(shop.request(Method::POST, Role::Order, "/orders", &customer).json(&order)).await);
        }
        answers
    };
    let health = async || {
        for path in ["/health", "/health/live", "/health/ready", "/metrics"].into_iter().cycle().take(40) {
            shop.get(Role::Order, path, "").await.expect(200);
        }
    };
    let (answers, ()) = tokio::join!(join_all((0..CLIENTS).map(|_| client())), health());
    let (taken, refused): (Vec<_>, Vec<_>) = answers.into_iter().flatten().partition(|answer| answer.status == 201);
    assert!(!taken.is_empty() && !refused.is_empty(), "{} taken, {} refused", taken.len(), refused.len());
    for answer in &refused {
        assert_eq!((answer.status, answer.content_type.as_str()), (503, "application/problem+json"), "{answer:?}");
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds <= 60), "{answer:?}");
    }
    let created = shop.folder.count(Role::Order, "events WHERE aggregate_type = 'order' AND sequence = 1").await;
    assert_eq!(usize::try_from(created).expect("a count"), taken.len());

    // Afterwards it is as before.
    eventually(Duration::from_secs(5), async || shop.get(Role::Order, "/orders", &customer).await.status == 200).await;
    for answer in taken {
        let id = answer.body["id"].as_str().expect("an id").to_owned();
        let path = format!("/orders/{id}?wait=5s");
        let ended = eventually(PATIENCE, async || {
            let answer = shop.get(Role::Order, &path, &customer).await;
            (answer.status == 200 && answer.body["status"] != "pending").then_some(answer.body)
        });
        assert_eq!(ended.await["status"], "confirmed");
    }
    shop.assert_clean().await;
}
