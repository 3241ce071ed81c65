//! A running product service and its callers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, MemoryBroker, Record, TopicPartition, partition_of};
use bytes::Bytes;
use chrono::Utc;
use event_schemas::{Published, topics};
use product_service::{Config, Listeners, Service};
use reqwest::{Method, Response};
use runtime::{Deps, Message};
use serde_json::Value;
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::{Role, TokenSigner, TokenVerifier};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

/// Enough for the slowest machine; what waits is woken long before.
pub const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: i32 = 2;

pub struct Shop {
    pub database: TestDatabase,
    pub broker: Arc<MemoryBroker>,
    pub http: String,
    pub grpc: String,
    pub admin: String,
    pub customer: String,
    client: reqwest::Client,
    running: Running,
}

/// One instance of the service.
pub struct Running {
    pub http: String,
    pub grpc: String,
    shutdown: CancellationToken,
    service: JoinHandle<anyhow::Result<()>>,
}

impl Running {
    async fn start(config: Config, pool: sqlx::PgPool, broker: Arc<MemoryBroker>, signer: &TokenSigner) -> Self {
        let shutdown = CancellationToken::new();
        let deps = Deps {
            gate: None,
            pool,
            broker,
            clock: event_store::clock::system(),
            partitions: PARTITIONS,
            lease: Duration::from_secs(10),
            hash_chain: event_store::HashChain::Off,
            shutdown: shutdown.clone(),
        };
        let bind = || TcpListener::bind("127.0.0.1:0");
        let listeners = Listeners { http: bind().await.unwrap(), grpc: bind().await.unwrap() };
        let http = format!("http://{}", listeners.http.local_addr().unwrap());
        let grpc = listeners.grpc.local_addr().unwrap().to_string();
        let service = Service::build(config, deps, listeners, TokenVerifier::of_signer(signer)).await.unwrap();
        let service = tokio::spawn(service.run_until_stopped());
        Self { http, grpc, shutdown, service }
    }

    pub async fn close(self) {
        self.shutdown.cancel();
        self.service.await.unwrap().unwrap();
    }
}

impl Shop {
    pub async fn open() -> Self {
        // With a real Redis where there is one; nothing may depend on it.
        let redis = std::env::var("REDIS_URL").ok().filter(|url| !url.is_empty());
        Self::open_with(Config { redis, ..Config::default() }, testkit::postgres::database().await).await
    }

    pub async fn open_with(config: Config, database: TestDatabase) -> Self {
        let broker = Arc::new(MemoryBroker::new());
        let all: Vec<_> = topics::ALL.iter().map(|topic| ((*topic).to_owned(), PARTITIONS)).collect();
        broker.ensure_topics(&all).await.unwrap();
        let signer = signer();
        let token = |role| {
            let (user, id) = (Uuid::now_v7().into(), Uuid::now_v7());
            signer.access_token(user, role, Utc::now(), Duration::from_secs(600), id).unwrap()
        };
        let (admin, customer) = (token(Role::Admin), token(Role::Customer));
        let running = Running::start(config, database.pool.clone(), Arc::clone(&broker), &signer).await;
        let client = web::http_client().build().expect("a client");
        let (http, grpc) = (running.http.clone(), running.grpc.clone());
        Self { database, broker, http, grpc, admin, customer, client, running }
    }

    /// One more instance of the service, on the same database and broker.
    pub async fn another(&self, config: Config) -> Running {
        Running::start(config, self.database.pool.clone(), Arc::clone(&self.broker), &signer()).await
    }

    /// Stops the service and returns its database, to be opened again.
    pub async fn close(self) -> TestDatabase {
        self.running.close().await;
        self.database
    }

