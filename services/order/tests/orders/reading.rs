use std::collections::HashSet;

use futures::StreamExt;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use uuid::Uuid;
use web::auth::Role;

use crate::catalogue::MOUSE;
use crate::fixture::{Answer, PATIENCE, Shop, User};

fn ids(page: &Value) -> Vec<Uuid> {
    page["orders"].as_array().unwrap().iter().map(|order| order["id"].as_str().unwrap().parse().unwrap()).collect()
}

async fn place(shop: &Shop, user: &User, quantity: usize) -> Answer {
    let answer = shop.post(user, "/orders", &json!({ "product_id": MOUSE, "quantity": quantity })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    answer
}

#[tokio::test]
async fn ones_own_orders_are_listed_in_pages_the_newest_first() {
    let shop = Shop::open().await;
    let (user, other) = (shop.customer(), shop.customer());
    assert_eq!(shop.get(&user, "/orders").await.body, json!({ "orders": [] }));
    let mut placed = Vec::new();
    for n in 1..=7 {
        placed.push(place(&shop, &user, n).await.id());
        place(&shop, &other, 1).await;
    }
    placed.reverse();
    let first = eventually(PATIENCE, || async {
        Some(shop.get(&user, "/orders?limit=3").await.body).filter(|first| ids(first) == placed[..3])
    })
    .await;
    let second = shop.get(&user, &format!("/orders?limit=3&after={}", first["next"].as_str().unwrap())).await.body;
    assert_eq!(ids(&second), placed[3..6]);
    let last = shop.get(&user, &format!("/orders?limit=3&after={}", second["next"].as_str().unwrap())).await.body;
    assert_eq!((ids(&last).as_slice(), last.get("next")), (&placed[6..], None));
    assert_eq!(ids(&shop.get(&user, "/orders").await.body), placed);
    assert!(ids(&shop.get(&user, "/orders?status=confirmed").await.body).is_empty());
    assert_eq!(ids(&shop.get(&user, "/orders?status=pending&limit=200").await.body), placed);

    for (query, field) in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("status=paid", "status"),
        ("after=7", "after"),
    ] {
        let refused = shop.get(&user, &format!("/orders?{query}")).await;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec![field]), "{query}");
    }
    assert_eq!(shop.send(Method::GET, None, "/orders", None).await.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn orders_are_listed_by_time_and_by_administrators() {
    let shop = Shop::open().await;
    let (user, other, admin) = (shop.customer(), shop.customer(), shop.user(Role::Admin));
    let mut placed = Vec::new();
    for n in 1..=3 {
        placed.push(place(&shop, &user, n).await);
    }
    let others = place(&shop, &other, 1).await.id();
    let [third, second, first] = [2, 1, 0].map(|n: usize| placed[n].id());
    eventually(PATIENCE, || async { ids(&shop.get(&admin, "/orders?all=true").await.body).len() == 4 }).await;
    let at = |n: usize| placed[n].body["created_at"].as_str().unwrap();
    for (caller, query, expected) in [
        (&user, format!("created_after={}", at(1)), vec![third, second]),
        (&user, format!("created_before={}", at(1)), vec![first]),
        (&user, format!("created_after={}&created_before={}", at(1), at(2)), vec![second]),
        (&user, "created_before=1970-01-01T00:00:00Z".to_owned(), vec![]),
        (&user, "created_after=9999-12-31T23:59:59Z".to_owned(), vec![]),
        (&user, format!("customer_id={}", user.id), vec![third, second, first]),
        (&admin, "all=true&status=pending".to_owned(), vec![others, third, second, first]),
        (&admin, "all=true&limit=2".to_owned(), vec![others, third]),
        (&admin, format!("all=true&after={third}"), vec![second, first]),
        (&admin, format!("customer_id={}", other.id), vec![others]),
        (&admin, String::new(), vec![]),
    ] {
        assert_eq!(ids(&shop.get(caller, &format!("/orders?{query}")).await.body), expected, "{query}");
    }
    for query in ["all=true".to_owned(), format!("customer_id={}", user.id), format!("all=true&after={first}")] {
        assert_eq!(shop.get(&other, &format!("/orders?{query}")).await.status, StatusCode::FORBIDDEN, "{query}");
    }
    for (query, field) in [
        ("created_after=yesterday".to_owned(), "created_after"),
        ("created_before=-0001-01-01T00:00:00Z".to_owned(), "created_before"),
        ("all=maybe".to_owned(), "all"),
        (format!("all=true&customer_id={}", user.id), "customer_id"),
    ] {
        let refused = shop.get(&admin, &format!("/orders?{query}")).await;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec![field]), "{query}");
    }
}

#[tokio::test]
async fn an_order_is_its_owners_and_the_shops() {
    let shop = Shop::open().await;
    let (user, other, admin) = (shop.customer(), shop.customer(), shop.user(Role::Admin));
    let path = format!("/orders/{}", place(&shop, &user, 1).await.id());
    for path in [path.clone(), format!("{path}/history"), format!("{path}?wait=10s")] {
        assert_eq!(shop.get(&other, &path).await.status, StatusCode::NOT_FOUND, "{path}");
        assert_eq!(shop.send(Method::GET, None, &path, None).await.status, StatusCode::UNAUTHORIZED, "{path}");
    }
    assert_eq!(shop.get(&admin, &path).await.status, StatusCode::OK);
    let nowhere = format!("/orders/{}", Uuid::now_v7());
    for path in [nowhere.clone(), format!("{nowhere}/history"), format!("{nowhere}?wait=10s")] {
        assert_eq!(shop.get(&user, &path).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    for path in ["/orders/1", "/orders/1/history", "/api/v1/orders/99999999999"] {
        let refused = shop.get(&user, path).await;
        assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec!["id"]), "{path}");
    }
    let refused = shop.get(&user, &format!("{path}?wait=31s")).await;
    assert_eq!((refused.status, refused.fields()), (StatusCode::BAD_REQUEST, vec!["wait"]));
}

#[tokio::test]
async fn many_orders_at_once_are_all_kept_and_end_as_they_were_told_to() {
    const ORDERS: usize = 120;
    let shop = Shop::open().await;
    let user = shop.customer();
    let placing = futures::stream::iter((1..=ORDERS).map(|n| place(&shop, &user, n)));
    let placed = placing.buffered(16).collect::<Vec<_>>().await;
    for (n, order) in placed.iter().enumerate() {
        match n % 3 {
            0 => shop.confirm(order.id()).await,
            1 => shop.cancel(order.id(), "out_of_stock").await,
            _ => {}
        }
    }
    eventually(PATIENCE, || async {
        ids(&shop.get(&user, "/orders?status=pending&limit=200").await.body).len() == ORDERS / 3
    })
    .await;
    let page = shop.get(&user, "/orders?limit=200").await.body;
    let listed = page["orders"].as_array().unwrap();
    assert_eq!(ids(&page).into_iter().collect::<HashSet<_>>().len(), ORDERS);
    for (n, placed) in placed.iter().enumerate() {
        let listed = listed.iter().find(|order| order["id"] == placed.body["id"]).unwrap();
        let expected = ["confirmed", "cancelled", "pending"][n % 3];
        assert_eq!(listed["status"], expected);
        assert_eq!(listed.get("cancel_reason"), (n % 3 == 1).then_some(&json!("out_of_stock")));
        for same in ["user_id", "lines", "total_price", "currency", "payment_method", "created_at"] {
            assert_eq!(listed[same], placed.body[same], "{same}");
        }
    }
    shop.close().await;
}
