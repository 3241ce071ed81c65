use std::time::Duration;

use chrono::Utc;
use kernel::{Currency, Money, UserId};
use poem::IntoEndpoint;
use poem::http::{Method, StatusCode};
use poem::test::{TestClient, TestResponse};
use poem_openapi::param::{Path, Query};
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use serde_json::{Value, json};
use uuid::Uuid;

use super::Edge;
use crate::auth::{Admin, Bearer, OptionalBearer, Role, TokenSigner, TokenVerifier};
use crate::{Amount, App, Problem, RequestContext, Text};

mod limits;
mod log;
mod manners;

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct Line {
    product_id: Uuid,
    #[oai(validator(minimum(value = "1")))]
    quantity: i32,
}

#[derive(Object)]
#[oai(deny_unknown_fields)]
struct CreateOrder {
    lines: Vec<Line>,
    note: Option<Text>,
    price: Option<Amount>,
}

#[derive(Object)]
struct Order {
    total: Amount,
    note: Option<String>,
    correlation_id: Uuid,
}

struct Api;

#[OpenApi]
impl Api {
    /// Places an order.
    #[oai(path = "/orders", method = "post")]
    async fn create(&self, order: Json<CreateOrder>, context: RequestContext) -> Result<Json<Order>, Problem> {
        let CreateOrder { lines, note, price } = order.0;
        if lines.is_empty() {
            return Err(Problem::bad_request("Product not available").with("stock", 50));
        }
        if lines.iter().any(|line| line.product_id.is_nil() && line.quantity > 0) {
            return Err(Problem::not_found("Product not found"));
        }
        let price = price.map_or(Ok(Money::zero(Currency::EUR)), |price| price.to_money(Currency::EUR));
        let price =
            price.map_err(|error| Problem::bad_request("price is not valid").field("price", error.to_string()))?;
        Ok(Json(Order {
            total: price.into(),
            note: note.map(Text::into_string),
            correlation_id: context.correlation_id,
        }))
    }

    /// One order.
    #[oai(path = "/orders/:id", method = "get")]
    async fn get(&self, id: Path<Uuid>, limit: Query<Option<u16>>) -> Result<Json<String>, Problem> {
        Ok(Json(format!("{} {:?}", id.0, limit.0)))
    }

    #[oai(path = "/panic", method = "get")]
    async fn panic(&self) -> Result<Json<String>, Problem> {
        panic!("connection string postgres://secret");
    }

    #[oai(path = "/broken", method = "get")]
    async fn broken(&self) -> Result<Json<String>, Problem> {
        Err(anyhow::anyhow!("SELECT * FROM orders").into())
    }

    #[oai(path = "/hold", method = "get")]
    async fn hold(&self) -> Result<Json<String>, Problem> {
        std::future::pending().await
    }

    #[oai(path = "/long", method = "get")]
    async fn long(&self) -> Result<Json<String>, Problem> {
        Ok(Json("long ".repeat(1_000)))
    }

    #[oai(path = "/slow", method = "get")]
    async fn slow(&self) -> Result<Json<String>, Problem> {
        std::future::pending().await
    }

    #[oai(path = "/me", method = "get")]
    async fn me(&self, user: Bearer) -> Result<Json<String>, Problem> {
        Ok(Json(user.0.user_id.to_string()))
    }

    #[oai(path = "/admin", method = "get")]
    async fn admin(&self, user: Admin) -> Result<Json<String>, Problem> {
        Ok(Json(user.0.role.as_str().to_owned()))
    }

    #[oai(path = "/anyone", method = "get")]
    async fn anyone(&self, user: OptionalBearer) -> Result<Json<bool>, Problem> {
        Ok(Json(user.0.is_some()))
    }
}

fn signer() -> TokenSigner {
    TokenSigner::from_seed(&[7; 32], "test").unwrap()
}

