//! The user service: registration, login, profiles, and the keys that access tokens are signed with.

use std::sync::Arc;

use proto::user::user_service_server::UserServiceServer;
use runtime::{Deps, Host};
use tokio::net::TcpListener;
use web::auth::TokenVerifier;

mod commands;
mod config;
mod grpc;
mod keys;
mod passwords;
mod projection;
mod publish;
mod queries;
mod rest;

pub use config::{Bootstrap, Config};
pub use publish::Publisher;

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
        config.check()?;
        runtime::service::migrate(&deps.pool, &MIGRATOR).await?;
        let mut host = Host::new("user", deps);
        let pool = host.deps().pool.clone();
        let signer = keys::signer(&pool, host.deps().clock.as_ref()).await?;
        let users = Arc::new(commands::Users::new(host.commands(), host.store(), &config));
        for account in &config.bootstrap {
            users.bootstrap(account).await?;
        }
        host.relay(publish::Publisher);
        host.projection(Arc::new(projection::Users));
        let verifier = TokenVerifier::of_signer(&signer);
        let api = rest::Api::new(Arc::clone(&users), signer, config.token_lifetime);
        let app = web::App::new("user-service", rest::TITLE, api).options(config.edge.clone()).guarded("/register").guarded("/login").verifier(verifier).check("database", move || {
            let pool = pool.clone();
            async move { Ok(sqlx::query("SELECT 1").execute(&pool).await.map(|_| ())?) }
        });
        let contacts = UserServiceServer::new(grpc::Contacts::new(users, config.internal_token));
        let shutdown = host.deps().shutdown.clone();
        host.spawn("http", async move {
            if let Err(error) = web::serve(listeners.http, app, shutdown).await {
                tracing::error!(%error, "the HTTP server ended");
            }
        });
        let shutdown = host.deps().shutdown.clone();
        host.spawn("grpc", async move {
            let routes = tonic::service::Routes::new(contacts);
            if let Err(error) = web::grpc::serve(listeners.grpc, routes, config.edge, shutdown).await {
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
