//! What the gateway counts: requests by the patterns of the services' documents, and what went wrong behind it.

use super::NAME;
use crate::ports::Role;
use poem::http::{Method, StatusCode};
use std::time::Duration;
use telemetry::metrics::{self, HistogramVec, IntCounterVec};

pub(super) struct Measures {
    requests: IntCounterVec,
    seconds: HistogramVec,
    troubles: IntCounterVec,
}

impl Measures {
    pub(super) fn new() -> Self {
        Self {
            requests: metrics::counter_vec(
                "http_requests_total",
                "HTTP requests answered.",
                &["service", "method", "endpoint", "status"],
            ),
            seconds: metrics::histogram_vec(
                "http_request_duration_seconds",
                "Time from a request's head to its answer.",
                &["service", "method", "endpoint"],
                metrics::SECONDS,
            ),
            troubles: metrics::counter_vec(
                "gateway_upstream_failures_total",
                "Requests that a service did not answer.",
                &["upstream", "kind"],
            ),
        }
    }

    pub(super) fn record(&self, method: &str, endpoint: &str, status: StatusCode, took: Duration) {
        self.requests.with_label_values(&[NAME, method, endpoint, status.as_str()]).inc();
        self.seconds.with_label_values(&[NAME, method, endpoint]).observe(took.as_secs_f64());
    }

    pub(super) fn trouble(&self, role: Role, kind: &str) {
        self.troubles.with_label_values(&[role.name(), kind]).inc();
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
