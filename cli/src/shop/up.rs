//! `sagashop up`: the whole shop in one process, on embedded defaults.

use super::banner::Banner;
use super::{Accounts, Wiring, asked_to_stop, broker, ensure_topics};
use crate::args::{GlobalArgs, Mode, UpArgs};
use crate::audit::schedule;
use crate::exit::Code;
use crate::gateway::{self, Gateway};
use crate::ports::{Ports, Role};
use crate::postgres::Server;
use anyhow::Context;
use event_store::Gate;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use web::EdgeOptions;

/// What is in flight at shutdown has this long to end; PostgreSQL's own stop comes after it.
const STOP_MAX: Duration = Duration::from_millis(1_500);
/// Topics that are not there by then are made in the background.
const TOPICS_MAX: Duration = Duration::from_secs(5);
/// After a kill -9 the next start waits as long for what the dead process held.
const LEASE: Duration = Duration::from_secs(5);
/// Connections of each role's pool.
const CONNECTIONS_MAX: u32 = 8;

/// Starts everything, says so, and runs until it is asked to stop.
///
/// # Errors
/// A sentence for people: what could not be had, and what helps.
pub async fn up(global: &GlobalArgs, args: &UpArgs) -> anyhow::Result<Code> {
    let began = Instant::now();
    let server = Server::start(&args.database.options(global)?).await?;
    let shutdown = CancellationToken::new();
    let ended = run(global, args, &server, &shutdown, began).await;
    shutdown.cancel();
    let stopped = server.stop().await;
    let code = ended?;
    stopped?;
    Ok(code)
}

async fn run(
    global: &GlobalArgs,
    args: &UpArgs,
    server: &Server,
    shutdown: &CancellationToken,
    began: Instant,
) -> anyhow::Result<Code> {
    let ports = Ports { address: args.listen, offset: args.port_offset };
    let mut listeners: Vec<(Role, TcpListener, Option<TcpListener>)> = Vec::new();
    for role in Role::ALL {
        listeners.push((role, ports.bind_http(role).await?, ports.bind_grpc(role).await?));
    }
    let gateway_listener = ports.bind_gateway().await?;
    let upstreams = Role::ALL.into_iter().map(|role| (role, http_of(args, role))).collect();
    let gateway = Gateway::new(&upstreams, args.edge.trusted_proxies.clone())?;
    std::fs::create_dir_all(&global.data_dir)
        .with_context(|| format!("{} cannot be made", global.data_dir.display()))?;
    let accounts = development_accounts(global)?;
    let broker = broker(server, &args.servers, false).await?;
    make_topics(&broker, args.servers.partitions, shutdown).await?;
    let edge = edge(global, args)?;
    let gate = Gate::new(runtime::service::pool(server.options("postgres"), "gate", 1));
    let wiring = Wiring {
        edge: behind_gateway(edge.clone()),
        gate: Some(gate),
        ..wiring(global, args, accounts.as_ref(), broker, shutdown)?
    };
    let mut builds = FuturesUnordered::new();
    for (role, http, grpc) in listeners {
        let wiring = &wiring;
        builds.push(async move { (role, wiring.build(server, role, role.database(), http, grpc).await) });
    }
    let mut roles = JoinSet::new();
    while let Some((role, built)) = builds.next().await {
        roles.spawn(built.with_context(|| format!("the {} does not start", role.title()))?);
    }
    drop(builds);
    let stop = shutdown.clone();
    roles.spawn(async move { Ok(gateway::serve(gateway, gateway_listener, edge, stop).await?) });
    Banner::new(args, accounts.as_ref()).print(server, began).await?;
    let audits = schedule::run(server, &args.evidence, &args.servers, &args.payment.provider);
    until_stopped(roles, server, audits, shutdown).await
}

