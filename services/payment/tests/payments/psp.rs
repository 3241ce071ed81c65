//! A payment provider of its own: its own database, behind a real socket.

use std::time::Duration;

use payment_service::{Choice, Config};
use psp_service::Deps;
use testkit::postgres::TestDatabase;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use web::WebhookKey;

use crate::fixture::{Entry, Order, config, ledger};

pub const SECRET: &str = "psp_secret_0123456789abcdef01234567";

pub fn key() -> WebhookKey {
    WebhookKey::new(SECRET).unwrap()
}

/// The provider's settings: it loses replies for longer than anybody waits here.
pub fn settings() -> psp_service::Config {
    let mut settings = psp_service::Config::new(key());
    settings.behaviour.lost_reply_after = Duration::from_secs(2);
    settings.webhook_pauses = vec![Duration::from_millis(50); 5];
    settings
}

/// The payment service's settings to use the provider at this URL.
pub fn config_for(url: &str) -> Config {
    Config { provider: Choice::http(url, SECRET).unwrap(), ..config() }
}

/// A running provider; it ends when it is dropped, its book stays with its database.
pub struct Psp {
    pub url: String,
    pub database: TestDatabase,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Psp {
    pub async fn start(settings: psp_service::Config) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let database = testkit::postgres::database().await;
        let url = format!("http://{}", listener.local_addr().unwrap());
        let deps = Deps {
            pool: database.pool.clone(),
            clock: event_store::clock::system(),
            shutdown: CancellationToken::new(),
        };
        let service = psp_service::Service::build(settings, deps, listener).await.unwrap();
        Self { url, database, task: tokio::spawn(service.run_until_stopped()) }
    }

    pub fn config(&self) -> Config {
        config_for(&self.url)
    }

    /// Its entries for the order.
    pub async fn ledger(&self, order: &Order) -> Vec<Entry> {
        ledger(&self.database, order).await
    }
}

impl Drop for Psp {
    fn drop(&mut self) {
        self.task.abort();
    }
}
