//! The provider over its socket, on a real PostgreSQL: who is let in, what is charged once, and how it misbehaves.

use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};
use futures::future::join_all;
use psp::bank::Behaviour;
use psp::signed;
use psp_service::{Config, Deps, Service};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use testkit::eventually;
use testkit::postgres::TestDatabase;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::{SIGNATURE, WebhookKey};

const SECRET: &str = "psp_secret_0123456789abcdef01234567";
const PATIENCE: Duration = Duration::from_secs(20);

fn key() -> WebhookKey {
    signed::key(SECRET).unwrap()
}

fn config() -> Config {
    Config { webhook_pauses: vec![Duration::from_millis(20); 3], ..Config::new(key()) }
}

struct Provider {
    url: String,
    database: TestDatabase,
    client: Client,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// A request before it is signed.
struct Call<'a> {
    method: Method,
    path: &'a str,
    body: String,
    idempotency_key: Option<&'a str>,
    nonce: String,
    at: DateTime<Utc>,
}

impl<'a> Call<'a> {
    fn post(path: &'a str, key: &'a str, body: &Value) -> Self {
        let idempotency_key = Some(key);
        let nonce = Uuid::now_v7().to_string();
        Self { method: Method::POST, path, body: body.to_string(), idempotency_key, nonce, at: Utc::now() }
    }

    fn get(path: &'a str) -> Self {
        Self { method: Method::GET, idempotency_key: None, body: String::new(), ..Self::post(path, "", &Value::Null) }
    }

    fn signature(&self) -> String {
        key().sign(self.at, &signed::request(self.method.as_str(), self.path, &self.nonce, self.body.as_bytes()))
    }
}

