//! `sagashop bench http`: requests over HTTP on connections that stay open, with the access tokens checked and the rate
//! limits on.

mod connection;
mod load;
mod overload;
mod report;
mod target;

use super::{processes, told, warn_if_unoptimised};
use crate::args::{BenchHttpArgs, GlobalArgs};
use crate::canary::{self, Canary};
use crate::client::Client;
use crate::exit::Code;
use crate::output::{self, Format};
use crate::ports::Role;
use crate::postgres::Server;
use crate::running::Shop;
use crate::shop::asked_to_stop;
use load::{Answers, Load, Window};
use report::{Line, Used};
use std::time::Duration;
use target::Target;

/// Connections, caches and PostgreSQL's plans are made in this time, which does not count.
const WARM_UP: Duration = Duration::from_secs(2);
/// Whoever guesses passwords does it so often.
const LOGINS_PER_S: f64 = 1_000.0;
const LOGIN_CLIENTS: usize = 32;
/// Accepted orders have so long to end before anything else is measured.
const SETTLED_MAX: Duration = Duration::from_secs(120);

/// What can be measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Scenario {
    /// GET /products/{id} from the cache, with 8 and with 32 clients.
    Products,
    /// GET /api/v1/products/{id} through the gateway, with 8 and with 32 clients.
    Gateway,
    /// GET /products/{id} by 8 clients while others try 1,000 passwords a second.
    Logins,
    /// GET /orders/{id} with 8 clients.
    Orders,
    /// POST /orders, accepted, with 8 clients.
    Accepted,
}

/// Runs the benchmark.
///
/// # Errors
/// A sentence for people: no shop to be had, or it went away.
pub async fn http(global: &GlobalArgs, args: &BenchHttpArgs) -> anyhow::Result<Code> {
    warn_if_unoptimised();
    let (mut shop, client) = Shop::find_or_start(global, &args.up).await?;
    let ended = tokio::select! {
        ended = run(global, args, client) => ended,
        how = shop.ended() => Err(crate::exit::Failure::new(Code::Unavailable, how).into()),
        asked = asked_to_stop() => asked.map(|()| Code::Interrupted),
    };
    let stopped = shop.stop().await;
    let code = ended?;
    stopped?;
    Ok(code)
}

async fn run(global: &GlobalArgs, args: &BenchHttpArgs, client: Client) -> anyhow::Result<Code> {
    let bench = Bench::make(global, args, client).await?;
    let server = Server::attach(&args.up.database.options(global)?).await?;
    let before = canary_of(server.as_ref()).await?;
    if args.overload {
        let found = overload::measure(&bench).await?;
        let after = canary_of(server.as_ref()).await?;
        let text = serde_json::json!({ "canary_before": before, "overload": found, "canary_after": after });
        print(global.output, || output::one(Format::Table, &found), &text, before.zip(after))?;
        return Ok(if found.goodput_per_s > 0.0 { Code::Done } else { Code::Failed });
    }
    let mut lines = Vec::new();
    for scenario in &args.only {
        lines.extend(bench.measure(*scenario).await?);
    }
    let after = canary_of(server.as_ref()).await?;
    let text = serde_json::json!({ "canary_before": before, "scenarios": lines, "canary_after": after });
    print(global.output, || output::rows(Format::Table, &lines), &text, before.zip(after))?;
    Ok(if lines.iter().all(|line| line.requests_per_s > 0.0) { Code::Done } else { Code::Failed })
}

fn print(
    format: Format,
    table: impl FnOnce() -> std::io::Result<()>,
    all: &serde_json::Value,
    canaries: Option<(Canary, Canary)>,
) -> anyhow::Result<()> {
    if format != Format::Table {
        output::text(&all.to_string())?;
        return Ok(());
    }
    table()?;
    let canaries = canaries.map(|(before, after)| (told(&before), told(&after)));
    let (before, after) = canaries.unwrap_or_else(|| ("unknown".to_owned(), "unknown".to_owned()));
    output::text(&format!("\ncanary before  {before}\ncanary after   {after}"))?;
    Ok(())
}

async fn canary_of(server: Option<&Server>) -> anyhow::Result<Option<Canary>> {
    match server {
        Some(server) => canary::measure(server).await.map(Some),
        None => Ok(None),
    }
}

/// The shop, and how long to look at it.
struct Bench {
    target: Target,
    shop: Vec<u32>,
    duration: Duration,
}