fn token(role: Role) -> String {
    let user = UserId(Uuid::now_v7());
    let token = signer().access_token(user, role, Utc::now(), Duration::from_secs(60), Uuid::now_v7()).unwrap();
    format!("Bearer {token}")
}

fn app() -> App {
    App::new("test-service", "Test", Api)
        .verifier(TokenVerifier::of_signer(&signer()))
        .timeout("/slow", Duration::from_millis(20))
}

fn client() -> TestClient<Edge> {
    TestClient::new(app().into_endpoint())
}

async fn post(body: impl Into<poem::Body>) -> (StatusCode, Value) {
    let answer = client().post("/orders").content_type("application/json").body(body).send().await;
    problem_or_json(answer).await
}

async fn get(path: &str) -> (StatusCode, Value) {
    problem_or_json(client().get(path).send().await).await
}

/// The answer; an error has to be a problem that says what it is, twice, and names its request.
async fn problem_or_json(answer: TestResponse) -> (StatusCode, Value) {
    let status = answer.0.status();
    let problem = answer.0.content_type() == Some("application/problem+json");
    let id = answer.0.header("x-correlation-id").expect("each answer has a correlation id").to_owned();
    let body: Value = serde_json::from_str(&answer.0.into_body().into_string().await.unwrap()).unwrap();
    if !status.is_success() {
        assert!(problem, "{status} {body}");
        assert_eq!(body["status"], status.as_u16());
        assert_eq!(body["detail"], body["error"]);
        assert_eq!(body["correlation_id"], id.as_str());
        assert_eq!(body["trace_id"].as_str().map(str::len), Some(32));
        assert!(body["type"].as_str().unwrap().starts_with("/problems/"));
    }
    (status, body)
}

fn fields(body: &Value) -> Vec<&str> {
    body["errors"].as_array().into_iter().flatten().filter_map(|error| error["field"].as_str()).collect()
}

#[tokio::test]
async fn a_good_request_is_answered_under_both_roots() {
    let body = json!({ "lines": [{ "product_id": Uuid::now_v7(), "quantity": 2 }], "note": "a\\u0000b" }).to_string();
    let body = format!("{},\"price\":1999.9}}", &body[..body.len() - 1]);
    for path in ["/orders", "/api/v1/orders"] {
        let id = Uuid::now_v7();
        let answer = client()
            .post(path)
            .content_type("application/json")
            .header("X-Correlation-Id", id.to_string())
            .body(body.clone())
            .send()
            .await;
        let (status, body) = problem_or_json(answer).await;
        assert_eq!(status, StatusCode::OK, "{body}");
        assert_eq!(body["total"].to_string(), "1999.90");
        assert_eq!(body["correlation_id"], id.to_string());
    }
}

#[tokio::test]
async fn unknown_fields_are_refused_by_name() {
    let line = json!({ "product_id": Uuid::now_v7(), "quantity": 1 });
    let (status, body) = post(json!({ "lines": [line], "role": "admin", "status": "paid" }).to_string()).await;
    assert_eq!((status, fields(&body)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["role", "status"]), "{body}");

    let line = json!({ "product_id": Uuid::now_v7(), "quantity": 1, "unit_price": 0 });
    let (status, body) = post(json!({ "lines": [line] }).to_string()).await;
    assert_eq!((status, fields(&body)), (StatusCode::UNPROCESSABLE_ENTITY, vec!["lines[0].unit_price"]), "{body}");
}

