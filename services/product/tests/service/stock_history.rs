use event_schemas::EventType;
use event_schemas::commands::{CommitStock, ReserveStock};
use kernel::{OrderId, ProductId};
use reqwest::Method;
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::shop::{PATIENCE, Shop};

async fn history(shop: &Shop, path: &str) -> (Value, Option<String>) {
    let answer = shop.send(Method::GET, path, "").await;
    assert_eq!(answer.status(), 200);
    let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
    (answer.json().await.unwrap(), link)
}

#[tokio::test]
async fn what_became_of_the_stock_is_told_in_plain_words() {
    let shop = Shop::open().await;
    let product = shop.product("Laptop", "999.99", 10).await;
    let path = format!("/products/{product}");
    let (product_id, order_id) = (ProductId(product), OrderId(Uuid::now_v7()));
    let reserve = |order_id, quantity: i64| ReserveStock {
        order_id,
        product_id,
        quantity: quantity.try_into().unwrap(),
        event_type: EventType::default(),
    };
    shop.command(Uuid::now_v7(), &reserve(order_id, 3)).await;
    shop.command(Uuid::now_v7(), &reserve(OrderId(Uuid::now_v7()), 30)).await;
    shop.command(Uuid::now_v7(), &CommitStock { order_id, product_id, event_type: EventType::default() }).await;
    shop.published_types(product, 5).await;
    assert_eq!(shop.post(&format!("{path}/restock"), r#"{"quantity":5}"#).await.0, 200);
    assert_eq!(shop.put(&path, r#"{"stock":2}"#).await.0, 200);
    assert_eq!(shop.send(Method::DELETE, &path, "").await.status(), 200);

    let all = format!("{path}/stock/history");
    let (movements, link) = history(&shop, &all).await;
    let told: Vec<_> = movements
        .as_array()
        .unwrap()
        .iter()
        .map(|m| (m["sequence"].as_u64().unwrap(), m["kind"].as_str().unwrap(), &m["quantity"], &m["available"]))
        .map(|(sequence, kind, quantity, available)| {
            (sequence, kind, quantity.as_i64().unwrap(), available.as_i64().unwrap())
        })
        .collect();
    let expected = [
        (7, "closed", 0, 2),
        (6, "adjusted", -10, 2),
        (5, "restocked", 5, 12),
        (4, "sold", 3, 7),
        (3, "rejected", 30, 7),
        (2, "reserved", 3, 7),
        (1, "opened", 10, 10),
    ];
    assert_eq!(told, expected);
    assert_eq!(link, None);
    assert_eq!(movements[3]["order_id"], json!(order_id.to_string()));
    assert!(movements[0].get("order_id").is_none());
    assert_eq!(movements[3]["text"], "3 were sold to an order");
    assert!(movements[1]["actor"].as_str().unwrap().starts_with("user:"));
    assert_eq!(movements[5]["actor"], "service:orchestrator");

    let (mut paged, mut page) = (Vec::new(), format!("{all}?limit=3"));
    loop {
        let (movements, link) = history(&shop, &page).await;
        paged.extend(movements.as_array().unwrap().clone());
        let Some(link) = link else { break };
        page = format!("{all}?{}", link.strip_prefix("<?").unwrap().strip_suffix(">; rel=\"next\"").unwrap());
    }
    assert_eq!(Value::Array(paged), movements);
    shop.close().await;
}

#[tokio::test]
async fn a_product_that_never_was_has_no_history() {
    let shop = Shop::open().await;
    let path = format!("/products/{}/stock/history", Uuid::now_v7());
    assert_eq!(shop.send(Method::GET, &path, "").await.status(), 404);
    let product = shop.product("Laptop", "999.99", 1).await;
    for query in ["limit=0", "limit=1001", "before=x", "before=-1"] {
        let answer = shop.send(Method::GET, &format!("/products/{product}/stock/history?{query}"), "").await;
        assert_eq!(answer.status(), 400, "{query}");
    }
    let huge = format!("/products/{product}/stock/history?before={}", u64::MAX);
    eventually(PATIENCE, || async { history(&shop, &huge).await.0.as_array().unwrap().len() == 1 }).await;
    shop.close().await;
}
