use super::*;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Nothing here takes longer than this.
const PATIENCE: Duration = Duration::from_secs(10);

/// A gateway whose order service is at this address, and everything else away.
async fn gateway(orders: &str, trusted: &[&str]) -> (String, CancellationToken) {
    running(built(orders, trusted)).await
}

fn built(orders: &str, trusted: &[&str]) -> Gateway {
    let away = "http://127.0.0.1:1".to_owned();
    let url = |role| if role == Role::Order { format!("http://{orders}") } else { away.clone() };
    let upstreams = Role::ALL.into_iter().map(|role| (role, url(role))).collect();
    let trusted = trusted.iter().map(|network| network.parse().expect("a network")).collect();
    Gateway::new(&upstreams, trusted).expect("no conflict")
}

async fn running(gateway: Gateway) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let shutdown = CancellationToken::new();
    tokio::spawn(serve(gateway, listener, web::EdgeOptions::default(), shutdown.clone()));
    (address, shutdown)
}

/// A service by hand: what it gets is read as bytes, and what it says is written as bytes.
struct ByHand(TcpListener);

impl ByHand {
    async fn new() -> (Self, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        (Self(listener), address)
    }

    async fn accept(&self) -> Wire {
        Wire(timely(self.0.accept()).await.expect("a connection").0)
    }
}

/// One connection, byte by byte.
struct Wire(TcpStream);

impl Wire {
    async fn to(address: &str) -> Self {
        Self(TcpStream::connect(address).await.expect("connected"))
    }

    async fn say(&mut self, text: &str) {
        self.0.write_all(text.as_bytes()).await.expect("written");
    }

    /// Reads until this was said; all of it.
    async fn hear(&mut self, until: &str) -> String {
        let mut heard = String::new();
        while !heard.contains(until) {
            let mut some = [0; 1024];
            let read = timely(self.0.read(&mut some)).await.expect("read");
            assert!(read > 0, "it ended after {heard:?}, before {until:?}");
            heard.push_str(std::str::from_utf8(&some[..read]).expect("text"));
        }
        heard
    }
}

async fn timely<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(PATIENCE, future).await.expect("in time")
}

#[tokio::test]
async fn bodies_pass_as_they_come_in_both_directions() {
    let (orders, address) = ByHand::new().await;
    let (gateway, _running) = gateway(&address, &[]).await;
    let mut client = Wire::to(&gateway).await;
    client.say("POST /api/v1/orders HTTP/1.1\r\nhost: shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n").await;
    let mut service = orders.accept().await;
    // The first part is there while the second is not written yet; and the same on the way back.
    assert!(service.hear("first").await.starts_with("POST /api/v1/orders HTTP/1.1\r\n"));
    client.say("6\r\nsecond\r\n0\r\n\r\n").await;
    assert!(service.hear("0\r\n\r\n").await.contains("second"));
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    service.say(&format!("{head}8\r\ndata: 1\n\r\n")).await;
    assert!(client.hear("data: 1").await.contains("content-type: text/event-stream"));
    service.say("8\r\ndata: 2\n\r\n").await;
    client.hear("data: 2").await;
    // A caller who has seen enough ends it for the service too.
    drop(client);
    let mut rest = Vec::new();
    timely(service.0.read_to_end(&mut rest)).await.expect("closed");
}

#[tokio::test]
async fn a_service_learns_who_asked_and_nothing_of_the_connection() {
    let (orders, address) = ByHand::new().await;
    for (trusted, forwarded) in [(&[][..], "127.0.0.1"), (&["127.0.0.0/8"][..], "10.9.8.7, 127.0.0.1")] {
        let (gateway, _running) = gateway(&address, trusted).await;
        let mut client = Wire::to(&gateway).await;
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let headers = format!(
            "host: shop.example\r\nx-forwarded-for: 10.9.8.7\r\nconnection: keep-alive, x-mine\r\nx-mine: 1\r\n\
             authorization: Bearer abc\r\ntraceparent: {trace}\r\nx-correlation-id: cart-17\r\n"
        );
        client.say(&format!("GET /api/v1/orders/7?wait=1s HTTP/1.1\r\n{headers}\r\n")).await;
        let mut service = orders.accept().await;
        let heard = service.hear("\r\n\r\n").await;
        for expected in [
            "GET /api/v1/orders/7?wait=1s HTTP/1.1\r\n",
            &format!("x-forwarded-for: {forwarded}\r\n"),
            "x-forwarded-host: shop.example\r\n",
            &format!("host: {address}\r\n"),
            "authorization: Bearer abc\r\n",
            &format!("traceparent: {trace}\r\n"),
            "x-correlation-id: ",
        ] {
            assert!(heard.contains(expected), "{expected:?} is missing in {heard}");
        }
        assert!(!heard.contains("x-mine") && !heard.contains("connection:"), "{heard}");
        service
            .say("HTTP/1.1 201 Created\r\nlocation: /orders/7\r\nkeep-alive: timeout=5\r\ncontent-length: 2\r\n\r\n{}")
            .await;
        let answer = client.hear("{}").await;
        assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("location: /api/v1/orders/7\r\n"), "{answer}");
        assert!(!answer.contains("keep-alive"), "{answer}");
    }
}

