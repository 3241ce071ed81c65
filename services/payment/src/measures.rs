//! What is counted.

use std::sync::LazyLock;

use domain::payment::Event;
use telemetry::metrics::{IntCounterVec, counter_vec};

static PROCESSED: LazyLock<IntCounterVec> =
    LazyLock::new(|| counter_vec("payment_processed_total", "Payments by how they ended", &["status"]));

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
