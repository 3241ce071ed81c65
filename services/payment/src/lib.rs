//! Payments: charges and refunds through a provider, each once.
//!
//! What the provider is to do is committed first ([`domain::payment`]), then it is asked with an
//! idempotency key and no transaction open, then its answer is committed. Whoever starts after a
//! crash asks by the key what became of it before anything is sent again. What the provider tells by
//! itself, in a webhook, takes the way of an answer.
//!
//! Refunds are the saga's: whoever wants an order's money back cancels the order. A refund beside the saga would leave a
//! confirmed order unpaid.

use std::sync::Arc;

use anyhow::ensure;
use psp::signed::Doorkeeper;
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use web::WebhookKey;
use web::auth::TokenVerifier;

mod config;
mod consumer;
mod job;
pub mod measures;
mod notices;
mod projection;
pub mod provider;
mod publish;
mod queries;
mod read_model;
mod recorder;
mod rest;
mod sweep;
mod worker;

pub use config::{Choice, Config};
pub use consumer::{FOLLOWS, command};
pub use job::{Ask, Job};
pub use publish::Publisher;
pub use read_model::PaymentList;
pub use recorder::answered;

use provider::{HttpProvider, Notice, Provider, SimulatedProvider};

/// The tables of its read model, and of the simulated provider.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Notices of the simulated provider that may wait; more are not given.
const NOTICES_MAX: usize = 256;

/// Where it listens.
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
}

/// The payment service, ready to run.
pub struct Service {
    host: Host,
}

/// A provider, and how results come from it that nobody has asked for just now.
struct Connected {
    provider: Arc<dyn Provider>,
    notices: Option<mpsc::Receiver<Notice>>,
    webhooks: Option<Doorkeeper>,
}

impl Service {
    /// Migrates its database and wires it up, with the provider of the configuration.
    ///
    /// # Errors
    /// If the configuration makes no sense, or the database is away or cannot be migrated.
    pub async fn build(
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        let connected = connect(&config, &deps)?;
        Self::assemble(connected, config, deps, listeners, verifier).await
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
        let connected = Connected { provider, notices: None, webhooks: None };
        Self::assemble(connected, config, deps, listeners, verifier).await
    }

    async fn assemble(
        connected: Connected,
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        ensure!(config.concurrency_max > 0, "at least one call to the provider must be allowed at once");
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        measures::init();
        let mut host = Host::new("payment", deps);
        let (jobs, queue) = mpsc::channel(worker::QUEUE_MAX);
        host.relay(publish::Publisher);
        host.consumer(FOLLOWS.consumer, FOLLOWS.topics, Arc::new(consumer::PaymentCommands::new(jobs.clone())));
        let projection = host.projection(Arc::new(projection::Payments));

        let (pool, shutdown) = (host.deps().pool.clone(), host.deps().shutdown.clone());
        let clock = Arc::clone(&host.deps().clock);
        let recorder = recorder::Recorder::start(host.store(), Arc::clone(&clock));
        let worker = worker::Worker::new(connected.provider, host.live(), recorder, Arc::clone(&clock), &config);
        host.spawn("provider calls", Arc::clone(&worker).run(queue, shutdown.clone()));
        let notices = notices::Notices::new(host.store(), worker, jobs.clone());
        if let Some(told) = connected.notices {
            host.spawn("notices", notices.clone().follow(told, shutdown.clone()));
        }
        let sweep = sweep::Sweep::new(pool.clone(), host.store(), projection, jobs, config.sweep_after);
        host.spawn("sweep", sweep.run(shutdown.clone()));

        let webhooks = connected.webhooks.map(|door| rest::Webhooks { door, notices, clock });
        let api = (rest::Api::new(pool.clone()), rest::WebhookApi::new(webhooks));
        let app = web::App::new("payment-service", rest::TITLE, api).options(config.edge).verifier(verifier).check(
            "database",
            move || {
                let pool = pool.clone();
                async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
            },
        );
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

fn connect(config: &Config, deps: &Deps) -> anyhow::Result<Connected> {
    match &config.provider {
        Choice::Simulated => {
            let behaviour = config.behaviour();
            ensure!(behaviour.makes_sense(), "the success rate and the shares of replies must be 0 to 1");
            let (tell, notices) = mpsc::channel(NOTICES_MAX);
            let provider = SimulatedProvider::new(deps.pool.clone(), behaviour).telling(tell);
            Ok(Connected { provider: Arc::new(provider), notices: Some(notices), webhooks: None })
        }
        Choice::Http { url, key } => {
            let provider = HttpProvider::new(&config.http(url, key), Arc::clone(&deps.clock))?;
            let webhooks = Some(Doorkeeper::new(WebhookKey::clone(key)));
            Ok(Connected { provider: Arc::new(provider), notices: None, webhooks })
        }
    }
}

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<(rest::Api, rest::WebhookApi)>(rest::TITLE)
}
