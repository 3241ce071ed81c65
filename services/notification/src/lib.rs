//! The notification service: tells customers what happened to their orders.
//!
//! It follows every topic of events, and queues a notification for each message that concerns a customer and each way
//! that it goes: the log, an e-mail, webhooks. It publishes nothing: what it records is nobody else's business.

use std::sync::Arc;

use runtime::{Commands, Deps, Host};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use web::auth::TokenVerifier;

pub mod channel;
mod commands;
mod config;
mod consumer;
pub mod measures;
mod projection;
mod queries;
mod read_model;
mod rest;
mod smtp;
mod templates;
mod webhooks;
mod worker;

pub use channel::{Channel, LogChannel, Notice, Unsent};
pub use commands::attempted;
pub use config::{Config, Webhooks};
pub use consumer::{Customers, FOLLOWS};
pub use read_model::{NotificationList, WebhookList};
pub use smtp::SmtpChannel;
pub use worker::Retry;

use commands::{Desk, Results};
use webhooks::{Guard, Secrets, Subscribers, WebhookChannel};
use worker::{FRESH_MAX, Fresh, Sender, Sweep, Worker};

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
        Self::build_with(channels, config, deps, listeners, verifier).await
    }

    /// As [`Service::build`], with these channels beside the webhooks, at most one of a kind.
    ///
    /// # Errors
    /// As [`Service::build`].
    pub async fn build_with(
        channels: Vec<Arc<dyn Channel>>,
        config: Config,
        deps: Deps,
        listeners: Listeners,
        verifier: TokenVerifier,
    ) -> anyhow::Result<Self> {
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("notification", deps);
        measures::init();
        host.observe(measures::look);
        let commands = Arc::new(host.commands());
        let notifications = host.projection(Arc::new(projection::Notifications));
        let webhook_list = host.projection(Arc::new(projection::Webhooks));
        let mut workers = Vec::new();
        for channel in channels {
            workers.push(spawn_worker(&mut host, channel, config.retry, &commands));
        }
        let (mut subscribers, mut reception) = (None, None);
        if let Some(webhooks) = &config.webhooks {
            let guard = Guard { allow_private: webhooks.allow_private };
            let secrets = Secrets::new(&webhooks.key)?;
            let channel = WebhookChannel::new(Arc::clone(&commands), secrets.clone(), guard)?;
            workers.push(spawn_worker(&mut host, Arc::new(channel), webhooks.retry, &commands));
            // Before the first message is read: it may be for one of them.
            let listed = Subscribers::load(host.deps().pool.clone(), webhook_list.clone()).await?;
            let shutdown = host.deps().shutdown.clone();
            host.spawn("webhook subscribers", listed.clone().follow(shutdown));
            (subscribers, reception) = (Some(listed), Some(rest::Reception { secrets, guard }));
        }
        let customers = consumer::Customers::new(workers, subscribers.clone());
        host.consumer(FOLLOWS.consumer, FOLLOWS.topics, Arc::new(customers));
        let desk = Desk::new(commands, notifications, webhook_list, subscribers);
        spawn_http(&mut host, desk, reception, config.edge, listeners, verifier);
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

fn spawn_worker(
    host: &mut Host,
    channel: Arc<dyn Channel>,
    retry: Retry,
    commands: &Arc<Commands>,
) -> (domain::notification::Channel, mpsc::Sender<Fresh>) {
    let (sender, fresh) = mpsc::channel(FRESH_MAX);
    let kind = channel.kind();
    let deps = host.deps().clone();
    let results = Results::new(Arc::clone(commands), deps.shutdown.clone());
    let owner = deps.clock.new_id();
    let sweep = Sweep::new(kind, host.store(), deps.pool, results.clone(), owner, deps.lease);
    let worker = Worker { fresh, sweep, sender: Sender::new(channel, host.live(), results, retry) };
    host.spawn(kind.as_str(), worker.run(deps.shutdown));
    (kind, sender)
}

fn spawn_http(
    host: &mut Host,
    desk: Desk,
    reception: Option<rest::Reception>,
    edge: web::EdgeOptions,
    listeners: Listeners,
    verifier: TokenVerifier,
) {
    let pool = host.deps().pool.clone();
    let api = rest::api(pool.clone(), desk, web::Idempotency::new(host.store()), host.store(), reception);
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
}

/// Its OpenAPI document, as JSON.
pub fn openapi() -> String {
    web::document::<rest::Api>(rest::TITLE)
}
