//! A flood of logins: refused with 429 before it costs anything, and nobody else notices.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use sagashop::ports::Role;
use serde_json::json;

use crate::room_for_a_small_shop;
use crate::up::Up;

const AT_ONCE: usize = 16;
const ROUNDS: usize = 12;
/// A debug build on two busy cores; what is to be seen is that nothing waits for the passwords.
const ANSWER_MAX: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_logins_is_refused_and_slows_nobody() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    shop.customer("victim").await;
    let product = shop.product(&admin, "Lamp", "19.90", 1_000).await;

    let guess = |n: usize| {
        let body = json!({ "email": "victim@customers.example", "password": format!("guess number {n}") });
        shop.send(shop.request(Method::POST, Role::User, "/login", "").json(&body))
    };
    let flood = async {
        let mut answers = Vec::new();
        for round in 0..ROUNDS {
            answers.extend(join_all((0..AT_ONCE).map(|n| guess(round * AT_ONCE + n))).await);
        }
        answers
    };
    let others = async {
        for _ in 0..10 {
            let began = Instant::now();
            shop.get(Role::Product, &format!("/products/{product}"), "").await.expect(200);
            shop.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
            shop.get(Role::User, "/profile", &customer).await.expect(200);
            assert!(began.elapsed() < ANSWER_MAX, "it took {:?}", began.elapsed());
        }
    };
    let (answers, ()) = tokio::join!(flood, others);
    for answer in &answers {
        assert!(matches!(answer.status, 401 | 429 | 503), "{answer:?}");
    }
    let refused: Vec<_> = answers.iter().filter(|answer| answer.status == 429).collect();
    assert!(refused.len() > AT_ONCE * ROUNDS / 2, "{} of {}", refused.len(), answers.len());
    for answer in refused {
        assert!(answer.header("retry-after").parse::<u64>().is_ok_and(|seconds| seconds > 0), "{answer:?}");
        assert_eq!(answer.content_type, "application/problem+json");
    }
}
