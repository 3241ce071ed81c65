//! What is counted.

use std::sync::LazyLock;
use std::time::Duration;

use domain::payment::Event;
use telemetry::metrics::{Circuit, Counters, Family, Gauges, Histograms, Label, SECONDS};

const STATUSES: &[&str] = &["success", "failed", "voided", "refunded", "refund_failed"];

static PROCESSED: Counters =
    Counters::new("payment_processed_total", "Payments by how they ended.", &[Label::one_of("status", STATUSES)]);
static CALLS: Histograms = Histograms::new(
    "payment_provider_call_seconds",
    "Time of one call to the payment provider, by how it ended.",
    &[
        Label::one_of("provider", &["simulated", "http"]),
        Label::one_of("call", &["charge", "refund", "find"]),
        Label::one_of("result", &["answered", "unavailable", "resting", "timeout", "failed", "confused"]),
    ],
    SECONDS,
);
static UNDERWAY: Gauges =
    Gauges::new("payment_requests_underway", "Requests to the provider that have no result yet.", &[]);
static ASKED_AGAIN: Counters = Counters::new(
    "payment_asked_again_total",
    "Calls to the provider whose result is not known: it is asked again.",
    &[],
);
static RESTING: Gauges = Gauges::new(
    "payment_provider_circuit_open",
    "1 while the provider is left alone because it failed too often: as `circuit_breaker_open`.",
    &[],
);
static WEBHOOKS: Counters = Counters::new(
    "payment_webhooks_total",
    "Webhooks of the provider by what came of them.",
    &[Label::one_of("result", &["recorded", "known", "refused"])],
);
static CIRCUIT: LazyLock<Circuit> = LazyLock::new(|| Circuit::new("payment", "provider"));

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] =
    &[PROCESSED.family(), CALLS.family(), UNDERWAY.family(), ASKED_AGAIN.family(), RESTING.family(), WEBHOOKS.family()];

/// Shows all of them, before anything has happened.
pub(crate) fn init() {
    PROCESSED.init(&[]);
    UNDERWAY.init(&[]);
    ASKED_AGAIN.init(&[]);
    RESTING.init(&[]);
    WEBHOOKS.init(&[]);
    LazyLock::force(&CIRCUIT);
}

/// Counts the ends among events that this process has just recorded.
pub(crate) fn recorded(events: &[Event]) {
    for event in events {
        let status = match event {
            Event::PaymentCaptured { .. } => "success",
            Event::PaymentDeclined { .. } => "failed",
            Event::PaymentVoided { .. } => "voided",
            Event::PaymentRefunded { .. } => "refunded",
            Event::RefundFailed { .. } => "refund_failed",
            Event::ChargeRequested { .. }
            | Event::ChargeRefused { .. }
            | Event::RefundDeferred { .. }
            | Event::RefundRequested { .. } => continue,
        };
        PROCESSED.with(&[status]).inc();
    }
}

/// A call to the provider ended.
pub(crate) fn called(provider: &str, call: &str, result: &str, took: Duration) {
    CALLS.with(&[provider, call, result]).observe(took.as_secs_f64());
}

/// So many requests have no result.
pub(crate) fn underway(count: usize) {
    UNDERWAY.with(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// A call has no result: it is made again.
pub(crate) fn asked_again() {
    ASKED_AGAIN.with(&[]).inc();
}

/// The provider answered, so it is not left alone.
pub(crate) fn answered() {
    CIRCUIT.answered();
    RESTING.with(&[]).set(0);
}

/// The provider failed.
pub(crate) fn failed() {
    CIRCUIT.failed();
}

/// The provider was left alone.
pub(crate) fn rested() {
    CIRCUIT.rejected();
    RESTING.with(&[]).set(1);
}

/// What came of a webhook: `recorded`, `known` or `refused`.
pub(crate) fn told(result: &str) {
    WEBHOOKS.with(&[result]).inc();
}
