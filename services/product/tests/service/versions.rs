//! Entity tags: who reads, changes and asks again.

use reqwest::{Method, Response, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;

use crate::shop::{PATIENCE, Shop};

fn etag(response: &Response) -> String {
    response.headers()["etag"].to_str().unwrap().to_owned()
}

#[tokio::test]
async fn every_answer_with_a_product_carries_its_version() {
    let shop = Shop::open().await;
    let created = shop.send(Method::POST, "/products", r#"{"name":"Laptop","price":999.99,"stock":5}"#).await;
    assert_eq!((created.status(), etag(&created).as_str()), (StatusCode::CREATED, "\"1.1\""));
    let location = created.headers()["location"].to_str().unwrap().to_owned();
    let created: Value = created.json().await.unwrap();
    assert_eq!(location, format!("/products/{}", created["id"].as_str().unwrap()));
    assert_eq!(created["version"], "1.1");
    shop.shows(&location, &created).await;

    let read = shop.send_as(None, Method::GET, &location, "").await;
    assert_eq!((etag(&read).as_str(), read.headers()["cache-control"].to_str().unwrap()), ("\"1.1\"", "no-cache"));
    // The very same representation under the very same tag.
    assert_eq!(read.json::<Value>().await.unwrap(), created);
    let priced = shop.send(Method::PUT, &location, r#"{"price":1}"#).await;
    assert_eq!(etag(&priced), "\"2.1\"");
    let restocked = shop.send(Method::POST, &format!("{location}/restock"), r#"{"quantity":1}"#).await;
    assert_eq!(etag(&restocked), "\"2.2\"");
    let restocked: Value = restocked.json().await.unwrap();
    shop.shows(&location, &restocked).await;
    assert_eq!(shop.get(&location).await.1, restocked);
    // Nothing changed: nothing is another version.
    assert_eq!(etag(&shop.send(Method::PUT, &location, r#"{"price":1,"stock":6}"#).await), "\"2.2\"");
    shop.close().await;
}

#[tokio::test]
async fn who_has_it_already_is_told_so() {
    let shop = Shop::open().await;
    let path = format!("/products/{}", shop.product("Laptop", "999.99", 5).await);
    for (tag, status) in [
        ("\"1.1\"", 304),
        ("W/\"1.1\"", 304),
        ("\"9.9\", \"1.1\"", 304),
        ("*", 304),
        ("\"1.2\"", 200),
        ("1.1", 200),
        ("nonsense", 200),
    ] {
        let answer = shop.with(Method::GET, &path, &[("if-none-match", tag)], "").await;
        assert_eq!((answer.status().as_u16(), etag(&answer).as_str()), (status, "\"1.1\""), "{tag}");
        assert_eq!(answer.bytes().await.unwrap().is_empty(), status == 304);
    }
    assert_eq!(shop.put(&path, r#"{"stock":4}"#).await.0, 200);
    eventually(PATIENCE, || async {
        shop.with(Method::GET, &path, &[("if-none-match", "\"1.1\"")], "").await.status() == 200
    })
    .await;
    shop.close().await;
}

#[tokio::test]
async fn of_two_administrators_who_edit_one_product_one_is_refused() {
    let shop = Shop::open().await;
    let path = format!("/products/{}", shop.product("Laptop", "999.99", 5).await);
    let tag = etag(&shop.send(Method::GET, &path, "").await);
    let edit = |price: i64| {
        let (shop, path, tag) = (&shop, &path, &tag);
        async move {
            let body = format!("{{\"price\":{price}}}");
            shop.with(Method::PUT, path, &[("if-match", tag)], body).await
        }
    };
    let (one, other) = tokio::join!(edit(10), edit(20));
    let mut statuses = [one.status().as_u16(), other.status().as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412]);
    let refused = if one.status() == 412 { one } else { other };
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    let problem: Value = refused.json().await.unwrap();
    assert_eq!((&problem["type"], &problem["version"]), (&json!("/problems/precondition-failed"), &json!("2.1")));
    // With what he is told, he can look again and decide again.
    let again = shop.with(Method::PUT, &path, &[("if-match", "\"2.1\"")], r#"{"price":30}"#).await;
    assert_eq!((again.status().as_u16(), etag(&again).as_str()), (200, "\"3.1\""));
    shop.close().await;
}

#[tokio::test]
async fn what_has_changed_meanwhile_is_neither_counted_nor_restocked_nor_deleted() {
    let shop = Shop::open().await;
    let path = format!("/products/{}", shop.product("Laptop", "999.99", 5).await);
    // Somebody else restocks: the description is as it was, the product is not.
    assert_eq!(shop.post(&format!("{path}/restock"), r#"{"quantity":1}"#).await.0, 200);
    let events = shop.events().await;
    let restock = format!("{path}/restock");
    let requests = [
        (Method::PUT, path.as_str(), r#"{"stock":5}"#),
        (Method::PUT, path.as_str(), r#"{"name":"Notebook"}"#),
        (Method::PUT, path.as_str(), "{}"),
        (Method::POST, restock.as_str(), r#"{"quantity":1}"#),
        (Method::DELETE, path.as_str(), ""),
    ];
    for (method, path, body) in &requests {
        for stale in ["\"1.1\"", "W/\"1.2\"", "1.2", "\"\"", "nonsense"] {
            let answer = shop.with(method.clone(), path, &[("if-match", stale)], *body).await;
            assert_eq!(answer.status(), 412, "{method} {path} {stale}");
        }
    }
    assert_eq!(shop.events().await, events);
    for (method, to, body) in requests {
        // The present version, from the store and not from the read model.
        let tag = etag(&shop.send(Method::PUT, &path, "{}").await);
        let answer = shop.with(method.clone(), to, &[("if-match", &tag)], body).await;
        assert_eq!(answer.status(), 200, "{method} {to}");
    }
    let unknown = format!("/products/{}", Uuid::now_v7());
    assert_eq!(shop.with(Method::PUT, &unknown, &[("if-match", "*")], "{}").await.status(), 404);
    shop.close().await;
}
