//! A notification service on a database of its own and a broker in memory, and channels that record.

#![allow(dead_code, reason = "each test file uses a part")]

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

pub mod log;
pub mod mail;
pub mod users;

use async_trait::async_trait;
use broker::{Broker, MemoryBroker, Record, TopicPartition, partition_of};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use domain::notification::{self, Failure};
use event_store::clock;
use kernel::{NotificationId, OrderId, UserId};
use notification_service::{Channel, Config, Listeners, Notice, Retry, Service, Unsent};
use runtime::Deps;
use serde_json::{Value, json};
use testkit::eventually;
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::{Role, TokenSigner, TokenVerifier};

pub const PARTITIONS: i32 = 2;
pub const PATIENCE: Duration = Duration::from_secs(30);

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Attempts follow one another fast, so that tests do.
pub const RETRY: Retry = Retry { base: ms(20), factor: 2, wait_max: ms(1_000), attempts_max: 4, look_every: ms(20) };

pub struct Fixture {
    pub database: TestDatabase,
    pub broker: MemoryBroker,
    pub signer: TokenSigner,
}

/// A service that runs; stopped when it is dropped.
pub struct Running {
    pub url: String,
    shutdown: CancellationToken,
    task: Option<JoinHandle<anyhow::Result<()>>>,
}

impl Running {
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        self.task.take().unwrap().await.unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

impl Fixture {
    pub async fn new() -> Self {
        let database = testkit::postgres::database().await;
        let broker = MemoryBroker::new();
        let topics: Vec<_> = event_schemas::topics::ALL.iter().map(|name| ((*name).to_owned(), PARTITIONS)).collect();
        broker.ensure_topics(&topics).await.unwrap();
        Self { database, broker, signer: TokenSigner::from_seed(&[7; 32], "test").unwrap() }
    }

    pub fn deps(&self) -> Deps {
        Deps {
            gate: None,
            pool: self.database.pool.clone(),
            broker: Arc::new(self.broker.clone()),
            clock: clock::system(),
            partitions: PARTITIONS,
            lease: Duration::from_secs(10),
            hash_chain: event_store::HashChain::Off,
            shutdown: CancellationToken::new(),
        }
    }

    pub async fn listen(&self) -> (Listeners, String) {
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", http.local_addr().unwrap());
        (Listeners { http }, url)
    }

    /// Starts the service with these channels.
    pub async fn start(&self, channels: Vec<Arc<dyn Channel>>) -> Running {
        let (deps, (listeners, url)) = (self.deps(), self.listen().await);
        let shutdown = deps.shutdown.clone();
        let verifier = TokenVerifier::of_signer(&self.signer);
        let service = Service::build_with(channels, config(), deps, listeners, verifier).await.unwrap();
        Self::run(service, url, shutdown)
    }

    /// Starts the service as it is configured.
    pub async fn start_configured(&self, config: Config) -> Running {
        let (deps, (listeners, url)) = (self.deps(), self.listen().await);
        let shutdown = deps.shutdown.clone();
        let verifier = TokenVerifier::of_signer(&self.signer);
        let service = Service::build(config, deps, listeners, verifier).await.unwrap();
        Self::run(service, url, shutdown)
    }

    pub fn run(service: Service, url: String, shutdown: CancellationToken) -> Running {
        Running { url, shutdown, task: Some(tokio::spawn(service.run_until_stopped())) }
    }

    pub async fn publish(&self, topic: &str, records: Vec<Record>) {
        let mut by_partition: BTreeMap<i32, Vec<Record>> = BTreeMap::new();
        for record in records {
            by_partition.entry(partition_of(&record.key, PARTITIONS)).or_default().push(record);
        }
        let batch = by_partition.into_iter().map(|(n, records)| (TopicPartition::new(topic, n), records)).collect();
        self.broker.publish(LIVE.into(), batch).await.unwrap();
    }

    pub fn token(&self, user: UserId, role: Role) -> String {
        self.signer.access_token(user, role, now(), Duration::from_secs(600), Uuid::now_v7()).unwrap()
    }

    /// Calls the service's API: the status, and the body where it is JSON.
    pub async fn call(
        &self,
        to: &Running,
        method: &str,
        path: &str,
        by: Option<&str>,
        body: Option<Value>,
    ) -> (u16, Value) {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = web::http_client().build().unwrap().request(method, format!("{}/api/v1{path}", to.url));
        if let Some(token) = by {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or_default())
    }

    /// All that the service has stored of its own, as text.
    pub async fn stored(&self) -> String {
        let query = "SELECT string_agg(t, ' ') FROM (
            SELECT e::text AS t FROM events e UNION ALL SELECT n::text FROM notifications n
            UNION ALL SELECT d::text FROM dead_letters d) all_of_it";
        sqlx::query_scalar::<_, Option<String>>(query).fetch_one(&self.database.pool).await.unwrap().unwrap_or_default()
    }

