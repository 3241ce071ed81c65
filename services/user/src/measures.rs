//! What is counted of passwords: hashing them is what costs the shop most.

use std::time::Duration;

use telemetry::metrics::{Counters, Family, Gauges, Histograms, IntGauge, Label, SECONDS};

const NONE: &[&str] = &[];

static RUNNING: Gauges = Gauges::new("password_hashes_running", "Places to hash a password that are taken.", &[]);
static WAITING: Gauges = Gauges::new("password_hashes_waiting", "Requests that wait for a place to hash.", &[]);
static SHED: Counters =
    Counters::new("password_hashes_shed_total", "Requests turned away because too many waited for a place.", &[]);
static WAIT_SECONDS: Histograms =
    Histograms::new("password_hash_wait_seconds", "Time that a request waited for its place.", &[], SECONDS);
static SECONDS_EACH: Histograms = Histograms::new(
    "password_hash_seconds",
    "Time of one argon2id, behind all other work.",
    &[Label::one_of("operation", &["hash", "verify"])],
    SECONDS,
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] =
    &[RUNNING.family(), WAITING.family(), SHED.family(), WAIT_SECONDS.family(), SECONDS_EACH.family()];

/// Shows all of them, before anything has happened.
pub(crate) fn init() {
    RUNNING.init(NONE);
    WAITING.init(NONE);
    SHED.init(NONE);
    WAIT_SECONDS.init(NONE);
    SECONDS_EACH.init(NONE);
}

/// One that counts until it is dropped.
pub(crate) struct Counted(IntGauge);

impl Counted {
    fn by(gauge: &Gauges) -> Self {
        let gauge = gauge.with(NONE);
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A request waits for a place.
pub(crate) fn waiting() -> Counted {
    Counted::by(&WAITING)
}

/// A place is taken.
pub(crate) fn running() -> Counted {
    Counted::by(&RUNNING)
}

pub(crate) fn waited(took: Duration) {
    WAIT_SECONDS.with(NONE).observe(took.as_secs_f64());
}

pub(crate) fn hashed(operation: &str, took: Duration) {
    SECONDS_EACH.with(&[operation]).observe(took.as_secs_f64());
}

pub(crate) fn shed() {
    SHED.with(NONE).inc();
}