#[tokio::test]
async fn what_cannot_be_read_is_named() {
    let id = Uuid::now_v7();
    for (order, expected) in [
        (json!({}), vec!["lines"]),
        (json!({ "lines": null }), vec!["lines"]),
        (json!({ "lines": [{ "product_id": id, "quantity": "two" }] }), vec!["lines[0].quantity"]),
        (json!({ "lines": [{ "product_id": id, "quantity": 1.5 }] }), vec!["lines[0].quantity"]),
        (json!({ "lines": [{ "product_id": id, "quantity": 3_000_000_000_u64 }] }), vec!["lines[0].quantity"]),
        (json!({ "lines": [{ "product_id": id, "quantity": 0 }] }), vec!["lines[0].quantity"]),
        (
            json!({ "lines": [{ "product_id": id, "quantity": 1 }, { "product_id": "7" }] }),
            vec!["lines[1].quantity", "lines[1].product_id"],
        ),
        (json!({ "lines": {}, "note": 7 }), vec!["lines", "note"]),
        (json!({ "lines": [], "price": true }), vec!["price"]),
        (json!({ "lines": [], "price": "much" }), vec!["price"]),
        (json!({ "lines": [], "price": "9".repeat(41) }), vec!["price"]),
        (json!({ "lines": [{ "product_id": id, "quantity": 1 }], "price": 0.001 }), vec!["price"]),
        (json!([]), vec![""]),
    ] {
        let (status, body) = post(order.to_string()).await;
        assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, expected), "{order} => {body}");
    }
}

#[tokio::test]
async fn broken_bodies_are_refused() {
    for body in [&b"{"[..], b"", b"nonsense", b"\xff\xfe{}", b"{\"note\":\"\\ud800\"}", b"{\"note\":\"a\0b\"}"] {
        let (status, body) = post(body.to_vec()).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{body}");
    }
    let (status, body) = post(&b"{\"lines\":[],\"note\":\"a\\u0000b\"}"[..]).await;
    assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, vec!["note"]), "{body}");
    let deep = "[".repeat(100_000);
    assert_eq!(post(deep).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(get("/orders/%00").await.0, StatusCode::BAD_REQUEST);

    let (status, _) = problem_or_json(client().post("/orders").body("{}").send().await).await;
    assert_eq!(status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let form = client().post("/orders").content_type("application/x-www-form-urlencoded").body("a=b").send().await;
    assert_eq!(problem_or_json(form).await.0, StatusCode::UNSUPPORTED_MEDIA_TYPE);
}

#[tokio::test]
async fn parameters_are_named_as_the_document_names_them() {
    let (status, body) = get("/orders/abc").await;
    assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, vec!["id"]), "{body}");
    let (status, body) = get(&format!("/orders/{}?limit=many", Uuid::nil())).await;
    assert_eq!((status, fields(&body)), (StatusCode::BAD_REQUEST, vec!["limit"]), "{body}");
    assert!(!body.to_string().contains("failed to parse"), "{body}");
}

