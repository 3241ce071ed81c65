//! The workers: one a channel. Each sends what is queued, many at once, and records what came of it.
//!
//! A worker takes fresh notifications from the consumer, in memory. Whatever is not sent that way, because its process
//! died, there was no room, or an attempt failed, the sweep finds in the read model when it is due. Of several
//! instances one sweeps, and it leaves alone what another may still have in hand: see [`Patience`].

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use domain::notification::Command;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kernel::NotificationId;
use telemetry::metrics::IntCounterVec;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Notice};
use crate::commands::{Queued, Results};

mod patience;
mod retry;
mod sweep;

pub(crate) use patience::Patience;
pub use retry::Retry;
pub(crate) use sweep::Sweep;

/// Fresh notifications that wait in memory; more are left to the sweep.
pub(crate) const FRESH_MAX: usize = 8_192;

/// At shutdown, attempts in flight have this long to end and be recorded.
const DRAIN: Duration = Duration::from_secs(3);

/// A notification just committed.
pub(crate) struct Fresh {
    queued: Queued,
    since: Instant,
}

impl Fresh {
    pub(crate) fn new(queued: Queued) -> Self {
        Self { queued, since: Instant::now() }
    }
}

/// One channel's worker.
pub(crate) struct Worker {
    pub(crate) fresh: mpsc::Receiver<Fresh>,
    pub(crate) sweep: Sweep,
    pub(crate) sender: Sender,
}

impl Worker {
    /// Sends until shutdown; what is then in flight has a moment to end.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let Self { mut fresh, mut sweep, sender } = self;
        let patience = sender.patience();
        let mut in_flight = FuturesUnordered::new();
        let mut busy = HashSet::new();
        let mut due: VecDeque<Queued> = VecDeque::new();
        let mut look = tokio::time::interval(sender.retry.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while in_flight.len() < patience.at_once_max
                && let Some(queued) = due.pop_front()
            {
                busy.insert(queued.id);
                in_flight.push(sender.attempt(queued));
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = look.tick() => {
                    if due.is_empty() {
                        due = sweep.due(&busy).await;
                    } else if !sweep.is_ours().await {
                        // Another instance finds them now.
                        due.clear();
                    }
                }
                Some(id) = in_flight.next(), if !in_flight.is_empty() => {
                    busy.remove(&id);
                }
                Some(Fresh { queued, since }) = fresh.recv(), if in_flight.len() < patience.at_once_max => {
                    if since.elapsed() <= patience.waits_max {
                        busy.insert(queued.id);
                        in_flight.push(sender.attempt(queued));
                    }
                }
            }
        }
        let drained = tokio::time::timeout(DRAIN, async { while in_flight.next().await.is_some() {} }).await;
        if drained.is_err() {
            tracing::warn!(in_flight = in_flight.len(), "attempts that did not end are made again at the next start");
        }
        sweep.release().await;
    }
}

/// Makes attempts over one channel.
pub(crate) struct Sender {
    channel: Arc<dyn Channel>,
    results: Results,
    retry: Retry,
    sent: IntCounterVec,
    failed: IntCounterVec,
}

impl Sender {
    pub(crate) fn new(channel: Arc<dyn Channel>, results: Results, retry: Retry) -> Self {
        let sent = telemetry::metrics::counter_vec("notifications_sent_total", "Notifications sent.", &["event_type"]);
        let failed = telemetry::metrics::counter_vec(
            "notification_attempts_failed_total",
            "Attempts at a notification that failed.",
            &["channel", "failure"],
        );
        Self { channel, results, retry, sent, failed }
    }

    fn patience(&self) -> Patience {
        Patience::of(self.channel.kind())
    }

    /// One attempt, recorded.
    async fn attempt(&self, queued: Queued) -> NotificationId {
        let id = queued.id;
        let send = self.channel.send(Notice { id, letter: &queued.letter });
        let sent = tokio::time::timeout(self.patience().sends_max, send).await;
        let at = self.results.now();
        let result = match sent.unwrap_or(Err(domain::notification::Failure::TimedOut)) {
            Ok(()) => {
                self.sent.with_label_values(&[queued.letter.template.as_str()]).inc();
                Command::RecordSent { at }
            }
            Err(failure) => {
                let channel = self.channel.kind().as_str();
                self.failed.with_label_values(&[channel, failure.as_str()]).inc();
                let next_attempt_at = self.retry.next(failure, queued.failed_attempts, at, rand::random());
                tracing::warn!(
                    notification.id = %id, channel, failure = failure.as_str(),
                    attempt = queued.failed_attempts + 1, again = next_attempt_at.is_some(),
                    "a notification was not sent"
                );
                Command::RecordFailure { failure, next_attempt_at, at }
            }
        };
        self.results.record(queued, result).await;
        id
    }
}
