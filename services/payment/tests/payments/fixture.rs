//! A running payment service, and the orchestrator's part played by the test.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, FetchLimits, MemoryBroker, Record, TopicPartition, partition_of};
use chrono::Utc;
use event_schemas::commands::{ChargePayment, RefundPayment};
use event_schemas::topics::{ALL, PAYMENT_EVENTS};
use event_schemas::{EventType, Published};
use kernel::{Currency, Money, OrderId, PaymentId, UserId};
use payment_service::provider::Provider;
use payment_service::{Config, Listeners, Service};
use serde_json::Value;
use testkit::eventually;
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use web::auth::{Role, TokenSigner, TokenVerifier};

/// Tests publish as services do.
const LIVE: kernel::Live = kernel::Live::because("a test");

pub const PATIENCE: Duration = Duration::from_secs(30);
const PARTITIONS: i32 = 2;

/// Settings with short waits.
pub fn config() -> Config {
    Config {
        provider_timeout: Duration::from_millis(300),
        sweep_after: Duration::from_millis(300),
        ..Config::default()
    }
}

/// The database and the broker: what survives the service.
pub struct World {
    pub database: TestDatabase,
    pub broker: MemoryBroker,
    signer: TokenSigner,
}

impl World {
    pub async fn new() -> Self {
        let (database, broker) = (testkit::postgres::database().await, MemoryBroker::new());
        let topics: Vec<_> = ALL.iter().map(|topic| ((*topic).to_owned(), PARTITIONS)).collect();
        broker.ensure_topics(&topics).await.unwrap();
        Self { database, broker, signer: TokenSigner::from_seed(&[7; 32], "test").unwrap() }
    }

    /// Starts the service with the simulated provider.
    pub async fn start(&self, config: Config) -> Running {
        let (deps, listeners, url) = self.parts().await;
        let shutdown = deps.shutdown.clone();
        Running::new(Service::build(config, deps, listeners, self.verifier()).await.unwrap(), shutdown, url)
    }

    /// Why the service does not start.
    pub async fn try_start(&self, config: Config) -> anyhow::Result<()> {
        let (deps, listeners, _) = self.parts().await;
        Service::build(config, deps, listeners, self.verifier()).await.map(|_| ())
    }

    /// Starts the service with this provider.
    pub async fn start_with(&self, provider: Arc<dyn Provider>, config: Config) -> Running {
        let (deps, listeners, url) = self.parts().await;
        let shutdown = deps.shutdown.clone();
        let service = Service::build_with(provider, config, deps, listeners, self.verifier()).await.unwrap();
        Running::new(service, shutdown, url)
    }

    /// Starts the service with the provider of the configuration on a port that is known already.
    pub async fn start_on(&self, http: TcpListener, config: Config) -> Running {
        let (deps, listeners, url) = self.parts_on(http);
        let shutdown = deps.shutdown.clone();
        Running::new(Service::build(config, deps, listeners, self.verifier()).await.unwrap(), shutdown, url)
    }

