use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::eventually;

use crate::shop::{PATIENCE, Shop, price};

const CSV: &str = "text/csv";
const LINES: &str = "application/x-ndjson";

async fn import(shop: &Shop, query: &str, kind: &str, file: &str) -> (u16, Value) {
    let path = format!("/products/import{query}");
    crate::shop::answer(shop.with(Method::POST, &path, &[("content-type", kind)], file).await).await
}

async fn export(shop: &Shop, accept: &str) -> Response {
    let answer = shop.with(Method::GET, "/products/export", &[("accept", accept)], "").await;
    assert_eq!(answer.status(), 200);
    answer
}

async fn has(shop: &Shop, count: usize) -> Vec<Value> {
    eventually(PATIENCE, || async {
        let (_, products) = shop.get("/products?limit=1000").await;
        let products = products.as_array().unwrap().clone();
        (products.len() == count).then_some(products)
    })
    .await
}

fn counts(report: &Value) -> [u64; 5] {
    ["lines", "created", "updated", "unchanged", "failed"].map(|name| report[name].as_u64().unwrap())
}

#[tokio::test]
async fn good_lines_take_effect_and_bad_ones_are_told() {
    let shop = Shop::open().await;
    let file = "sku,name,price,stock,category\n\
                A-1,Laptop,999.99,10,Computers\n\
                A-2,Mouse,0,5,\n\
                A-3,,29.99,,\n\
                A-4,Keyboard,79.90,-1,\n\
                A-5,Cable,9.95\n\
                A-1,Laptop again,1,1,\n\
                ,\"Lamp, big\",19.999,1.5,\n\
                ,\"Lamp, small\",19.99,3,\n";
    let (status, tried) = import(&shop, "?dry_run=true", CSV, file).await;
    assert_eq!((status, counts(&tried), &tried["dry_run"]), (200, [8, 2, 0, 0, 6], &json!(true)));
    assert_eq!(shop.events().await, 0);

    let (status, report) = import(&shop, "", "text/csv; charset=utf-8", file).await;
    assert_eq!((status, counts(&report)), (200, [8, 2, 0, 0, 6]));
    let told: Vec<_> =
        report["errors"].as_array().unwrap().iter().map(|e| (e["line"].as_u64().unwrap(), &e["field"])).collect();
    let expected = [
        (3, &json!("price")),
        (4, &json!("name")),
        (5, &json!("stock")),
        (6, &json!(null)),
        (7, &json!("id")),
        (8, &json!("price")),
        (8, &json!("stock")),
    ];
    assert_eq!(told, expected, "{report}");
    assert_eq!(report["errors"], tried["errors"]);
    let products = has(&shop, 2).await;
    let laptop = products.iter().find(|product| product["name"] == "Laptop").unwrap();
    assert_eq!((&laptop["sku"], &laptop["stock"]), (&json!("A-1"), &json!(10)));

    // Once more, with another price: nothing is doubled, and what is not given stays.
    let (_, report) = import(&shop, "", LINES, "{\"sku\":\"A-1\",\"price\":899.5}\n{\"sku\":\"A-1x\"}").await;
    assert_eq!(counts(&report), [2, 0, 1, 0, 1]);
    let path = format!("/products/{}", laptop["id"].as_str().unwrap());
    let shown = eventually(PATIENCE, || async {
        let (_, shown) = shop.get(&path).await;
        (price(&shown) == "899.50").then_some(shown)
    })
    .await;
    assert_eq!(
        (&shown["name"], &shown["stock"], &shown["category"]),
        (&json!("Laptop"), &json!(10), &json!("Computers"))
    );
    let same = r#"{"name":"Laptop","price":1,"sku":"A-1"}"#;
    assert_eq!(shop.post("/products", same).await.0, 409);
    shop.close().await;
}

#[tokio::test]
async fn what_goes_out_comes_in_again() {
    let shop = Shop::open().await;
    let file = "name,price,sku,stock\n\"Quoted \"\"name\"\", with comma\",1.00,,5\nÜnïcode,123456.78,S 1,0\n";
    assert_eq!(import(&shop, "", CSV, file).await.0, 200);
    has(&shop, 2).await;
    let answer = export(&shop, CSV).await;
    assert_eq!(answer.headers()["content-type"], CSV);
    assert!(answer.headers()["content-disposition"].to_str().unwrap().contains("products.csv"));
    let csv = answer.text().await.unwrap();
    assert!(csv.starts_with("id,sku,name,price,currency,stock,category\n"), "{csv}");
    let lines = export(&shop, LINES).await.text().await.unwrap();
    assert_eq!(lines.lines().count(), 2);
    assert!(lines.contains("\"price\":123456.78,"), "{lines}");

    for (kind, file) in [(CSV, &csv), (LINES, &lines)] {
        let (_, report) = import(&shop, "", kind, file).await;
        assert_eq!(counts(&report), [2, 0, 0, 2, 0], "{report}");
    }
    // Into another shop, with the same ids.
    let other = Shop::open().await;
    let (_, report) = import(&other, "", LINES, &lines).await;
    assert_eq!(counts(&report), [2, 2, 0, 0, 0], "{report}");
    has(&other, 2).await;
    assert_eq!(export(&other, "*/*").await.text().await.unwrap().lines().count(), csv.lines().count());
    other.close().await;
    shop.close().await;
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_refused_whole() {
    let shop = Shop::open().await;
    for (kind, file, status) in [
        (CSV, "name,colour\nx,red\n", 400),
        (CSV, "name,name\nx,y\n", 400),
        (CSV, "", 400),
        ("application/json", "{}", 415),
        ("text/plain", "x", 415),
    ] {
        let (answered, problem) = import(&shop, "", kind, file).await;
        assert_eq!(answered, status, "{kind} {file}: {problem}");
    }
    let many = format!("name\n{}", "x\n".repeat(20_001));
    assert_eq!(import(&shop, "", CSV, &many).await.0, 422);
    assert_eq!(shop.events().await, 0);

    let deleted = shop.product("Laptop", "1", 1).await;
    assert_eq!(shop.send(Method::DELETE, &format!("/products/{deleted}"), "").await.status(), 200);
    let (_, report) = import(&shop, "", CSV, &format!("id,price\n{deleted},2\nx,2\n")).await;
    assert_eq!(counts(&report), [2, 0, 0, 0, 2]);
    assert_eq!(report["errors"][0], json!({ "line": 2, "field": "id", "reason": "the product was deleted" }));
    shop.close().await;
}

#[tokio::test]
async fn a_large_catalogue_goes_through() {
    let shop = Shop::open().await;
    let lines: String = (0..2_500).map(|n| format!("SKU-{n},Product {n},{}.50,{n}\n", n + 1)).collect();
    let (status, report) = import(&shop, "", CSV, &format!("sku,name,price,stock\n{lines}")).await;
    assert_eq!((status, counts(&report)), (200, [2_500, 2_500, 0, 0, 0]));
    let csv = eventually(PATIENCE, || async {
        let csv = export(&shop, CSV).await.text().await.unwrap();
        (csv.lines().count() == 2_501).then_some(csv)
    })
    .await;
    let mut skus: Vec<&str> = csv.lines().skip(1).map(|line| line.split(',').nth(1).unwrap()).collect();
    skus.sort_unstable();
    skus.dedup();
    assert_eq!(skus.len(), 2_500);
    shop.close().await;
}
