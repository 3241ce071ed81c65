//! A client as any front end could be one.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::{Client, Method, RequestBuilder};
use sagashop::ports::{GATEWAY_PORT, Role};
use serde_json::{Value, json};
use testkit::eventually;

use crate::PATIENCE;

/// An answer takes no longer; a long poll has its own time on top.
const ANSWER_MAX: Duration = Duration::from_secs(30);

#[derive(Clone)]
pub struct Http {
    client: Client,
    offset: u16,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub content_type: String,
    pub headers: HeaderMap,
    /// JSON; of anything else, the text.
    pub body: Value,
}

impl Answer {
    /// The body of an answer of this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.body);
        self.body
    }

    /// A header's text, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str()).collect()
    }
}

impl Http {
    pub fn new(offset: u16) -> Self {
        let client = web::http_client().timeout(ANSWER_MAX).build().expect("a client");
        Self { client, offset }
    }

    pub fn url(&self, role: Role, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", role.http_port() + self.offset)
    }

    pub fn request(&self, method: Method, role: Role, path: &str, token: &str) -> RequestBuilder {
        let request = self.client.request(method, self.url(role, path));
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    /// As a front end asks, at the one origin that it knows.
    pub fn request_through_gateway(&self, method: Method, path: &str, token: &str) -> RequestBuilder {
        let url = format!("http://127.0.0.1:{}/api/v1{path}", GATEWAY_PORT + self.offset);
        let request = self.client.request(method, url);
        if token.is_empty() { request } else { request.bearer_auth(token) }
    }

    /// Nothing when nobody answers.
    pub async fn try_send(&self, request: RequestBuilder) -> Option<Answer> {
        answer(request).await.ok()
    }

    pub async fn send(&self, request: RequestBuilder) -> Answer {
        answer(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
    }

    pub async fn get(&self, role: Role, path: &str, token: &str) -> Answer {
        self.send(self.request(Method::GET, role, path, token)).await
    }

    pub async fn post(&self, role: Role, path: &str, token: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, role, path, token).json(body)).await
    }

    /// To an address that somebody was told.
    pub async fn post_to(&self, url: &str, token: &str, body: &Value) -> Answer {
        self.send(self.client.post(url).bearer_auth(token).json(body)).await
    }

    /// Waits until the role says that it is ready.
    pub async fn ready(&self, role: Role) {
        eventually(PATIENCE, async || {
            let answer = self.try_send(self.request(Method::GET, role, "/health/ready", "")).await;
            answer.is_some_and(|answer| answer.status == 200)
        })
        .await;
    }

    pub async fn login(&self, email: &str, password: &str) -> String {
        let body = json!({ "email": email, "password": password });
        let session = self.post(Role::User, "/login", "", &body).await.expect(200);
        session["token"].as_str().expect("a token").to_owned()
    }

    /// A customer who did not exist before.
    pub async fn customer(&self, name: &str) -> String {
        let email = format!("{name}@customers.example");
        let body = json!({ "name": name, "email": email, "password": "correct horse battery" });
        self.post(Role::User, "/register", "", &body).await.expect(201);
        self.login(&email, "correct horse battery").await
    }

    /// A product with so much stock; its id.
    pub async fn product(&self, admin: &str, name: &str, price: &str, stock: i64) -> String {
        let body = json!({ "name": name, "price": price, "stock": stock });
        let product = self.post(Role::Product, "/products", admin, &body).await.expect(201);
        product["id"].as_str().expect("an id").to_owned()
    }

    pub async fn stock(&self, product: &str) -> i64 {
        let product = self.get(Role::Product, &format!("/products/{product}"), "").await.expect(200);
        product["stock"].as_i64().expect("a number")
    }

    /// Places an order and returns its id.
    pub async fn place(&self, token: &str, order: &Value) -> String {
        let order = self.post(Role::Order, "/orders", token, order).await.expect(201);
        order["id"].as_str().expect("an id").to_owned()
    }

    pub async fn order(&self, token: &str, id: &str) -> Value {
        self.get(Role::Order, &format!("/orders/{id}"), token).await.expect(200)
    }

    /// The order once it has ended, whoever is away meanwhile.
    pub async fn ended(&self, token: &str, id: &str) -> Value {
        eventually(PATIENCE, async || {
            let path = format!("/orders/{id}?wait=2s");
            let answer = self.try_send(self.request(Method::GET, Role::Order, &path, token)).await;
            let answer = answer.ok_or("no answer")?;
            assert!(answer.status == 200 || answer.status >= 500, "order {id}: {answer:?}");
            let ended = answer.status == 200 && answer.body["status"] != "pending";
            if ended { Ok(answer.body) } else { Err(format!("{answer:?}")) }
        })
        .await
    }

    /// The order once it has this status.
    pub async fn reaches(&self, token: &str, id: &str, status: &str) -> Value {
        eventually(PATIENCE, async || {
            let order = self.order(token, id).await;
            if order["status"] == status { Ok(order) } else { Err(order) }
        })
        .await
    }

    /// The order's payment, once there is one in this status.
    pub async fn payment(&self, token: &str, order: &str, status: &str) -> Value {
        eventually(PATIENCE, async || {
            let payments = self.get(Role::Payment, &format!("/payments?order_id={order}"), token).await.expect(200);
            let payment = payments.as_array().expect("a list").first().cloned().ok_or(Value::Null)?;
            if payment["status"] == status { Ok(payment) } else { Err(payment) }
        })
        .await
    }
}

async fn answer(request: RequestBuilder) -> reqwest::Result<Answer> {
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    let headers = answer.headers().clone();
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok());
    let content_type = content_type.unwrap_or_default().to_owned();
    let text = answer.text().await?;
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Ok(Answer { status, content_type, headers, body })
}