    /// As an administrator, with these headers.
    pub async fn with(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.http)).bearer_auth(&self.admin);
        let body = body.into();
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(body).send().await.unwrap()
    }

    /// What another instance shows.
    pub async fn get_at(&self, instance: &Running, path: &str) -> (u16, Value) {
        answer(self.client.get(format!("{}{path}", instance.http)).send().await.unwrap()).await
    }

    /// As an administrator.
    pub async fn send(&self, method: Method, path: &str, body: impl Into<String>) -> Response {
        self.send_as(Some(&self.admin), method, path, body).await
    }

    pub async fn send_as(&self, token: Option<&str>, method: Method, path: &str, body: impl Into<String>) -> Response {
        let mut request = self.client.request(method, format!("{}{path}", self.http));
        let body = body.into();
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (u16, Value) {
        answer(self.send_as(None, Method::GET, path, "").await).await
    }

    pub async fn post(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.send(Method::POST, path, body).await).await
    }

    pub async fn put(&self, path: &str, body: &str) -> (u16, Value) {
        answer(self.send(Method::PUT, path, body).await).await
    }

    /// Waits until a GET shows this: an answer waits for the read model, but not for ever, and where it did not the time
    /// of the change is a little before the one that is stored.
    pub async fn shows(&self, path: &str, expected: &Value) {
        let timeless = |mut value: Value| {
            value.as_object_mut().and_then(|product| product.remove("updated_at"));
            value
        };
        let expected = timeless(expected.clone());
        testkit::eventually(PATIENCE, || async {
            let (status, shown) = self.get(path).await;
            (status == 200 && timeless(shown) == expected).then_some(())
        })
        .await;
    }

    /// A new product's id, once the read model has it.
    pub async fn product(&self, name: &str, price: &str, stock: i64) -> Uuid {
        let body = format!(r#"{{"name":"{name}","price":{price},"stock":{stock}}}"#);
        let (status, product) = self.post("/products", &body).await;
        assert_eq!(status, 201, "{product}");
        let id = product["id"].as_str().unwrap();
        self.shows(&format!("/products/{id}"), &product).await;
        id.parse().unwrap()
    }

    /// How many events there are.
    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.database.pool).await.unwrap()
    }

    /// Sends messages of this type, as the orchestrator does.
    pub async fn command<M: Published>(&self, id: Uuid, message: &M) {
        self.publish(M::TOPIC, &message.key(), M::TYPE, id, message.to_json().unwrap()).await;
    }

    pub async fn publish(&self, topic: &str, key: &str, message_type: &str, id: Uuid, data: Vec<u8>) {
        let headers = [
            ("ce_specversion", "1.0".to_owned()),
            ("ce_id", id.to_string()),
            ("ce_type", message_type.to_owned()),
            ("ce_source", "orchestrator".to_owned()),
            ("ce_time", Utc::now().to_rfc3339()),
            ("ce_correlationid", Uuid::now_v7().to_string()),
            ("ce_causationid", Uuid::now_v7().to_string()),
            ("content-type", "application/json".to_owned()),
        ];
        let headers: BTreeMap<_, _> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), Bytes::from(value))).collect();
        let record =
            Record { key: key.to_owned(), headers, value: data.into(), timestamp_ms: Utc::now().timestamp_millis() };
        let to = TopicPartition::new(topic, partition_of(key, PARTITIONS));
        self.broker.publish(LIVE.into(), vec![(to, vec![record])]).await.unwrap();
    }

    /// All that the service has published about a product so far.
    pub async fn published(&self, product: Uuid) -> Vec<Message> {
        let from = TopicPartition::new(topics::PRODUCT_EVENTS, partition_of(&product.to_string(), PARTITIONS));
        let limits = FetchLimits { wait_max: Duration::ZERO, ..FetchLimits::default() };
        let fetched = self.broker.fetch(&from, 0, limits).await.unwrap();
        let messages = fetched.records.iter().map(|stored| Message::from_record(&stored.record).unwrap());
        messages.filter(|message| message.key == product.to_string()).collect()
    }

    /// The types of what it has published about a product, once there are so many.
    pub async fn published_types(&self, product: Uuid, count: usize) -> Vec<String> {
        let messages = testkit::eventually(PATIENCE, || async move {
            let messages = self.published(product).await;
            (messages.len() >= count).then_some(messages)
        })
        .await;
        messages.into_iter().map(|message| message.message_type).collect()
    }
}

/// A product's price as it is written.
pub fn price(product: &Value) -> String {
    product["price"].to_string()
}

fn signer() -> TokenSigner {
    TokenSigner::from_seed(&[7; 32], "test").unwrap()
}

pub async fn answer(response: Response) -> (u16, Value) {
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}
