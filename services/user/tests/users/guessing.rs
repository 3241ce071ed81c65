use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use serde_json::json;

use crate::fixture::{PASSWORD, Shop};

const JOHN: &str = "john@example.com";

#[tokio::test]
async fn an_account_rests_after_ten_wrong_passwords_and_others_do_not() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    shop.register("Jane", "jane@example.com").await;
    for _ in 0..9 {
        assert_eq!(shop.try_login(JOHN, "wrong horse battery").await.status, 401);
    }
    shop.login(JOHN, PASSWORD).await;
    // A success begins anew.
    for _ in 0..10 {
        assert_eq!(shop.try_login(JOHN, "wrong horse battery").await.status, 401);
    }
    let began = Instant::now();
    let refused = shop.try_login(" JOHN@example.com", PASSWORD).await;
    assert_eq!(refused.status, 429, "{}", refused.body);
    assert!(began.elapsed() < Duration::from_millis(500), "nothing is hashed for it");
    shop.login("jane@example.com", PASSWORD).await;

    // Nor does an address without an account tell that it has none.
    for n in 0..12 {
        let status = shop.try_login("nobody@example.com", PASSWORD).await.status;
        assert_eq!(status, if n < 10 { 401 } else { 429 }, "{n}");
    }
    shop.close().await;
}

#[tokio::test]
async fn guesses_at_once_are_no_more_than_one_after_the_other() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let answers = join_all((0..60).map(|_| shop.try_login(JOHN, "wrong horse battery"))).await;
    let tried = answers.iter().filter(|answer| answer.status == 401).count();
    // Those that hash when the tenth fails are tried still.
    let at_once = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    assert!((10..10 + at_once).contains(&tried), "{tried}");
    assert_eq!(answers.iter().filter(|answer| answer.status == 429).count(), 60 - tried);
    shop.close().await;
}

#[tokio::test]
async fn whoever_stole_a_token_guesses_no_password() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let token = shop.login(JOHN, PASSWORD).await;
    let body = json!({ "password": "wrong horse battery" }).to_string();
    for n in 0..12 {
        let status = shop.send(Method::DELETE, "/profile", Some(&token), &body).await.status;
        assert_eq!(status, if n < 10 { 403 } else { 429 }, "{n}");
    }
    shop.close().await;
}
