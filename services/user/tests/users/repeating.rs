//! Idempotency keys: a request that is sent again takes effect once, and nothing personal is kept for it.

use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::fixture::{PASSWORD, Shop};

const JOHN: &str = "john@example.com";
const REUSED: &str = "/problems/idempotency-key-reused";

fn registration(name: &str) -> String {
    json!({ "name": name, "email": JOHN, "password": PASSWORD }).to_string()
}

fn address(city: &str) -> String {
    json!({ "recipient": "John Doe", "line1": "Ring 1", "postal_code": "1010", "city": city, "country": "AT" })
        .to_string()
}

async fn kept(shop: &Shop) -> i64 {
    sqlx::query_scalar("SELECT count(*) FROM idempotency_keys").fetch_one(&shop.database.pool).await.unwrap()
}

#[tokio::test]
async fn an_account_is_made_once_and_told_again_as_long_as_it_lives() {
    let shop = Shop::open().await;
    let first = shop.post_once("/register", None, &registration("John Doe"), "r").await;
    assert_eq!((first.status, first.replayed), (201, false), "{}", first.text);
    let token = shop.login(JOHN, PASSWORD).await;
    // What they are called later changes nothing of what was answered.
    let renamed = shop.send(Method::PUT, "/profile", Some(&token), r#"{"name":"Jack"}"#).await;
    assert_eq!(renamed.status, 200);
    for path in ["/register", "/api/v1/register"] {
        assert_eq!(shop.post_once(path, None, &registration("John Doe"), "r").await, first.again());
    }
    let other = shop.post_once("/register", None, &registration("Jane Doe"), "r").await;
    assert_eq!(other.kind(), (422, REUSED.to_owned()));
    let taken = shop.post_once("/register", None, &registration("John Doe"), "another-key").await;
    assert_eq!((taken.status, taken.replayed), (409, false));

    let stored = shop.stored().await;
    for personal in ["john", "doe", "jack", "example.com", "battery"] {
        assert!(!stored.contains(personal), "{personal}");
    }
    // Whoever has the database cannot try passwords on what is kept of the request.
    let plain = "SELECT count(*) FROM idempotency_keys WHERE fingerprint = sha256($1)";
    let plain: i64 = sqlx::query_scalar(plain)
        .bind(registration("John Doe").into_bytes())
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(plain, 0);

    let deleted = json!({ "password": PASSWORD }).to_string();
    assert_eq!(shop.send(Method::DELETE, "/profile", Some(&token), &deleted).await.status, 204);
    let gone = shop.post_once("/register", None, &registration("John Doe"), "r").await;
    assert_eq!(gone.kind(), (409, "/problems/idempotency-answer-gone".to_owned()));
    assert!(!gone.text.contains("john"), "{}", gone.text);
    shop.register("John", JOHN).await;
    shop.close().await;
}

#[tokio::test]
async fn an_address_is_added_once() {
    let shop = Shop::open().await;
    shop.register("John Doe", JOHN).await;
    let token = shop.login(JOHN, PASSWORD).await;
    let add =
        async |city: &str, key: &str| shop.post_once("/profile/addresses", Some(&token), &address(city), key).await;
    let (wien, graz) = (address("Wien"), "a");
    let all = join_all((0..20).map(|_| shop.post_once("/profile/addresses", Some(&token), &wien, graz))).await;
    let done: Vec<_> = all.iter().filter(|told| told.status == 201).collect();
    assert!(!done.is_empty() && all.iter().all(|told| matches!(told.status, 201 | 409)), "{all:?}");
    let first = add("Wien", "a").await;
    assert_eq!((first.status, first.replayed), (201, true));
    assert!(done.iter().all(|told| told.text == first.text && told.location == first.location));
    assert_eq!(add("Graz", "a").await.kind(), (422, REUSED.to_owned()));
    assert_eq!(add("Graz", "b").await.status, 201);
    let book = shop.get("/profile/addresses", Some(&token)).await.body;
    assert_eq!(book.as_array().map(Vec::len), Some(2), "{book}");

    // It is told again though the entry is another one now, or none.
    let path = first.location.clone().unwrap();
    shop.send(Method::PUT, &path, Some(&token), &address("Linz")).await;
    assert_eq!(add("Wien", "a").await, first);
    shop.send(Method::DELETE, &path, Some(&token), "").await;
    assert_eq!(add("Wien", "a").await, first);
    let stored = shop.stored().await;
    for personal in ["wien", "graz", "linz", "ring 1", "doe"] {
        assert!(!stored.contains(personal), "{personal}");
    }
    shop.close().await;
}

#[tokio::test]
async fn one_session_is_ended_once_and_told_to_the_token_that_ended() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let (one, two) = (shop.login(JOHN, PASSWORD).await, shop.login(JOHN, PASSWORD).await);
    let first = shop.post_once("/logout", Some(&one), "", "k").await;
    assert_eq!((first.status, first.replayed, &*first.text), (204, false, ""));
    assert_eq!(shop.get("/profile", Some(&one)).await.status, 401);
    assert_eq!(shop.post_once("/logout", Some(&one), "", "k").await, first.again());
    assert_eq!(shop.post_once("/logout", Some(&one), "", "l").await.status, 401);
    assert_eq!(shop.post_once("/logout/all", Some(&two), "", "k").await.kind(), (422, REUSED.to_owned()));

    let all = shop.post_once("/logout/all", Some(&two), "", "m").await;
    assert_eq!(all.status, 204);
    assert_eq!(shop.post_once("/logout/all", Some(&two), "", "m").await, all.again());
    // What was begun meanwhile goes on.
    let three = shop.login(JOHN, PASSWORD).await;
    assert_eq!(shop.post_once("/logout/all", Some(&three), "", "m").await, all.again());
    assert_eq!(shop.get("/profile", Some(&three)).await.status, 200);
    shop.close().await;
}

