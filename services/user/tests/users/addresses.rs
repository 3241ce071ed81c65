use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{PASSWORD, Shop};

fn address() -> Value {
    json!({
        "recipient": "John Doe", "line1": "Ring 1", "line2": " ", "postal_code": "1010", "city": "Wien",
        "country": "at",
    })
}

#[tokio::test]
async fn an_address_book_is_its_owners_alone() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    shop.register("Jane", "jane@example.com").await;
    let john = shop.login("john@example.com", PASSWORD).await;
    let jane = shop.login("jane@example.com", PASSWORD).await;

    let added = shop.send(Method::POST, "/profile/addresses", Some(&john), &address().to_string()).await;
    assert_eq!((added.status, added.text("country"), added.body.get("line2")), (201, "AT", None), "{}", added.body);
    let path = format!("/profile/addresses/{}", added.text("id"));
    assert_eq!(shop.get(&path, Some(&john)).await.body, added.body);
    assert_eq!(shop.get("/profile/addresses", Some(&john)).await.body, json!([added.body]));
    let mut moved = address();
    moved["city"] = json!("Graz");
    let replaced = shop.send(Method::PUT, &path, Some(&john), &moved.to_string()).await;
    assert_eq!((replaced.status, replaced.text("city")), (200, "Graz"));

    assert_eq!(shop.get("/profile/addresses", Some(&jane)).await.body, json!([]));
    for (method, body) in
        [(Method::GET, String::new()), (Method::PUT, moved.to_string()), (Method::DELETE, String::new())]
    {
        assert_eq!(shop.send(method.clone(), &path, Some(&jane), &body).await.status, 404, "{method}");
        assert_eq!(shop.send(method.clone(), &path, None, &body).await.status, 401, "{method}");
        let none = format!("/profile/addresses/{}", Uuid::now_v7());
        assert_eq!(shop.send(method, &none, Some(&john), &body).await.status, 404);
    }
    assert_eq!(shop.get("/profile/addresses/1", Some(&john)).await.status, 400);
    assert_eq!(shop.get(&path, Some(&john)).await.text("city"), "Graz");

    assert_eq!(shop.send(Method::DELETE, &path, Some(&john), "").await.status, 204);
    assert_eq!(shop.send(Method::DELETE, &path, Some(&john), "").await.status, 404);
    assert_eq!(shop.get("/profile/addresses", Some(&john)).await.body, json!([]));
    shop.close().await;
}

#[tokio::test]
async fn an_address_book_takes_twenty_entries_and_only_addresses() {
    let shop = Shop::open().await;
    shop.register("John", "john@example.com").await;
    let john = shop.login("john@example.com", PASSWORD).await;
    let add = async |body: Value| shop.send(Method::POST, "/profile/addresses", Some(&john), &body.to_string()).await;
    for (field, value, status) in [
        ("recipient", Value::Null, 400),
        ("line1", json!(""), 400),
        ("city", json!("a\nb"), 400),
        ("postal_code", json!("12345678901234567"), 400),
        ("country", json!("AUT"), 400),
        ("country", json!(1), 400),
        ("user_id", json!(Uuid::now_v7()), 422),
    ] {
        let mut body = address();
        body[field] = value;
        let refused = add(body).await;
        assert_eq!((refused.status, refused.fields()), (status, vec![field]), "{}", refused.body);
    }
    for _ in 0..20 {
        assert_eq!(add(address()).await.status, 201);
    }
    assert_eq!(add(address()).await.status, 409);
    shop.close().await;
}
