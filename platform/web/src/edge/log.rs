//! The access log: one line a request.

use std::time::Duration;

use poem::http::{StatusCode, Uri};

use crate::AccessLog;
use crate::context::{RequestContext, Seen};

/// What a line is made of.
pub(super) struct Line<'a> {
    pub service: &'static str,
    pub method: &'static str,
    pub route: &'a str,
    pub uri: &'a Uri,
    pub status: StatusCode,
    pub took: Duration,
    pub context: &'a RequestContext,
    pub seen: Seen,
}

/// Whether a request with that status has its line.
pub(super) fn wanted(log: AccessLog, status: StatusCode) -> bool {
    match log {
        AccessLog::Off => false,
        AccessLog::Failures => status.is_server_error(),
        AccessLog::All => true,
    }
}

impl Line<'_> {
    /// Writes it: the path without its query, which may hold what nobody is to read.
    pub fn write(&self) {
        let duration_ms = self.took.as_secs_f64() * 1_000.0;
        let remote = self.context.remote.map(tracing::field::display);
        let user = self.seen.user.map(tracing::field::display);
        macro_rules! line {
            ($level:ident) => {
                tracing::$level!(
                    target: "access",
                    service = self.service,
                    http.request.method = self.method,
                    http.route = self.route,
                    url.path = self.uri.path(),
                    http.response.status_code = self.status.as_u16(),
                    duration_ms,
                    client.address = remote,
                    user.id = user,
                    request.id = self.context.request_id.as_deref(),
                    correlation.id = %self.context.correlation_id,
                    trace.id = self.context.trace_id(),
                    "request answered"
                )
            };
        }
        if self.status.is_server_error() { line!(warn) } else { line!(info) }
    }
}
