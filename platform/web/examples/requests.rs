//! What the edge costs a request: `requests [seconds]`.
//!
//! First without a connection, one request after the other on one thread; then over connections of HTTP/1.1, with the
//! client on the same cores. Tokens are checked and rate limits are on in both.

use std::time::{Duration, Instant};

use chrono::Utc;
use kernel::UserId;
use poem::{Endpoint, IntoEndpoint, Request};
use poem_openapi::param::Path;
use poem_openapi::payload::Json;
use poem_openapi::{Object, OpenApi};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::{OptionalBearer, Role, TokenSigner, TokenVerifier};
use web::{App, EdgeOptions, Problem};

/// What is asked for.
const PATH: &str = "/products/01890000-0000-7000-8000-000000000001";

#[derive(Object)]
struct Product {
    id: Uuid,
    name: String,
    description: String,
    price: f64,
    stock: u32,
}

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/products/:id", method = "get")]
    async fn get(&self, _caller: OptionalBearer, id: Path<Uuid>) -> Result<Json<Product>, Problem> {
        let (name, description) = ("Espresso cups".to_owned(), "Four of them, of stoneware".to_owned());
        Ok(Json(Product { id: id.0, name, description, price: 24.9, stock: 120 }))
    }
}

fn app(signer: &TokenSigner) -> App {
    App::new("bench", "Bench", Api).verifier(TokenVerifier::of_signer(signer)).options(EdgeOptions::development())
}

/// Requests a second through the edge alone.
async fn direct(app: App, token: &str, time: Duration) -> f64 {
    let edge = app.into_endpoint();
    let (begun, mut count) = (Instant::now(), 0_u32);
    while begun.elapsed() < time {
        for _ in 0..100 {
            let request =
                Request::builder().uri_str(PATH).header("host", "localhost").header("authorization", token).finish();
            let answer = edge.call(request).await.unwrap_or_else(poem::Error::into_response);
            assert!(answer.status().is_success());
            count += 1;
        }
    }
    f64::from(count) / begun.elapsed().as_secs_f64()
}

/// Requests a second over so many connections.
async fn connected(app: App, token: &str, clients: usize, time: Duration) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let (address, shutdown) = (listener.local_addr().expect("an address"), CancellationToken::new());
    let server = tokio::spawn(web::serve(listener, app, shutdown.clone()));
    let request = format!("GET {PATH} HTTP/1.1\r\nhost: localhost\r\nauthorization: {token}\r\n\r\n");
    let begun = Instant::now();
    let asking = (0..clients).map(|_| {
        let request = request.clone();
        tokio::spawn(async move {
            let mut stream = TcpStream::connect(address).await.expect("a connection");
            stream.set_nodelay(true).expect("no delay");
            let (mut buffer, mut count) = (vec![0; 16_384], 0_u32);
            while begun.elapsed() < time {
                stream.write_all(request.as_bytes()).await.expect("written");
                let bytes = stream.read(&mut buffer).await.expect("read");
                assert!(buffer[..bytes].starts_with(b"HTTP/1.1 200"));
                count += 1;
            }
            count
        })
    });
    let counts = futures::future::join_all(asking.collect::<Vec<_>>()).await;
    let count: u32 = counts.into_iter().map(|count| count.expect("no panic")).sum();
    let rate = f64::from(count) / begun.elapsed().as_secs_f64();
    shutdown.cancel();
    let _ = server.await;
    rate
}

#[allow(clippy::print_stdout, reason = "the result")]
#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let seconds = std::env::args().nth(1).map_or(3, |text| text.parse().expect("a number of seconds"));
    let time = Duration::from_secs(seconds);
    let signer = TokenSigner::from_seed(&[7; 32], "bench").expect("a key");
    let user = UserId(Uuid::now_v7());
    let token = signer.access_token(user, Role::Customer, Utc::now(), Duration::from_secs(600), Uuid::now_v7());
    let token = format!("Bearer {}", token.expect("a token"));
    let rate = direct(app(&signer), &token, time).await;
    println!("edge alone: {rate:.0} requests/s, {:.2} µs each", 1e6 / rate);
    for clients in [1, 8, 32] {
        println!("{clients} clients: {:.0} requests/s", connected(app(&signer), &token, clients, time).await);
    }
}
