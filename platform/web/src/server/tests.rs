use std::io;
use std::sync::Arc;
use std::time::Duration;

use poem_openapi::payload::Json;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{Problem, document};

mod secure;

/// How long anything may take that is to happen soon.
const SOON: Duration = Duration::from_secs(10);

#[derive(Clone)]
struct Api {
    /// One permit lets one `/hold` end.
    gate: Arc<Semaphore>,
}

impl Default for Api {
    fn default() -> Self {
        Self { gate: Arc::new(Semaphore::new(0)) }
    }
}

#[OpenApi]
impl Api {
    #[oai(path = "/echo", method = "post")]
    async fn echo(&self, body: Json<Value>) -> Result<Json<Value>, Problem> {
        Ok(body)
    }

    #[oai(path = "/hello", method = "get")]
    async fn hello(&self) -> Result<Json<String>, Problem> {
        Ok(Json("hello".to_owned()))
    }

    #[oai(path = "/hold", method = "get")]
    async fn hold(&self) -> Result<Json<String>, Problem> {
        self.gate.acquire().await.unwrap().forget();
        Ok(Json("released".to_owned()))
    }
}

struct Running {
    address: std::net::SocketAddr,
    shutdown: CancellationToken,
    gate: Arc<Semaphore>,
    server: JoinHandle<io::Result<()>>,
}

