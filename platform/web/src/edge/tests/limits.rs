//! How much of everything.

use poem::http::header;

use super::*;
use crate::EdgeOptions;

const MIB: usize = 1024 * 1024;

fn with(options: EdgeOptions) -> TestClient<Edge> {
    TestClient::new(app().options(options).into_endpoint())
}

/// An order of exactly so many bytes.
fn order(bytes: usize) -> String {
    let line = json!({ "product_id": Uuid::now_v7(), "quantity": 1 });
    let body = json!({ "lines": [line] }).to_string();
    let padding = " ".repeat(bytes - body.len());
    body + &padding
}

#[tokio::test]
async fn a_body_has_a_mebibyte_and_not_a_byte_more() {
    assert_eq!(post(order(MIB - 1)).await.0, StatusCode::OK);
    assert_eq!(post(order(MIB)).await.0, StatusCode::OK);
    let (status, body) = post(order(MIB + 1)).await;
    assert_eq!((status, &body["type"]), (StatusCode::PAYLOAD_TOO_LARGE, &json!("/problems/too-large")));
}

#[tokio::test]
async fn a_route_may_take_longer_bodies() {
    let client = TestClient::new(app().body_limit("/orders", 2 * MIB).into_endpoint());
    let send = async |bytes: usize| {
        let answer = client.post("/orders").content_type("application/json").body(order(bytes)).send().await;
        answer.0.status()
    };
    assert_eq!(send(2 * MIB).await, StatusCode::OK);
    assert_eq!(send(2 * MIB + 1).await, StatusCode::PAYLOAD_TOO_LARGE);
}

#[tokio::test]
async fn headers_are_counted_and_measured() {
    let client = with(EdgeOptions { headers_max: 10, header_bytes_max: 1_000, ..EdgeOptions::default() });
    let send = async |count: usize, bytes: usize| {
        let mut request = client.get("/anyone");
        for number in 0..count {
            request = request.header(format!("x-{number}"), "v".repeat(bytes));
        }
        problem_or_json(request.send().await).await.0
    };
    assert_eq!(send(10, 10).await, StatusCode::OK);
    assert_eq!(send(11, 10).await, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    assert_eq!(send(1, 993).await, StatusCode::OK);
    assert_eq!(send(1, 994).await, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

#[tokio::test]
async fn an_account_has_its_rate_whatever_tokens_it_shows() {
    let mut options = EdgeOptions::default();
    options.rate_limits.account = Some("1/h:2".parse().unwrap());
    let client = with(options);
    let (mine, others) = (token(Role::Customer), token(Role::Customer));
    let ask = async |token: &str| client.get("/me").header("Authorization", token).send().await;
    for left in ["1", "0"] {
        let answer = ask(&mine).await;
        answer.assert_status_is_ok();
        answer.assert_header("ratelimit-limit", "2");
        answer.assert_header("ratelimit-remaining", left);
    }
    let answer = ask(&mine).await;
    answer.assert_header("ratelimit-remaining", "0");
    let wait: u64 = answer.0.header(header::RETRY_AFTER).unwrap().parse().unwrap();
    assert!((3_500..=3_600).contains(&wait), "{wait}");
    let (status, body) = problem_or_json(answer).await;
    assert_eq!((status, &body["type"]), (StatusCode::TOO_MANY_REQUESTS, &json!("/problems/too-many-requests")));
    ask(&others).await.assert_status_is_ok();
    // Who shows a token that is not good takes nothing from anybody.
    ask("Bearer x").await.assert_status(StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn what_cannot_be_done_in_time_is_turned_away_and_health_is_answered() {
    let options = EdgeOptions { concurrency_max: 1, queue_max: 0, ..EdgeOptions::default() };
    let client = std::sync::Arc::new(with(options));
    let holding = tokio::spawn({
        let client = std::sync::Arc::clone(&client);
        async move { client.get("/hold").send().await }
    });
    let refused = async {
        loop {
            let answer = client.get("/anyone").send().await;
            if answer.0.status() != StatusCode::OK {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    let answer = tokio::time::timeout(Duration::from_secs(10), refused).await.unwrap();
    answer.assert_header(header::RETRY_AFTER, "1");
    let (status, body) = problem_or_json(answer).await;
    assert_eq!((status, &body["type"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("/problems/overloaded")));
    for path in ["/health", "/health/live", "/metrics"] {
        client.get(path).send().await.assert_status_is_ok();
    }
    holding.abort();
    let served = async {
        while client.get("/anyone").send().await.0.status() != StatusCode::OK {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), served).await.unwrap();
}
