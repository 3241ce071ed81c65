//! The process-wide Prometheus registry.
//!
//! All roles of one process share it, hence each metric that several of them count has a `service` label. Labels are
//! bounded sets (route patterns, statuses, types), never ids or paths.

use std::any::Any;
use std::collections::HashMap;
use std::sync::LazyLock;

use parking_lot::Mutex;
pub use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use prometheus::{HistogramOpts, Opts, Registry, TextEncoder};

/// Content type of what [`render`] returns.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

/// Bounds for durations in seconds, from half a millisecond to ten seconds.
pub const SECONDS: &[f64] = &[0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

type Families = HashMap<String, Box<dyn Any + Send + Sync>>;

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::new);
static FAMILIES: LazyLock<Mutex<Families>> = LazyLock::new(Mutex::default);

/// The counters of this name: made at the first call, the same ones at each later call.
///
/// # Panics
/// Where the name is no metric name, or stands for another kind of metric: an error of the program.
pub fn counter_vec(name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    registered(name, || IntCounterVec::new(Opts::new(name, help), labels))
}

/// The gauges of this name; see [`counter_vec`].
///
/// # Panics
/// As [`counter_vec`].
pub fn gauge_vec(name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    registered(name, || IntGaugeVec::new(Opts::new(name, help), labels))
}

/// The histograms of this name, with these upper bounds (see [`SECONDS`]); see [`counter_vec`].
///
/// # Panics
/// As [`counter_vec`].
pub fn histogram_vec(name: &str, help: &str, labels: &[&str], bounds: &[f64]) -> HistogramVec {
    registered(name, || HistogramVec::new(HistogramOpts::new(name, help).buckets(bounds.to_vec()), labels))
}

/// All metrics in Prometheus' text format.
pub fn render() -> String {
    let mut text = String::new();
    if let Err(error) = TextEncoder::new().encode_utf8(&REGISTRY.gather(), &mut text) {
        tracing::error!(%error, "metrics could not be rendered");
    }
    text
}

fn registered<M>(name: &str, make: impl FnOnce() -> prometheus::Result<M>) -> M
where
    M: prometheus::core::Collector + Clone + Send + Sync + 'static,
{
    let mut families = FAMILIES.lock();
    if let Some(family) = families.get(name) {
        return family.downcast_ref::<M>().unwrap_or_else(|| panic!("metric {name} is of another kind")).clone();
    }
    let metric = make().unwrap_or_else(|error| panic!("metric {name}: {error}"));
    REGISTRY.register(Box::new(metric.clone())).unwrap_or_else(|error| panic!("metric {name}: {error}"));
    families.insert(name.to_owned(), Box::new(metric.clone()));
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_asked_for_twice_is_one_metric() {
        counter_vec("test_things_total", "Things.", &["service"]).with_label_values(&["order"]).inc();
        counter_vec("test_things_total", "Things.", &["service"]).with_label_values(&["order"]).inc();
        gauge_vec("test_waiting", "Waiting.", &["service"]).with_label_values(&["order"]).set(7);
        histogram_vec("test_seconds", "Time.", &["service"], SECONDS).with_label_values(&["order"]).observe(0.02);
        let text = render();
        for line in [
            "test_things_total{service=\"order\"} 2",
            "test_waiting{service=\"order\"} 7",
            "test_seconds_bucket{service=\"order\",le=\"0.01\"} 0",
            "test_seconds_bucket{service=\"order\",le=\"0.025\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    #[should_panic(expected = "another kind")]
    fn a_name_stands_for_one_kind_of_metric() {
        counter_vec("test_mixed", "Mixed.", &[]);
        gauge_vec("test_mixed", "Mixed.", &[]);
    }
}
