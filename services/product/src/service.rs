//! Wiring.

use std::sync::Arc;

use anyhow::Context;
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use web::auth::TokenVerifier;

use crate::cache::{Cache, invalidation};
use crate::commands::Commands;
use crate::consumer::{FOLLOWS, StockCommands};
use crate::projection::{Products, fold_names};
use crate::publish::Publisher;
use crate::queries::Queries;
use crate::rest::Shared;
use crate::{Config, MIGRATOR, grpc, rest, seed};

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
        fold_names(&deps.pool).await.context("the names of products could not be made ready for the search")?;
        let (pool, shutdown, instance) = (deps.pool.clone(), deps.shutdown.clone(), deps.clock.new_id());
        let mut host = Host::new("product", deps);
        if config.seed_catalogue {
            let seeded = seed::seed(&host.commands(), &pool, config.currency).await;
            let seeded = seeded.context("the catalogue could not be seeded")?;
            tracing::info!(products.created = seeded.created, "the catalogue was looked through");
        }
        let cache = Arc::new(Cache::new(config.redis.as_deref()).context("the Redis URL is not valid")?);
        invalidation::begin(&pool, &cache).await.context("how old the list of products is could not be read")?;
        let looked_at = Arc::clone(&cache);
        host.observe(move |_| {
            looked_at.look();
            async { Ok(()) }
        });
        host.relay(Publisher);
        host.consumer(FOLLOWS.consumer, FOLLOWS.topics, Arc::new(StockCommands));
        let projected = host.projection(Arc::new(Products::new(Arc::clone(&cache), instance)));
        let following = invalidation::follow(pool.clone(), Arc::clone(&cache), instance, shutdown.clone());
        host.spawn("invalidation", following);

        let (queries, currency) = (Queries::new(pool.clone(), cache), config.currency);
        let commands = Arc::new(Commands::new(host.commands(), queries.clone(), projected));
        let keys = web::Idempotency::new(host.store());
        let app = rest::app(Shared { commands, queries: queries.clone(), keys, currency, pool });
        let app = app.verifier(verifier).options(config.edge.clone());
        let stop = shutdown.clone();
        host.spawn("http", async move {
            if let Err(error) = web::serve(listeners.http, app, stop).await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        let routes = grpc::routes(queries, host.commands(), currency).await?;
        host.spawn("grpc", async move {
            if let Err(error) = web::grpc::serve("product", listeners.grpc, routes, config.edge, shutdown).await {
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
