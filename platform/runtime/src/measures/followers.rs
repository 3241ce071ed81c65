//! What those who follow the event table count, and the timers.

use std::time::Duration;

use chrono::{DateTime, Utc};
use telemetry::metrics::{
    Counters, Gauges, Histogram, Histograms, IntCounter, IntGauge, Label, SECONDS, SERVICE, SIZES,
};

use super::size;
use crate::relay::FOLLOWER;

const TOPIC: Label = Label::open("topic", "the topics of the event catalogue");
pub(super) const PROJECTION: Label = Label::open("projection", "the service's projections");
pub(super) const AGGREGATE: Label = Label::open("aggregate", "the aggregates that have timers: `order_fulfilment`");

pub(super) static RELAYED_EVENTS: Counters = Counters::new(
    "relay_events_total",
    "Events that the relay has passed, those that mean nothing outside included.",
    &[SERVICE],
);
pub(super) static PUBLISHED_MESSAGES: Counters =
    Counters::new("relay_messages_published_total", "Messages that the broker has taken.", &[SERVICE, TOPIC]);
pub(super) static PUBLISH_SIZE: Histograms =
    Histograms::new("relay_batch_messages", "Messages published at once.", &[SERVICE], SIZES);
pub(super) static PUBLISH_SECONDS: Histograms = Histograms::new(
    "relay_publish_seconds",
    "Time of one publish, until the broker has taken all of it.",
    &[SERVICE],
    SECONDS,
);
pub(super) static RELAY_FAILURES: Counters = Counters::new(
    "relay_failures_total",
    "Times that the relay failed and began again from its checkpoint.",
    &[SERVICE],
);
pub(super) static RELAY_LEADING: Gauges =
    Gauges::new("relay_leading", "1 on the instance that relays, 0 on those that stand by.", &[SERVICE]);

pub(super) static PROJECTED_EVENTS: Counters =
    Counters::new("projection_events_total", "Events that a projection has passed.", &[SERVICE, PROJECTION]);
pub(super) static PROJECTION_COMMIT_SECONDS: Histograms = Histograms::new(
    "projection_commit_seconds",
    "Time of one page's transaction: the rows and the checkpoint.",
    &[SERVICE, PROJECTION],
    SECONDS,
);
pub(super) static PROJECTION_FAILURES: Counters = Counters::new(
    "projection_failures_total",
    "Times that a projection failed, or another instance was faster, and it began again from its checkpoint.",
    &[SERVICE, PROJECTION],
);

pub(super) static STOPPED: Gauges = Gauges::new(
    "follower_stopped_by_version",
    "1 while a consumer, the relay or a projection stands still before what a newer program wrote: it goes on once its own \
     program is as new.",
    &[SERVICE, Label::open("follower", "the service's consumers and projections, and `relay`")],
);

pub(super) static PROJECTION_VERSION: Gauges = Gauges::new(
    "projection_version",
    "The version of a read model: of the `code`, and of the `rows` that serve. Where they differ, the rows are being made \
     anew.",
    &[SERVICE, PROJECTION, Label::one_of("of", &["code", "rows"])],
);

pub(super) static TIMERS_FIRED: Counters =
    Counters::new("timers_fired_total", "Durable timers that were due and led to something.", &[SERVICE, AGGREGATE]);
pub(super) static TIMER_DELAY_SECONDS: Histograms = Histograms::new(
    "timer_delay_seconds",
    "From the moment at which a timer was due until what it led to was committed.",
    &[SERVICE, AGGREGATE],
    SECONDS,
);

/// Whether a follower stands still before what a newer program wrote.
pub(crate) struct Stopped(IntGauge);

impl Stopped {
    pub(crate) fn new(service: &str, follower: &str) -> Self {
        Self(STOPPED.with(&[service, follower]))
    }

    pub(crate) fn failed(&self, error: &event_store::Error) {
        self.0.set(matches!(error, event_store::Error::UnknownVersion { .. }).into());
    }

