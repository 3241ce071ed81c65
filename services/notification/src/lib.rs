//! The notification service: tells customers what happened to their orders.
//!
//! It follows every topic of events, and queues a notification for each message that concerns a customer and each
//! channel. It publishes nothing: what it records is nobody else's business.

use std::sync::Arc;

use event_schemas::topics::{ORDER_EVENTS, PAYMENT_EVENTS, PRODUCT_EVENTS, SAGA_EVENTS, USER_EVENTS};
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use web::auth::TokenVerifier;

pub mod channel;
mod commands;
mod config;
mod consumer;
mod projection;
mod queries;
mod rest;
mod smtp;
mod texts;
mod worker;

pub use channel::{Channel, LogChannel, Notice};
pub use config::Config;
pub use smtp::SmtpChannel;
pub use worker::Retry;

use worker::{FRESH_MAX, Sender, Sweep, Worker};

/// The tables of its read model.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Where it listens.
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
}

/// The notification service, ready to run.
pub struct Service {
    host: Host,
}

impl Service {
    /// Migrates its database and wires it up.
    ///
    /// # Errors
    /// If the database is away or cannot be migrated, or the configuration cannot be used.
    pub async fn build(
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        let channels = channel::configured(&config)?;
        Self::build_with(channels, Retry::default(), config.edge, deps, listeners, verifier).await
    }

    /// As [`Service::build`], with these channels, at most one of a kind, and this patience.
    ///
    /// # Errors
    /// If the database is away or cannot be migrated.
    pub async fn build_with(
        channels: Vec<Arc<dyn Channel>>,
        retry: Retry,
        edge: web::EdgeOptions,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("notification", deps);
        let mut workers = Vec::new();
        for channel in channels {
            let (sender, fresh) = mpsc::channel(FRESH_MAX);
            workers.push((channel.kind(), sender));
            spawn_worker(&mut host, channel, retry, fresh);
        }
        let topics = [ORDER_EVENTS, PRODUCT_EVENTS, PAYMENT_EVENTS, USER_EVENTS, SAGA_EVENTS];
        host.consumer("notification", &topics, Arc::new(consumer::Customers::new(workers)));
        host.projection(Arc::new(projection::Notifications));
        let pool = host.deps().pool.clone();
        let api = rest::Api::new(pool.clone());
        let app = web::App::new("notification-service", rest::TITLE, api).options(edge).verifier(verifier).check(
            "database",
            move || {
                let pool = pool.clone();
                async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
            },
        );
        let shutdown = host.deps().shutdown.clone();
        host.spawn("http", async move {
            if let Err(error) = web::serve(listeners.http, app, shutdown).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        Ok(Self { host })
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// If a part of it ended by itself.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        self.host.run_until_stopped().await
    }
}

fn spawn_worker(host: &mut Host, channel: Arc<dyn Channel>, retry: Retry, fresh: mpsc::Receiver<worker::Fresh>) {
    let kind = channel.kind();
    let deps = host.deps().clone();
    let results = commands::Results::new(host.commands(), deps.shutdown.clone());
    let owner = deps.clock.new_id();
    let sweep = Sweep::new(kind, host.store(), deps.pool, results.clone(), owner, deps.lease);
    let worker = Worker { fresh, sweep, sender: Sender::new(channel, results, retry) };
    host.spawn(kind.as_str(), worker.run(deps.shutdown));
}

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<rest::Api>(rest::TITLE)
}
