//! Bad input: 4xx, a problem that names the field, and nothing is recorded.

use reqwest::{Method, RequestBuilder};
use sagashop::ports::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::Answer;
use crate::room_for_a_small_shop;
use crate::up::Up;

const NOT_VALID: &[u16] = &[400, 422];

/// A shop, and who knocks at its doors.
struct Doors {
    shop: Up,
    admin: String,
    customer: String,
    stranger: String,
    product: String,
    order: String,
}

impl Doors {
    async fn open() -> Self {
        let shop = Up::start(&["--empty"]).await;
        let admin = shop.admin().await;
        let (customer, stranger) = (shop.customer("customer").await, shop.customer("stranger").await);
        let product = shop.product(&admin, "Lamp", "19.90", 10).await;
        let order = shop.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
        shop.ended(&customer, &order).await;
        crate::up::settled(&shop.folder).await;
        Self { shop, admin, customer, stranger, product, order }
    }

    /// The request is refused with one of these statuses, and the field is named if there is one.
    async fn refuses(&self, request: RequestBuilder, statuses: &[u16], field: &str, what: &str) -> Answer {
        let answer = self.shop.send(request).await;
        let problem = &answer.body;
        assert!(statuses.contains(&answer.status), "{what}: {answer:?}");
        assert_eq!(answer.content_type, "application/problem+json", "{what}");
        assert_eq!(problem["status"], answer.status, "{what}: {problem}");
        for member in ["type", "title", "detail", "instance"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "{what} has no {member}: {problem}");
        }
        let text = problem.to_string();
        for secret in ["SELECT", "INSERT", "sqlx", "/src/", "panicked"] {
            assert!(!text.contains(secret), "{what} tells of {secret}: {problem}");
        }
        if !field.is_empty() {
            assert!(answer.fields().contains(&field), "{what} does not name {field}: {problem}");
        }
        answer
    }

    async fn refuses_body(&self, role: Role, path: &str, token: &str, body: &Value, field: &str) {
        let request = self.shop.request(Method::POST, role, path, token).json(body);
        self.refuses(request, NOT_VALID, field, &format!("POST {path} with {body}")).await;
    }

    async fn refuses_get(&self, role: Role, path: &str, token: &str, statuses: &[u16], field: &str) {
        let request = self.shop.request(Method::GET, role, path, token);
        self.refuses(request, statuses, field, &format!("GET {path}")).await;
    }

    /// Nothing came of all that.
    async fn recorded_nothing(&self, before: &[i64]) {
        assert_eq!(self.shop.folder.events().await, before);
        self.shop.assert_clean().await;
        let order = json!({ "product_id": self.product, "quantity": 1 });
        let order = self.shop.place(&self.customer, &order).await;
        assert_eq!(self.shop.ended(&self.customer, &order).await["status"], "confirmed", "the shop still works");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_valid_are_refused_by_field() {
    let _room = room_for_a_small_shop().await;
    let doors = Doors::open().await;
    let before = doors.shop.folder.events().await;
    let long = "x".repeat(10_000);

    let product = &doors.product;
    let line = json!({ "product_id": product, "quantity": 1 });
    for (body, field) in [
        (json!({ "product_id": product, "quantity": 0 }), "quantity"),
        (json!({ "product_id": product, "quantity": -1 }), "quantity"),
        (json!({ "product_id": product, "quantity": 1_000_001 }), "quantity"),
        (json!({ "product_id": product, "quantity": i64::MAX }), "quantity"),
        (json!({ "product_id": product, "quantity": u64::MAX }), "quantity"),
        (json!({ "product_id": product, "quantity": 1e300 }), "quantity"),
        (json!({ "product_id": product, "quantity": 1.5 }), "quantity"),
        (json!({ "product_id": product, "quantity": "1" }), "quantity"),
        (json!({ "product_id": product, "quantity": true }), "quantity"),
        (json!({ "product_id": product, "quantity": null }), "quantity"),
        (json!({ "product_id": product, "quantity": [1] }), "quantity"),
        (json!({ "product_id": product }), "quantity"),
        (json!({ "quantity": 1 }), "product_id"),
        (json!({}), "product_id"),
        (json!({ "product_id": "lamp", "quantity": 1 }), "product_id"),
        (json!({ "product_id": 7, "quantity": 1 }), "product_id"),
        (json!({ "lines": [] }), "lines"),
        (json!({ "lines": vec![&line; 1_000] }), "lines"),
        (json!({ "lines": "all" }), "lines"),
        (json!({ "lines": [line, { "product_id": product, "quantity": -1 }] }), "lines[1].quantity"),
        (json!({ "lines": [{ "product_id": product, "quantity": 1, "unit_price": 0.01 }] }), "lines[0].unit_price"),
        (json!({ "lines": [line], "product_id": product, "quantity": 1 }), "product_id"),
        (json!({ "product_id": product, "quantity": 1, "price": 0.01 }), "price"),
        (json!({ "product_id": product, "quantity": 1, "total_price": 0.01 }), "total_price"),
        (json!({ "product_id": product, "quantity": 1, "status": "confirmed" }), "status"),
        (json!({ "product_id": product, "quantity": 1, "payment_method": "cash" }), "payment_method"),
        (json!({ "product_id": product, "quantity": 1, "payment_method": 1 }), "payment_method"),
        (json!({ "product_id": product, "quantity": 1, "payment_method": "tok_\0" }), "payment_method"),
        (json!({ "product_id": product, "quantity": 1, "payment_method": long }), "payment_method"),
    ] {
        doors.refuses_body(Role::Order, "/orders", &doors.customer, &body, field).await;
    }
    let cancel = format!("/orders/{}/cancel", doors.order);
    for (body, field) in [(json!({ "reason": long }), "reason"), (json!({ "refund": true }), "refund")] {
        doors.refuses_body(Role::Order, &cancel, &doors.customer, &body, field).await;
    }

    for (body, field) in [
        (json!({ "name": "Desk", "price": -1, "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": 1e30, "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": "99999999999999999999999999999999", "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": 1.999, "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": "a lot", "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": null, "stock": 1 }), "price"),
        (json!({ "name": "Desk", "stock": 1 }), "price"),
        (json!({ "name": "Desk", "price": 1, "stock": -1 }), "stock"),
        (json!({ "name": "Desk", "price": 1, "stock": 1e12 }), "stock"),
        (json!({ "name": "Desk", "price": 1, "stock": i64::MAX }), "stock"),
        (json!({ "name": "Desk", "price": 1, "stock": 1.5 }), "stock"),
        (json!({ "name": "", "price": 1, "stock": 1 }), "name"),
        (json!({ "name": "  ", "price": 1, "stock": 1 }), "name"),
        (json!({ "name": "De\0sk", "price": 1, "stock": 1 }), "name"),
        (json!({ "name": long, "price": 1, "stock": 1 }), "name"),
        (json!({ "name": ["Desk"], "price": 1, "stock": 1 }), "name"),
        (json!({ "price": 1, "stock": 1 }), "name"),
        (json!({ "name": "Desk", "price": 1, "stock": 1, "id": product }), "id"),
    ] {
        doors.refuses_body(Role::Product, "/products", &doors.admin, &body, field).await;
    }
    let restock = format!("/products/{product}/restock");
    for quantity in [json!(0), json!(-5), json!(1_000_001), json!(1e300), json!("5"), json!(null), json!(2.5)] {
        let body = json!({ "quantity": quantity });
        doors.refuses_body(Role::Product, &restock, &doors.admin, &body, "quantity").await;
    }

    let password = "correct horse battery";
    for (body, field) in [
        (json!({ "name": "Eve", "email": "eve@x.example", "password": password, "role": "admin" }), "role"),
        (json!({ "name": "Eve", "email": "eve", "password": password }), "email"),
        (json!({ "name": "Eve", "email": 5, "password": password }), "email"),
        (json!({ "name": "Eve", "password": password }), "email"),
        (json!({ "name": "Eve", "email": "eve@x.example", "password": "short" }), "password"),
        (json!({ "name": "Eve", "email": "eve@x.example", "password": long }), "password"),
        (json!({ "name": "Eve", "email": "eve@x.example" }), "password"),
        (json!({ "email": "eve@x.example", "password": password }), "name"),
        (json!({ "name": "", "email": "eve@x.example", "password": password }), "name"),
        (json!({ "name": "E\0ve", "email": "eve@x.example", "password": password }), "name"),
        (json!({ "name": long, "email": "eve@x.example", "password": password }), "name"),
    ] {
        doors.refuses_body(Role::User, "/register", "", &body, field).await;
    }
    doors.refuses_body(Role::User, "/login", "", &json!({ "email": "eve@x.example" }), "password").await;
    doors.refuses_body(Role::User, "/login", "", &json!({ "email": "e", "password": "p", "otp": 1 }), "otp").await;

    let skip = format!("/sagas/{}/skip", doors.order);
    for (body, field) in
        [(json!({}), "reason"), (json!({ "reason": 1 }), "reason"), (json!({ "reason": long }), "reason")]
    {
        doors.refuses_body(Role::Orchestrator, &skip, &doors.admin, &body, field).await;
    }
    doors.recorded_nothing(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_no_request_at_all_is_refused() {
    let _room = room_for_a_small_shop().await;
    let doors = Doors::open().await;
    let before = doors.shop.folder.events().await;
    let bodies = [
        (Role::User, "/register", ""),
        (Role::Product, "/products", &doors.admin),
        (Role::Order, "/orders", &doors.customer),
    ];
    for (role, path, token) in bodies {
        let post = || doors.shop.request(Method::POST, role, path, token);
        let json = || post().header("content-type", "application/json");
        let large = vec![b' '; (1 << 20) + 1];
        for (request, statuses, what) in [
            (json().body(vec![b'"', 0xff, 0xfe, b'"']), NOT_VALID, "invalid UTF-8"),
            (json().body("{\"quantity\":"), NOT_VALID, "half of a body"),
            (json().body("[]"), NOT_VALID, "a list"),
            (json().body("null"), NOT_VALID, "nothing"),
            (json().body(""), NOT_VALID, "no body"),
            (json().body("{\"\\u0000\":1}"), NOT_VALID, "a NUL in a name"),
            (json().body("[".repeat(100_000)), NOT_VALID, "a deep body"),
            (json().body(large), &[413][..], "a body over 1 MiB"),
            (post().header("content-type", "text/plain").body("{}"), &[415], "text"),
            (doors.shop.request(Method::PATCH, role, path, token), &[405], "another method"),
        ] {
            doors.refuses(request, statuses, "", &format!("{path}: {what}")).await;
        }
    }
    for role in Role::ALL {
        doors.refuses_get(role, "/no-such-path", &doors.admin, &[404], "").await;
        doors.refuses_get(role, "/api/v1/no-such-path", &doors.admin, &[404], "").await;
    }
    doors.recorded_nothing(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_unknown_or_not_ones_own_is_refused() {
    let _room = room_for_a_small_shop().await;
    let doors = Doors::open().await;
    let before = doors.shop.folder.events().await;
    let (unknown, admin, customer) = (Uuid::now_v7(), &doors.admin, &doors.customer);
    let not_found: &[u16] = &[404];
    let bad_path: &[u16] = &[400, 404];

    for (role, path, token) in [
        (Role::Product, format!("/products/{unknown}"), ""),
        (Role::Product, format!("/products/{unknown}/availability?quantity=1"), ""),
        (Role::Order, format!("/orders/{unknown}"), customer),
        (Role::Order, format!("/orders/{unknown}/history"), customer),
        (Role::Payment, format!("/payments/{unknown}"), customer),
        (Role::Orchestrator, format!("/sagas/{unknown}"), admin),
    ] {
        doors.refuses_get(role, &path, token, not_found, "").await;
        doors.refuses_get(role, &path.replace(&unknown.to_string(), "7"), token, bad_path, "").await;
    }
    for path in ["", "/history"] {
        let path = format!("/orders/{}{path}", doors.order);
        doors.refuses_get(Role::Order, &path, &doors.stranger, not_found, "").await;
    }
    for (path, token) in
        [(format!("/orders/{unknown}/cancel"), customer), (format!("/orders/{}/cancel", doors.order), &doors.stranger)]
    {
        let request = doors.shop.request(Method::POST, Role::Order, &path, token);
        doors.refuses(request, not_found, "", &path).await;
    }
    let order = doors.shop.request(Method::POST, Role::Order, "/orders", customer);
    let order = order.json(&json!({ "product_id": unknown, "quantity": 1 }));
    doors.refuses(order, &[400, 404, 422], "product_id", "an unknown product").await;
    let order = doors.shop.request(Method::POST, Role::Order, "/orders", customer);
    let order = order.json(&json!({ "product_id": doors.product, "quantity": 1, "user_id": unknown }));
    doors.refuses(order, &[403, 422], "", "somebody else's order").await;
    for method in [Method::PUT, Method::DELETE] {
        let request = doors.shop.request(method, Role::Product, &format!("/products/{unknown}"), admin);
        doors.refuses(request.json(&json!({ "name": "Desk" })), not_found, "", "an unknown product").await;
    }

    for (role, path, token, field) in [
        (Role::Order, "/orders?limit=0", customer, "limit"),
        (Role::Order, "/orders?limit=many", customer, "limit"),
        (Role::Order, "/orders?status=lost", customer, "status"),
        (Role::Order, "/orders?after=7", customer, "after"),
        (Role::Product, "/products?limit=1001", customer, "limit"),
        (Role::Product, "/products?min_price=cheap", customer, "min_price"),
        (Role::Product, "/products?after=7", customer, "after"),
        (Role::Payment, "/payments?limit=501", customer, "limit"),
        (Role::Payment, "/payments?order_id=7", customer, "order_id"),
        (Role::Notification, "/notifications?limit=-1", customer, "limit"),
        (Role::Notification, "/notifications?order_id=7", customer, "order_id"),
        (Role::Orchestrator, "/sagas?limit=0", admin, "limit"),
        (Role::Orchestrator, "/sagas?after=7", admin, "after"),
    ] {
        doors.refuses_get(role, path, token, NOT_VALID, field).await;
    }
    let wait = format!("/orders/{}?wait=5h", doors.order);
    doors.refuses_get(Role::Order, &wait, customer, NOT_VALID, "wait").await;
    let availability = format!("/products/{}/availability?quantity=0", doors.product);
    doors.refuses_get(Role::Product, &availability, "", NOT_VALID, "quantity").await;
    doors.recorded_nothing(&before).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tokens_that_are_not_good_open_nothing() {
    let _room = room_for_a_small_shop().await;
    let doors = Doors::open().await;
    let before = doors.shop.folder.events().await;
    let parts: Vec<&str> = doors.customer.split('.').collect();
    let [header, claims, signature] = parts[..] else { panic!("{}", doors.customer) };
    let (_, admins_claims) = doors.admin.split_once('.').expect("three parts");
    let admins_claims = admins_claims.split('.').next().expect("claims");
    // {"alg":"none","typ":"JWT"}
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let bad = [
        String::new(),
        "token".to_owned(),
        "..".to_owned(),
        format!("{header}.{claims}."),
        format!("{header}.{claims}.{}", &signature[..signature.len() - 8]),
        format!("{none}.{claims}."),
        format!("{none}.{claims}.{signature}"),
        format!("{header}.{admins_claims}.{signature}"),
        "x".repeat(7_000),
    ];
    for (role, path) in [
        (Role::User, "/profile"),
        (Role::Order, "/orders"),
        (Role::Payment, "/payments"),
        (Role::Notification, "/notifications"),
        (Role::Orchestrator, "/sagas"),
    ] {
        for token in &bad {
            doors.refuses_get(role, path, token, &[401], "").await;
        }
        let basic = doors.shop.request(Method::GET, role, path, "").header("authorization", "Basic YTpi");
        doors.refuses(basic, &[401], "", "a password").await;
    }
    let order = json!({ "product_id": doors.product, "quantity": 1 });
    let desk = json!({ "name": "Desk", "price": 1, "stock": 1 });
    for token in &bad {
        for (role, path, body) in [(Role::Order, "/orders", &order), (Role::Product, "/products", &desk)] {
            let request = doors.shop.request(Method::POST, role, path, token).json(body);
            doors.refuses(request, &[401], "", path).await;
        }
    }
    // A good token of somebody who may not.
    let restock = format!("/products/{}/restock", doors.product);
    let cancel = format!("/sagas/{}/cancel", doors.order);
    for (role, path, body) in [
        (Role::Product, "/products", desk),
        (Role::Product, &restock, json!({ "quantity": 1 })),
        (Role::Orchestrator, &cancel, json!({ "reason": "why not" })),
    ] {
        let request = doors.shop.request(Method::POST, role, path, &doors.customer).json(&body);
        doors.refuses(request, &[403], "", path).await;
    }
    doors.refuses_get(Role::Orchestrator, "/sagas", &doors.customer, &[403], "").await;
    let login = json!({ "email": "customer@customers.example", "password": "not the password" });
    let request = doors.shop.request(Method::POST, Role::User, "/login", "").json(&login);
    doors.refuses(request, &[401], "", "a wrong password").await;
    doors.recorded_nothing(&before).await;
}
