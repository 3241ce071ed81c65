//! One role: its database, what it runs on, and its configuration.

use crate::args::{AccountArgs, PaymentArgs, ServerArgs};
use crate::ports::Role;
use crate::postgres::Server;
use broker::Broker;
use event_store::{Gate, HashChain, clock};
use futures::FutureExt;
use futures::future::BoxFuture;
use kernel::Currency;
use runtime::Deps;
use sqlx::migrate::Migrator;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use user_service::{Bootstrap, MasterKey};
use web::auth::TokenVerifier;

/// What the roles of one process share.
pub struct Wiring {
    /// The broker.
    pub broker: Arc<dyn Broker>,
    /// The other servers.
    pub servers: ServerArgs,
    /// The simulated provider.
    pub payment: PaymentArgs,
    /// How long logins last, and how often one may fail.
    pub accounts: AccountArgs,
    /// `host:port` of the product service's gRPC.
    pub product_grpc: String,
    /// `host:port` of the user service's gRPC.
    pub user_grpc: String,
    /// Where the public keys of access tokens are.
    pub jwks_url: String,
    /// What services show each other to learn a user's address.
    pub internal_token: Option<String>,
    /// What wraps the keys of personal data; the user service needs it.
    pub master_key: Option<MasterKey>,
    /// News for other systems, if there is any.
    pub webhooks: Option<notification_service::Webhooks>,
    /// Accounts that are there from the start.
    pub bootstrap: Vec<Bootstrap>,
    /// The limits and manners of the roles' servers.
    pub edge: web::EdgeOptions,
    /// Whether an empty catalogue is filled.
    pub seed_catalogue: bool,
    /// How long a dead instance's partitions wait for another.
    pub lease: Duration,
    /// Whether events are chained to those before.
    pub hash_chain: HashChain,
    /// Connections of each role's pool.
    pub connections_max: u32,
    /// One look at the oldest transaction for all roles of the process.
    pub gate: Option<Arc<Gate>>,
    /// Ends everything.
    pub shutdown: CancellationToken,
}

/// A role that is ready, to be run until shutdown.
pub type Running = BoxFuture<'static, anyhow::Result<()>>;

impl Role {
    /// The role's own database, named as in the original shop.
    pub fn database(self) -> &'static str {
        match self {
            Self::User => "userdb",
            Self::Product => "productdb",
            Self::Order => "orderdb",
            Self::Payment => "paymentdb",
            Self::Notification => "notificationdb",
            Self::Orchestrator => "sagadb",
        }
    }

    /// What brings its own tables up to date.
    pub(crate) fn migrator(self) -> &'static Migrator {
        match self {
            Self::User => &user_service::MIGRATOR,
            Self::Product => &product_service::MIGRATOR,
            Self::Order => &order_service::MIGRATOR,
            Self::Payment => &payment_service::MIGRATOR,
            Self::Notification => &notification_service::MIGRATOR,
            Self::Orchestrator => &orchestrator::MIGRATOR,
        }
    }

    /// Its OpenAPI document, as JSON.
    pub fn openapi(self) -> String {
        match self {
            Self::User => user_service::openapi(),
            Self::Product => product_service::openapi(),
            Self::Order => order_service::openapi(),
            Self::Payment => payment_service::openapi(),
            Self::Notification => notification_service::openapi(),
            Self::Orchestrator => orchestrator::openapi(),
        }
    }
}

/// Every role with its database.
pub fn databases() -> impl Iterator<Item = (Role, &'static str)> {
    Role::ALL.into_iter().map(|role| (role, role.database()))
}

/// Makes a role's database if it is missing and brings it up to date.
///
/// # Errors
/// When the server refuses or a migration fails.
pub async fn migrate(server: &Server, role: Role, database: &str) -> anyhow::Result<()> {
    server.ensure_database(database).await?;
    let pool = runtime::service::pool(server.options(database), role.name(), 2);
    let migrated = runtime::service::migrate(&pool, role.migrator()).await;
    pool.close().await;
    migrated
}