#[tokio::test]
async fn a_service_that_is_away_or_breaks_off_is_a_problem() {
    let (orders, address) = ByHand::new().await;
    let (gateway, _running) = gateway(&address, &[]).await;
    let client = web::http_client().build().expect("a client");
    let asked = async |path: &str| {
        let answer = timely(client.get(format!("http://{gateway}/api/v1{path}")).send()).await.expect("an answer");
        let status = answer.status().as_u16();
        let after = answer.headers().get("retry-after").is_some();
        let problem: Value = serde_json::from_str(&answer.text().await.expect("a body")).expect("JSON");
        (status, after, problem)
    };
    let (status, after, problem) = asked("/products").await;
    assert_eq!((status, after), (503, true), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|text| text == "The product service is away"), "{problem}");
    for member in ["correlation_id", "request_id", "trace_id", "instance"] {
        assert!(problem[member].is_string(), "{member} is missing: {problem}");
    }

    let breaking_off = async {
        let mut service = orders.accept().await;
        service.hear("\r\n\r\n").await;
    };
    let ((status, _, problem), ()) = tokio::join!(asked("/orders/7"), breaking_off);
    assert_eq!(status, 503);
    assert!(problem["detail"].as_str().is_some_and(|text| text.contains("not known")), "{problem}");
    let (status, _, problem) = asked("/nothing/here").await;
    assert_eq!((status, &problem["type"]), (404, &"/problems/not-found".into()));
}

#[tokio::test]
async fn what_belongs_to_the_services_themselves_is_not_reached_through_it() {
    let (gateway, _running) = gateway("127.0.0.1:1", &[]).await;
    for (path, status) in [
        ("/", 200),
        ("/docs", 200),
        ("/health", 200),
        ("/metrics", 200),
        ("/openapi/order.json", 200),
        ("/orders", 404),
        ("/api/v1", 404),
        ("/api/v1/metrics", 404),
        ("/api/v1/docs", 404),
        ("/api/v1//orders", 404),
        ("/api/v1/orders/../../metrics", 400),
        ("/api/v1/orders/%2e%2E/metrics", 400),
    ] {
        let mut client = Wire::to(&gateway).await;
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n\r\n")).await;
        let answer = client.hear("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    let mut client = Wire::to(&gateway).await;
    client.say("POST /docs HTTP/1.1\r\nhost: shop\r\ncontent-length: 0\r\n\r\n").await;
    let answer = client.hear("}").await;
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("allow: GET, HEAD"), "{answer}");
}

#[tokio::test]
async fn on_a_roles_own_port_everything_is_that_roles_as_it_is() {
    let (orders, address) = ByHand::new().await;
    let (gateway, _running) = running(built(&address, &[]).of(Role::Order)).await;
    let mut client = Wire::to(&gateway).await;
    let mut service = None;
    for path in ["/health/ready", "/metrics", "/docs", "/api/v1/orders", "/login"] {
        client.say(&format!("GET {path} HTTP/1.1\r\nhost: shop\r\n\r\n")).await;
        let service = match &mut service {
            Some(service) => service,
            none => none.insert(orders.accept().await),
        };
        assert!(service.hear("\r\n\r\n").await.starts_with(&format!("GET {path} HTTP/1.1\r\n")));
        service.say("HTTP/1.1 201 Created\r\nlocation: /orders/7\r\ncontent-length: 0\r\n\r\n").await;
        let answer = client.hear("\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 201") && answer.contains("location: /orders/7\r\n"), "{answer}");
    }
}
