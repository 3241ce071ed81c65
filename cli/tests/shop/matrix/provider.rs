//! The payment provider's server: open to whoever signs, and to no token of the shop's.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;
use testkit::eventually;

use super::callers::{ALL, World};
use crate::psp::Psp;
use crate::{PATIENCE, room_for_a_small_shop};

/// A body that would be read if anybody had signed it.
const CHARGE: &str = r#"{"reference":"01890000-0000-7000-8000-000000000001","amount_minor":1,"currency":"EUR","payment_method":"tok_ok"}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_token_opens_the_provider() {
    let _room = room_for_a_small_shop().await;
    let world = World::open().await;
    let psp = Psp::beside(&world.shop.folder, &[]);
    let client = web::http_client().timeout(Duration::from_secs(30)).build().expect("a client");
    eventually(PATIENCE, async || {
        let answer = client.get(psp.at("/health/ready")).send().await.ok()?;
        answer.status().is_success().then_some(())
    })
    .await;
    let document: Value = client.get(psp.at("/openapi.json")).send().await.expect("sent").json().await.expect("JSON");
    let paths = document["paths"].as_object().expect("paths");
    let mut tried = 0;
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("an item") {
            assert!(operation["security"].is_null(), "{method} {path} asks for a token");
            let method: Method = method.to_uppercase().parse().expect("a method");
            for caller in ALL {
                let token = world.who(caller).token;
                let mut request = client.request(method.clone(), psp.at(path)).header("idempotency-key", "k");
                if !token.is_empty() {
                    request = request.bearer_auth(token);
                }
                if method == Method::POST {
                    request = request.header("content-type", "application/json").body(CHARGE);
                }
                let answer = request.send().await.expect("an answer");
                assert_eq!(answer.status().as_u16(), 401, "{method} {path} as {caller:?}");
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 3 * ALL.len(), "charges, refunds and the book: a new route needs a thought");
}