    pub async fn rows(&self, status: &str) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM notifications WHERE status = $1")
            .bind(status)
            .fetch_one(&self.database.pool)
            .await
            .unwrap()
    }

    /// All rows, a line each, for whoever reads what a test waited for in vain.
    async fn every_row(&self) -> Vec<String> {
        sqlx::query_scalar(
            "SELECT concat_ws(' ', kind, channel, status, attempts || ' attempts', why, 'next ' || next_attempt_at)
               FROM notifications ORDER BY created_at, channel",
        )
        .fetch_all(&self.database.pool)
        .await
        .unwrap()
    }

    #[track_caller]
    pub fn eventually_rows(&self, status: &str, count: i64) -> impl Future<Output = ()> {
        let same = async move || {
            let (rows, all) = (self.rows(status).await, self.every_row().await);
            if rows == count { Ok(()) } else { Err(format!("{rows} of {count} {status}: {all:#?}")) }
        };
        eventually(PATIENCE, same)
    }
}

/// As the tests want it.
pub fn config() -> Config {
    Config { retry: RETRY, ..Config::default() }
}

pub fn now() -> DateTime<Utc> {
    clock::system().now()
}

pub fn id() -> Uuid {
    Uuid::now_v7()
}

/// A record of this type; the same `ce_id` makes it the same message.
pub fn record(message_id: Uuid, kind: &str, key: &str, mut data: Value) -> Record {
    data["event_type"] = json!(kind);
    let headers = [
        ("ce_specversion", "1.0".to_owned()),
        ("ce_id", message_id.to_string()),
        ("ce_type", kind.to_owned()),
        ("ce_source", "test".to_owned()),
        ("ce_time", now().to_rfc3339()),
        ("content-type", "application/json".to_owned()),
        ("ce_correlationid", CORRELATION.to_string()),
        ("ce_causationid", message_id.to_string()),
    ];
    Record {
        key: key.to_owned(),
        headers: headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))).collect(),
        value: Bytes::from(serde_json::to_vec(&data).unwrap()),
        timestamp_ms: now().timestamp_millis(),
    }
}

/// The story that all messages of the tests belong to.
pub const CORRELATION: Uuid = Uuid::from_u128(0xc0ffee);

pub fn user_registered(user: UserId) -> Record {
    record(id(), "user_registered", &user.to_string(), json!({ "user_id": user }))
}

pub fn order_cancelled(order: OrderId, user: UserId, reason: &str) -> Record {
    let data = json!({ "order_id": order, "user_id": user, "reason": reason, "status": "cancelled" });
    record(id(), "order_cancelled", &order.to_string(), data)
}

pub fn order_created(order: OrderId, user: UserId) -> Record {
    let data = json!({
        "order_id": order, "user_id": user, "lines": [], "status": "pending", "total_price": 20.5, "currency": "EUR",
        "payment_method": "tok_ok",
    });
    record(id(), "order_created", &order.to_string(), data)
}

pub fn order_confirmed(order: OrderId, user: UserId) -> Record {
    let data = json!({
        "order_id": order, "user_id": user, "total_price": 20.5, "currency": "EUR", "status": "confirmed"
    });
    record(id(), "order_confirmed", &order.to_string(), data)
}

/// A channel that keeps what it was given, and fails first as often as it is told.
pub struct Recording {
    kind: notification::Channel,
    failures: Vec<Failure>,
    attempts: Mutex<HashMap<NotificationId, usize>>,
    sent: Mutex<Vec<(NotificationId, String)>>,
}

impl Recording {
    pub fn new(kind: notification::Channel) -> Arc<Self> {
        Self::failing(kind, vec![])
    }

    /// Fails each notification's first attempts in these ways.
    pub fn failing(kind: notification::Channel, failures: Vec<Failure>) -> Arc<Self> {
        Arc::new(Self { kind, failures, attempts: Mutex::default(), sent: Mutex::default() })
    }

    /// The kinds of what was sent, in order of the alphabet.
    pub fn sent(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.sent.lock().unwrap().iter().map(|(_, kind)| kind.clone()).collect();
        kinds.sort();
        kinds
    }

    pub fn attempts(&self) -> usize {
        self.attempts.lock().unwrap().values().sum()
    }
}

#[async_trait]
impl Channel for Recording {
    fn kind(&self) -> notification::Channel {
        self.kind
    }

    async fn send(&self, _: kernel::Live, notice: Notice<'_>) -> Result<(), Unsent> {
        let attempt = {
            let mut attempts = self.attempts.lock().unwrap();
            let attempts = attempts.entry(notice.id).or_default();
            *attempts += 1;
            *attempts
        };
        match self.failures.get(attempt - 1) {
            Some(failure) => Err((*failure).into()),
            None => {
                self.sent.lock().unwrap().push((notice.id, notice.letter.template.clone()));
                Ok(())
            }
        }
    }
}