    async fn parts(&self) -> (runtime::Deps, Listeners, String) {
        self.parts_on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn parts_on(&self, http: TcpListener) -> (runtime::Deps, Listeners, String) {
        let url = format!("http://{}", http.local_addr().unwrap());
        let deps = runtime::Deps {
            gate: None,
            pool: self.database.pool.clone(),
            broker: Arc::new(self.broker.clone()),
            clock: event_store::clock::system(),
            partitions: PARTITIONS,
            lease: Duration::from_secs(1),
            hash_chain: event_store::HashChain::Off,
            shutdown: CancellationToken::new(),
        };
        (deps, Listeners { http }, url)
    }

    fn verifier(&self) -> TokenVerifier {
        TokenVerifier::of_signer(&self.signer)
    }

    pub fn token(&self, user: UserId, role: Role) -> String {
        self.signer.access_token(user, role, Utc::now(), Duration::from_secs(60), Uuid::now_v7()).unwrap()
    }

    pub async fn charge(&self, order: &Order) {
        self.send(&order.charge()).await;
    }

    pub async fn refund(&self, order: &Order) {
        self.send(&order.refund()).await;
    }

    pub async fn send<M: Published>(&self, message: &M) {
        self.send_raw(M::TOPIC, &message.key(), M::TYPE, &message.to_json().unwrap()).await;
    }

    pub async fn send_raw(&self, topic: &str, key: &str, message_type: &str, data: &[u8]) {
        let id = Uuid::now_v7().to_string();
        let headers = [
            ("ce_specversion", "1.0"),
            ("ce_id", &id),
            ("ce_type", message_type),
            ("ce_source", "orchestrator"),
            ("ce_time", "2026-11-22T20:26:20Z"),
            ("ce_correlationid", &Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).to_string()),
            ("ce_causationid", &id),
        ];
        let headers: BTreeMap<_, _> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned().into())).collect();
        let record = Record { key: key.to_owned(), headers, value: data.to_vec().into(), timestamp_ms: 0 };
        let place = TopicPartition::new(topic, partition_of(key, PARTITIONS));
        self.broker.publish(LIVE.into(), vec![(place, vec![record])]).await.unwrap();
    }

    /// What was published about the order so far, duplicates left out.
    pub async fn published(&self, order: &Order) -> Vec<Value> {
        let key = order.id.to_string();
        let place = TopicPartition::new(PAYMENT_EVENTS, partition_of(&key, PARTITIONS));
        let limits = FetchLimits { records_max: 100_000, wait_max: Duration::ZERO, ..FetchLimits::default() };
        let fetched = self.broker.fetch(&place, 0, limits).await.unwrap();
        let mut seen = std::collections::HashSet::new();
        let own = fetched.records.into_iter().filter(|stored| stored.record.key == key);
        own.filter(|stored| seen.insert(stored.record.headers["ce_id"].clone()))
            .map(|stored| serde_json::from_slice(&stored.record.value).unwrap())
            .collect()
    }

    /// Waits until exactly these messages about the order were published, and returns them.
    pub async fn expect(&self, order: &Order, types: &[&str]) -> Vec<Value> {
        let messages = eventually(PATIENCE, async || {
            let messages = self.published(order).await;
            (messages.len() >= types.len()).then_some(messages)
        })
        .await;
        let published: Vec<_> = messages.iter().map(|message| message["event_type"].as_str().unwrap()).collect();
        assert_eq!(published, types);
        messages
    }

    /// The provider's entries for the order: kind, outcome, amount.
    pub async fn ledger(&self, order: &Order) -> Vec<Entry> {
        ledger(&self.database, order).await
    }

    /// The types of the order's own events.
    pub async fn events(&self, order: &Order) -> Vec<String> {
        sqlx::query_scalar("SELECT event_type FROM events WHERE aggregate_id = $1 ORDER BY sequence")
            .bind(order.payment().to_string())
            .fetch_all(&self.database.pool)
            .await
            .unwrap()
    }

    /// Waits until the order's payment has an event of this type.
    pub async fn until(&self, order: &Order, event_type: &str) {
        eventually(PATIENCE, async || self.events(order).await.iter().any(|found| found == event_type)).await;
    }

    /// Waits until the read model has this status.
    pub async fn until_status(&self, order: &Order, status: &str) {
        eventually(PATIENCE, async || {
            let found: Option<String> = sqlx::query_scalar("SELECT status FROM payments WHERE payment_id = $1")
                .bind(order.payment().0)
                .fetch_optional(&self.database.pool)
                .await
                .unwrap();
            found.as_deref() == Some(status)
        })
        .await;
    }
}

/// A service that runs until it is dropped: then it is gone at once, as after a kill.
pub struct Running {
    task: JoinHandle<anyhow::Result<()>>,
    shutdown: CancellationToken,
    pub url: String,
}

impl Running {
    fn new(service: Service, shutdown: CancellationToken, url: String) -> Self {
        Self { task: tokio::spawn(service.run_until_stopped()), shutdown, url }
    }

    /// Ends it between two steps, whatever it is doing.
    pub async fn kill(mut self) {
        self.task.abort();
        assert!((&mut self.task).await.is_err_and(|error| error.is_cancelled()));
    }

    /// Stops it as a signal does.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        (&mut self.task).await.unwrap().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An order as the orchestrator has it.
#[derive(Debug, Clone)]
pub struct Order {
    pub id: OrderId,
    pub user: UserId,
    pub total: Money,
    pub payment_method: String,
}

impl Order {
    pub fn paid_with(token: &str) -> Self {
        Self {
            id: OrderId(Uuid::now_v7()),
            user: UserId(Uuid::now_v7()),
            total: Money::new(99_999, Currency::EUR),
            payment_method: token.to_owned(),
        }
    }

    pub fn payment(&self) -> PaymentId {
        PaymentId::of_order(self.id)
    }

    pub fn charge(&self) -> ChargePayment {
        ChargePayment {
            order_id: self.id,
            user_id: self.user,
            amount: self.total.into(),
            currency: self.total.currency,
            payment_method: self.payment_method.clone(),
            event_type: EventType::default(),
        }
    }

    pub fn refund(&self) -> RefundPayment {
        RefundPayment { order_id: self.id, reason: "out_of_stock".to_owned(), event_type: EventType::default() }
    }
}

/// Kind, outcome and amount.
pub type Entry = (String, String, i64);

/// What a provider's database has for the order.
pub async fn ledger(database: &TestDatabase, order: &Order) -> Vec<Entry> {
    sqlx::query_as(
        "SELECT kind, outcome, amount_minor FROM provider_ledger WHERE payment_id = $1 ORDER BY created_at, key",
    )
    .bind(order.payment().0)
    .fetch_all(&database.pool)
    .await
    .unwrap()
}

/// An entry of the ledger over the order's whole amount.
pub fn entry(kind: &str, outcome: &str) -> Entry {
    (kind.to_owned(), outcome.to_owned(), 99_999)
}
