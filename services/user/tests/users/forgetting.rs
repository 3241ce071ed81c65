use reqwest::Method;
use serde_json::json;
use testkit::eventually;

use crate::fixture::{PASSWORD, PATIENCE, Shop};

const JOHN: &str = "john@example.com";

async fn forget(shop: &Shop, token: &str, password: &str) -> u16 {
    let body = json!({ "password": password }).to_string();
    shop.send(Method::DELETE, "/profile", Some(token), &body).await.status
}

#[tokio::test]
async fn nothing_of_a_deleted_user_can_be_read_and_their_address_is_free() {
    let shop = Shop::open().await;
    let john = shop.register("John Doe", JOHN).await;
    let (_, admin) = shop.administrator().await;
    let (token, refresh) = shop.session(JOHN, PASSWORD).await;
    let address = json!({
        "recipient": "John Doe", "line1": "Ring 1", "postal_code": "1010", "city": "Wien", "country": "AT",
    });
    shop.send(Method::POST, "/profile/addresses", Some(&token), &address.to_string()).await;

    assert_eq!(forget(&shop, &token, "wrong horse battery").await, 403);
    assert_eq!(shop.send(Method::DELETE, "/profile", Some(&token), "{}").await.status, 400);
    assert_eq!(shop.send(Method::DELETE, "/profile", None, r#"{"password":"x"}"#).await.status, 401);
    assert_eq!(shop.get("/profile", Some(&token)).await.status, 200);
    assert_eq!(forget(&shop, &token, PASSWORD).await, 204);

    let keys: i64 = sqlx::query_scalar("SELECT count(*) FROM person_keys WHERE user_id = $1::uuid")
        .bind(&john)
        .fetch_one(&shop.database.pool)
        .await
        .unwrap();
    assert_eq!(keys, 0);
    assert_eq!(shop.get("/profile", Some(&token)).await.status, 401);
    assert_eq!(shop.try_refresh(&refresh).await.status, 401);
    assert_eq!(shop.try_login(JOHN, PASSWORD).await.status, 401);
    let shown = shop.get(&format!("/users/{john}"), Some(&admin)).await.body;
    assert_eq!((shown["name"].as_str(), shown["status"].as_str()), (Some("deleted user"), Some("deleted")));
    assert_eq!((shown.get("email"), shown.get("role")), (None, None), "{shown}");
    let list = eventually(PATIENCE, || async {
        let list = shop.get("/users?status=deleted", Some(&admin)).await.body;
        (list["users"].as_array()?.len() == 1).then_some(list)
    })
    .await;
    assert_eq!(list["users"][0], shown);
    let lock = shop.send(Method::POST, &format!("/users/{john}/lock"), Some(&admin), "").await;
    assert_eq!(lock.status, 404);

    let stored = shop.stored().await;
    for personal in ["john", "doe", "example.com", "wien", "ring 1"] {
        assert!(!stored.contains(personal), "{personal}");
    }
    let told = eventually(PATIENCE, || async {
        let records = shop.published().await;
        records.into_iter().find(|stored| stored.record.headers["ce_type"] == "user_deleted")
    })
    .await;
    assert_eq!(told.record.key, john);

    let again = shop.register("Johnny", JOHN).await;
    assert_ne!(again, john);
    shop.login(JOHN, PASSWORD).await;
    shop.close().await;
}

#[tokio::test]
async fn a_deletion_that_was_cut_short_is_finished_by_the_read_model() {
    let shop = Shop::open().await;
    let john = shop.register("John", JOHN).await;
    eventually(PATIENCE, || async { shop.rows().await.len() == 1 }).await;
    // What a process leaves that dies between its two steps: the event without the destruction.
    let database = shop.close().await;
    sqlx::query(
        "INSERT INTO events (aggregate_type, aggregate_id, sequence, event_type, event_version, payload, metadata)
         VALUES ('user', $1, 2, 'user_deleted', '1', '{\"user_deleted\":{\"at\":\"2026-01-01T00:00:00Z\"}}', '{}')",
    )
    .bind(&john)
    .execute(&database.pool)
    .await
    .unwrap();
    let shop = Shop::open_with(crate::fixture::config(), database).await;
    eventually(PATIENCE, || async {
        let keys: i64 =
            sqlx::query_scalar("SELECT count(*) FROM person_keys").fetch_one(&shop.database.pool).await.unwrap();
        keys == 0
    })
    .await;
    shop.close().await;
}

#[tokio::test]
async fn a_rename_that_meets_a_deletion_brings_nobody_back() {
    let shop = Shop::open().await;
    shop.register("John", JOHN).await;
    let token = shop.login(JOHN, PASSWORD).await;
    let renames = (0..10).map(|n| {
        let body = json!({ "name": format!("John {n}") }).to_string();
        let (shop, token) = (&shop, &token);
        async move { shop.send(Method::PUT, "/profile", Some(token), &body).await.status }
    });
    let (gone, renamed) = tokio::join!(forget(&shop, &token, PASSWORD), futures::future::join_all(renames));
    assert!([204, 409].contains(&gone), "{gone}");
    assert!(renamed.iter().all(|status| [200, 401, 404, 409].contains(status)), "{renamed:?}");
    if gone == 409 {
        assert_eq!(forget(&shop, &token, PASSWORD).await, 204);
    }
    let keys: i64 =
        sqlx::query_scalar("SELECT count(*) FROM person_keys").fetch_one(&shop.database.pool).await.unwrap();
    assert_eq!(keys, 0);
    shop.close().await;
}