/// Runs until it is asked to stop, or a part ends by itself; then all parts have a little time to end.
async fn until_stopped(
    mut roles: JoinSet<anyhow::Result<()>>,
    server: &Server,
    audits: impl Future<Output = anyhow::Result<()>>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Code> {
    let outcome = tokio::select! {
        asked = asked_to_stop() => asked.map(|()| Code::Done),
        error = server.ended() => Err(error.into()),
        Err(error) = audits => Err(error),
        Some(ended) = roles.join_next() => Err(ended.map_err(anyhow::Error::from).and_then(|r| r).err()
            .unwrap_or_else(|| anyhow::anyhow!("a role ended by itself"))),
    };
    shutdown.cancel();
    // Whoever does not end in time is ended: all that matters is in the database.
    let all = async { while roles.join_next().await.is_some() {} };
    if tokio::time::timeout(STOP_MAX, all).await.is_err() {
        tracing::warn!("some tasks did not end in time");
        roles.abort_all();
    }
    outcome
}

/// What all roles share: they find each other at this machine's own address.
fn wiring(
    global: &GlobalArgs,
    args: &UpArgs,
    accounts: Option<&(Accounts, bool)>,
    broker: Arc<dyn broker::Broker>,
    shutdown: &CancellationToken,
) -> anyhow::Result<Wiring> {
    let grpc = |role: Role| {
        let port = role.grpc_port().unwrap_or_default() + args.port_offset;
        format!("{}:{port}", loopback(args.listen))
    };
    Ok(Wiring {
        broker,
        servers: args.servers.clone(),
        payment: args.payment.clone(),
        accounts: args.accounts.clone(),
        product_grpc: grpc(Role::Product),
        user_grpc: grpc(Role::User),
        jwks_url: format!("{}/.well-known/jwks.json", http_of(args, Role::User)),
        internal_token: internal_token(args, accounts),
        webhooks: webhooks(args, accounts),
        master_key: Some(super::master_key::ensure(global, &args.secrets)?),
        bootstrap: accounts.map(|(accounts, _)| accounts.bootstrap()).unwrap_or_default(),
        edge: EdgeOptions::default(),
        seed_catalogue: !args.empty,
        lease: LEASE,
        hash_chain: args.evidence.hash_chain(),
        connections_max: CONNECTIONS_MAX,
        gate: None,
        shutdown: shutdown.clone(),
    })
}

fn http_of(args: &UpArgs, role: Role) -> String {
    format!("http://{}:{}", loopback(args.listen), role.http_port() + args.port_offset)
}

/// The accounts of this folder, and whether they are new; a production has none but those that somebody makes.
fn development_accounts(global: &GlobalArgs) -> anyhow::Result<Option<(Accounts, bool)>> {
    match global.mode {
        Mode::Development => Accounts::ensure(&global.data_dir).map(Some),
        Mode::Production => Ok(None),
    }
}

fn internal_token(args: &UpArgs, accounts: Option<&(Accounts, bool)>) -> Option<String> {
    let given = args.secrets.internal_token.clone().filter(|token| !token.is_empty());
    given.or_else(|| accounts.map(|(accounts, _)| accounts.internal_token.clone()))
}

/// In development webhooks may lead to this machine, and their key is the folder's own.
fn webhooks(args: &UpArgs, accounts: Option<&(Accounts, bool)>) -> Option<notification_service::Webhooks> {
    let own = || accounts.map(|(accounts, _)| accounts.internal_token.clone());
    let key = args.secrets.webhook_key().or_else(own)?;
    let allow_private = args.servers.webhook_allow_private || accounts.is_some();
    Some(notification_service::Webhooks { key, allow_private, retry: notification_service::Retry::of_webhooks() })
}

fn edge(global: &GlobalArgs, args: &UpArgs) -> anyhow::Result<EdgeOptions> {
    let usual = match global.mode {
        Mode::Development => EdgeOptions::development(),
        Mode::Production => EdgeOptions::default(),
    };
    Ok(args.edge.options(usual)?)
}

/// The roles' own edges: they believe the gateway whom a request is from, and leave TLS to it.
fn behind_gateway(edge: EdgeOptions) -> EdgeOptions {
    let here = ["127.0.0.0/8", "::1/128"].into_iter().filter_map(|network| network.parse().ok());
    let trusted_proxies = edge.trusted_proxies.iter().copied().chain(here).collect();
    EdgeOptions { trusted_proxies, tls: None, ..edge }
}

/// Now if the broker is there, else in the background.
async fn make_topics(
    broker: &Arc<dyn broker::Broker>,
    partitions: u16,
    shutdown: &CancellationToken,
) -> anyhow::Result<()> {
    let (broker, shutdown) = (Arc::clone(broker), shutdown.clone());
    let mut making = tokio::spawn(async move { ensure_topics(broker.as_ref(), partitions, &shutdown).await });
    match tokio::time::timeout(TOPICS_MAX, &mut making).await {
        Ok(made) => Ok(made??),
        Err(_) => {
            tracing::warn!("the broker does not answer: orders are accepted and wait for it");
            Ok(())
        }
    }
}

/// The address under which this process reaches itself.
pub(super) fn loopback(listen: std::net::IpAddr) -> String {
    if listen.is_unspecified() { "127.0.0.1".to_owned() } else { listen.to_string() }
}
