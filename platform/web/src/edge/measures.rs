//! Requests counted and timed by route pattern: every label is one of a bounded set.

use std::time::Duration;

use poem::http::{Method, StatusCode};
use telemetry::metrics::{self, HistogramVec, IntCounterVec};

pub(super) struct Measures {
    requests: IntCounterVec,
    seconds: HistogramVec,
}

impl Measures {
    pub fn new() -> Self {
        let requests = metrics::counter_vec(
            "http_requests_total",
            "HTTP requests answered.",
            &["service", "method", "endpoint", "status"],
        );
        let seconds = metrics::histogram_vec(
            "http_request_duration_seconds",
            "Time from a request's head to its answer.",
            &["service", "method", "endpoint"],
            metrics::SECONDS,
        );
        Self { requests, seconds }
    }

    pub fn record(&self, service: &str, method: &str, endpoint: &str, status: StatusCode, took: Duration) {
        self.requests.with_label_values(&[service, method, endpoint, status.as_str()]).inc();
        self.seconds.with_label_values(&[service, method, endpoint]).observe(took.as_secs_f64());
    }
}

/// A method as a label: methods that no route knows count together.
pub(super) fn bounded(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}
