//! What is counted.

use std::sync::LazyLock;
use std::time::Duration;

use domain::payment::Event;
use telemetry::metrics::{HistogramVec, IntCounterVec, IntGaugeVec, SECONDS, counter_vec, gauge_vec, histogram_vec};

static PROCESSED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter_vec("payment_processed_total", "Payments by how they ended", &["status"]));
static CALLS: LazyLock<HistogramVec> = LazyLock::new(|| {
    let help = "How long calls to the payment provider took, by how they ended";
    histogram_vec("payment_provider_call_seconds", help, &["provider", "call", "result"], SECONDS)
});
static WAITING: LazyLock<IntGaugeVec> =
    LazyLock::new(|| gauge_vec("payment_requests_underway", "Requests to the provider that have no result yet", &[]));
static RESTING: LazyLock<IntGaugeVec> = LazyLock::new(|| {
    gauge_vec("payment_provider_circuit_open", "1 while the provider is left alone because it failed too often", &[])
});
static WEBHOOKS: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter_vec("payment_webhooks_total", "Webhooks by what came of them", &["result"]));

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
        PROCESSED.with_label_values(&[status]).inc();
    }
}

/// A call to the provider ended.
pub(crate) fn called(provider: &str, call: &str, result: &str, took: Duration) {
    CALLS.with_label_values(&[provider, call, result]).observe(took.as_secs_f64());
}

/// So many requests have no result.
pub(crate) fn underway(count: usize) {
    WAITING.with_label_values::<&str>(&[]).set(i64::try_from(count).unwrap_or(i64::MAX));
}

/// Whether the provider is left alone.
pub(crate) fn resting(resting: bool) {
    RESTING.with_label_values::<&str>(&[]).set(resting.into());
}

/// What came of a webhook: `recorded`, `known` or `refused`.
pub(crate) fn told(result: &str) {
    WEBHOOKS.with_label_values(&[result]).inc();
}
