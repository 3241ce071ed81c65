use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use testkit::eventually;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::catalogue::{HOME, IMPORTED, LAPTOP, MOUSE, NOWHERE, PALACE, RIDDLE, SCREWS};
use crate::fixture::{PATIENCE, Shop};

#[tokio::test]
async fn an_order_of_one_product_is_placed_and_published() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let answer = shop.post(&user, "/api/v1/orders", &json!({ "product_id": LAPTOP, "quantity": 2 })).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    let order = &answer.body;
    assert_eq!(answer.headers["location"], format!("/orders/{}", answer.id()));
    assert_eq!(order["user_id"], json!(user.id));
    assert_eq!((&order["product_id"], &order["quantity"]), (&json!(LAPTOP), &json!(2)));
    assert_eq!(
        order["lines"].to_string(),
        json!([{ "product_id": LAPTOP, "quantity": 2, "unit_price": 999.99 }]).to_string()
    );
    assert_eq!((order["total_price"].to_string(), &order["currency"]), ("1999.98".to_owned(), &json!("EUR")));
    assert_eq!((&order["status"], &order["payment_method"]), (&json!("pending"), &json!("tok_ok")));
    assert_eq!(order["created_at"], order["updated_at"]);
    assert_eq!(order.get("cancel_reason"), None);

    let path = format!("/orders/{}", answer.id());
    assert_eq!(shop.get(&user, &path).await.body, *order, "an order that was acknowledged is found at once");
    eventually(PATIENCE, || async {
        let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM orders").fetch_one(&shop.database.pool).await.unwrap();
        rows == 1
    })
    .await;
    assert_eq!(shop.get(&user, &path).await.body, *order, "and looks the same in the read model");

    let published = eventually(PATIENCE, || async { shop.published(answer.id()).await.pop() }).await;
    assert_eq!(published.0, "order_created");
    let message = published.1;
    assert_eq!(
        (&message["order_id"], &message["product_id"], &message["quantity"]),
        (&order["id"], &json!(LAPTOP), &json!(2))
    );
    assert_eq!(
        (message["total_price"].to_string(), &message["event_type"]),
        ("1999.98".to_owned(), &json!("order_created"))
    );
    shop.close().await;
}

#[tokio::test]
async fn an_order_waits_for_the_user_service_only_where_it_has_an_address() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let mut body = json!({ "product_id": LAPTOP, "quantity": 1, "address_id": NOWHERE });
    let refused = shop.post(&user, "/orders", &body).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{}", refused.text);
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(shop.events().await, 0);
    body["address_id"] = json!(null);
    assert_eq!(shop.post(&user, "/orders", &body).await.status, StatusCode::CREATED);
    shop.close().await;
}

#[tokio::test]
async fn an_order_of_several_lines_is_placed_at_the_catalogues_prices() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let lines = json!([{ "product_id": LAPTOP, "quantity": 1 }, { "product_id": MOUSE, "quantity": 3 }]);
    let address = HOME;
    let body = json!({
        "lines": lines, "payment_method": "tok_declined", "user_id": user.id, "address_id": address,
    });
    let answer = shop.post(&user, "/orders", &body).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
    assert_eq!(answer.body["total_price"].to_string(), "1076.49");
    assert_eq!(answer.body["payment_method"], "tok_declined");
    assert_eq!(answer.body["lines"].as_array().unwrap().len(), 2);
    let (kind, message) = eventually(PATIENCE, || async { shop.published(answer.id()).await.pop() }).await;
    assert_eq!((kind.as_str(), message.get("product_id")), ("order_created", None));
    assert_eq!((&answer.body["address_id"], &message["address_id"]), (&json!(address), &json!(address)));
    let path = format!("/orders/{}", answer.id());
    eventually(PATIENCE, || async { shop.get(&user, &path).await.body == answer.body }).await;

    let many = (0..100).map(|n| json!({ "product_id": Uuid::from_u128(SCREWS.as_u128() + n), "quantity": 1_000_000 }));
    let answer = shop.post(&user, "/orders", &json!({ "lines": many.collect::<Vec<_>>() })).await;
    assert_eq!((answer.status, answer.body["total_price"].to_string()), (StatusCode::CREATED, "1000000.00".to_owned()));
}

#[tokio::test]
async fn what_cannot_be_had_is_refused_with_what_there_is() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let refused = shop.post(&user, "/orders", &json!({ "product_id": LAPTOP, "quantity": 51 })).await;
    assert_eq!((refused.status, &refused.body["stock"]), (StatusCode::BAD_REQUEST, &json!(50)));
    assert_eq!((&refused.body["error"], refused.fields()), (&json!("Product not available"), vec!["quantity"]));

    let unknown = shop.post(&user, "/orders", &json!({ "product_id": Uuid::now_v7(), "quantity": 1 })).await;
    assert_eq!((unknown.status, &unknown.body["stock"]), (StatusCode::BAD_REQUEST, &json!(0)));
    assert_eq!((&unknown.body["error"], unknown.fields()), (&json!("Product not available"), vec!["product_id"]));

    let lines = json!([{ "product_id": MOUSE, "quantity": 1 }, { "product_id": LAPTOP, "quantity": 60 }, { "product_id": Uuid::nil(), "quantity": 1 }]);
    let refused = shop.post(&user, "/orders", &json!({ "lines": lines })).await;
    assert_eq!((refused.status, &refused.body["stock"]), (StatusCode::BAD_REQUEST, &json!(50)));
    assert_eq!(refused.fields(), ["lines[1].quantity", "lines[2].product_id"]);
    assert_eq!(shop.events().await, 0);
}

