//! What is counted.

use psp::protocol::{Kind, Operation, Status};
use telemetry::metrics::{Counters, Family, Label};

static OPERATIONS: Counters = Counters::new(
    "psp_operations_total",
    "Answers of the payment provider for trying out, by what was asked.",
    &[Label::one_of("kind", &["charge", "refund"]), Label::one_of("status", &["succeeded", "failed"])],
);
static WEBHOOKS: Counters = Counters::new(
    "psp_webhooks_total",
    "Deliveries of its webhooks, by how they ended.",
    &[Label::one_of("result", &["taken", "refused", "given_up"])],
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[OPERATIONS.family(), WEBHOOKS.family()];

pub(crate) fn answered(operation: &Operation) {
    let kind = match operation.kind {
        Kind::Charge => "charge",
        Kind::Refund => "refund",
    };
    let status = match operation.status {
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
    };
    OPERATIONS.with(&[kind, status]).inc();
}

/// `taken`, `refused` or `given_up`.
pub(crate) fn delivered(result: &str) {
    WEBHOOKS.with(&[result]).inc();
}
