//! The access log: one line a request.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use poem::http::{StatusCode, Uri};

use crate::AccessLog;
use tokio::time::Instant;

use crate::context::{RequestContext, Seen};

/// Where only failures are logged, so many requests that were turned away have their lines in a second: an overload is to
/// be seen, not to be added to.
const TURNED_AWAY_PER_S: u64 = 10;

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

/// Which requests have their lines.
pub(super) struct Log {
    which: AccessLog,
    began: Instant,
    /// The second since `began` in which requests were turned away last, and how many were in it.
    turned_away: AtomicU64,
}

/// Bits of [`Log::turned_away`] that count.
const COUNT_BITS: u32 = 32;

impl Log {
    pub fn new(which: AccessLog) -> Self {
        Self { which, began: Instant::now(), turned_away: AtomicU64::new(0) }
    }

    /// Whether a request with that status has its line.
    pub fn wants(&self, status: StatusCode) -> bool {
        match self.which {
            AccessLog::Off => false,
            AccessLog::Failures if status == StatusCode::SERVICE_UNAVAILABLE => self.wants_another(),
            AccessLog::Failures => status.is_server_error(),
            AccessLog::All => true,
        }
    }

    /// Counts one that was turned away. Says in the next second how many lines were left out.
    fn wants_another(&self) -> bool {
        let now = self.began.elapsed().as_secs() << COUNT_BITS;
        let count = |seen: u64| if seen >> COUNT_BITS == now >> COUNT_BITS { seen + 1 } else { now + 1 };
        let before = self.turned_away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |seen| Some(count(seen)));
        let before = before.unwrap_or_default();
        let counted = before & ((1 << COUNT_BITS) - 1);
        if before >> COUNT_BITS == now >> COUNT_BITS {
            return counted < TURNED_AWAY_PER_S;
        }
        if let Some(left_out) = counted.checked_sub(TURNED_AWAY_PER_S).filter(|left_out| *left_out > 0) {
            tracing::warn!(target: "access", left_out, "more requests were turned away than have lines");
        }
        true
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_has_few_lines_and_other_failures_have_theirs() {
        let log = Log::new(AccessLog::Failures);
        let lines = || (0..1_000).filter(|_| log.wants(StatusCode::SERVICE_UNAVAILABLE)).count() as u64;
        assert_eq!(lines(), TURNED_AWAY_PER_S);
        assert!(log.wants(StatusCode::INTERNAL_SERVER_ERROR));
        assert!(!log.wants(StatusCode::NOT_FOUND));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(lines(), TURNED_AWAY_PER_S);
        assert!((0..1_000).all(|_| Log::new(AccessLog::All).wants(StatusCode::SERVICE_UNAVAILABLE)));
    }
}
