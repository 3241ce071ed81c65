//! The user service: accounts, sessions, address books, and the keys that access tokens are signed with.
//!
//! What is personal (name, address, address book) is stored in this service's events alone, there as ciphertext under a
//! key per person; [`MasterKey`] wraps those keys. Whoever is deleted loses theirs, and nothing can be read any more.

use std::sync::Arc;

use runtime::{Deps, Host};
use tokio::net::TcpListener;
use web::auth::{ServiceTokens, TokenVerifier};

mod answers;
mod attempts;
mod commands;
mod config;
mod enrolment;
mod grpc;
mod keys;
pub mod measures;
mod offline;
mod passwords;
mod persons;
mod projection;
mod publish;
mod queries;
mod read_model;
mod rest;
mod vault;

pub use config::{Bootstrap, Config};
pub use enrolment::{Enrolled, Enrolment};
pub use offline::create_account;
pub use publish::Publisher;
pub use read_model::UserList;
pub use vault::MasterKey;

/// Claims of addresses, as they are stored: for those who describe events.
pub mod claims {
    pub use crate::commands::claims::{described, understood};
}

/// The keys of access tokens, for operators.
pub mod signing_keys {
    pub use crate::keys::{SigningKey, State, list, retire, rotate};
}

/// The tables of its read model and its keys.
pub static MIGRATOR: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// Where it listens.
pub struct Listeners {
    /// REST.
    pub http: TcpListener,
    /// gRPC.
    pub grpc: TcpListener,
}

/// The user service, ready to run.
pub struct Service {
    host: Host,
}

impl Service {
    /// Migrates its database, makes a signing key and the bootstrap accounts if they are missing,
    /// and wires it up.
    ///
    /// # Errors
    /// If the database is away or cannot be migrated, or the configuration cannot be used.
    pub async fn build(config: Config, deps: Deps, listeners: Listeners) -> anyhow::Result<Self> {
        let secret = config.internal_token.as_deref();
        let services = secret.map(|secret| ServiceTokens::from_secret(secret, "user")).transpose()?;
        let vault = vault::Vault::new(&config.master_key)?;
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("user", deps);
        measures::init();
        let Deps { pool, clock, shutdown, .. } = host.deps().clone();
        let keys = Arc::new(keys::KeyRing::open(pool.clone(), vault.clone(), clock.as_ref()).await?);
        let persons = persons::Persons::new(pool.clone(), vault.clone());
        let queries = queries::Queries::new(pool.clone(), persons.clone());
        let answers = answers::Answers::new(persons.clone(), vault.clone());
        let idempotency = web::Idempotency::kept_by(host.store(), answers);
        let users = Arc::new(commands::Users::new(host.commands(), host.store(), persons, vault, &config));
        for account in &config.bootstrap {
            users.bootstrap(account).await?;
        }
        host.relay(publish::Publisher);
        let projection = host.projection(Arc::new(projection::Users));
        host.spawn("signing keys", Arc::clone(&keys).follow(shutdown.clone()));

        let verifier = TokenVerifier::from_source(keys::Ring(Arc::clone(&keys)));
        let routes = grpc::routes(grpc::Contacts::new(Arc::clone(&users), services)).await?;
        let parts =
            rest::Parts { users, queries, keys, idempotency, token_lifetime: config.token_lifetime, projection };
        let app = rest::app(parts, pool, &config.edge).verifier(verifier);
        let stop = shutdown.clone();
        host.spawn("http", async move {
            if let Err(error) = web::serve(listeners.http, app, stop).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        host.spawn("grpc", async move {
            if let Err(error) = web::grpc::serve("user", listeners.grpc, routes, config.edge, shutdown).await {
                tracing::error!(%error, "the gRPC server ended");
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
