//! Payments: charges and refunds through a provider, each once.
//!
//! What the provider is to do is committed first ([`domain::payment`]), then it is asked with an
//! idempotency key and no transaction open, then its answer is committed. Whoever starts after a
//! crash asks by the key what became of it before anything is sent again.

use std::sync::Arc;

use anyhow::ensure;
use event_schemas::topics::PAYMENT_COMMANDS;
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use web::auth::TokenVerifier;

mod config;
mod consumer;
mod grouped;
mod job;
mod measures;
mod projection;
pub mod provider;
mod publish;
mod queries;
mod recorder;
mod rest;
mod sweep;
mod worker;

pub use config::Config;
pub use publish::Publisher;

use provider::{Provider, SimulatedProvider};

/// The tables of its read model, and of the simulated provider.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Where it listens.
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
}

/// The payment service, ready to run.
pub struct Service {
    host: Host,
}

impl Service {
    /// Migrates its database and wires it up, with the simulated provider.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the database is away or cannot be migrated.
    pub async fn build(
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        ensure!((0.0..=1.0).contains(&config.success_rate), "the success rate must be 0 to 1");
        let provider = Arc::new(SimulatedProvider::new(deps.pool.clone(), config.behaviour()));
        Self::build_with(provider, config, deps, listeners, verifier).await
    }

    /// As [`Service::build`], with a provider of the caller's.
    ///
    /// # Errors
    /// See there.
    pub async fn build_with(
        provider: Arc<dyn Provider>,
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        ensure!(config.concurrency_max > 0, "at least one call to the provider must be allowed at once");
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("payment", deps);
        let (jobs, queue) = mpsc::channel(worker::QUEUE_MAX);
        host.relay(publish::Publisher);
        host.consumer("payment", &[PAYMENT_COMMANDS], Arc::new(consumer::PaymentCommands::new(jobs.clone())));
        let projection = host.projection(Arc::new(projection::Payments));

        let (pool, shutdown) = (host.deps().pool.clone(), host.deps().shutdown.clone());
        let recorder = recorder::Recorder::start(host.store(), Arc::clone(&host.deps().clock));
        let worker = worker::Worker::new(provider, recorder, Arc::clone(&host.deps().clock), &config);
        host.spawn("provider calls", worker.run(queue, shutdown.clone()));
        let sweep = sweep::Sweep::new(pool.clone(), host.store(), projection, jobs, config.sweep_after);
        host.spawn("sweep", sweep.run(shutdown.clone()));

        let api = rest::Api::new(pool.clone());
        let app = web::App::new("payment-service", rest::TITLE, api).options(config.edge).verifier(verifier).check("database", move || {
            let pool = pool.clone();
            async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
        });
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

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<rest::Api>(rest::TITLE)
}
