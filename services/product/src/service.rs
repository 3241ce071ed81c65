//! Wiring.

use std::sync::Arc;

use anyhow::Context;
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use web::auth::TokenVerifier;

use crate::cache::Cache;
use crate::commands::Commands;
use crate::projection::Products;
use crate::publish::Publisher;
use crate::queries::Queries;
use crate::{Config, MIGRATOR, consumer, grpc, rest, seed};

/// Where the service is reached; port 0 for tests.
#[derive(Debug)]
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

/// The service, built and listening.
pub struct Service {
    host: Host,
}

impl Service {
    /// Migrates the database, seeds the catalogue if it is to, and starts everything.
    ///
    /// # Errors
    /// If the database is away or cannot be migrated, or the Redis URL is none.
    pub async fn build(
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let (pool, shutdown) = (deps.pool.clone(), deps.shutdown.clone());
        let mut host = Host::new("product", deps);
        if config.seed_catalogue {
            let seeded = seed::seed(&host.commands(), &pool, config.currency).await;
            let seeded = seeded.context("the catalogue could not be seeded")?;
            tracing::info!(products.created = seeded.created, "the catalogue was looked through");
        }
        let cache = Arc::new(Cache::new(config.redis.as_deref()).context("the Redis URL is not valid")?);
        host.relay(Publisher);
        host.consumer(consumer::NAME, &consumer::TOPICS, Arc::new(consumer::StockCommands));
        let projected = host.projection(Arc::new(Products::new(Arc::clone(&cache))));

        let queries = Queries::new(pool.clone(), cache);
        let commands = Commands::new(host.commands(), queries.clone(), projected);
        let app = rest::app(commands, queries.clone(), config.currency, pool).verifier(verifier).options(config.edge.clone());
        let stop = shutdown.clone();
        host.spawn("http", async move {
            if let Err(error) = web::serve(listeners.http, app, stop).await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        let routes = grpc::routes(queries, host.commands()).await?;
        host.spawn("grpc", async move {
            if let Err(error) = web::grpc::serve(listeners.grpc, routes, config.edge, shutdown).await {
                tracing::error!(error = format!("{error:#}"), "the gRPC server failed");
            }
        });
        Ok(Self { host })
    }

    /// Runs until shutdown; anything that ends by itself before is an error.
    ///
    /// # Errors
    /// As [`Host::run_until_stopped`].
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        self.host.run_until_stopped().await
    }
}
