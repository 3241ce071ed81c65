//! Headers, methods and types.

use flate2::read::GzDecoder;
use poem::http::header;

use super::*;
use crate::EdgeOptions;

async fn answer(path: &str, headers: &[(&str, &str)]) -> TestResponse {
    answer_of(&client(), Method::GET, path, headers).await
}

async fn answer_of(client: &TestClient<Edge>, method: Method, path: &str, headers: &[(&str, &str)]) -> TestResponse {
    let mut request = client.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await
}

#[tokio::test]
async fn every_answer_is_data_that_no_browser_runs_frames_or_guesses() {
    for path in ["/anyone", "/nothing", "/health", "/openapi.json", "/me"] {
        let answer = answer(path, &[]).await;
        answer.assert_header("x-content-type-options", "nosniff");
        answer.assert_header("x-frame-options", "DENY");
        answer.assert_header("referrer-policy", "no-referrer");
        answer.assert_header("content-security-policy", "default-src 'none'; frame-ancestors 'none'");
        answer.assert_header_is_not_exist("strict-transport-security");
    }
    let page = answer("/docs", &[]).await;
    let policy = page.0.header("content-security-policy").unwrap();
    assert!(policy.contains("script-src 'unsafe-inline'") && policy.contains("frame-ancestors 'none'"), "{policy}");
}

#[tokio::test]
async fn what_was_answered_to_one_is_stored_by_nobody() {
    let token = token(Role::Customer);
    answer("/me", &[("authorization", &token)]).await.assert_header("cache-control", "no-store");
    answer("/me", &[]).await.assert_header("cache-control", "no-store");
    answer("/anyone", &[]).await.assert_header_is_not_exist("cache-control");
}

