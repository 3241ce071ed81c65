//! One running order service with everything around it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, MemoryBroker, Record, TopicPartition, partition_of};
use chrono::Utc;
use event_schemas::commands::{CancelOrder, ConfirmOrder};
use event_schemas::{EventType, Published, topics};
use kernel::{Currency, OrderId, UserId};
use order_service::{Config, Listeners, Service};
use reqwest::{Client, Method, StatusCode};
use serde_json::Value;
use testkit::postgres::{TestDatabase, database};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;
use web::auth::{Role, TokenSigner, TokenVerifier};

use crate::catalogue;

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

const PARTITIONS: i32 = 4;

/// How long anything may take that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Shop {
    pub http: String,
    pub grpc: String,
    pub database: TestDatabase,
    broker: MemoryBroker,
    product_grpc: String,
    signer: TokenSigner,
    client: Client,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
    _guard: DropGuard,
}

/// Whoever calls.
#[derive(Clone)]
pub struct User {
    pub id: Uuid,
    pub token: String,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
    /// Null where there is none.
    pub body: Value,
}

/// One running instance of the service.
struct Instance {
    http: String,
    grpc: String,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Instance {
    async fn start(
        database: &TestDatabase,
        broker: &MemoryBroker,
        product_grpc: String,
        signer: &TokenSigner,
        shutdown: &CancellationToken,
    ) -> Self {
        let deps = runtime::Deps {
            gate: None,
            pool: database.pool.clone(),
            broker: Arc::new(broker.clone()),
            clock: event_store::clock::system(),
            partitions: PARTITIONS,
            lease: Duration::from_secs(10),
            hash_chain: event_store::HashChain::Off,
            shutdown: shutdown.clone(),
        };
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let grpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (http_address, grpc_address) = (http.local_addr().unwrap(), grpc.local_addr().unwrap());
        let config = Config {
            // One address for all that is asked: the fixed catalogue, and beside it a fixed address book.
            user_grpc: product_grpc.clone(),
            product_grpc,
            internal_token: Some(catalogue::SECRET.to_owned()),
            currency: Currency::EUR,
            edge: web::EdgeOptions::default(),
        };
        let listeners = Listeners { http, grpc: Some(grpc) };
        let service = Service::build(config, deps, listeners, TokenVerifier::of_signer(signer)).await.unwrap();
        Self {
            http: format!("http://{http_address}"),
            grpc: grpc_address.to_string(),
            running: tokio::spawn(service.run_until_stopped()),
        }
    }
}

impl Answer {
    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str()).collect()
    }

    pub fn id(&self) -> Uuid {
        self.body["id"].as_str().expect("an id").parse().unwrap()
    }
}

impl Shop {
    pub async fn open() -> Self {
        let shutdown = CancellationToken::new();
        let product = catalogue::serve(shutdown.clone()).await;
        Self::open_with(product, shutdown).await
    }

    /// A shop whose product service is at this address.
    pub async fn open_with(product_grpc: String, shutdown: CancellationToken) -> Self {
        let database = database().await;
        let broker = MemoryBroker::default();
        let all = topics::ALL.map(|topic| (topic.to_owned(), PARTITIONS));
        broker.ensure_topics(&all).await.unwrap();
        let signer = TokenSigner::from_seed(&[7; 32], "test").unwrap();
        let instance = Instance::start(&database, &broker, product_grpc.clone(), &signer, &shutdown).await;
        Self {
            http: instance.http,
            grpc: instance.grpc,
            database,
            broker,
            product_grpc,
            signer,
            client: web::http_client().build().expect("a client"),
            running: instance.running,
            _guard: shutdown.clone().drop_guard(),
            shutdown,
        }
    }

    /// A second instance of the service on the same database: where it answers HTTP.
    pub async fn twin(&self) -> String {
        let Self { database, broker, product_grpc, signer, shutdown, .. } = self;
        Instance::start(database, broker, product_grpc.clone(), signer, shutdown).await.http
    }

    /// Ends the service and waits for it.
    pub async fn close(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }

