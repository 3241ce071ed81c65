//! `sagashop serve`: one role as its own process.

use super::{Wiring, asked_to_stop, broker, ensure_topics};
use crate::args::{EdgeArgs, GlobalArgs, PeerArgs, ServeArgs};
use crate::audit::schedule;
use crate::config;
use crate::exit::Code;
use crate::gateway::{self, Gateway, Upstreams};
use crate::ports::{self, GATEWAY_PORT, Part, Role};
use crate::postgres::Server;
use anyhow::Context;
use domain::user::Role as UserRole;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use user_service::Bootstrap;

/// What is in flight has this long to end, once nobody is sent here any more.
const STOP_MAX: Duration = Duration::from_secs(4);
/// Connections of the role's pool.
pub(crate) const CONNECTIONS_MAX: u32 = 8;

/// How long the end of a part takes at most, the delay before the drain included.
pub(super) fn stop_max(edge: &EdgeArgs) -> Duration {
    edge.drain_delay.unwrap_or_default() + STOP_MAX
}

/// Runs the part until it is asked to stop.
///
/// # Errors
/// A sentence for people: what could not be had, and what helps.
pub async fn serve(global: &GlobalArgs, args: &ServeArgs) -> anyhow::Result<Code> {
    match args.part {
        Part::Role(role) => serve_role(global, args, role).await,
        Part::Gateway => serve_gateway(args).await,
        Part::Psp => super::psp::serve(global, args).await,
    }
}

async fn serve_gateway(args: &ServeArgs) -> anyhow::Result<Code> {
    let gateway = Gateway::new(&upstreams(&args.peers), args.edge.trusted_proxies.clone())?;
    let address = SocketAddr::new(args.listen, args.http_port.unwrap_or(GATEWAY_PORT));
    let listener = ports::bind(address, "gateway", "choose another with --http-port (or HTTP_PORT)").await?;
    let mut fronts = vec![(gateway.clone(), listener)];
    for role in Role::ALL.into_iter().filter(|_| args.role_ports) {
        let address = SocketAddr::new(args.listen, role.http_port());
        let listener = ports::bind(address, &role.title(), "leave --role-ports (or ROLE_PORTS) out").await?;
        fronts.push((gateway.of(role), listener));
    }
    let shutdown = CancellationToken::new();
    let edge = args.edge.options(web::EdgeOptions::default())?;
    let mut running = JoinSet::new();
    for (gateway, listener) in fronts {
        running.spawn(gateway::serve(gateway, listener, edge.clone(), shutdown.clone()));
    }
    tracing::info!(http.port = address.port(), "the gateway is ready");
    tokio::select! {
        asked = asked_to_stop() => asked?,
        Some(ended) = running.join_next() => {
            ended??;
            anyhow::bail!("the gateway ended by itself")
        }
    }
    shutdown.cancel();
    let all = async { while running.join_next().await.is_some() {} };
    if tokio::time::timeout(stop_max(&args.edge), all).await.is_err() {
        tracing::warn!("some requests did not end in time");
    }
    Ok(Code::Done)
}

fn upstreams(peers: &PeerArgs) -> Upstreams {
    let url = |role| match role {
        Role::User => &peers.user_service_url,
        Role::Product => &peers.product_service_url,
        Role::Order => &peers.order_service_url,
        Role::Payment => &peers.payment_service_url,
        Role::Notification => &peers.notification_service_url,
        Role::Orchestrator => &peers.orchestrator_url,
    };
    Role::ALL.into_iter().map(|role| (role, url(role).clone())).collect()
}

