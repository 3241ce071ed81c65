//! `Idempotency-Key` on what creates and restocks.

use futures::future::join_all;
use reqwest::{Method, Response};
use serde_json::Value;

use crate::shop::Shop;

const LAPTOP: &str = r#"{"name":"Laptop","price":999.99,"stock":5}"#;

async fn post(shop: &Shop, path: &str, key: &str, body: &str) -> Response {
    shop.with(Method::POST, path, &[("idempotency-key", key)], body).await
}

#[tokio::test]
async fn a_product_is_created_once_under_a_key() {
    let shop = Shop::open().await;
    let first = post(&shop, "/products", "a", LAPTOP).await;
    assert_eq!(first.status(), 201);
    let (tag, location) = (first.headers()["etag"].clone(), first.headers()["location"].clone());
    let body = first.bytes().await.unwrap();
    let again = post(&shop, "/products", "a", LAPTOP).await;
    assert_eq!((again.status().as_u16(), &again.headers()["idempotency-replayed"].to_str().unwrap()), (201, &"true"));
    assert_eq!((&again.headers()["etag"], &again.headers()["location"]), (&tag, &location));
    assert_eq!(again.bytes().await.unwrap(), body);
    assert_eq!(post(&shop, "/products", "a", r#"{"name":"Mouse","price":1}"#).await.status(), 422);
    assert_eq!(post(&shop, "/products", "b", LAPTOP).await.status(), 201);
    assert_eq!(shop.events().await, 4);
    shop.close().await;
}

#[tokio::test]
async fn many_at_once_under_one_key_restock_once() {
    let shop = Shop::open().await;
    let id = shop.product("Laptop", "999.99", 5).await;
    let path = format!("/products/{id}/restock");
    let answers = join_all((0..50).map(|_| post(&shop, &path, "k", r#"{"quantity":7}"#))).await;
    let mut done = 0;
    for answer in answers {
        match answer.status().as_u16() {
            200 => {
                done += 1;
                assert_eq!(answer.json::<Value>().await.unwrap()["stock"], 12);
            }
            409 => assert!(answer.headers().contains_key("retry-after")),
            other => panic!("{other}"),
        }
    }
    assert!(done >= 1);
    assert_eq!(post(&shop, &path, "k", r#"{"quantity":7}"#).await.json::<Value>().await.unwrap()["stock"], 12);
    assert_eq!(shop.events().await, 3);
    // What was refused may be tried again under its key.
    assert_eq!(post(&shop, &path, "l", r#"{"quantity":0}"#).await.status(), 400);
    shop.close().await;
}

#[tokio::test]
async fn a_file_is_imported_once_under_a_key_also_after_a_crash_in_its_middle() {
    let shop = Shop::open().await;
    let file = "name,price,stock\nLamp,19.90,3\nChair,49.00,2\nNothing,0,1\nDesk,99.00,1\n";
    let import = async |key: &str, query: &str, file: &str| {
        let headers = [("idempotency-key", key), ("content-type", "text/csv")];
        let answer = shop.with(Method::POST, &format!("/products/import{query}"), &headers, file).await;
        let replayed = answer.headers().contains_key("idempotency-replayed");
        (answer.status().as_u16(), replayed, answer.text().await.unwrap())
    };
    // Trying keeps nothing.
    assert_eq!(import("k", "?dry_run=true", file).await.0, 200);
    let first = import("k", "", file).await;
    assert_eq!((first.0, first.1), (200, false), "{}", first.2);
    let report: Value = serde_json::from_str(&first.2).unwrap();
    assert_eq!((report["created"].as_u64(), report["failed"].as_u64()), (Some(3), Some(1)), "{report}");
    let events = shop.events().await;
    assert_eq!(import("k", "", file).await, (200, true, first.2.clone()));
    assert_eq!(import("k", "", "name,price\nSofa,1\n").await.0, 422);
    assert_eq!(shop.events().await, events);

    // As if the first request had died before its report was kept, a line short of its end.
    let forget = "DELETE FROM idempotency_keys";
    sqlx::query(forget).execute(&shop.database.pool).await.unwrap();
    assert_eq!(import("k", "", file).await, (200, false, first.2.clone()));
    assert_eq!(shop.events().await, events, "no line took effect twice");
    // Without the key, and under another, it is another file.
    assert_eq!(import("l", "", file).await.0, 200);
    assert!(shop.events().await > events);
    shop.close().await;
}