impl Bench {
    async fn make(global: &GlobalArgs, args: &BenchHttpArgs, client: Client) -> anyhow::Result<Self> {
        let ports = Role::ALL.map(|role| client.address(role)).into_iter().chain([client.gateway()]);
        let shop = processes::listening(&ports.map(|address| address.port()).collect::<Vec<_>>());
        let target = Target::make(client, &global.data_dir).await?;
        Ok(Self { target, shop, duration: args.duration })
    }

    async fn measure(&self, scenario: Scenario) -> anyhow::Result<Vec<Line>> {
        Ok(match scenario {
            Scenario::Products => {
                let few = self.products("GET /products/{id}", 8).await?;
                vec![few, self.products("GET /products/{id}", 32).await?]
            }
            Scenario::Gateway => vec![self.through_gateway(8).await?, self.through_gateway(32).await?],
            Scenario::Logins => self.logins().await?,
            Scenario::Orders => {
                let load = self.load(Role::Order, self.target.reads_of_orders(8), 200);
                vec![self.line("GET /orders/{id}", load).await?]
            }
            Scenario::Accepted => vec![self.accepted().await?],
        })
    }

    async fn products(&self, what: &str, clients: usize) -> anyhow::Result<Line> {
        self.line(what, self.load(Role::Product, self.target.reads_of_products(clients), 200)).await
    }

    async fn through_gateway(&self, clients: usize) -> anyhow::Result<Line> {
        let clients = self.target.reads_through_gateway(clients);
        let load = Load { address: self.target.client.gateway(), clients, good: 200, per_s: None };
        self.line("GET /api/v1/products/{id}, gateway", load).await
    }

    /// The same 8 clients without and with others who guess passwords.
    async fn logins(&self) -> anyhow::Result<Vec<Line>> {
        let alone = self.products("GET /products/{id}, no logins", 8).await?;
        let mut flood = self.load(Role::User, self.target.logins(LOGIN_CLIENTS), 200);
        flood.per_s = Some(LOGINS_PER_S);
        let window = Window::after(Duration::ZERO, WARM_UP + self.duration);
        let (beside, flood) = tokio::join!(self.products("GET /products/{id}, login flood", 8), flood.run(window));
        let (beside, flood) = (beside?, flood?);
        let ratio = if alone.p99_ms > 0.0 { beside.p99_ms / alone.p99_ms } else { f64::NAN };
        let note = format!("p99 × {ratio:.2}; logins answered: {}", report::told(&flood.others));
        Ok(vec![alone, beside.note(note)])
    }

    async fn accepted(&self) -> anyhow::Result<Line> {
        let load = self.load(Role::Order, self.target.orders(8), 201);
        let line = self.line("POST /orders, accepted", load).await?;
        Ok(line.note(self.settle().await?))
    }

    /// Waits until what was accepted has ended: it would slow whatever is measured next.
    async fn settle(&self) -> anyhow::Result<String> {
        let began = std::time::Instant::now();
        let settled = self.target.is_settled(SETTLED_MAX).await?;
        let seconds = began.elapsed().as_secs_f64();
        Ok(if settled { format!("all ended {seconds:.1} s later") } else { format!("not ended {seconds:.0} s later") })
    }

    fn load(&self, role: Role, clients: Vec<load::Requests>, good: u16) -> Load {
        Load { address: self.target.client.address(role), clients, good, per_s: None }
    }

    async fn line(&self, scenario: &str, load: Load) -> anyhow::Result<Line> {
        let clients = load.clients.len();
        eprintln!("{scenario} with {clients} clients for {:.0} s", self.duration.as_secs_f64());
        let window = Window::after(WARM_UP, self.duration);
        let (answers, used) = self.observe(load, window).await?;
        Ok(Line::new(scenario, clients, window.seconds(), &answers, used))
    }

    async fn observe(&self, load: Load, window: Window) -> anyhow::Result<(Answers, Used)> {
        let used = async {
            tokio::time::sleep_until(window.from.into()).await;
            let before = self.used();
            tokio::time::sleep_until(window.to.into()).await;
            let after = self.used();
            let time = |after: Option<Duration>, before: Option<Duration>| after?.checked_sub(before?);
            Used { shop: time(after.shop, before.shop), client: time(after.client, before.client) }
        };
        let (answers, used) = tokio::join!(load.run(window), used);
        Ok((answers?, used))
    }

    /// Since each began.
    fn used(&self) -> Used {
        Used { shop: processes::cpu(&self.shop), client: processes::cpu(&[std::process::id()]) }
    }
}
