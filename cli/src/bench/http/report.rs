//! The results.

use super::load::Answers;
use crate::output::Row;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// What one measurement found.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    pub(super) scenario: String,
    pub(super) clients: usize,
    pub(super) seconds: f64,
    pub(super) requests_per_s: f64,
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    /// Other answers by their status, and what was no answer.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) shop_cpu_us_per_request: Option<f64>,
    pub(super) client_cpu_us_per_request: Option<f64>,
    /// What else there is to say.
    pub(super) note: String,
}

/// Processor time used meanwhile; none where it cannot be known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) shop: Option<Duration>,
    pub(super) client: Option<Duration>,
}

impl Line {
    pub(super) fn new(scenario: &str, clients: usize, seconds: f64, answers: &Answers, used: Used) -> Self {
        let ms = |quantile: f64| answers.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        let answered = answers.latency.len() + answers.others_total();
        let per_request = |cpu: Duration| (answered > 0).then(|| cpu.as_secs_f64() * 1e6 / answered as f64);
        Self {
            scenario: scenario.to_owned(),
            clients,
            seconds,
            requests_per_s: answers.latency.len() as f64 / seconds,
            p50_ms: ms(0.50),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
            max_ms: answers.latency.max() as f64 / 1_000.0,
            errors: answers.others.clone(),
            shop_cpu_us_per_request: used.shop.and_then(per_request),
            client_cpu_us_per_request: used.client.and_then(per_request),
            note: String::new(),
        }
    }

    pub(super) fn note(mut self, note: String) -> Self {
        self.note = note;
        self
    }
}

impl Row for Line {
    const COLUMNS: &'static [&'static str] = &[
        "scenario",
        "clients",
        "requests/s",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "shop CPU µs",
        "client CPU µs",
        "errors",
        "note",
    ];

    fn cells(&self) -> Vec<String> {
        let known = |number: Option<f64>| number.map_or_else(|| "unknown".to_owned(), |number| format!("{number:.1}"));
        let times = [self.p50_ms, self.p95_ms, self.p99_ms, self.max_ms];
        let mut cells = vec![self.scenario.clone(), self.clients.to_string(), format!("{:.0}", self.requests_per_s)];
        cells.extend(times.map(|ms| format!("{ms:.2}")));
        cells.extend([known(self.shop_cpu_us_per_request), known(self.client_cpu_us_per_request)]);
        cells.extend([told(&self.errors), self.note.clone()]);
        cells
    }
}

/// Counts by their kind, in a line.
pub(super) fn told(counts: &BTreeMap<String, u64>) -> String {
    let told = counts.iter().map(|(kind, times)| format!("{times} × {kind}")).collect::<Vec<_>>();
    if told.is_empty() { "none".to_owned() } else { told.join(", ") }
}

/// What became of a shop under three times of what it can do.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Overload {
    /// The most orders that were accepted in a second, when it was warm.
    pub(super) peak_per_s: f64,
    /// With so many clients.
    pub(super) peak_clients: usize,
    /// By the number of clients.
    pub(super) peaks: BTreeMap<usize, f64>,
    pub(super) offered_per_s: f64,
    /// Answered in any way.
    pub(super) answered_per_s: f64,
    pub(super) goodput_per_s: f64,
    /// Goodput over the peak.
    pub(super) goodput_ratio: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    /// Refused with 503.
    pub(super) shed_per_s: f64,
    /// Other answers, and what was no answer.
    pub(super) errors: BTreeMap<String, u64>,
    pub(super) health_answers: u64,
    pub(super) health_p99_ms: f64,
    pub(super) health_errors: BTreeMap<String, u64>,
    /// Until the shop took orders at its peak again.
    pub(super) after_per_s: f64,
}

impl Row for Overload {
    const COLUMNS: &'static [&'static str] = &[
        "peak orders/s (clients)",
        "offered/s",
        "answered/s",
        "goodput/s",
        "goodput / peak",
        "p50 ms",
        "p99 ms",
        "shed (503)/s",
        "other errors",
        "health answers",
        "health p99 ms",
        "health errors",
        "orders/s afterwards",
    ];

    fn cells(&self) -> Vec<String> {
        vec![
            format!("{:.0} ({})", self.peak_per_s, self.peak_clients),
            format!("{:.0}", self.offered_per_s),
            format!("{:.0}", self.answered_per_s),
            format!("{:.0}", self.goodput_per_s),
            format!("{:.2}", self.goodput_ratio),
            format!("{:.1}", self.p50_ms),
            format!("{:.1}", self.p99_ms),
            format!("{:.0}", self.shed_per_s),
            told(&self.errors),
            self.health_answers.to_string(),
            format!("{:.1}", self.health_p99_ms),
            told(&self.health_errors),
            format!("{:.0}", self.after_per_s),
        ]
    }
}
