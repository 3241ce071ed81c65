//! A running user service and its callers.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, MemoryBroker, Stored, TopicPartition};
use event_schemas::topics;
use reqwest::{Client, Method};
use runtime::Deps;
use serde_json::{Value, json};
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use user_service::{Config, Listeners, Service};
use web::auth::TokenSigner;

const PARTITIONS: i32 = 2;

/// How long anything may take that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The password of every account that a test does not give another.
pub const PASSWORD: &str = "correct horse battery";

pub struct Shop {
    pub http: String,
    pub grpc: String,
    pub database: TestDatabase,
    broker: MemoryBroker,
    client: Client,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Answer {
    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str()).collect()
    }

    /// A problem without what tells one request from another.
    pub fn anonymous(mut self) -> Value {
        for own in ["instance", "correlation_id"] {
            self.body.as_object_mut().and_then(|problem| problem.remove(own));
        }
        self.body
    }

    pub fn text(&self, member: &str) -> &str {
        self.body[member].as_str().unwrap_or_else(|| panic!("{member} in {}", self.body))
    }
}

impl Shop {
    pub async fn open() -> Self {
        Self::open_with(Config::default(), testkit::postgres::database().await).await
    }

    pub async fn open_with(config: Config, database: TestDatabase) -> Self {
        let broker = MemoryBroker::new();
        broker.ensure_topics(&topics::ALL.map(|topic| (topic.to_owned(), PARTITIONS))).await.unwrap();
        let shutdown = CancellationToken::new();
        let deps = deps(&database, &broker, &shutdown);
        let listeners = listeners().await;
        let http = format!("http://{}", listeners.http.local_addr().unwrap());
        let grpc = listeners.grpc.local_addr().unwrap().to_string();
        let service = Service::build(config, deps, listeners).await.unwrap();
        let running = tokio::spawn(service.run_until_stopped());
        Self { http, grpc, database, broker, client: web::http_client().build().expect("a client"), shutdown, running }
    }

    /// Stops the service and returns its database, to be opened again.
    pub async fn close(self) -> TestDatabase {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
        self.database
    }

    pub async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.send(Method::GET, path, token, "").await
    }

    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, None, &body.to_string()).await
    }

    pub async fn send(&self, method: Method, path: &str, token: Option<&str>, body: &str) -> Answer {
        let mut request = self.client.request(method, format!("{}{path}", self.http));
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        let body = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{status}: {text}"));
        Answer { status, body }
    }

    /// A new account; its id.
    pub async fn register(&self, name: &str, email: &str) -> String {
        let answer = self.post("/register", &json!({ "name": name, "email": email, "password": PASSWORD })).await;
        assert_eq!(answer.status, 201, "{}", answer.body);
        answer.text("id").to_owned()
    }

    pub async fn try_login(&self, email: &str, password: &str) -> Answer {
        self.post("/login", &json!({ "email": email, "password": password })).await
    }

    /// An access token for the account.
    pub async fn login(&self, email: &str, password: &str) -> String {
        let answer = self.try_login(email, password).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.text("token").to_owned()
    }

    /// The service's own signer: to make tokens that it would not give.
    pub async fn signer(&self) -> TokenSigner {
        let (kid, seed): (String, Vec<u8>) =
            sqlx::query_as("SELECT kid, seed FROM signing_keys").fetch_one(&self.database.pool).await.unwrap();
        TokenSigner::from_seed(&seed.try_into().unwrap(), kid).unwrap()
    }

    /// Everything on the broker, whatever its topic.
    pub async fn published(&self) -> Vec<Stored> {
        let limits = FetchLimits { wait_max: Duration::ZERO, ..FetchLimits::default() };
        let mut records = Vec::new();
        for topic in topics::ALL {
            for partition in 0..PARTITIONS {
                let fetched = self.broker.fetch(&TopicPartition::new(topic, partition), 0, limits).await.unwrap();
                records.extend(fetched.records);
            }
        }
        records
    }

    /// How many events the store has.
    pub async fn events(&self) -> i64 {
        sqlx::query_scalar("SELECT count(*) FROM events").fetch_one(&self.database.pool).await.unwrap()
    }

    /// Names, addresses and roles in the read model, by address.
    pub async fn rows(&self) -> Vec<(String, String, String)> {
        let rows = sqlx::query_as("SELECT name, email, role FROM users ORDER BY email");
        rows.fetch_all(&self.database.pool).await.unwrap()
    }
}

pub fn deps(database: &TestDatabase, broker: &MemoryBroker, shutdown: &CancellationToken) -> Deps {
    Deps {
        gate: None,
        pool: database.pool.clone(),
        broker: Arc::new(broker.clone()),
        clock: event_store::clock::system(),
        partitions: PARTITIONS,
        lease: Duration::from_secs(10),
        shutdown: shutdown.clone(),
    }
}

pub async fn listeners() -> Listeners {
    let bind = || TcpListener::bind("127.0.0.1:0");
    Listeners { http: bind().await.unwrap(), grpc: bind().await.unwrap() }
}
