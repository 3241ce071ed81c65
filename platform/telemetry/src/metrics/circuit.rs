//! Circuit breakers, seen alike whatever they guard.

use super::{Counters, Gauges, IntCounter, IntGauge, Label, SERVICE};

const TO: Label = Label::one_of("to", &["product", "provider", "redis", "user"]);

pub(super) static OPEN: Gauges =
    Gauges::new("circuit_breaker_open", "1 while calls are rejected unasked, because too many failed.", &[SERVICE, TO]);
pub(super) static CALLS: Counters = Counters::new(
    "circuit_breaker_calls_total",
    "Calls by what came of them.",
    &[SERVICE, TO, Label::one_of("outcome", &["answered", "failed", "rejected"])],
);

/// A breaker's series.
#[derive(Debug, Clone)]
pub struct Circuit {
    open: IntGauge,
    answered: IntCounter,
    failed: IntCounter,
    rejected: IntCounter,
}

impl Circuit {
    /// The breaker of this role in front of what it calls; closed so far.
    pub fn new(service: &str, to: &str) -> Self {
        let calls = |outcome| CALLS.with(&[service, to, outcome]);
        let open = OPEN.with(&[service, to]);
        open.set(0);
        Self { open, answered: calls("answered"), failed: calls("failed"), rejected: calls("rejected") }
    }

    /// A call was answered: the breaker is closed, or closes.
    pub fn answered(&self) {
        self.answered.inc();
        self.open.set(0);
    }

    /// A call failed. Whether the breaker opens by it, the next call shows.
    pub fn failed(&self) {
        self.failed.inc();
    }

    /// A call was rejected; `true` if it is the first one.
    pub fn rejected(&self) -> bool {
        self.rejected.inc();
        let was_open = self.open.get() == 1;
        self.open.set(1);
        !was_open
    }

    /// Whether the last call was rejected.
    pub fn is_open(&self) -> bool {
        self.open.get() == 1
    }
}
