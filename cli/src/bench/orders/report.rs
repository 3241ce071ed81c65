//! The result.

use super::load::Load;
use super::meter::Used;
use super::recorder::Results;
use crate::bench::told;
use crate::canary::Canary;
use crate::output::Row;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What was measured. Times are from the moment that an order was due; what could not be measured is none.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Report {
    load: String,
    seconds: f64,
    pub(super) confirmed: u64,
    orders_per_s: f64,
    p50_ms: f64,
    p95_ms: f64,
    p99_ms: f64,
    max_ms: f64,
    accepted_p50_ms: f64,
    accepted_p99_ms: f64,
    errors: BTreeMap<String, u64>,
    shop_cpu_ms_per_order: Option<f64>,
    postgres_cpu_ms_per_order: Option<f64>,
    client_cpu_ms_per_order: Option<f64>,
    shop_rss_mib: Option<f64>,
    wal_bytes_per_order: Option<f64>,
    canary_before: Option<Canary>,
    canary_after: Option<Canary>,
}

impl Report {
    pub(super) fn new(
        load: Load,
        duration: Duration,
        results: Results,
        used: Used,
        canaries: Option<(Canary, Canary)>,
    ) -> Self {
        let Results { confirmed, latency, accepted, errors } = results;
        let ms = |us: u64| us as f64 / 1_000.0;
        let per_order = |amount: f64| (confirmed > 0).then(|| amount / confirmed as f64);
        let cpu = |time: Option<Duration>| per_order(time?.as_secs_f64() * 1_000.0);
        let seconds = duration.as_secs_f64();
        Self {
            load: load.to_string(),
            seconds,
            confirmed,
            orders_per_s: confirmed as f64 / seconds,
            p50_ms: ms(latency.value_at_quantile(0.50)),
            p95_ms: ms(latency.value_at_quantile(0.95)),
            p99_ms: ms(latency.value_at_quantile(0.99)),
            max_ms: ms(latency.max()),
            accepted_p50_ms: ms(accepted.value_at_quantile(0.50)),
            accepted_p99_ms: ms(accepted.value_at_quantile(0.99)),
            errors,
            shop_cpu_ms_per_order: cpu(used.shop_cpu),
            postgres_cpu_ms_per_order: cpu(used.postgres_cpu),
            client_cpu_ms_per_order: cpu(used.client_cpu),
            shop_rss_mib: used.shop_resident_bytes.map(|bytes| bytes as f64 / 1_048_576.0),
            wal_bytes_per_order: used.wal_bytes.and_then(|bytes| per_order(bytes as f64)),
            canary_before: canaries.map(|(before, _)| before),
            canary_after: canaries.map(|(_, after)| after),
        }
    }
}

impl Row for Report {
    const COLUMNS: &'static [&'static str] = &[
        "load",
        "measured s",
        "confirmed",
        "orders/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "accepted p50 ms",
        "accepted p99 ms",
        "errors",
        "shop CPU ms/order",
        "PostgreSQL CPU ms/order",
        "client CPU ms/order",
        "shop RSS MiB",
        "WAL bytes/order",
        "canary before",
        "canary after",
    ];

    fn cells(&self) -> Vec<String> {
        let known = |number: Option<f64>, digits: usize| {
            number.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.digits$}"))
        };
        let canary = |canary: &Option<Canary>| canary.as_ref().map_or_else(|| "unknown".to_owned(), told);
        let errors = self.errors.iter().map(|(kind, times)| format!("{times} × {kind}")).collect::<Vec<_>>();
        let times = [self.p50_ms, self.p95_ms, self.p99_ms, self.max_ms, self.accepted_p50_ms, self.accepted_p99_ms];
        let mut cells = vec![
            self.load.clone(),
            self.seconds.to_string(),
            self.confirmed.to_string(),
            format!("{:.1}", self.orders_per_s),
        ];
        cells.extend(times.map(|ms| format!("{ms:.1}")));
        cells.push(if errors.is_empty() { "none".to_owned() } else { errors.join(", ") });
        cells.extend([
            known(self.shop_cpu_ms_per_order, 3),
            known(self.postgres_cpu_ms_per_order, 3),
            known(self.client_cpu_ms_per_order, 3),
            known(self.shop_rss_mib, 1),
            known(self.wal_bytes_per_order, 0),
            canary(&self.canary_before),
            canary(&self.canary_after),
        ]);
        cells
    }
}
