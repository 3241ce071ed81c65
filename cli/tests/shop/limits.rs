//! What no client may do: send too much, send too slowly, hold too many connections.

use std::time::{Duration, Instant};

use futures::future::join_all;
use reqwest::Method;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use sagashop::ports::Role;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::up::Up;
use crate::{room_for_a_large_shop, room_for_a_small_shop};

/// What a body may have.
const BODY_BYTES_MAX: usize = 1 << 20;
/// A client that sends a byte a second is dropped within this.
const DROPPED_WITHIN: Duration = Duration::from_secs(45);
const CONNECTIONS: usize = 10_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_may_have_a_mebibyte_and_not_a_byte_more() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    let order = uuid::Uuid::now_v7();
    let skip = format!("/sagas/{order}/skip");
    let doors = [
        (Role::User, "/login", "", json!({ "email": "customer@customers.example", "password": "wrong one" }), 401),
        (Role::Product, "/products", &admin, json!({ "name": "Desk", "price": 1, "stock": 1 }), 201),
        (Role::Order, "/orders", &customer, json!({ "lines": [] }), 400),
        (Role::Orchestrator, &skip, &admin, json!({ "reason": "why not" }), 404),
    ];
    for (role, path, token, body, status) in doors {
        let padded = |bytes: usize| {
            let body = body.to_string();
            format!("{body}{}", " ".repeat(bytes - body.len()))
        };
        let send = async |body: reqwest::Body| {
            let request = shop.request(Method::POST, role, path, token).header("content-type", "application/json");
            shop.send(request.body(body)).await
        };
        for bytes in [BODY_BYTES_MAX - 1, BODY_BYTES_MAX] {
            let answer = send(padded(bytes).into()).await;
            assert_eq!(answer.status, status, "{path} with {bytes} bytes: {answer:?}");
        }
        let answer = send(padded(BODY_BYTES_MAX + 1).into()).await;
        assert_eq!((answer.status, answer.content_type.as_str()), (413, "application/problem+json"), "{path}");
    }
    // The same where the length is not said beforehand.
    for (bytes, status) in [(BODY_BYTES_MAX, "400"), (BODY_BYTES_MAX + 1, "413")] {
        let mut stream = connect(&shop, Role::Order).await;
        let head = format!(
            "POST /orders HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {customer}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n{bytes:x}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("sent");
        let mut body = br#"{"lines":[]}"#.to_vec();
        body.resize(bytes, b' ');
        stream.write_all(&body).await.expect("sent");
        // It may have answered and closed before the end.
        let _ = stream.write_all(b"\r\n0\r\n\r\n").await;
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer[9..], status.as_bytes(), "{bytes} bytes in chunks");
    }
    // Nor may a head be any larger than heads are.
    let request = shop.request(Method::GET, Role::Order, "/orders", &customer).header("x-long", "x".repeat(1 << 20));
    if let Some(answer) = shop.try_send(request).await {
        assert!(matches!(answer.status, 400 | 413 | 431), "{answer:?}");
    }
    shop.get(Role::Order, "/orders", &customer).await.expect(200);
}

async fn connect(shop: &Up, role: Role) -> TcpStream {
    let stream = TcpStream::connect(("127.0.0.1", role.http_port() + shop.folder.offset)).await.expect("connected");
    stream.set_nodelay(true).expect("an option");
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_sends_a_byte_a_second_is_dropped() {
    let _room = room_for_a_small_shop().await;
    let shop = Up::start(&["--empty"]).await;
    let slow = Role::ALL.into_iter().flat_map(|role| {
        // A head that never ends, and a body that hardly begins.
        let body =
            "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n";
        [("GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ", "x"), (body, " ")].map(|slow| (role, slow))
    });
    let dropped = slow.map(async |(role, (start, byte))| {
        let mut stream = connect(&shop, role).await;
        stream.write_all(start.as_bytes()).await.expect("sent");
        let began = Instant::now();
        let (mut reader, mut writer) = stream.split();
        let drip = async {
            let mut tick = tokio::time::interval(Duration::from_secs(1));
            loop {
                tick.tick().await;
                if writer.write_all(byte.as_bytes()).await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        let mut said = Vec::new();
        // An answer such as 408 may come before the end.
        let end = tokio::time::timeout(DROPPED_WITHIN, reader.read_to_end(&mut said));
        let ended = tokio::select! { ended = end => ended.is_ok(), () = drip => false };
        let said = String::from_utf8_lossy(&said).into_owned();
        assert!(ended, "{} holds {start:?} for {:?}", role.name(), began.elapsed());
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{}: {said}", role.name());
    });
    join_all(dropped).await;
    shop.customer("customer").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_connections_that_do_nothing_are_no_harm() {
    let _room = room_for_a_large_shop().await;
    let open_files = getrlimit(Resource::Nofile);
    let needed = u64::try_from(CONNECTIONS).expect("small") + 1_000;
    if open_files.maximum.is_some_and(|maximum| maximum < needed) {
        eprintln!("SKIPPED: {CONNECTIONS} connections need {needed} open files, and the limit is {open_files:?}");
        return;
    }
    // The shop raises its own.
    let raised = Rlimit { current: open_files.maximum, ..open_files };
    let shop = Up::start(&["--empty"]).await;
    setrlimit(Resource::Nofile, raised).expect("up to the maximum");
    let (admin, customer) = (shop.admin().await, shop.customer("customer").await);
    let product = shop.product(&admin, "Lamp", "19.90", 1_000).await;

    let mut idle = Vec::with_capacity(CONNECTIONS);
    while idle.len() < CONNECTIONS {
        idle.extend(join_all((0..100).map(|_| connect(&shop, Role::Order))).await);
    }
    for _ in 0..20 {
        let began = Instant::now();
        shop.get(Role::Order, "/health", "").await.expect(200);
        let order = shop.place(&customer, &json!({ "product_id": product, "quantity": 1 })).await;
        assert_eq!(shop.ended(&customer, &order).await["status"], "confirmed");
        assert!(began.elapsed() < Duration::from_secs(10), "it took {:?}", began.elapsed());
    }
    // They were connections indeed.
    let first = &mut idle[0];
    first.write_all(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sent");
    let mut answer = [0; 12];
    first.read_exact(&mut answer).await.expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200");
    drop(idle);
    shop.assert_clean().await;
}