#[tokio::test]
async fn paths_and_methods_that_there_are_none_of() {
    for path in ["/", "/nothing", "/api/v1", "/api/v1/nothing", "/orders/1/2", "/api/v1x/orders", "/health/x"] {
        assert_eq!(get(path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let answer = client().delete("/orders").send().await;
    answer.assert_header("allow", "OPTIONS, POST");
    assert_eq!(problem_or_json(answer).await.0, StatusCode::METHOD_NOT_ALLOWED);
    let unheard = client().request(Method::from_bytes(b"BREW").unwrap(), "/health").send().await;
    assert_eq!(problem_or_json(unheard).await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn our_own_errors_keep_their_causes() {
    for path in ["/panic", "/broken"] {
        let (status, body) = get(path).await;
        assert_eq!((status, &body["type"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("/problems/internal")));
        assert!(!body.to_string().contains("postgres") && !body.to_string().contains("SELECT"), "{body}");
    }
    assert_eq!(get("/slow").await.0, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn a_handlers_problem_is_answered_as_it_is() {
    let (status, body) = post(r#"{"lines":[]}"#).await;
    assert_eq!(
        (status, &body["error"], &body["stock"]),
        (StatusCode::BAD_REQUEST, &json!("Product not available"), &json!(50))
    );
}

#[tokio::test]
async fn only_the_right_callers_come_in() {
    let ask = async |path: &str, authorization: Option<&str>| {
        let client = client();
        let mut request = client.get(path);
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        let answer = request.send().await;
        let challenged = answer.0.header("www-authenticate").is_some();
        assert_eq!(challenged, answer.0.status() == StatusCode::UNAUTHORIZED);
        problem_or_json(answer).await.0
    };
    let (customer, admin) = (token(Role::Customer), token(Role::Admin));
    for path in ["/me", "/admin"] {
        for nobody in [None, Some("Bearer"), Some("Bearer x"), Some("Basic YTpi"), Some("Bearer a.b.c")] {
            assert_eq!(ask(path, nobody).await, StatusCode::UNAUTHORIZED, "{path} {nobody:?}");
        }
    }
    assert_eq!(ask("/me", Some(&customer)).await, StatusCode::OK);
    assert_eq!(ask("/admin", Some(&customer)).await, StatusCode::FORBIDDEN);
    assert_eq!(ask("/admin", Some(&admin)).await, StatusCode::OK);
    assert_eq!(get("/anyone").await, (StatusCode::OK, json!(false)));
    assert_eq!(ask("/anyone", Some(&customer)).await, StatusCode::OK);
    assert_eq!(ask("/anyone", Some("Bearer x")).await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn metrics_count_by_pattern() {
    let service = "counted-service";
    let client = TestClient::new(App::new(service, "Test", Api).into_endpoint());
    for path in ["/orders/1", "/api/v1/orders/2", "/nothing/1", "/nothing/2"] {
        client.get(path).send().await;
    }
    let text = client.get("/metrics").send().await.0.into_body().into_string().await.unwrap();
    let of_us = text.lines().filter(|line| line.contains("\"counted\"") && line.starts_with("http_requests_total"));
    assert_eq!(
        of_us.collect::<Vec<_>>(),
        [
            r#"http_requests_total{endpoint="/orders/{id}",method="GET",service="counted",status="400"} 2"#,
            r#"http_requests_total{endpoint="unmatched",method="GET",service="counted",status="404"} 2"#,
        ]
    );
}

#[tokio::test]
async fn health_names_what_fails() {
    let healthy = TestClient::new(app().check("database", || async { Ok(()) }).into_endpoint());
    for path in ["/health", "/health/live", "/health/ready"] {
        let answer = healthy.get(path).send().await;
        answer.assert_status_is_ok();
        answer.assert_json(json!({ "status": "healthy", "service": "test-service", "version": crate::VERSION })).await;
    }
    let ill = app()
        .check("database", || async { anyhow::bail!("password of postgres is wrong") })
        .check("broker", std::future::pending)
        .check("cache", || async { Ok(()) });
    let ill = TestClient::new(ill.into_endpoint());
    ill.get("/health/live").send().await.assert_status_is_ok();
    let answer = ill.get("/health").send().await;
    answer.assert_status(StatusCode::SERVICE_UNAVAILABLE);
    let text = answer.0.into_body().into_string().await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&body["status"], &body["failing"]), (&json!("unhealthy"), &json!(["database", "broker"])));
    assert!(!text.contains("password"));
}

#[tokio::test]
async fn the_document_and_its_page_need_nothing_from_elsewhere() {
    let document: Value = serde_json::from_str(app().openapi()).unwrap();
    let problem = &document["paths"]["/orders"]["post"]["responses"]["default"]["content"]["application/problem+json"];
    assert_eq!(problem["schema"]["$ref"], "#/components/schemas/Problem");
    assert_eq!(document["components"]["securitySchemes"]["AccessToken"]["scheme"], "bearer");

    let client = client();
    let served = client.get("/openapi.json").send().await.0.into_body().into_string().await.unwrap();
    assert_eq!(serde_json::from_str::<Value>(&served).unwrap(), document);
    let page = client.get("/docs").send().await.0.into_body().into_string().await.unwrap();
    assert!(page.contains("SwaggerUIBundle(") && page.contains("Places an order."));
    assert!(!page.contains("<script src") && !page.contains("<link"));
}