#[tokio::test]
async fn a_password_is_changed_once() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let token = shop.login(JOHN, PASSWORD).await;
    let change = |new: &str| json!({ "current_password": PASSWORD, "new_password": new }).to_string();
    let new = "another horse battery";
    let first = shop.post_once("/profile/password", Some(&token), &change(new), "p").await;
    assert_eq!((first.status, first.replayed), (204, false), "{}", first.text);
    // Without the key the password until now would be a wrong one.
    assert_eq!(shop.post_once("/profile/password", Some(&token), &change(new), "p").await, first.again());
    let unknown = shop.post_once("/profile/password", Some(&token), &change(new), "q").await;
    assert_eq!((unknown.status, unknown.replayed), (403, false));
    let other = shop.post_once("/profile/password", Some(&token), &change("a third horse battery"), "p").await;
    assert_eq!(other.kind(), (422, REUSED.to_owned()));
    shop.login(JOHN, new).await;
    shop.close().await;
}

#[tokio::test]
async fn an_administrators_act_is_done_once() {
    let shop = Shop::open().await;
    let john = shop.register("John Doe", JOHN).await;
    let (_, admin) = shop.administrator().await;
    let lock = format!("/users/{john}/lock");
    let locked = shop.post_once(&lock, Some(&admin), "", "l").await;
    assert_eq!((locked.status, locked.body()["status"].as_str()), (200, Some("locked")), "{}", locked.text);
    let unlocked = shop.post_once(&format!("/users/{john}/unlock"), Some(&admin), "", "u").await;
    assert_eq!((unlocked.status, unlocked.body()["status"].as_str()), (200, Some("active")));
    // The answer of then, and no second lock.
    assert_eq!(shop.post_once(&lock, Some(&admin), "", "l").await, locked.again());
    shop.login(JOHN, PASSWORD).await;
    assert!(!shop.stored().await.contains("doe"));
    shop.close().await;
}

#[tokio::test]
async fn no_token_is_kept_under_a_key() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let login = json!({ "email": JOHN, "password": PASSWORD }).to_string();
    let (one, two) =
        (shop.post_once("/login", None, &login, "k").await, shop.post_once("/login", None, &login, "k").await);
    let refresh = |told: &crate::fixture::Told| told.body()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!((one.status, two.status, two.replayed), (200, 200, false));
    assert_ne!(refresh(&one), refresh(&two), "each is a session of its own");
    let exchange: Value = json!({ "refresh_token": refresh(&one) });
    assert_eq!(shop.post_once("/refresh", None, &exchange.to_string(), "k").await.status, 200);
    assert_eq!(shop.post_once("/refresh", None, &exchange.to_string(), "k").await.status, 401, "it came twice");
    assert_eq!(kept(&shop).await, 0);
    shop.close().await;
}

#[tokio::test]
async fn two_instances_make_one_account() {
    let shop = Shop::open().await;
    let twin = shop.twin().await;
    let body = registration("John Doe");
    let both = [&shop.http, &twin.http].map(|http| shop.post_once_at(http, "/register", None, &body, "k"));
    let both = join_all(both).await;
    let texts: Vec<_> = both.iter().filter(|told| told.status == 201).map(|told| &told.text).collect();
    assert!(!texts.is_empty() && texts.iter().all(|text| *text == texts[0]), "{both:?}");
    let later = shop.post_once_at(&twin.http, "/register", None, &body, "k").await;
    assert_eq!((later.status, later.replayed, &later.text), (201, true, texts[0]));
    let keys: i64 =
        sqlx::query_scalar("SELECT count(*) FROM person_keys").fetch_one(&shop.database.pool).await.unwrap();
    assert_eq!(keys, 1, "the key of the account that was not made is gone");
    twin.stop().await;
    shop.close().await;
}