#[tokio::test]
async fn bad_input_is_refused_by_name_and_nothing_is_stored() {
    let shop = Shop::open().await;
    let user = shop.customer();
    let line = |product: Uuid, quantity: Value| json!({ "product_id": product, "quantity": quantity });
    let lines = |lines: Value| json!({ "lines": lines });
    let thousand = (0..1_000).map(|_| line(Uuid::now_v7(), json!(1))).collect::<Vec<_>>();
    let with = |name: &str, value: Value| {
        let mut body = line(LAPTOP, json!(1));
        body[name] = value;
        body
    };
    for (body, status, field) in [
        (json!({}), 400, "product_id"),
        (json!({ "quantity": 1 }), 400, "product_id"),
        (json!({ "product_id": LAPTOP }), 400, "quantity"),
        (line(LAPTOP, json!(-1)), 400, "quantity"),
        (line(LAPTOP, json!(0)), 400, "quantity"),
        (line(LAPTOP, json!(1_000_001)), 400, "quantity"),
        (line(LAPTOP, json!(u64::MAX)), 400, "quantity"),
        (line(LAPTOP, json!(1.5)), 400, "quantity"),
        (line(LAPTOP, json!("2")), 400, "quantity"),
        (line(LAPTOP, json!([1])), 400, "quantity"),
        (with("product_id", json!("laptop")), 400, "product_id"),
        (with("product_id", json!(1)), 400, "product_id"),
        (with("payment_method", json!("4242 4242 4242 4242")), 400, "payment_method"),
        (with("payment_method", json!(5)), 400, "payment_method"),
        (with("payment_method", json!("tok_\0")), 400, "payment_method"),
        (with("lines", json!([line(MOUSE, json!(1))])), 400, "product_id"),
        (with("user_id", json!(Uuid::now_v7())), 422, "user_id"),
        (with("user_id", json!(1)), 400, "user_id"),
        (with("address_id", json!("home")), 400, "address_id"),
        (with("address_id", json!(Uuid::now_v7())), 400, "address_id"),
        (with("price", json!(0.01)), 422, "price"),
        (with("status", json!("confirmed")), 422, "status"),
        (with("role", json!("admin")), 422, "role"),
        (lines(json!([])), 400, "lines"),
        (lines(json!("all")), 400, "lines"),
        (lines(json!(thousand)), 400, "lines"),
        (lines(json!([line(MOUSE, json!(1)), line(MOUSE, json!(2))])), 400, "lines[1].product_id"),
        (lines(json!([line(MOUSE, json!(1)), line(LAPTOP, json!(-2))])), 400, "lines[1].quantity"),
        (lines(json!([{ "product_id": MOUSE, "quantity": 1, "unit_price": 0 }])), 422, "lines[0].unit_price"),
        (line(PALACE, json!(1_000)), 422, "lines"),
        (lines(json!([line(MOUSE, json!(1)), line(IMPORTED, json!(1))])), 422, "lines"),
    ] {
        let shown = body.to_string().chars().take(200).collect::<String>();
        let refused = shop.post(&user, "/orders", &body).await;
        assert_eq!(refused.status.as_u16(), status, "{shown}: {}", refused.body);
        assert!(refused.fields().contains(&field), "{shown}: {}", refused.body);
    }
    for body in ["", "{", "[]", "null", "\"order\""] {
        let refused = shop.send(Method::POST, Some(&user), "/orders", Some(body.to_owned())).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{body}");
    }
    let body = json!({ "product_id": LAPTOP, "quantity": 1 }).to_string();
    let anonymous = shop.send(Method::POST, None, "/orders", Some(body)).await;
    assert_eq!(anonymous.status, StatusCode::UNAUTHORIZED);
    assert_eq!(shop.events().await, 0);
}

#[tokio::test]
async fn without_a_product_service_there_are_no_orders_but_an_answer() {
    // A port that was free a moment ago: nobody answers there.
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shop = Shop::open_with(closed.to_string(), CancellationToken::new()).await;
    let user = shop.customer();
    let refused = shop.post(&user, "/orders", &json!({ "product_id": LAPTOP, "quantity": 1 })).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        (&refused.headers["retry-after"], &refused.body["error"]),
        (&"1".parse().unwrap(), &json!("Product service unavailable"))
    );
    assert_eq!(shop.get(&user, "/orders").await.status, StatusCode::OK, "what was ordered can still be read");
    assert_eq!(shop.events().await, 0);
}

#[tokio::test]
async fn a_product_service_that_hangs_is_not_waited_for() {
    let shop = Shop::open().await;
    let asked_at = std::time::Instant::now();
    let refused = shop.post(&shop.customer(), "/orders", &json!({ "product_id": RIDDLE, "quantity": 1 })).await;
    assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(asked_at.elapsed().as_secs() < 5, "{:?}", asked_at.elapsed());
}
