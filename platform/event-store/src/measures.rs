//! What a store counts. Each series is looked up once, by the service's name in [`crate::StoreOptions`].

use std::time::Duration;

use telemetry::metrics::{Counters, Family, Histogram, Histograms, IntCounter, Label, SECONDS, SERVICE, SIZES};

use crate::Error;

const PATH: Label = Label::one_of("path", &["group", "unit"]);
const RESULT: Label = Label::one_of("result", &["ok", "conflict", "repeated", "lease_lost", "error"]);

static EVENTS: Counters = Counters::new(
    "event_store_appended_events_total",
    "Events appended: through the group commit (`group`: commands from outside) or in a unit of work (`unit`: consumers \
     and timers).",
    &[SERVICE, PATH],
);
static APPENDS: Counters = Counters::new(
    "event_store_appends_total",
    "Appends of one stream (`group`) and units of work (`unit`) by how they ended.",
    &[SERVICE, PATH, RESULT],
);
static BATCH_EVENTS: Histograms =
    Histograms::new("event_store_batch_events", "Events in one transaction.", &[SERVICE, PATH], SIZES);
static COMMIT_SECONDS: Histograms = Histograms::new(
    "event_store_commit_seconds",
    "Time of one transaction that appends, its flush included.",
    &[SERVICE, PATH],
    SECONDS,
);
static LOAD_SECONDS: Histograms = Histograms::new(
    "event_store_load_seconds",
    "Time of one query that reads streams which were asked for together.",
    &[SERVICE],
    SECONDS,
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] =
    &[EVENTS.family(), APPENDS.family(), BATCH_EVENTS.family(), COMMIT_SECONDS.family(), LOAD_SECONDS.family()];

/// A store's.
#[derive(Clone)]
pub(crate) struct Storing {
    pub(crate) group: Writing,
    pub(crate) unit: Writing,
    load_seconds: Histogram,
}

/// One way of writing.
#[derive(Clone)]
pub(crate) struct Writing {
    events: IntCounter,
    ok: IntCounter,
    conflict: IntCounter,
    repeated: IntCounter,
    lease_lost: IntCounter,
    error: IntCounter,
    batch: Histogram,
    seconds: Histogram,
}

impl Storing {
    pub(crate) fn new(service: &str) -> Self {
        let load_seconds = LOAD_SECONDS.with(&[service]);
        Self { group: Writing::new(service, "group"), unit: Writing::new(service, "unit"), load_seconds }
    }

    /// A query that loads streams was answered.
    pub(crate) fn loaded(&self, took: Duration) {
        self.load_seconds.observe(took.as_secs_f64());
    }
}

impl Writing {
    fn new(service: &str, path: &str) -> Self {
        let of = &[service, path];
        let ended = |result| APPENDS.with(&[service, path, result]);
        Self {
            events: EVENTS.with(of),
            ok: ended("ok"),
            conflict: ended("conflict"),
            repeated: ended("repeated"),
            lease_lost: ended("lease_lost"),
            error: ended("error"),
            batch: BATCH_EVENTS.with(of),
            seconds: COMMIT_SECONDS.with(of),
        }
    }

    /// So many appends with so many events were committed in one transaction.
    pub(crate) fn committed(&self, appends: usize, events: usize, took: Duration) {
        self.ok.inc_by(appends as u64);
        self.seconds.observe(took.as_secs_f64());
        if events > 0 {
            self.events.inc_by(events as u64);
            #[allow(clippy::cast_precision_loss, reason = "groups are far below 2^52")]
            self.batch.observe(events as f64);
        }
    }

    /// So many appends came to nothing by this.
    pub(crate) fn failed(&self, appends: usize, error: &Error) {
        let counter = match error {
            Error::Conflict { .. } => &self.conflict,
            Error::Repeated => &self.repeated,
            Error::LeaseLost { .. } => &self.lease_lost,
            _ => &self.error,
        };
        counter.inc_by(appends as u64);
    }
}
