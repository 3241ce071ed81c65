//! Waiting between tries of what must succeed in the end.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Doubles from a start to a limit; reset by success.
pub(crate) struct Backoff {
    next: Duration,
    first: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, first, longest }
    }

    /// For databases and brokers that are away.
    pub(crate) fn for_outages() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(2))
    }

    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }

    /// Waits, or returns at once when the process is to stop.
    pub(crate) async fn wait(&mut self, shutdown: &CancellationToken) {
        let wait = self.next;
        self.next = (self.next * 2).min(self.longest);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shutdown.cancelled() => {}
        }
    }
}