impl Provider {
    async fn start(config: Config) -> Self {
        let database = testkit::postgres::database().await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shutdown = CancellationToken::new();
        let deps =
            Deps { pool: database.pool.clone(), clock: event_store::clock::system(), shutdown: shutdown.clone() };
        let service = Service::build(config, deps, listener).await.unwrap();
        let client = web::http_client().build().unwrap();
        Self { url, database, client, shutdown, running: tokio::spawn(service.run_until_stopped()) }
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    /// Status and body; the problem's kind, where it is one.
    async fn send(&self, call: &Call<'_>, signature: &str) -> (u16, Value) {
        let mut request = self
            .client
            .request(call.method.clone(), format!("{}{}", self.url, call.path))
            .header(SIGNATURE, signature)
            .header(signed::NONCE, &call.nonce)
            .body(call.body.clone());
        if call.method == Method::POST {
            request = request.header("content-type", "application/json");
        }
        if let Some(key) = call.idempotency_key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        (status, response.json().await.unwrap_or_default())
    }

    async fn signed(&self, call: &Call<'_>) -> (u16, Value) {
        self.send(call, &call.signature()).await
    }

    async fn charge(&self, key: &str, body: &Value) -> (u16, Value) {
        self.signed(&Call::post("/v1/charges", key, body)).await
    }

    async fn entries(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM provider_ledger").fetch_one(&self.database.pool).await.unwrap()
    }
}

fn charge(token: &str, amount_minor: i64) -> Value {
    json!({ "reference": Uuid::from_u128(1), "amount_minor": amount_minor, "currency": "EUR", "payment_method": token })
}

fn kind(body: &Value) -> &str {
    body["type"].as_str().unwrap_or_default()
}

#[tokio::test]
async fn only_the_shops_calls_are_let_in_each_once() {
    let provider = Provider::start(config()).await;
    let call = Call::post("/v1/charges", "k", &charge("tok_ok", 100));
    let signature = call.signature();
    let other = WebhookKey::new("another_secret_0123456789abcdef0123").unwrap();
    let others = other.sign(call.at, &signed::request("POST", call.path, &call.nonce, call.body.as_bytes()));
    for bad in ["", "t=1,v1=00", &others, &signature.replace("v1=", "v1=00"), &signature.replace("v1", "v2")] {
        let (status, body) = provider.send(&call, bad).await;
        assert_eq!((status, kind(&body)), (401, "/problems/signature"), "{bad}");
    }
    // Signed for another path, another body, another nonce, or of another time.
    for changed in [
        Call { path: "/v1/refunds", ..Call::post("", "k", &charge("tok_ok", 100)) },
        Call::post("/v1/charges", "k", &charge("tok_ok", 1)),
    ] {
        let changed = Call { nonce: call.nonce.clone(), at: call.at, ..changed };
        assert_eq!(provider.send(&changed, &signature).await.0, 401);
    }
    for minutes in [-6, 6] {
        let old = Call {
            at: Utc::now() + TimeDelta::minutes(minutes),
            ..Call::post("/v1/charges", "k", &charge("tok_ok", 1))
        };
        assert_eq!(provider.signed(&old).await.0, 401, "{minutes} minutes");
    }
    assert_eq!(provider.entries().await, 0, "nobody was charged so far");
    assert_eq!(provider.send(&call, &signature).await.0, 200);
    let (status, body) = provider.send(&call, &signature).await;
    assert_eq!((status, kind(&body)), (409, "/problems/replayed"));
    assert_eq!(provider.signed(&Call::get("/v1/operations?key=k")).await.0, 200);
    assert_eq!(provider.send(&Call::get("/v1/operations"), "").await.0, 401, "its book is the shop's alone");
    assert_eq!(provider.entries().await, 1);
    provider.stop().await;
}

#[tokio::test]
async fn one_key_is_one_charge() {
    let provider = Provider::start(config()).await;
    let body = charge("tok_ok", 1_990);
    let all = join_all((0..20).map(|_| provider.charge("k", &body))).await;
    assert!(all.iter().all(|(status, told)| *status == 200 && *told == all[0].1), "{all:?}");
    assert_eq!((&all[0].1["status"], &all[0].1["amount_minor"]), (&json!("succeeded"), &json!(1_990)));
    assert_eq!(provider.entries().await, 1);
    for other in [charge("tok_ok", 1_991), charge("tok_declined", 1_990)] {
        let (status, told) = provider.charge("k", &other).await;
        assert_eq!((status, kind(&told)), (422, "/problems/idempotency-key-reused"));
    }
    for key in [None, Some(""), Some("two words"), Some(&*"k".repeat(256))] {
        let call = Call { idempotency_key: key, ..Call::post("/v1/charges", "", &body) };
        assert_eq!(provider.signed(&call).await.0, 400, "{key:?}");
    }
    for bad in [charge("4242424242424242", 1), charge("tok_ok", 0), json!({}), json!([])] {
        assert_eq!(provider.charge("bad", &bad).await.0, 400, "{bad}");
    }
    assert_eq!(provider.entries().await, 1);
    provider.stop().await;
}

#[tokio::test]
async fn no_more_is_paid_back_than_was_taken() {
    let provider = Provider::start(config()).await;
    let (_, charged) = provider.charge("c", &charge("tok_ok", 1_000)).await;
    let refund = async |key: &str, amount_minor: i64, of: &Value| {
        let body =
            json!({ "reference": Uuid::from_u128(1), "amount_minor": amount_minor, "currency": "EUR", "charge": of });
        provider.signed(&Call::post("/v1/refunds", key, &body)).await
    };
    let of = &charged["transaction_id"];
    assert_eq!(refund("r1", 400, of).await.1["status"], "succeeded");
    assert_eq!(refund("r1", 400, of).await.1["status"], "succeeded", "the same again");
    let (_, refused) = refund("r2", 601, of).await;
    assert_eq!((&refused["status"], &refused["reason"]), (&json!("failed"), &json!("nothing_to_refund")));
    assert_eq!(refund("r3", 600, of).await.1["status"], "succeeded");
    assert_eq!(refund("r4", 1, of).await.1["status"], "failed");
    assert_eq!(refund("r5", 1, &json!("TXN-none")).await.1["status"], "failed");
    // All of it is in its book, page by page.
    let (mut after, mut keys) = (String::new(), Vec::new());
    loop {
        let path = format!("/v1/operations?limit=2&after={after}");
        let (status, page) = provider.signed(&Call::get(&path)).await;
        assert_eq!(status, 200);
        let operations = page["operations"].as_array().unwrap();
        assert!(operations.len() <= 2);
        keys.extend(operations.iter().map(|operation| operation["key"].as_str().unwrap().to_owned()));
        match page["next"].as_str() {
            Some(next) => after = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(keys, ["c", "r1", "r2", "r3", "r4", "r5"]);
    for limit in [0, 1_001] {
        assert_eq!(provider.signed(&Call::get(&format!("/v1/operations?limit={limit}"))).await.0, 400);
    }
    provider.stop().await;
}

#[tokio::test]
async fn tokens_and_settings_choose_what_goes_wrong() {
    let mut config = config();
    config.behaviour = Behaviour { success_rate: 0.0, ..Behaviour::default() };
    let provider = Provider::start(config.clone()).await;
    for (token, reason) in [
        ("tok_ok", "card_declined"),
        ("tok_declined", "card_declined"),
        ("tok_insufficient_funds", "insufficient_funds"),
    ] {
        let (status, told) = provider.charge(token, &charge(token, 100)).await;
        assert_eq!((status, &told["status"], &told["reason"]), (200, &json!("failed"), &json!(reason)), "{token}");
        assert!(told.get("transaction_id").is_none());
    }
    provider.stop().await;

    config.behaviour = Behaviour { lost_reply_after: Duration::from_millis(700), ..Behaviour::default() };
    let provider = Provider::start(config.clone()).await;
    let (status, _) = provider.charge("flaky", &charge("tok_flaky", 100)).await;
    assert_eq!(status, 500);
    // Charged all the same; who asks is told so after some failures.
    let told = eventually(PATIENCE, async || {
        let (status, page) = provider.signed(&Call::get("/v1/operations?key=flaky")).await;
        assert!(matches!(status, 200 | 503), "{status}");
        (status == 200).then_some(page)
    })
    .await;
    assert_eq!(told["operations"][0]["status"], "succeeded");
    let began = Instant::now();
    assert_eq!(provider.charge("late", &charge("tok_timeout", 100)).await.1["status"], "succeeded");
    assert!(began.elapsed() >= Duration::from_millis(700), "the reply of this token is late");
    provider.stop().await;

    config.behaviour.chaos.lost = 1.0;
    let provider = Provider::start(config.clone()).await;
    let body = charge("tok_ok", 100);
    let waits = provider.charge("lost", &body);
    assert!(tokio::time::timeout(Duration::from_millis(300), waits).await.is_err(), "its reply is lost");
    eventually(PATIENCE, async || (provider.entries().await == 1).then_some(())).await;
    provider.stop().await;

    config.behaviour.success_rate = 1.1;
    let database = testkit::postgres::database().await;
    let deps =
        Deps { pool: database.pool.clone(), clock: event_store::clock::system(), shutdown: CancellationToken::new() };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    assert!(Service::build(config, deps, listener).await.is_err(), "no share is more than one");
}

/// Takes what is posted, and answers with these statuses in turn, the last one for ever.
async fn receiver(statuses: &'static [u16]) -> (String, mpsc::UnboundedReceiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hooks", listener.local_addr().unwrap());
    let (tell, told) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let mut statuses = statuses.iter().copied();
        let mut status = 200;
        while let Ok((mut stream, _)) = listener.accept().await {
            status = statuses.next().unwrap_or(status);
            let mut bytes = Vec::new();
            let (head, body) = loop {
                let mut part = [0; 4_096];
                let read = stream.read(&mut part).await.unwrap();
                bytes.extend_from_slice(&part[..read]);
                let text = String::from_utf8(bytes.clone()).unwrap();
                let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                let length = head
                    .lines()
                    .find_map(|line| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned));
                if body.len() >= length.unwrap().parse::<usize>().unwrap() {
                    break (head.to_owned(), body.to_owned());
                }
            };
            let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            let signature = head.lines().find_map(|line| {
                let (name, value) = line.split_once(": ")?;
                name.eq_ignore_ascii_case(SIGNATURE).then(|| value.to_owned())
            });
            tell.send((signature.unwrap(), body)).unwrap();
        }
    });
    (url, told)
}

