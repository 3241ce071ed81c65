//! Three times of what the shop can do: it refuses what is too much, and does the rest as fast as ever. What it can do is
//! measured warm, and with several numbers of clients, of which the best counts.

use super::load::{Load, Window};
use super::report::Overload;
use super::{Bench, WARM_UP};
use crate::ports::Role;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::collections::BTreeMap;
use std::time::Duration;

/// Clients that find out what the shop can do. The first run warms it and does not count.
const PEAK_CLIENTS: [usize; 4] = [8, 32, 128, 512];
const WARMING_CLIENTS: usize = 32;
/// Clients that ask for more than that: each waits for its answer, so they must be many more than the shop handles at
/// once.
const OVERLOAD_CLIENTS: usize = 2_048;
const OVERLOAD: f64 = 3.0;
/// Between two questions after its health.
const HEALTH_PER_S: f64 = 20.0;

pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Overload> {
    let target = &bench.target;
    raise_open_files();
    accepted_per_s(bench, WARMING_CLIENTS, bench.duration).await?;
    eprintln!("warm; {}", bench.settle().await?);
    let mut peaks = BTreeMap::new();
    for clients in PEAK_CLIENTS {
        let per_s = accepted_per_s(bench, clients, bench.duration).await?;
        eprintln!("{per_s:.0} orders/s with {clients} clients; {}", bench.settle().await?);
        peaks.insert(clients, per_s);
    }
    let best = peaks.iter().max_by(|(_, one), (_, other)| one.total_cmp(other));
    let (peak_clients, peak_per_s) = best.map_or((0, 0.0), |(clients, per_s)| (*clients, *per_s));
    anyhow::ensure!(peak_per_s > 0.0, "no order was accepted");

    let offered_per_s = OVERLOAD * peak_per_s;
    eprintln!("POST /orders, {offered_per_s:.0}/s offered by {OVERLOAD_CLIENTS} clients");
    let load = orders(bench, OVERLOAD_CLIENTS, Some(offered_per_s));
    let mut health = bench.load(Role::Order, target.healths(), 200);
    health.per_s = Some(HEALTH_PER_S);
    let window = Window::after(WARM_UP, bench.duration);
    let (answers, health) = tokio::join!(load.run(window), health.run(window));
    let (mut answers, health) = (answers?, health?);

    let after_per_s = accepted_per_s(bench, peak_clients, bench.duration / 2).await?;
    eprintln!("{}", bench.settle().await?);

    let (seconds, shed) = (window.seconds(), answers.with_status(503));
    let goodput_per_s = answers.latency.len() as f64 / seconds;
    let answered = answers.latency.len() + answers.others_total();
    answers.others.remove("503");
    let ms = |us: u64| us as f64 / 1_000.0;
    Ok(Overload {
        peak_per_s,
        peak_clients,
        peaks,
        offered_per_s,
        answered_per_s: answered as f64 / seconds,
        goodput_per_s,
        goodput_ratio: goodput_per_s / peak_per_s,
        p50_ms: ms(answers.latency.value_at_quantile(0.50)),
        p99_ms: ms(answers.latency.value_at_quantile(0.99)),
        shed_per_s: shed as f64 / seconds,
        errors: answers.others,
        health_answers: health.latency.len(),
        health_p99_ms: ms(health.latency.value_at_quantile(0.99)),
        health_errors: health.others,
        after_per_s,
    })
}

/// Orders that are accepted while these clients place one after the other.
async fn accepted_per_s(bench: &Bench, clients: usize, duration: Duration) -> anyhow::Result<f64> {
    eprintln!("POST /orders with {clients} clients");
    let window = Window::after(WARM_UP, duration);
    Ok(orders(bench, clients, None).run(window).await?.latency.len() as f64 / window.seconds())
}

/// Each client has a connection.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    // Where it fails, connections will, and they are told.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

fn orders(bench: &Bench, clients: usize, per_s: Option<f64>) -> Load {
    Load { per_s, ..bench.load(Role::Order, bench.target.orders(clients), 201) }
}