    pub fn customer(&self) -> User {
        self.user(Role::Customer)
    }

    pub fn user(&self, role: Role) -> User {
        let id = Uuid::now_v7();
        let hour = Duration::from_secs(3600);
        let token = self.signer.access_token(UserId(id), role, Utc::now(), hour, Uuid::now_v7()).unwrap();
        User { id, token }
    }

    pub async fn post(&self, user: &User, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, Some(user), path, Some(body.to_string())).await
    }

    pub async fn get(&self, user: &User, path: &str) -> Answer {
        self.send(Method::GET, Some(user), path, None).await
    }

    pub async fn send(&self, method: Method, user: Option<&User>, path: &str, body: Option<String>) -> Answer {
        self.send_to(&self.http, method, user, path, body, None).await
    }

    /// As [`Shop::post`], with an idempotency key, to an instance of the service.
    pub async fn post_once(&self, instance: &str, user: &User, path: &str, body: &Value, key: &str) -> Answer {
        self.send_to(instance, Method::POST, Some(user), path, Some(body.to_string()), Some(key)).await
    }

    async fn send_to(
        &self,
        instance: &str,
        method: Method,
        user: Option<&User>,
        path: &str,
        body: Option<String>,
        key: Option<&str>,
    ) -> Answer {
        let mut request = self.client.request(method, format!("{instance}{path}"));
        if let Some(user) = user {
            request = request.bearer_auth(&user.token);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body);
        }
        let response = request.send().await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let text = response.text().await.unwrap();
        let json = if text.is_empty() { "null" } else { text.as_str() };
        let body = serde_json::from_str(json).unwrap_or_else(|_| panic!("{status}: {text}"));
        Answer { status, headers, text, body }
    }

    /// The orchestrator confirms an order.
    pub async fn confirm(&self, order: Uuid) {
        self.command(&ConfirmOrder { order_id: OrderId(order), event_type: EventType::default() }).await;
    }

    /// The orchestrator cancels an order.
    pub async fn cancel(&self, order: Uuid, reason: &str) {
        let (order_id, reason) = (OrderId(order), reason.to_owned());
        self.command(&CancelOrder { order_id, reason, event_type: EventType::default() }).await;
    }

    async fn command<M: Published>(&self, message: &M) {
        let mut headers = BTreeMap::new();
        for (name, value) in [
            ("ce_id", Uuid::now_v7().to_string()),
            ("ce_type", M::TYPE.to_owned()),
            ("ce_source", "orchestrator".to_owned()),
            ("ce_time", Utc::now().to_rfc3339()),
            ("ce_correlationid", Uuid::now_v7().to_string()),
            ("ce_causationid", Uuid::now_v7().to_string()),
        ] {
            headers.insert(name.to_owned(), value.into());
        }
        let value = message.to_json().unwrap().into();
        let record = Record { key: message.key(), headers, value, timestamp_ms: Utc::now().timestamp_millis() };
        let partition = TopicPartition::new(M::TOPIC, partition_of(&message.key(), PARTITIONS));
        self.broker.publish(LIVE.into(), vec![(partition, vec![record])]).await.unwrap();
    }

    /// What was published of an order so far: types and data.
    pub async fn published(&self, order: Uuid) -> Vec<(String, Value)> {
        let partition = TopicPartition::new(topics::ORDER_EVENTS, partition_of(&order.to_string(), PARTITIONS));
        let limits = FetchLimits { wait_max: Duration::ZERO, ..FetchLimits::default() };
        let records = self.broker.fetch(&partition, 0, limits).await.unwrap().records;
        let of_order = records.into_iter().filter(|stored| stored.record.key == order.to_string());
        of_order
            .map(|stored| {
                let kind = String::from_utf8(stored.record.headers["ce_type"].to_vec()).unwrap();
                (kind, serde_json::from_slice(&stored.record.value).unwrap())
            })
            .collect()
    }

    /// How many events the store has.
    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.database.pool).await.unwrap()
    }
}