impl Wiring {
    /// Builds a role on its database.
    ///
    /// # Errors
    /// When its database or its configuration cannot be used.
    pub async fn build(
        &self,
        server: &Server,
        role: Role,
        database: &str,
        http: TcpListener,
        grpc: Option<TcpListener>,
    ) -> anyhow::Result<Running> {
        server.ensure_database(database).await?;
        let deps = Deps {
            gate: self.gate.clone(),
            // All statements are prepared and take arrays, whose length tells the planner nothing.
            pool: runtime::service::pool(
                server.options(database).options([("plan_cache_mode", "force_generic_plan")]),
                role.name(),
                self.connections_max,
            ),
            broker: Arc::clone(&self.broker),
            clock: clock::system(),
            partitions: i32::from(self.servers.partitions),
            lease: self.lease,
            hash_chain: self.hash_chain,
            shutdown: self.shutdown.clone(),
        };
        let verifier = TokenVerifier::from_jwks_url(&self.jwks_url)?;
        let needs_grpc = |listener: Option<TcpListener>| {
            listener.ok_or_else(|| anyhow::anyhow!("the {} needs a gRPC port", role.title()))
        };
        Ok(match role {
            Role::User => {
                let listeners = user_service::Listeners { http, grpc: needs_grpc(grpc)? };
                user_service::Service::build(self.user()?, deps, listeners).await?.run_until_stopped().boxed()
            }
            Role::Product => {
                let listeners = product_service::Listeners { http, grpc: needs_grpc(grpc)? };
                let service = product_service::Service::build(self.product(), deps, listeners, verifier).await?;
                service.run_until_stopped().boxed()
            }
            Role::Order => {
                let listeners = order_service::Listeners { http, grpc };
                let service = order_service::Service::build(self.order(), deps, listeners, verifier).await?;
                service.run_until_stopped().boxed()
            }
            Role::Payment => {
                let listeners = payment_service::Listeners { http };
                let service = payment_service::Service::build(self.payment()?, deps, listeners, verifier).await?;
                service.run_until_stopped().boxed()
            }
            Role::Notification => {
                let listeners = notification_service::Listeners { http };
                let config = self.notification();
                let service = notification_service::Service::build(config, deps, listeners, verifier).await?;
                service.run_until_stopped().boxed()
            }
            Role::Orchestrator => {
                let listeners = orchestrator::Listeners { http };
                let config = orchestrator::Config { edge: self.edge.clone() };
                orchestrator::Service::build(config, deps, listeners, verifier).await?.run_until_stopped().boxed()
            }
        })
    }

    fn user(&self) -> anyhow::Result<user_service::Config> {
        let master_key = self.master_key.clone().ok_or_else(|| anyhow::anyhow!("MASTER_KEY is missing"))?;
        Ok(user_service::Config {
            token_lifetime: self.accounts.access_token_lifetime,
            refresh_lifetime: self.accounts.login_lifetime,
            login_failures_max: self.accounts.login_failures_max,
            login_failures_window: self.accounts.login_failures_window,
            internal_token: self.internal_token.clone(),
            bootstrap: self.bootstrap.clone(),
            edge: self.edge.clone(),
            ..user_service::Config::new(master_key)
        })
    }

    fn product(&self) -> product_service::Config {
        product_service::Config {
            redis: self.servers.redis_url(),
            seed_catalogue: self.seed_catalogue,
            currency: Currency::EUR,
            edge: self.edge.clone(),
        }
    }

    fn order(&self) -> order_service::Config {
        order_service::Config {
            product_grpc: self.product_grpc.clone(),
            user_grpc: self.user_grpc.clone(),
            internal_token: self.internal_token.clone(),
            currency: Currency::EUR,
            edge: self.edge.clone(),
        }
    }

    fn payment(&self) -> anyhow::Result<payment_service::Config> {
        Ok(payment_service::Config {
            provider: self.payment.provider.choice()?,
            success_rate: self.payment.payment_success_rate,
            latency: self.payment.payment_latency,
            chaos: self.payment.chaos(),
            concurrency_max: self.payment.payment_concurrency.into(),
            provider_timeout: self.payment.payment_timeout,
            edge: self.edge.clone(),
            ..payment_service::Config::default()
        })
    }

    fn notification(&self) -> notification_service::Config {
        notification_service::Config {
            smtp: self.servers.smtp_url.clone().filter(|url| !url.is_empty()),
            user_grpc: self.user_grpc.clone(),
            internal_token: self.internal_token.clone(),
            smtp_ca: self.servers.smtp_ca_file.clone(),
            from: self.servers.mail_from.clone(),
            webhooks: self.webhooks.clone(),
            edge: self.edge.clone(),
            ..notification_service::Config::default()
        }
    }
}