#[tokio::test]
async fn ids_go_in_and_come_out() {
    let id = Uuid::now_v7().to_string();
    let both = answer("/anyone", &[("x-correlation-id", &id), ("x-request-id", "cart-17")]).await;
    both.assert_header("x-correlation-id", &id);
    both.assert_header("x-request-id", "cart-17");
    let one = answer("/anyone", &[("x-request-id", &id)]).await;
    one.assert_header("x-correlation-id", &id);
    let none = answer("/anyone", &[]).await;
    assert_eq!(none.0.header("x-correlation-id"), none.0.header("x-request-id"));

    let traced = [("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), ("x-request-id", "r-1")];
    let (_, body) = problem_or_json(answer("/nothing", &traced).await).await;
    assert_eq!((&body["trace_id"], &body["request_id"]), (&json!("0af7651916cd43dd8448eb211c80319c"), &json!("r-1")));
}

#[tokio::test]
async fn no_other_origin_may_call_unless_it_is_named() {
    let preflight = [("origin", "https://shop.example.org"), ("access-control-request-method", "POST")];
    let refused = answer_of(&client(), Method::OPTIONS, "/orders", &preflight).await;
    refused.assert_header_is_not_exist("access-control-allow-origin");

    let cors_origins = vec!["https://shop.example.org".to_owned()];
    let options = EdgeOptions { cors_origins, ..EdgeOptions::default() };
    let client = TestClient::new(app().options(options).into_endpoint());
    let allowed = answer_of(&client, Method::OPTIONS, "/orders", &preflight).await;
    allowed.assert_status(StatusCode::NO_CONTENT);
    allowed.assert_header("access-control-allow-origin", "https://shop.example.org");
    allowed.assert_header("access-control-allow-methods", "OPTIONS, POST");
    let headers = allowed.0.header("access-control-allow-headers").unwrap();
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"), "{headers}");

    let good = answer_of(&client, Method::GET, "/anyone", &[("origin", "https://shop.example.org")]).await;
    good.assert_header("access-control-allow-origin", "https://shop.example.org");
    good.assert_header("vary", "origin");
    let bad = answer_of(&client, Method::GET, "/anyone", &[("origin", "https://evil.example.org")]).await;
    bad.assert_header_is_not_exist("access-control-allow-origin");
    let bad = [("origin", "https://evil.example.org"), ("access-control-request-method", "POST")];
    let bad = answer_of(&client, Method::OPTIONS, "/orders", &bad).await;
    bad.assert_header_is_not_exist("access-control-allow-origin");
}

#[tokio::test]
async fn long_answers_are_compressed_for_who_can_read_it() {
    let packed = answer("/long", &[("accept-encoding", "br, gzip")]).await;
    packed.assert_header("content-encoding", "gzip");
    packed.assert_header("vary", "accept-encoding");
    let bytes = packed.0.into_body().into_bytes().await.unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(&bytes[..]), &mut text).unwrap();
    assert!(bytes.len() < 200 && text.starts_with("\"long long"), "{}", bytes.len());

    let plain = answer("/long", &[]).await;
    plain.assert_header_is_not_exist("content-encoding");
    plain.assert_header("vary", "accept-encoding");
    answer("/anyone", &[("accept-encoding", "gzip")]).await.assert_header_is_not_exist("content-encoding");
}

#[tokio::test]
async fn what_can_be_read_can_be_asked_for_its_head_and_its_methods() {
    let client = client();
    for path in ["/anyone", "/health", "/api/v1/anyone"] {
        answer_of(&client, Method::HEAD, path, &[]).await.assert_status_is_ok();
        let options = answer_of(&client, Method::OPTIONS, path, &[]).await;
        options.assert_status(StatusCode::NO_CONTENT);
        options.assert_header("allow", "GET, HEAD, OPTIONS");
    }
    let head = answer_of(&client, Method::HEAD, "/orders", &[]).await;
    head.assert_status(StatusCode::METHOD_NOT_ALLOWED);
    answer_of(&client, Method::OPTIONS, "/nothing", &[]).await.assert_status(StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_type_that_cannot_be_answered_is_refused() {
    for (accept, expected) in [
        ("application/json", StatusCode::OK),
        ("text/html, */*;q=0.1", StatusCode::OK),
        ("application/*", StatusCode::OK),
        ("text/html", StatusCode::NOT_ACCEPTABLE),
        ("application/json;q=0, text/csv", StatusCode::NOT_ACCEPTABLE),
    ] {
        let (status, _) = problem_or_json(answer("/anyone", &[(header::ACCEPT.as_str(), accept)]).await).await;
        assert_eq!(status, expected, "{accept}");
    }
    answer("/metrics", &[("accept", "application/openmetrics-text")]).await.assert_status_is_ok();
}

#[tokio::test]
async fn the_document_names_every_status_that_the_edge_may_answer() {
    let document: Value = serde_json::from_str(app().openapi()).unwrap();
    let statuses = |path: &str, method: &str| {
        let responses = document["paths"][path][method]["responses"].as_object().unwrap();
        responses.keys().map(String::as_str).collect::<Vec<_>>()
    };
    let everywhere = ["200", "400", "406", "429", "431", "500", "503", "default"];
    assert_eq!(statuses("/long", "get"), everywhere);
    for status in ["408", "409", "413", "415", "422"] {
        assert!(statuses("/orders", "post").contains(&status), "{status}");
    }
    assert!(statuses("/me", "get").contains(&"401") && statuses("/me", "get").contains(&"403"));
    assert!(statuses("/orders/{id}", "get").contains(&"404"));
    let limited = &document["components"]["responses"]["TooManyRequests"];
    assert!(limited["headers"]["Retry-After"].is_object(), "{limited}");
    let problem = &document["components"]["schemas"]["Problem"];
    let (_, body) = problem_or_json(answer("/nothing", &[]).await).await;
    for name in problem["required"].as_array().unwrap() {
        assert!(body.get(name.as_str().unwrap()).is_some(), "{name} is not in {body}");
    }
    for name in body.as_object().unwrap().keys() {
        assert!(problem["properties"].get(name).is_some(), "{name} is not described");
    }
}
