use chrono::DateTime;
use product_service::{Config, Seeded, openapi};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::shop::{PATIENCE, Shop};

#[tokio::test]
async fn a_product_lives() {
    let shop = Shop::open().await;
    let (status, created) =
        shop.post("/products", r#"{"name":" Laptop ","price":999.99,"category":"Computers"}"#).await;
    assert_eq!(status, 201, "{created}");
    assert_eq!(created["name"], "Laptop");
    assert_eq!(created["price"].to_string(), "999.99");
    assert_eq!(
        (&created["currency"], &created["stock"], &created["category"]),
        (&json!("EUR"), &json!(0), &json!("Computers"))
    );
    assert_eq!(created["created_at"], created["updated_at"]);
    let path = format!("/products/{}", created["id"].as_str().unwrap());
    shop.shows(&path, &created).await;

    let (status, counted) = shop.put(&path, r#"{"stock":50}"#).await;
    assert_eq!((status, &counted["stock"], &counted["name"]), (200, &json!(50), &json!("Laptop")));
    let (_, cheaper) = shop.put(&format!("/api/v1{path}"), r#"{"price":"899.5"}"#).await;
    assert_eq!((cheaper["price"].to_string().as_str(), &cheaper["stock"]), ("899.50", &json!(50)));
    assert_eq!(cheaper["created_at"], created["created_at"]);
    assert!(time(&cheaper["updated_at"]) > time(&created["updated_at"]));
    shop.shows(&path, &cheaper).await;
    assert_eq!(shop.put(&path, "{}").await.1["price"], cheaper["price"]);

    let (status, restocked) = shop.post(&format!("{path}/restock"), r#"{"quantity":7}"#).await;
    assert_eq!((status, &restocked["stock"]), (200, &json!(57)));
    shop.shows(&path, &restocked).await;
    for (quantity, available) in [(57, true), (58, false)] {
        let (status, answer) = shop.get(&format!("{path}/availability?quantity={quantity}")).await;
        assert_eq!((status, &answer["available"], &answer["stock"]), (200, &json!(available), &json!(57)));
    }

    let deleted = shop.send(Method::DELETE, &path, "").await;
    assert_eq!(deleted.status(), 200);
    assert_eq!(deleted.text().await.unwrap(), r#"{"message":"Product deleted successfully"}"#);
    shop.shows("/products", &json!([])).await;
    assert_eq!(shop.get(&path).await.0, 404);
    assert_eq!(shop.send(Method::DELETE, &path, "").await.status(), 404);
    assert_eq!(shop.put(&path, r#"{"price":1}"#).await.0, 404);
    assert_eq!(shop.post(&format!("{path}/restock"), r#"{"quantity":1}"#).await.0, 404);

    let id = created["id"].as_str().unwrap().parse().unwrap();
    let expected =
        ["product_created", "stock_changed", "stock_changed", "product_updated", "stock_changed", "product_deleted"];
    assert_eq!(shop.published_types(id, expected.len()).await, expected);
    shop.close().await;
}

#[tokio::test]
async fn bad_input_is_refused_by_field_and_nothing_is_stored() {
    let shop = Shop::open().await;
    let long = "x".repeat(201);
    let named = |name: &str| format!(r#"{{"name":{},"price":1}}"#, json!(name));
    let with = |rest: &str| format!(r#"{{"name":"x",{rest}}}"#);
    let bodies = [
        (r#"{"price":1}"#.to_owned(), 400, "name"),
        (named(""), 400, "name"),
        (named(" \t"), 400, "name"),
        (named(&long), 400, "name"),
        (named("a\nb"), 400, "name"),
        (named("a\0b"), 400, "name"),
        (r#"{"name":5,"price":1}"#.to_owned(), 400, "name"),
        (r#"{"name":true,"price":1}"#.to_owned(), 400, "name"),
        (r#"{"name":"x"}"#.to_owned(), 400, "price"),
        (with(r#""price":0"#), 400, "price"),
        (with(r#""price":-5"#), 400, "price"),
        (with(r#""price":0.001"#), 400, "price"),
        (with(r#""price":100000000"#), 400, "price"),
        (with(r#""price":1e400"#), 400, "price"),
        (with(r#""price":99999999999999999999999"#), 400, "price"),
        (with(r#""price":null"#), 400, "price"),
        (with(r#""price":"much""#), 400, "price"),
        (with(r#""price":"""#), 400, "price"),
        (with(r#""price":true"#), 400, "price"),
        (with(r#""price":1,"stock":-1"#), 400, "stock"),
        (with(r#""price":1,"stock":1000000001"#), 400, "stock"),
        (with(r#""price":1,"stock":1099511627776"#), 400, "stock"),
        (with(r#""price":1,"stock":99999999999999999999"#), 400, "stock"),
        (with(r#""price":1,"stock":1.5"#), 400, "stock"),
        (with(r#""price":1,"category":"""#), 400, "category"),
        (with(r#""price":1,"category":7"#), 400, "category"),
        (with(r#""price":1,"colour":"red""#), 422, "colour"),
        ("{".to_owned(), 400, ""),
        ("[]".to_owned(), 400, ""),
    ];
    for (body, status, field) in &bodies {
        let (answered, problem) = shop.post("/products", body).await;
        assert_eq!(answered, *status, "{body}: {problem}");
        if !field.is_empty() {
            assert_eq!(problem["errors"][0]["field"], *field, "{body}: {problem}");
        }
    }
    assert_eq!(shop.events().await, 0);

    let id = shop.product("Laptop", "999.99", 5).await;
    let (before, path) = (shop.events().await, format!("/products/{id}"));
    for (body, field) in [
        (r#"{"price":0}"#, "price"),
        (r#"{"price":"much"}"#, "price"),
        (r#"{"name":"New name","stock":-1}"#, "stock"),
        (r#"{"stock":1000000001}"#, "stock"),
        (r#"{"name":""}"#, "name"),
    ] {
        let (status, problem) = shop.put(&path, body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!(field)), "{body}");
    }
    for body in [r#"{"quantity":0}"#, r#"{"quantity":-1}"#, r#"{"quantity":1000001}"#, "{}"] {
        let (status, problem) = shop.post(&format!("{path}/restock"), body).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("quantity")), "{body}");
    }
    let (status, _) = shop.put(&path, r#"{"stock":1000000000}"#).await;
    assert_eq!(status, 200);
    let (status, problem) = shop.post(&format!("{path}/restock"), r#"{"quantity":1}"#).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("quantity")));
    assert_eq!(shop.events().await, before + 1);

    for path in [
        "/products/abc",
        "/products/99999999999",
        "/products?limit=0",
        "/products?limit=1001",
        "/products?limit=x",
        "/products?after=7",
        "/products?min_price=x",
        "/products?max_price=0.001",
        "/products?in_stock=maybe",
    ] {
        let (status, problem) = shop.get(path).await;
        assert_eq!(status, 400, "{path}: {problem}");
        let field = path.split(['?', '=']).nth(1).unwrap_or("id");
        assert_eq!(problem["errors"][0]["field"], field, "{path}: {problem}");
    }
    let (status, problem) = shop.get(&format!("/products?after={}", Uuid::now_v7())).await;
    assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("after")));
    for quantity in ["", "?quantity=0", "?quantity=-1", "?quantity=x"] {
        let (status, problem) = shop.get(&format!("{path}/availability{quantity}")).await;
        assert_eq!((status, &problem["errors"][0]["field"]), (400, &json!("quantity")));
    }
    assert_eq!(shop.get(&format!("/products/{}", Uuid::now_v7())).await.0, 404);
    shop.close().await;
}

#[tokio::test]
async fn only_administrators_change_the_catalogue() {
    let shop = Shop::open().await;
    let id = Uuid::now_v7();
    let requests = [
        (Method::POST, "/products".to_owned(), r#"{"name":"x","price":1}"#),
        (Method::PUT, format!("/products/{id}"), "{}"),
        (Method::DELETE, format!("/products/{id}"), ""),
        (Method::POST, format!("/products/{id}/restock"), r#"{"quantity":1}"#),
        (Method::GET, format!("/products/{id}/stock/history"), ""),
        (Method::GET, "/products?deleted=true".to_owned(), ""),
        (Method::GET, "/products/export".to_owned(), ""),
        (Method::POST, "/products/import".to_owned(), "{}"),
    ];
    for (method, path, body) in requests {
        for (token, status) in [(None, 401), (Some("nonsense"), 401), (Some(shop.customer.as_str()), 403)] {
            let answer = shop.send_as(token, method.clone(), &path, body).await;
            assert_eq!(answer.status(), status, "{method} {path} with {token:?}");
        }
    }
    assert_eq!(shop.events().await, 0);
    shop.close().await;
}

#[tokio::test]
async fn an_empty_shop_is_seeded_once() {
    let config = || Config { seed_catalogue: true, ..Config::default() };
    let shop = Shop::open_with(config(), testkit::postgres::database().await).await;
    let products = eventually(PATIENCE, || async {
        let (_, products) = shop.get("/products").await;
        (products.as_array().unwrap().len() == 8).then_some(products)
    })
    .await;
    assert_eq!(products[0]["name"], "Laptop");
    assert_eq!(products[0]["price"].to_string(), "999.99");
    let last = products.as_array().unwrap().iter().find(|product| product["name"] == "Last item").unwrap();
    assert_eq!((&last["stock"], &last["id"]), (&json!(1), &json!(seeded("Last item").to_string())));

    let path = format!("/products/{}", seeded("Mouse"));
    assert_eq!(shop.send(Method::DELETE, &path, "").await.status(), 200);
    eventually(PATIENCE, || async { shop.get(&path).await.0 == 404 }).await;
    let events = shop.events().await;
    let shop = Shop::open_with(config(), shop.close().await).await;
    assert_eq!((shop.events().await, shop.get(&path).await.0), (events, 404));
    shop.close().await;
}

#[test]
fn the_document_names_every_route() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    let paths: Vec<&String> = document["paths"].as_object().unwrap().keys().collect();
    let expected = [
        "/admin/log-level",
        "/products",
        "/products/export",
        "/products/import",
        "/products/{id}",
        "/products/{id}/availability",
        "/products/{id}/restock",
        "/products/{id}/stock/history",
    ];
    assert_eq!(paths, expected);
    for operations in document["paths"].as_object().unwrap().values() {
        for (method, operation) in operations.as_object().unwrap() {
            assert!(operation["operationId"].is_string() && operation["summary"].is_string(), "{method} {operation}");
            assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{operation}");
        }
    }
}

fn time(value: &Value) -> DateTime<chrono::Utc> {
    value.as_str().unwrap().parse().unwrap()
}

fn seeded(name: &str) -> kernel::ProductId {
    Seeded::catalogue().find(|(_, seeded)| *seeded == name).unwrap().0
}
