//! A small payment provider that moves no money, behind the protocol of a real one: what the payment service is tried
//! with across a network. `docs/psp-protocol.md` describes the protocol.

use std::sync::Arc;

use anyhow::{Context, ensure};
use event_store::clock::Clock;
use psp::bank::Bank;
use psp::signed::Doorkeeper;
use sqlx::PgPool;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

mod config;
pub mod measures;
mod rest;
mod webhooks;

pub use config::Config;

/// The table of its book.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// What it is given to run on.
#[derive(Clone)]
pub struct Deps {
    /// Its own database.
    pub pool: PgPool,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// The provider, ready to run.
pub struct Service {
    tasks: JoinSet<&'static str>,
    shutdown: CancellationToken,
}

impl Service {
    /// Migrates its database and wires it up.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the database is away or cannot be migrated.
    pub async fn build(config: Config, deps: Deps, http: TcpListener) -> anyhow::Result<Self> {
        ensure!(config.behaviour.makes_sense(), "shares of charges and replies are 0 to 1");
        MIGRATOR.run(&deps.pool).await.context("the provider's database could not be migrated")?;
        let Deps { pool, clock, shutdown } = deps;
        let bank = Arc::new(Bank::new(pool.clone(), config.behaviour));
        let mut tasks = JoinSet::new();
        let booked = match &config.webhook_url {
            Some(url) => {
                let webhooks =
                    webhooks::Webhooks::new(pool.clone(), Arc::clone(&bank), Arc::clone(&clock), &config, url)?;
                let booked = webhooks.booked();
                let until = shutdown.clone();
                tasks.spawn(async move {
                    webhooks.run(until).await;
                    "webhooks"
                });
                booked
            }
            None => Arc::default(),
        };
        let api = rest::Api::new(bank, Doorkeeper::new(config.key), clock, booked);
        let app = web::App::without_accounts("psp-service", rest::TITLE, api).options(config.edge).check(
            "database",
            move || {
                let pool = pool.clone();
                async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
            },
        );
        let until = shutdown.clone();
        tasks.spawn(async move {
            if let Err(error) = web::serve(http, app, until).await {
                tracing::error!(%error, "the HTTP server ended");
            }
            "http"
        });
        Ok(Self { tasks, shutdown })
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// If a part of it ended by itself.
    pub async fn run_until_stopped(mut self) -> anyhow::Result<()> {
        while let Some(ended) = self.tasks.join_next().await {
            let name = ended.context("a task of the payment provider died")?;
            if !self.shutdown.is_cancelled() {
                self.shutdown.cancel();
                anyhow::bail!("the payment provider's {name} ended by itself");
            }
        }
        Ok(())
    }
}

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document_without_accounts::<rest::Api>(rest::TITLE)
}
