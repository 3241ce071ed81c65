//! What tracing costs: the same load on a shop that traces everything and on one that traces nothing, in turn.

mod sink;

use super::load::Load;
use super::{Target, measure};
use crate::args::{BenchOrdersArgs, GlobalArgs};
use crate::client::Client;
use crate::exit::{Code, Failure};
use crate::output::{self, Row};
use crate::ports::Role;
use crate::postgres::Server;
use crate::running::Shop;
use crate::shop::asked_to_stop;
use anyhow::Context;
use serde::Serialize;
use sink::Sink;
use std::sync::Arc;

/// Pairs of runs, each of both orders as often as the other; the middle counts.
const ROUNDS: usize = 4;
const EXPORTED: &str = "sagashop_telemetry_spans_exported_total";
const DROPPED: &str = "sagashop_telemetry_spans_dropped_total";

/// Runs the comparison, into the collector that was named or one of its own that takes spans and forgets them.
///
/// # Errors
/// A shop runs already, or none can be started.
pub(super) async fn price(global: &GlobalArgs, args: &BenchOrdersArgs) -> anyhow::Result<Code> {
    let sink = Sink::start().await?;
    let endpoint = args.up.servers.trace_endpoint().unwrap_or_else(|| sink.endpoint.clone());
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        // Whatever grows or warms with time favours neither.
        let order = if round % 2 == 0 { [false, true] } else { [true, false] };
        let (mut off, mut on) = (Run::default(), Run::default());
        for traced in order {
            let run = tokio::select! {
                run = run(global, args, traced.then_some(endpoint.as_str())) => run?,
                asked = asked_to_stop() => return asked.map(|()| Code::Interrupted),
            };
            *if traced { &mut on } else { &mut off } = run;
        }
        rounds.push(Price::of(round + 1, off, on));
    }
    output::rows(global.output, &rounds)?;
    rounds.sort_by(|a, b| a.price_percent.total_cmp(&b.price_percent));
    let middle = (rounds[ROUNDS / 2 - 1].price_percent + rounds[ROUNDS / 2].price_percent) / 2.0;
    eprintln!("Tracing everything costs {middle:.1} % of the orders (the middle of {ROUNDS} rounds).");
    Ok(Code::Done)
}

/// What one run came to.
#[derive(Clone, Copy, Debug, Default)]
struct Run {
    orders_per_s: f64,
    shop_cpu_ms_per_order: Option<f64>,
    spans: f64,
    dropped: f64,
}

/// A shop of one's own under the load, traced or not.
async fn run(global: &GlobalArgs, args: &BenchOrdersArgs, endpoint: Option<&str>) -> anyhow::Result<Run> {
    let mut global = global.clone();
    let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    global.flags.push(set("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.unwrap_or_default()));
    global.flags.push(set("OTEL_SDK_DISABLED", if endpoint.is_some() { "false" } else { "true" }));
    global.flags.push(set("OTEL_TRACES_SAMPLER", "always_on"));
    let (mut shop, client) = Shop::find_or_start(&global, &args.up).await?;
    if matches!(shop, Shop::Found) {
        let message = "a shop runs already, and traces or does not: stop it, or choose other ports with --port-offset";
        return Err(Failure::new(Code::InUse, message).into());
    }
    let measured = tokio::select! {
        measured = under_load(&global, args, client) => measured,
        how = shop.ended() => Err(Failure::new(Code::Unavailable, how).into()),
    };
    let stopped = shop.stop().await;
    let run = measured?;
    stopped?;
    Ok(run)
}

async fn under_load(global: &GlobalArgs, args: &BenchOrdersArgs, client: Client) -> anyhow::Result<Run> {
    let metrics = format!("http://{}/metrics", client.address(Role::Order));
    let target = Arc::new(Target::make(client, &global.data_dir).await?);
    let server = Server::attach(&args.up.database.options(global)?).await?;
    let before = Spans::counted(&metrics).await?;
    let (results, used) = measure(&target, server.as_ref(), Load::of(args), args.duration).await?;
    let after = Spans::counted(&metrics).await?;
    // Those of the warm-up among them.
    let orders = results.confirmed.max(1) as f64;
    Ok(Run {
        orders_per_s: results.confirmed as f64 / args.duration.as_secs_f64(),
        shop_cpu_ms_per_order: used.shop_cpu.map(|cpu| cpu.as_secs_f64() * 1_000.0 / orders),
        spans: after.exported - before.exported,
        dropped: after.dropped - before.dropped,
    })
}

/// What the shop's metrics say of spans.
struct Spans {
    exported: f64,
    dropped: f64,
}

impl Spans {
    async fn counted(metrics: &str) -> anyhow::Result<Self> {
        let answer = web::http_client().build()?.get(metrics).send().await.context("the metrics cannot be read")?;
        let text = answer.text().await.context("the metrics cannot be read")?;
        let sum = |name: &str| {
            let of = text.lines().filter(|line| line.starts_with(name));
            of.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
        };
        Ok(Self { exported: sum(EXPORTED), dropped: sum(DROPPED) })
    }
}

/// One pair of runs.
#[derive(Clone, Debug, Serialize)]
struct Price {
    round: usize,
    untraced_orders_per_s: f64,
    traced_orders_per_s: f64,
    price_percent: f64,
    untraced_cpu_ms_per_order: Option<f64>,
    traced_cpu_ms_per_order: Option<f64>,
    spans_exported: f64,
    spans_dropped: f64,
}

impl Price {
    fn of(round: usize, off: Run, on: Run) -> Self {
        Self {
            round,
            untraced_orders_per_s: off.orders_per_s,
            traced_orders_per_s: on.orders_per_s,
            price_percent: (1.0 - on.orders_per_s / off.orders_per_s) * 100.0,
            untraced_cpu_ms_per_order: off.shop_cpu_ms_per_order,
            traced_cpu_ms_per_order: on.shop_cpu_ms_per_order,
            spans_exported: on.spans,
            spans_dropped: on.dropped,
        }
    }
}

impl Row for Price {
    const COLUMNS: &'static [&'static str] = &[
        "round",
        "orders/s untraced",
        "orders/s traced",
        "price %",
        "shop CPU ms/order untraced",
        "shop CPU ms/order traced",
        "spans exported",
        "spans dropped",
    ];

    fn cells(&self) -> Vec<String> {
        let known = |number: Option<f64>| number.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.3}"));
        vec![
            self.round.to_string(),
            format!("{:.1}", self.untraced_orders_per_s),
            format!("{:.1}", self.traced_orders_per_s),
            format!("{:.1}", self.price_percent),
            known(self.untraced_cpu_ms_per_order),
            known(self.traced_cpu_ms_per_order),
            format!("{:.0}", self.spans_exported),
            format!("{:.0}", self.spans_dropped),
        ]
    }
}