#[tokio::test]
async fn a_webhook_is_signed_and_told_until_it_is_taken() {
    let (url, mut told) = receiver(&[500, 404, 200]).await;
    let provider = Provider::start(Config { webhook_url: Some(url), ..config() }).await;
    provider.charge("k", &charge("tok_ok", 100)).await;
    for attempt in 1..=3 {
        let (signature, body) = tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
        let verified = key().verify(&signature, body.as_bytes(), Utc::now(), web::SIGNATURE_TOLERANCE);
        assert!(verified.is_ok(), "{verified:?}");
        let event: Value = serde_json::from_str(&body).unwrap();
        assert_eq!((&event["type"], &event["attempt"]), (&json!("charge.succeeded"), &json!(attempt)));
        assert_eq!(event["data"]["key"], "k");
    }
    eventually(PATIENCE, async || {
        let taken =
            "SELECT count(*) FROM provider_ledger WHERE webhook_taken_at IS NOT NULL AND webhook_next_at IS NULL";
        let taken: i64 = sqlx::query_scalar(taken).fetch_one(&provider.database.pool).await.unwrap();
        (taken == 1).then_some(())
    })
    .await;
    assert!(told.try_recv().is_err(), "what was taken is not told again");
    provider.stop().await;
}

#[tokio::test]
async fn a_webhook_that_nobody_takes_is_given_up() {
    let (url, mut told) = receiver(&[503]).await;
    let provider = Provider::start(Config { webhook_url: Some(url), ..config() }).await;
    provider.charge("k", &charge("tok_ok", 100)).await;
    // The first delivery, and one after each of three pauses.
    for _ in 0..4 {
        tokio::time::timeout(PATIENCE, told.recv()).await.unwrap().unwrap();
    }
    eventually(PATIENCE, async || {
        let due = "SELECT count(*) FROM provider_ledger WHERE webhook_next_at IS NOT NULL";
        let due: i64 = sqlx::query_scalar(due).fetch_one(&provider.database.pool).await.unwrap();
        (due == 0).then_some(())
    })
    .await;
    provider.stop().await;
}
