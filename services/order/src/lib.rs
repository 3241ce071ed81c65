//! The order service: takes orders, tells where they stand, and records how they end.
//!
//! An order's price is the catalogue's at the moment of placement, asked once over gRPC and frozen in the order. What
//! becomes of the order afterwards, the orchestrator's saga decides; its commands arrive over the broker.
//!
//! * `rest`, `grpc`: the two edges; they only translate.
//! * `commands`: placing and cancelling; `catalogue`: the product service as it is seen from here;
//!   `addresses`: the user service.
//! * `queries`: reading, over the read model that `projection` keeps; `timeline`: an order's history; `watch`: the same
//!   as it happens; `waiters`: who waits for something to happen; `ended`: orders
//!   that are over, as they were read a moment ago.
//! * `consumer`: the orchestrator's commands; `publish`: what the others are told.

use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use web::auth::TokenVerifier;

mod addresses;
mod breaker;
mod catalogue;
mod commands;
mod config;
mod consumer;
mod ended;
mod error;
mod grpc;
pub mod measures;
mod projection;
mod publish;
mod queries;
mod read_model;
mod rest;
mod timeline;
mod waiters;
mod watch;

pub use config::Config;
pub use consumer::{FOLLOWS, FulfilmentCommands};
pub use projection::projection;
pub use publish::OrderMessages as Publisher;
pub use read_model::OrderList;
pub use rest::openapi;
pub use timeline::in_words;

use addresses::Addresses;
use catalogue::Catalogue;
use commands::Orders;
use ended::Ended;
use projection::{OrderRows, Progress};
use publish::OrderMessages;
use queries::Queries;
use waiters::Waiters;
use watch::Watches;

/// The read model's tables.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Where the service listens.
#[derive(Debug)]
pub struct Listeners {
    /// HTTP.
    pub http: TcpListener,
    /// gRPC, if it is to be served.
    pub grpc: Option<TcpListener>,
}

/// The order service, running.
pub struct Service(runtime::Host);

impl Service {
    /// Brings the database up to date and starts everything.
    ///
    /// # Errors
    /// The database is away, or a setting cannot be used.
    pub async fn build(
        config: Config,
        deps: runtime::Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let catalogue = Catalogue::new(&config).context("the product service's address")?;
        let addresses = Addresses::new(&config).context("the user service")?;
        let (pool, shutdown) = (deps.pool.clone(), deps.shutdown.clone());

        let mut host = runtime::Host::new("order", deps);
        measures::init();
        host.relay(OrderMessages);
        host.consumer(FOLLOWS.consumer, FOLLOWS.topics, Arc::new(FulfilmentCommands));
        let waiters = Arc::new(Waiters::default());
        let ended = Arc::new(Ended::default());
        let rows = host.projection(Arc::new(OrderRows::new(Arc::clone(&waiters), Arc::clone(&ended))));

        let progress = Arc::new(Progress::new(rows));
        let precedence = host.precedence();
        let orders = Arc::new(Orders::new(host.commands(), catalogue, addresses, Arc::clone(&progress), precedence));
        let watches = Arc::new(Watches::new(host.store(), Arc::clone(&waiters), shutdown.clone()));
        let queries = Arc::new(Queries::new(
            pool.clone(),
            host.store(),
            host.commands(),
            progress,
            waiters,
            ended,
            shutdown.clone(),
        ));
        let keys = web::Idempotency::new(host.store());
        let api = rest::Api { orders, queries, watches, keys };

        let grpc = grpc::routes(&api, verifier.clone()).await?;
        let app = rest::app(api, pool).verifier(verifier).options(config.edge.clone());
        let (http, stop) = (listeners.http, shutdown.clone());
        host.spawn("HTTP server", async move {
            if let Err(error) = web::serve(http, app, stop).await {
                tracing::error!(%error, "the HTTP server failed");
            }
        });
        if let Some(listener) = listeners.grpc {
            host.spawn("gRPC server", async move {
                if let Err(error) = web::grpc::serve("order", listener, grpc, config.edge, shutdown).await {
                    tracing::error!(error = format!("{error:#}"), "the gRPC server failed");
                }
            });
        }
        Ok(Self(host))
    }

    /// Runs until shutdown.
    ///
    /// # Errors
    /// A part of the service ended by itself.
    pub async fn run_until_stopped(self) -> anyhow::Result<()> {
        self.0.run_until_stopped().await
    }
}
