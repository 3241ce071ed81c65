//! A running user service and its callers.

use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, MemoryBroker, Stored, TopicPartition};
use domain::user::Role;
use event_schemas::topics;
use reqwest::{Client, Method};
use runtime::Deps;
use serde_json::{Value, json};
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use user_service::{Bootstrap, Config, Listeners, MasterKey, Service};
use web::auth::TokenSigner;

const PARTITIONS: i32 = 2;

/// How long anything may take that takes milliseconds.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The password of every account that a test does not give another.
pub const PASSWORD: &str = "correct horse battery";

/// What each test's service wraps its keys with.
pub const MASTER_KEY: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// A configuration as tests start from.
pub fn config() -> Config {
    let master_key: MasterKey = MASTER_KEY.parse().unwrap();
    Config { edge: web::EdgeOptions::development(), ..Config::new(master_key) }
}

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

/// Another instance of a shop's user service.
pub struct Twin {
    pub http: String,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

impl Twin {
    pub async fn stop(self) {
        self.shutdown.cancel();
        self.running.await.unwrap().unwrap();
    }
}

/// An answer to the byte.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    pub status: u16,
    pub location: Option<String>,
    /// Whether it says that it was given before.
    pub replayed: bool,
    pub text: String,
}

impl Told {
    /// The same, told again.
    pub fn again(&self) -> Self {
        Self { replayed: true, ..self.clone() }
    }

    pub fn body(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{}: {}", self.status, self.text))
    }

    /// The status, and the kind of a problem.
    pub fn kind(&self) -> (u16, String) {
        (self.status, self.body()["type"].as_str().unwrap_or_default().to_owned())
    }
}

impl Answer {
    /// The fields that a problem names.
    pub fn fields(&self) -> Vec<&str> {
        let errors = self.body["errors"].as_array().into_iter().flatten();
        errors.filter_map(|error| error["field"].as_str()).collect()
    }

    /// A problem without what tells one request from another.
    pub fn anonymous(mut self) -> Value {
        for own in ["instance", "correlation_id", "request_id", "trace_id"] {
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
        Self::open_with(config(), testkit::postgres::database().await).await
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

    /// Another instance on the same database.
    pub async fn twin(&self) -> Twin {
        let shutdown = CancellationToken::new();
        let (deps, listeners) = (deps(&self.database, &self.broker, &shutdown), listeners().await);
        let http = format!("http://{}", listeners.http.local_addr().unwrap());
        let service = Service::build(config(), deps, listeners).await.unwrap();
        Twin { http, shutdown, running: tokio::spawn(service.run_until_stopped()) }
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
        let body = if text.is_empty() { Ok(Value::Null) } else { serde_json::from_str(&text) };
        Answer { status, body: body.unwrap_or_else(|_| panic!("{status}: {text}")) }
    }

    /// A POST under an idempotency key; the answer as it came.
    pub async fn post_once(&self, path: &str, token: Option<&str>, body: &str, key: &str) -> Told {
        self.post_once_at(&self.http, path, token, body, key).await
    }

    /// The same, to another instance.
    pub async fn post_once_at(&self, http: &str, path: &str, token: Option<&str>, body: &str, key: &str) -> Told {
        let mut request = self.client.post(format!("{http}{path}")).header("idempotency-key", key);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body.to_owned());
        }
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let of = |name: &str| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
        let (location, replayed) = (of("location"), of("idempotency-replayed").is_some());
        let leaks = response.headers().keys().any(|name| name.as_str().contains("sealed"));
        assert!(!leaks, "how an answer is kept is nobody's business");
        Told { status, location, replayed, text: response.text().await.unwrap() }
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

    /// Answers of a login: its access token and its refresh token.
    pub async fn session(&self, email: &str, password: &str) -> (String, String) {
        let answer = self.try_login(email, password).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        (answer.text("token").to_owned(), answer.text("refresh_token").to_owned())
    }

    pub async fn try_refresh(&self, token: &str) -> Answer {
        self.post("/refresh", &json!({ "refresh_token": token })).await
    }

    /// An administrator and their access token.
    pub async fn administrator(&self) -> (String, String) {
        let account = Bootstrap {
            name: "Operator".to_owned(),
            email: "operator@example.com".to_owned(),
            password: PASSWORD.to_owned(),
            role: Role::Admin,
        };
        let id = user_service::create_account(&self.database.pool, &config(), &account).await.unwrap();
        (id.to_string(), self.login("operator@example.com", PASSWORD).await)
    }

    /// A signer that the service takes for its own: to make tokens that it would not give.
    pub async fn signer(&self) -> TokenSigner {
        let signer = TokenSigner::from_seed(&[5; 32], "published").unwrap();
        sqlx::query(
            "INSERT INTO signing_keys (kid, state, public_key, wrapped_seed, master_id, created_at)
             SELECT $1, 'published', $2, wrapped_seed, master_id, created_at FROM signing_keys WHERE state = 'active'",
        )
        .bind(signer.kid())
        .bind(signer.public_key().as_slice())
        .execute(&self.database.pool)
        .await
        .unwrap();
        signer
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

    /// How many events the store has of users and the claims on their addresses.
    pub async fn events(&self) -> i64 {
        let count = "SELECT count(*) FROM events WHERE aggregate_type IN ('user', 'email_claim')";
        sqlx::query_scalar(count).fetch_one(&self.database.pool).await.unwrap()
    }

    /// Roles and statuses in the read model, by age.
    pub async fn rows(&self) -> Vec<(String, String)> {
        let rows = sqlx::query_as("SELECT role, status FROM users ORDER BY user_id");
        rows.fetch_all(&self.database.pool).await.unwrap()
    }

    /// Every text that the service has stored anywhere, in lower case.
    pub async fn stored(&self) -> String {
        let mut all = String::new();
        for table in ["events", "users", "person_keys", "signing_keys", "checkpoints", "snapshots", "dead_letters"] {
            let query = format!("SELECT t::text FROM {table} t");
            let rows = sqlx::query_scalar::<_, String>(&query);
            all.push_str(&rows.fetch_all(&self.database.pool).await.unwrap().join("\n").to_lowercase());
        }
        // Bytes as the text that they are.
        let answers = "SELECT concat_ws(' ', scope, key, headers::text, encode(body, 'escape')) FROM idempotency_keys";
        let rows = sqlx::query_scalar::<_, String>(answers).fetch_all(&self.database.pool).await.unwrap();
        all.push_str(&rows.join("\n").to_lowercase());
        all
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
        hash_chain: event_store::HashChain::Off,
        shutdown: shutdown.clone(),
    }
}

pub async fn listeners() -> Listeners {
    let bind = || TcpListener::bind("127.0.0.1:0");
    Listeners { http: bind().await.unwrap(), grpc: bind().await.unwrap() }
}
