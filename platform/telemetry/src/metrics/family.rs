//! Metrics as they are declared.

use std::fmt::Write;
use std::sync::OnceLock;

use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts,
};

use super::REGISTRY;

/// What can be counted on of a metric: its entry in `docs/metrics.md`.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name: base units, `_total` for counters.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it tells, as a sentence.
    pub help: &'static str,
    /// Its labels, each a bounded set.
    pub labels: &'static [Label],
}

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only rises.
    Counter,
    /// It is what it is now.
    Gauge,
    /// It counts observations by these upper bounds.
    Histogram(&'static [f64]),
}

/// A label.
#[derive(Debug, Clone, Copy)]
pub struct Label {
    /// Its name.
    pub name: &'static str,
    /// What it can be.
    pub values: Values,
}

/// What a label can be.
#[derive(Debug, Clone, Copy)]
pub enum Values {
    /// One of these.
    OneOf(&'static [&'static str]),
    /// One of a bounded set that is told in words.
    Open(&'static str),
}

impl Label {
    /// One of these values.
    pub const fn one_of(name: &'static str, values: &'static [&'static str]) -> Self {
        Self { name, values: Values::OneOf(values) }
    }

    /// One of a bounded set that is told in words.
    pub const fn open(name: &'static str, what: &'static str) -> Self {
        Self { name, values: Values::Open(what) }
    }
}

impl Kind {
    /// Its name in Prometheus' text format.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// A metric of every combination of its labels: a static, registered at its first use.
pub struct Metric<V> {
    family: Family,
    series: OnceLock<V>,
}

/// Counters of whole things.
pub type Counters = Metric<IntCounterVec>;
/// Counters of what has fractions, such as seconds.
pub type FloatCounters = Metric<CounterVec>;
/// Gauges of whole things.
pub type Gauges = Metric<IntGaugeVec>;
/// Gauges of what has fractions, such as seconds.
pub type FloatGauges = Metric<GaugeVec>;
/// Histograms.
pub type Histograms = Metric<HistogramVec>;

/// The series of one metric, as the library has them.
pub trait Series: Collector + Clone + 'static {
    /// One of them.
    type One;

    /// Makes them.
    ///
    /// # Errors
    /// The name is none.
    fn make(family: &Family) -> prometheus::Result<Self>;

    /// The one with these labels' values.
    fn one(&self, values: &[&str]) -> Self::One;

    /// Takes one away.
    fn remove(&self, values: &[&str]);
}

macro_rules! series {
    ($($vec:ty, $one:ty, $make:expr;)+) => {$(
        impl Series for $vec {
            type One = $one;

            fn make(family: &Family) -> prometheus::Result<Self> {
                let make: fn(&Family, &[&str]) -> prometheus::Result<Self> = $make;
                make(family, &family.labels.iter().map(|label| label.name).collect::<Vec<_>>())
            }

            fn one(&self, values: &[&str]) -> $one {
                self.with_label_values(values)
            }

            fn remove(&self, values: &[&str]) {
                // One that is not there need not go.
                let _ = self.remove_label_values(values);
            }
        }
    )+};
}

series! {
    IntCounterVec, IntCounter, |family, labels| Self::new(Opts::new(family.name, family.help), labels);
    CounterVec, Counter, |family, labels| Self::new(Opts::new(family.name, family.help), labels);
    IntGaugeVec, IntGauge, |family, labels| Self::new(Opts::new(family.name, family.help), labels);
    GaugeVec, Gauge, |family, labels| Self::new(Opts::new(family.name, family.help), labels);
    HistogramVec, Histogram, |family, labels| {
        let bounds = if let Kind::Histogram(bounds) = family.kind { bounds.to_vec() } else { Vec::new() };
        Self::new(HistogramOpts::new(family.name, family.help).buckets(bounds), labels)
    };
}

macro_rules! declared {
    ($($vec:ty, $kind:ident;)+) => {$(
        impl Metric<$vec> {
            /// Declares it.
            pub const fn new(name: &'static str, help: &'static str, labels: &'static [Label]) -> Self {
                Self { family: Family { name, kind: Kind::$kind, help, labels }, series: OnceLock::new() }
            }
        }
    )+};
}

declared! {
    IntCounterVec, Counter;
    CounterVec, Counter;
    IntGaugeVec, Gauge;
    GaugeVec, Gauge;
}

impl Metric<HistogramVec> {
    /// Declares it, with these upper bounds.
    pub const fn new(name: &'static str, help: &'static str, labels: &'static [Label], bounds: &'static [f64]) -> Self {
        Self { family: Family { name, kind: Kind::Histogram(bounds), help, labels }, series: OnceLock::new() }
    }
}

impl<V: Series> Metric<V> {
    /// What it is.
    pub const fn family(&self) -> &Family {
        &self.family
    }

    /// The series with these labels' values, in the order of the declaration. Whoever counts often keeps it.
    ///
    /// # Panics
    /// Where there are more or fewer values than labels, or the name is taken or none: errors of the program.
    pub fn with(&self, values: &[&str]) -> V::One {
        self.series().one(values)
    }

    /// Makes every series that begins with `known`, so that each is seen before it counts anything. Labels beyond those
    /// must be listed by their values.
    ///
    /// # Panics
    /// Where one is not: an error of the program.
    pub fn init(&self, known: &[&str]) {
        let Some(label) = self.family.labels.get(known.len()) else {
            self.with(known);
            return;
        };
        let Values::OneOf(values) = label.values else {
            panic!("the label {} of {} is not listed", label.name, self.family.name)
        };
        for value in values {
            self.init(&[known, &[*value]].concat());
        }
    }

    /// Takes a series away: what it told is known no more.
    pub fn remove(&self, values: &[&str]) {
        self.series().remove(values);
    }

    fn series(&self) -> &V {
        self.series.get_or_init(|| {
            let name = self.family.name;
            let series = V::make(&self.family).unwrap_or_else(|error| panic!("metric {name}: {error}"));
            REGISTRY.register(Box::new(series.clone())).unwrap_or_else(|error| panic!("metric {name}: {error}"));
            series
        })
    }
}

/// Raises a counter to what somebody else counts.
pub(super) fn raise(counter: &Counter, to: f64) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _held = ONE_AT_A_TIME.lock();
    let missing = to - counter.get();
    if missing > 0.0 {
        counter.inc_by(missing);
    }
}

/// A table of these metrics, a row each, as `docs/metrics.md` has it.
pub fn markdown(families: &[&Family]) -> String {
    let mut table = "| Metric | Type | Labels | What it tells |\n|---|---|---|---|\n".to_owned();
    for family in families {
        let labels = family.labels.iter().map(|label| match label.values {
            Values::OneOf(values) => format!("`{}`: {}", label.name, values.join(", ")),
            Values::Open(what) => format!("`{}`: {what}", label.name),
        });
        let labels = labels.collect::<Vec<_>>().join("; ");
        let kind = match family.kind {
            Kind::Histogram(bounds) => format!("histogram, {} to {}", bounds[0], bounds[bounds.len() - 1]),
            other => other.as_str().to_owned(),
        };
        // Writing to a string does not fail.
        let _ = writeln!(table, "| `{}` | {kind} | {labels} | {} |", family.name, family.help);
    }
    table
}