    pub(crate) fn goes_on(&self) {
        self.0.set(0);
    }
}

/// A relay's.
pub(crate) struct Relaying {
    service: &'static str,
    events: IntCounter,
    size: Histogram,
    seconds: Histogram,
    failures: IntCounter,
    leading: IntGauge,
    stopped: Stopped,
}

impl Relaying {
    pub(crate) fn new(service: &'static str) -> Self {
        let of = &[service];
        Self {
            service,
            events: RELAYED_EVENTS.with(of),
            size: PUBLISH_SIZE.with(of),
            seconds: PUBLISH_SECONDS.with(of),
            failures: RELAY_FAILURES.with(of),
            leading: RELAY_LEADING.with(of),
            stopped: Stopped::new(service, FOLLOWER),
        }
    }

    /// The relay has passed so many events.
    pub(crate) fn passed(&self, events: usize) {
        self.stopped.goes_on();
        self.events.inc_by(events as u64);
    }

    /// The broker has taken so many messages of each topic.
    pub(crate) fn published<'a>(&self, topics: impl Iterator<Item = (&'a str, usize)>, took: Duration) {
        let mut all = 0;
        for (topic, messages) in topics {
            all += messages;
            PUBLISHED_MESSAGES.with(&[self.service, topic]).inc_by(messages as u64);
        }
        self.size.observe(size(all));
        self.seconds.observe(took.as_secs_f64());
    }

    /// It begins again from its checkpoint; because of what is in the store, if there is such an error.
    pub(crate) fn failed(&self, error: Option<&event_store::Error>) {
        self.failures.inc();
        error.inspect(|error| self.stopped.failed(error));
    }

    pub(crate) fn leads(&self, leads: bool) {
        self.leading.set(leads.into());
    }
}

/// A projection's.
pub(crate) struct Projecting {
    events: IntCounter,
    seconds: Histogram,
    failures: IntCounter,
    stopped: Stopped,
}

impl Projecting {
    pub(crate) fn new(service: &str, projection: &str) -> Self {
        let of = &[service, projection];
        Self {
            events: PROJECTED_EVENTS.with(of),
            seconds: PROJECTION_COMMIT_SECONDS.with(of),
            failures: PROJECTION_FAILURES.with(of),
            stopped: Stopped::new(service, projection),
        }
    }

    /// So many events were passed in one transaction.
    pub(crate) fn committed(&self, events: usize, took: Duration) {
        self.stopped.goes_on();
        self.events.inc_by(events as u64);
        self.seconds.observe(took.as_secs_f64());
    }

    /// It begins again from its checkpoint.
    pub(crate) fn failed(&self, error: &anyhow::Error) {
        self.failures.inc();
        error.downcast_ref().inspect(|error| self.stopped.failed(error));
    }
}

/// A read model's versions.
pub(crate) struct Versions {
    code: IntGauge,
    rows: IntGauge,
}

impl Versions {
    pub(crate) fn new(service: &str, projection: &str) -> Self {
        let of = |what| PROJECTION_VERSION.with(&[service, projection, what]);
        Self { code: of("code"), rows: of("rows") }
    }

    pub(crate) fn set(&self, code: i32, rows: i32) {
        self.code.set(code.into());
        self.rows.set(rows.into());
    }
}

/// Timers'.
pub(crate) struct Firing {
    fired: IntCounter,
    delay: Histogram,
}

impl Firing {
    pub(crate) fn new(service: &str, aggregate: &str) -> Self {
        let of = &[service, aggregate];
        Self { fired: TIMERS_FIRED.with(of), delay: TIMER_DELAY_SECONDS.with(of) }
    }

    /// A timer led to something, which was committed now.
    pub(crate) fn fired(&self, due_at: DateTime<Utc>, now: DateTime<Utc>) {
        self.fired.inc();
        self.delay.observe((now - due_at).to_std().unwrap_or_default().as_secs_f64());
    }
}
