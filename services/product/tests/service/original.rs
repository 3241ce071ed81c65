//! What the shop that came before this one got wrong.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::shop::Shop;

#[tokio::test]
async fn a_change_without_stock_leaves_the_stock() {
    let shop = Shop::open().await;
    let path = format!("/products/{}", shop.product("Laptop", "999.99", 50).await);
    let (status, renamed) = shop.put(&path, r#"{"name":"Updated Laptop"}"#).await;
    assert_eq!((status, &renamed["name"], &renamed["stock"]), (200, &json!("Updated Laptop"), &json!(50)));
    shop.shows(&path, &renamed).await;
    shop.close().await;
}

#[tokio::test]
async fn what_cannot_be_is_refused_and_never_an_error_of_ours() {
    let shop = Shop::open().await;
    let names = ["x".repeat(256), "a\0b".to_owned(), "x".repeat(201)];
    for name in names {
        let body = json!({ "name": name, "price": 1 }).to_string();
        assert_eq!(shop.post("/products", &body).await.0, 400, "{body}");
    }
    for field in [
        r#""price":0.001"#,
        r#""price":1e8"#,
        r#""price":100000000"#,
        r#""price":1,"stock":1099511627776"#,
        r#""price":-1"#,
        r#""price":1,"stock":-1"#,
    ] {
        let (status, problem) = shop.post("/products", &format!("{{\"name\":\"x\",{field}}}")).await;
        assert_eq!(status, 400, "{field}: {problem}");
    }
    // Whatever is asked, many times over: a product that is there is still found.
    let laptop = format!("/products/{}", shop.product("Laptop", "123456.78", 1).await);
    for id in ["abc", "1", "99999999999", "-5", "%00", "0189"] {
        for _ in 0..10 {
            let (status, problem) = shop.get(&format!("/products/{id}")).await;
            assert!([400, 404].contains(&status), "{id}: {status} {problem}");
        }
    }
    for _ in 0..10 {
        assert_eq!(shop.get(&format!("/products/{}", Uuid::now_v7())).await.0, 404);
    }
    let (status, product) = shop.get(&laptop).await;
    assert_eq!((status, product["price"].to_string().as_str()), (200, "123456.78"));
    shop.close().await;
}

#[tokio::test]
async fn the_contract_that_clients_know_is_kept() {
    let shop = Shop::open().await;
    assert_eq!(shop.get("/api/v1/products").await, (200, json!([])), "an empty list, not null");
    let (status, created) = shop.post("/api/v1/products", r#"{"name":"Laptop","price":999.99,"stock":50}"#).await;
    assert_eq!(status, 201);
    for field in ["id", "name", "price", "stock", "created_at", "updated_at"] {
        assert!(created.get(field).is_some(), "{field} is missing");
    }
    assert!(created["price"].is_number() && created["created_at"].as_str().unwrap().ends_with('Z'));
    let unknown = shop.get(&format!("/api/v1/products/{}", Uuid::now_v7())).await;
    assert_eq!((unknown.0, &unknown.1["error"]), (404, &Value::from("Product not found")));
    shop.close().await;
}