impl Running {
    async fn start(options: EdgeOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
        let api = Api::default();
        let gate = Arc::clone(&api.gate);
        let app = App::new("test-service", "Test", api).options(options);
        let server = tokio::spawn(serve(listener, app, shutdown.clone()));
        Self { address, shutdown, gate, server }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn get(&self, stream: &mut TcpStream, path: &str) -> String {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await.unwrap();
        answer(stream).await
    }
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = vec![0; 4096];
    let bytes = tokio::time::timeout(SOON, stream.read(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer[..bytes]).into_owned()
}

/// Waits until the other end has closed the connection; how long that took.
async fn closed(stream: &mut TcpStream) -> Duration {
    let started = Instant::now();
    let mut rest = Vec::new();
    // A reset is an end, too.
    let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    started.elapsed()
}

#[test]
fn an_api_is_described_as_it_is_served() {
    assert_eq!(document::<Api>("Test"), App::new("test-service", "Test", Api::default()).openapi());
}

#[tokio::test]
async fn a_port_of_its_own_is_for_the_process_alone() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let running = Running::start(EdgeOptions { admin_listen: Some(free), ..EdgeOptions::default() }).await;
    let mut stream = running.connect().await;
    assert!(running.get(&mut stream, "/hello").await.starts_with("HTTP/1.1 200"));
    for (path, status) in
        [("/metrics", "200"), ("/health/ready", "200"), ("/hello", "404"), ("/admin/log-level", "401")]
    {
        let mut stream = TcpStream::connect(free).await.unwrap();
        let answer = running.get(&mut stream, path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_limited_while_it_is_read() {
    let running = Running::start(EdgeOptions::default()).await;
    let mut stream = running.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let chunk = format!("10000\r\n{}\r\n", " ".repeat(0x10000));
    for _ in 0..17 {
        // The server may have answered and closed before the last chunk.
        let _ = stream.write_all(chunk.as_bytes()).await;
    }
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let header_timeout = Duration::from_millis(300);
    let running = Running::start(EdgeOptions { header_timeout, ..EdgeOptions::default() }).await;
    let (mut read, mut write) = running.connect().await.into_split();
    let trickling = tokio::spawn(async move {
        for byte in b"GET /hello HTTP/1.1\r\nHost: x\r\nX-Padding: ".iter().chain(std::iter::repeat(&b'x')) {
            if write.write_all(&[*byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    let mut rest = Vec::new();
    let _ = tokio::time::timeout(SOON, read.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    trickling.abort();
    // Whoever is quick is served meanwhile, and for longer than a head may take.
    let mut stream = running.connect().await;
    let begun = Instant::now();
    while begun.elapsed() < header_timeout * 3 {
        assert!(running.get(&mut stream, "/hello").await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_body_that_trickles_in_is_not_waited_for() {
    let body_timeout = Duration::from_millis(200);
    let running = Running::start(EdgeOptions { body_timeout, ..EdgeOptions::default() }).await;
    let mut stream = running.connect().await;
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let answer = answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 408") && answer.contains("connection: close"), "{answer}");
    closed(&mut stream).await;
}

#[tokio::test]
async fn a_connection_on_which_nothing_is_asked_is_closed() {
    let idle_timeout = Duration::from_millis(300);
    let running = Running::start(EdgeOptions { idle_timeout, ..EdgeOptions::default() }).await;
    let (mut silent, mut done) = (running.connect().await, running.connect().await);
    let mut busy = running.connect().await;
    busy.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(running.get(&mut done, "/hello").await.starts_with("HTTP/1.1 200"));
    assert!(closed(&mut silent).await < SOON);
    assert!(closed(&mut done).await < SOON);
    // This one waits for its answer, however long that takes.
    running.gate.add_permits(1);
    assert!(answer(&mut busy).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn there_are_only_so_many_connections() {
    let running = Running::start(EdgeOptions { connections_max: 1, ..EdgeOptions::default() }).await;
    let mut first = running.connect().await;
    assert!(running.get(&mut first, "/hello").await.starts_with("HTTP/1.1 200"));
    let mut second = running.connect().await;
    let refused = answer(&mut second).await;
    assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
    assert!(running.get(&mut first, "/hello").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn an_address_has_its_rate_and_one_for_signing_in() {
    let mut options = EdgeOptions::default();
    options.rate_limits.address = Some("1/h:3".parse().unwrap());
    options.rate_limits.sign_in = Some("1/h".parse().unwrap());
    options.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let app = App::new("test-service", "Test", Api::default()).options(options).guarded("/echo");
    tokio::spawn(serve(listener, app, CancellationToken::new()));
    let client = crate::http_client().build().unwrap();
    let hello = async |caller: &str| {
        let request = client.get(format!("{url}/hello")).header("x-forwarded-for", caller);
        request.send().await.unwrap()
    };
    let echo = async |caller: &str| {
        let request = client.post(format!("{url}/echo")).header("x-forwarded-for", caller).json(&1);
        request.send().await.unwrap()
    };
    for left in ["2", "1", "0"] {
        let answer = hello("198.51.100.1").await;
        assert_eq!(answer.status(), 200);
        assert_eq!(
            (&answer.headers()["ratelimit-limit"], &answer.headers()["ratelimit-remaining"]),
            (&poem::http::HeaderValue::from_static("3"), &poem::http::HeaderValue::try_from(left).unwrap(),)
        );
    }
    let refused = hello("198.51.100.1").await;
    assert_eq!(refused.status(), 429);
    assert!(refused.headers().contains_key("retry-after") && refused.headers().contains_key("ratelimit-reset"));
    assert_eq!(refused.headers()["content-type"], "application/problem+json");
    assert_eq!(hello("198.51.100.2").await.status(), 200);
    assert_eq!(client.get(format!("{url}/health")).send().await.unwrap().status(), 200);

    assert_eq!(echo("198.51.100.3").await.status(), 200);
    assert_eq!(echo("198.51.100.3").await.status(), 429);
    assert_eq!(hello("198.51.100.3").await.status(), 200);
}

#[tokio::test]
async fn shutdown_says_so_first_and_lets_what_is_in_flight_end() {
    let drain_delay = Duration::from_millis(500);
    let running = Running::start(EdgeOptions { drain_delay, ..EdgeOptions::default() }).await;
    let (mut held, mut asking) = (running.connect().await, running.connect().await);
    assert!(running.get(&mut asking, "/health").await.starts_with("HTTP/1.1 200"));
    held.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    running.shutdown.cancel();
    // Whoever balances load sees it at once, while all else still works.
    let unready = async { while !running.get(&mut asking, "/health/ready").await.starts_with("HTTP/1.1 503") {} };
    tokio::time::timeout(drain_delay, unready).await.unwrap();
    assert!(running.get(&mut asking, "/hello").await.starts_with("HTTP/1.1 200"));
    assert!(running.get(&mut asking, "/health/live").await.starts_with("HTTP/1.1 200"));
    // Then nobody new is let in.
    let refused = async { while TcpStream::connect(running.address).await.is_ok() {} };
    tokio::time::timeout(SOON, refused).await.unwrap();
    running.gate.add_permits(1);
    let answer = answer(&mut held).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("released"), "{answer}");
    tokio::time::timeout(SOON, running.server).await.unwrap().unwrap().unwrap();
}

#[tokio::test]
async fn what_never_ends_is_cut_off_at_shutdown() {
    let shutdown_timeout = Duration::from_millis(100);
    let running = Running::start(EdgeOptions { shutdown_timeout, ..EdgeOptions::default() }).await;
    let mut held = running.connect().await;
    held.write_all(b"GET /hold HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut idle = running.connect().await;
    assert!(running.get(&mut idle, "/health").await.starts_with("HTTP/1.1 200"));
    running.shutdown.cancel();
    tokio::time::timeout(SOON, running.server).await.unwrap().unwrap().unwrap();
    closed(&mut held).await;
}
