//! The orchestrator: sagas as pure state machines, and the runtime that drives them.
//!
//! It follows what the services publish, keeps each saga as an event stream in its own database,
//! and the commands it sends are its own events, relayed like any others.

use std::sync::Arc;

use runtime::{Deps, Host};
use tokio::net::TcpListener;
use web::auth::TokenVerifier;

mod consumer;
pub mod inspect;
pub mod measures;
pub mod operate;
mod projection;
mod publish;
mod read_model;

mod rest;
pub mod saga;

pub use consumer::{FOLLOWS, Sagas};
pub use publish::Publisher;
pub use read_model::SagaList;

/// The tables of its read model.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// The orchestrator's settings.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The limits and manners of its server.
    pub edge: web::EdgeOptions,
}

/// Where it listens.
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
}

/// The orchestrator, ready to run.
pub struct Service {
    host: Host,
}

impl Service {
    /// Migrates its database and wires it up.
    ///
    /// # Errors
    /// If the database is away or cannot be migrated.
    pub async fn build(
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("orchestrator", deps);
        let handler = Arc::new(consumer::Sagas);
        host.relay(publish::Publisher);
        host.consumer(FOLLOWS.consumer, FOLLOWS.topics, Arc::clone(&handler));
        host.timers(handler);
        measures::init();
        host.observe(measures::look);
        host.projection(Arc::new(projection::Sagas::new(host.store())));
        let pool = host.deps().pool.clone();
        let keys = web::Idempotency::kept_by(host.store(), rest::Acts::new(pool.clone()));
        let api = rest::api(host.commands(), pool.clone(), keys);
        let app = web::App::new("orchestrator", rest::TITLE, api).options(config.edge).verifier(verifier).check(
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

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<rest::Api>(rest::TITLE)
}
