//! What is counted.

use std::sync::LazyLock;

use psp::protocol::{Kind, Operation, Status};
use telemetry::metrics::{IntCounterVec, counter_vec};

static OPERATIONS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("psp_operations_total", "Answers of the payment provider, by what was asked", &["kind", "status"])
});
static WEBHOOKS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    counter_vec("psp_webhooks_total", "Deliveries of the payment provider's webhooks, by how they ended", &["result"])
});

pub(crate) fn answered(operation: &Operation) {
    let kind = match operation.kind {
        Kind::Charge => "charge",
        Kind::Refund => "refund",
    };
    let status = match operation.status {
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
    };
    OPERATIONS.with_label_values(&[kind, status]).inc();
}

/// `taken`, `refused` or `given_up`.
pub(crate) fn delivered(result: &str) {
    WEBHOOKS.with_label_values(&[result]).inc();
}
