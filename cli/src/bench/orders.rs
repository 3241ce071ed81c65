//! `sagashop bench orders`: orders over HTTP, from POST to confirmed as the client sees it.

mod load;
mod meter;
mod price;
mod recorder;
mod report;

use super::warn_if_unoptimised;
use crate::args::{BenchOrdersArgs, GlobalArgs};
use crate::canary::{self, Canary};
use crate::client::{Client, Session};
use crate::exit::{Code, Failure};
use crate::output;
use crate::postgres::Server;
use crate::running::Shop;
use crate::shop::asked_to_stop;
use anyhow::Context;
use futures::future::try_join_all;
use load::Load;
use meter::{Meter, Used};
use recorder::{Recorder, Results};
use report::Report;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Connections, caches and PostgreSQL's plans are made in this time, which does not count.
const WARM_UP: Duration = Duration::from_secs(3);
/// Enough that no product is a hot one.
const PRODUCTS: usize = 20;
/// More than any run sells.
const STOCK: u32 = 1_000_000;
const CUSTOMERS: usize = 8;

/// Runs the benchmark.
///
/// # Errors
/// A sentence for people: no shop to be had, or it went away.
pub async fn orders(global: &GlobalArgs, args: &BenchOrdersArgs) -> anyhow::Result<Code> {
    warn_if_unoptimised();
    if args.trace_price {
        return price::price(global, args).await;
    }
    let (mut shop, client) = Shop::find_or_start(global, &args.up).await?;
    let ended = tokio::select! {
        ended = run(global, args, client) => ended,
        how = shop.ended() => Err(Failure::new(Code::Unavailable, how).into()),
        asked = asked_to_stop() => asked.map(|()| Code::Interrupted),
    };
    let stopped = shop.stop().await;
    let code = ended?;
    stopped?;
    Ok(code)
}

async fn run(global: &GlobalArgs, args: &BenchOrdersArgs, client: Client) -> anyhow::Result<Code> {
    let target = Arc::new(Target::make(client, &global.data_dir).await?);
    let server = Server::attach(&args.up.database.options(global)?).await?;
    let load = Load::of(args);
    let before = canary_of(server.as_ref()).await?;
    let (results, used) = measure(&target, server.as_ref(), load, args.duration).await?;
    let after = canary_of(server.as_ref()).await?;
    let report = Report::new(load, args.duration, results, used, before.zip(after));
    output::one(global.output, &report)?;
    Ok(if report.confirmed > 0 { Code::Done } else { Code::Failed })
}

async fn measure(
    target: &Arc<Target>,
    server: Option<&Server>,
    load: Load,
    duration: Duration,
) -> anyhow::Result<(Results, Used)> {
    let mut meter = Meter::new(&target.client, server).await?;
    eprintln!("{load} for {:.0} s, after {} s to warm up.", duration.as_secs_f64(), WARM_UP.as_secs());
    let from = Instant::now() + WARM_UP;
    let recorder = Arc::new(Recorder::new(from, from + duration));
    let (placed, used) = tokio::join!(load.place(target, &recorder), meter.measure(from, from + duration));
    placed?;
    Ok((recorder.results(), used?))
}

async fn canary_of(server: Option<&Server>) -> anyhow::Result<Option<Canary>> {
    match server {
        Some(server) => canary::measure(server).await.map(Some),
        None => Ok(None),
    }
}

/// The shop with what is ordered of it, and by whom.
struct Target {
    client: Client,
    customers: Vec<Session>,
    products: Vec<Uuid>,
}

impl Target {
    async fn make(client: Client, data_dir: &Path) -> anyhow::Result<Self> {
        let admin = client.login_admin(data_dir).await?;
        let run = Uuid::now_v7().simple().to_string();
        let products = (0..PRODUCTS).map(|n| {
            let (client, admin, name) = (&client, &admin, format!("Bench product {}", n + 1));
            async move { client.create_product(admin, &name, "9.99", STOCK).await }
        });
        let products = try_join_all(products).await.context("the products to order cannot be made")?;
        let customers = (0..CUSTOMERS).map(|n| {
            let (client, email) = (&client, format!("bench-{run}-{n}@sagashop.example"));
            let password = Uuid::new_v5(&Uuid::NAMESPACE_OID, email.as_bytes()).to_string();
            async move { client.register("Bench customer", &email, &password).await }
        });
        let customers = try_join_all(customers).await.context("the customers cannot be registered")?;
        Ok(Self { client, customers, products })
    }
}
