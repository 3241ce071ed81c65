//! What the gateway counts: requests by the patterns of the services' documents, and what went wrong behind it.

use super::NAME;
use crate::ports::Role;
use poem::http::{Method, StatusCode};
use std::time::Duration;
use telemetry::metrics::{Counters, Family, Label};
use web::measures::{HTTP_REQUESTS, HTTP_SECONDS};

static FAILURES: Counters = Counters::new(
    "gateway_upstream_failures_total",
    "Requests that a service did not answer.",
    &[
        Label::open("upstream", "the role that was asked"),
        Label::one_of("kind", &["full", "away", "slow", "caller_slow", "broken"]),
    ],
);

/// For `docs/metrics.md`.
pub(crate) const FAMILIES: &[&Family] = &[FAILURES.family()];

pub(super) fn record(method: &str, endpoint: &str, status: StatusCode, took: Duration) {
    HTTP_REQUESTS.with(&[NAME, method, endpoint, status.as_str()]).inc();
    HTTP_SECONDS.with(&[NAME, method, endpoint]).observe(took.as_secs_f64());
}

pub(super) fn trouble(role: Role, kind: &str) {
    FAILURES.with(&[role.name(), kind]).inc();
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
