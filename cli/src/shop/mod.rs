//! The running shop: all roles in one process (`up`) or one of them (`serve`).

mod accounts;
pub mod banner;
pub mod master_key;
pub mod psp;
mod roles;
mod secret_file;
mod serve;
mod up;

pub use accounts::Accounts;
pub use roles::{Wiring, databases, migrate};
pub(crate) use serve::CONNECTIONS_MAX;
pub use serve::serve;
pub use up::up;

use crate::args::ServerArgs;
use crate::postgres::Server;
use anyhow::Context;
use broker::{Broker, PostgresBroker, PostgresOptions};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The database of the topic log, where there is no Kafka.
pub const BROKER_DATABASE: &str = "brokerdb";

/// Connections of the topic log.
pub(crate) const BROKER_CONNECTIONS_MAX: u32 = 10;

/// The broker that the arguments mean: Kafka where one is named, else a topic log in PostgreSQL.
///
/// # Errors
/// When the topic log's database cannot be made or migrated, or Kafka's settings do not go together.
pub async fn broker(server: &Server, servers: &ServerArgs, cross_process: bool) -> anyhow::Result<Arc<dyn Broker>> {
    if let Some(kafka) = servers.kafka()? {
        return Ok(Arc::new(kafka));
    }
    topic_log(server, cross_process).await
}

/// The topic log in PostgreSQL.
///
/// # Errors
/// When its database cannot be made or migrated.
pub(crate) async fn topic_log(server: &Server, cross_process: bool) -> anyhow::Result<Arc<dyn Broker>> {
    server.ensure_database(BROKER_DATABASE).await?;
    let pool = runtime::service::pool(server.options(BROKER_DATABASE), "broker", BROKER_CONNECTIONS_MAX);
    PostgresBroker::migrate(&pool).await.context("the topic log could not be migrated")?;
    Ok(Arc::new(PostgresBroker::new(pool, PostgresOptions { cross_process, ..PostgresOptions::default() })))
}

/// Makes the topics, however long the broker is away: orders are accepted meanwhile.
///
/// # Errors
/// When a topic is there with another number of partitions.
pub async fn ensure_topics(
    broker: &dyn Broker,
    partitions: u16,
    shutdown: &CancellationToken,
) -> Result<(), broker::Error> {
    let topics: Vec<(String, i32)> =
        event_schemas::topics::ALL.iter().map(|topic| ((*topic).to_owned(), i32::from(partitions))).collect();
    let mut wait = Duration::from_millis(100);
    loop {
        match broker.ensure_topics(&topics).await {
            Err(broker::Error::Unavailable(reason)) if !shutdown.is_cancelled() => {
                tracing::warn!(reason, "the broker is away: topics are made once it is back");
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    () = shutdown.cancelled() => {}
                }
                wait = (wait * 2).min(Duration::from_secs(5));
            }
            other => return other,
        }
    }
}

/// Resolves when the process is asked to stop: Ctrl-C or SIGTERM.
///
/// # Errors
/// When signals cannot be had.
pub async fn asked_to_stop() -> anyhow::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("signals cannot be had")?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted.context("signals cannot be had"),
        _ = terminate.recv() => Ok(()),
    }
}