async fn serve_role(global: &GlobalArgs, args: &ServeArgs, role: Role) -> anyhow::Result<Code> {
    let server = Server::open(&args.database.options(global)?).await?;
    let http_port = args.http_port.unwrap_or_else(|| role.http_port());
    let address = SocketAddr::new(args.listen, http_port);
    let http = ports::bind(address, &role.title(), "choose another with --http-port (or HTTP_PORT)").await?;
    let grpc = match role.grpc_port() {
        Some(port) => {
            let address = SocketAddr::new(args.listen, args.grpc_port.unwrap_or(port));
            let title = format!("{} gRPC", role.title());
            Some(ports::bind(address, &title, "choose another with --grpc-port (or GRPC_PORT)").await?)
        }
        None => None,
    };
    let shutdown = CancellationToken::new();
    let broker = broker(&server, &args.servers, true).await?;
    let topics = {
        let (broker, shutdown, partitions) = (broker.clone(), shutdown.clone(), args.servers.partitions);
        tokio::spawn(async move { ensure_topics(broker.as_ref(), partitions, &shutdown).await })
    };
    let wiring = wiring(global, args, role, broker, &shutdown)?;
    let database = args.db_name.clone().unwrap_or_else(|| role.database().to_owned());
    let running = wiring
        .build(&server, role, &database, http, grpc)
        .await
        .with_context(|| format!("the {} does not start", role.title()))?;
    tracing::info!(role = role.name(), http.port = http_port, database, "ready");
    let mut running = tokio::spawn(running);
    let mut topics = topics;
    let audits = async {
        match role {
            Role::Orchestrator => schedule::run(&server, &args.evidence, &args.servers, &args.payment.provider).await,
            _ => std::future::pending().await,
        }
    };
    let outcome = tokio::select! {
        asked = asked_to_stop() => asked.map(|()| Code::Done),
        ended = &mut running => {
            ended??;
            anyhow::bail!("the {} ended by itself", role.title())
        }
        Some(error) = topics_failed(&mut topics) => Err(error),
        Err(error) = audits => Err(error),
        error = server.ended() => Err(error.into()),
    };
    shutdown.cancel();
    if tokio::time::timeout(stop_max(&args.edge), &mut running).await.is_err() {
        tracing::warn!("some tasks did not end in time");
        running.abort();
    }
    server.stop().await?;
    outcome
}

/// What the role runs on, as its flags and variables say.
fn wiring(
    global: &GlobalArgs,
    args: &ServeArgs,
    role: Role,
    broker: Arc<dyn broker::Broker>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Wiring> {
    Ok(Wiring {
        broker,
        servers: args.servers.clone(),
        payment: args.payment.clone(),
        accounts: args.accounts.clone(),
        product_grpc: args.peers.product_service_grpc.clone(),
        user_grpc: args.peers.user_service_grpc.clone(),
        jwks_url: format!("{}/.well-known/jwks.json", args.peers.user_service_url.trim_end_matches('/')),
        internal_token: args.secrets.internal_token.clone().filter(|token| !token.is_empty()),
        webhooks: args.secrets.webhook_key().map(|key| notification_service::Webhooks {
            key,
            allow_private: args.servers.webhook_allow_private,
            retry: notification_service::Retry::of_webhooks(),
        }),
        master_key: (role == Role::User).then(|| super::master_key::ensure(global, &args.secrets)).transpose()?,
        bootstrap: administrator(args)?,
        edge: web::EdgeOptions { admin_listen: admin(args), ..args.edge.options(web::EdgeOptions::default())? },
        seed_catalogue: args.seed,
        lease: args.lease,
        hash_chain: args.evidence.hash_chain(),
        connections_max: CONNECTIONS_MAX,
        gate: None,
        shutdown: shutdown.clone(),
    })
}

/// Where whoever looks after the process finds it, beside the role's own port.
fn admin(args: &ServeArgs) -> Option<SocketAddr> {
    args.admin_port.map(|port| SocketAddr::new(args.admin_listen.unwrap_or(args.listen), port))
}

/// Topics of another shape end the process; topics that were made are no news.
async fn topics_failed(topics: &mut tokio::task::JoinHandle<Result<(), broker::Error>>) -> Option<anyhow::Error> {
    match topics.await {
        Ok(Err(error)) => Some(error.into()),
        Ok(Ok(())) | Err(_) => std::future::pending().await,
    }
}

/// The first administrator, where the environment names one.
fn administrator(args: &ServeArgs) -> anyhow::Result<Vec<Bootstrap>> {
    let email = args.admin_email.clone().filter(|text| !text.is_empty());
    let (Part::Role(Role::User), Some(email)) = (args.part, email) else { return Ok(Vec::new()) };
    // No flag: everybody on the machine can see arguments.
    let password = config::secret_from_environment("ADMIN_PASSWORD")?;
    let administrator =
        |password| Bootstrap { name: "Administrator".to_owned(), email, password, role: UserRole::Admin };
    Ok(password.map(administrator).into_iter().collect())
}
