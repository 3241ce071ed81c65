//! The workers: one a channel. Each sends what is queued, many at once, and records what came of it.
//!
//! A worker takes fresh notifications from the consumer, in memory. Whatever is not sent that way, because its process
//! died, there was no room, or an attempt failed, the sweep finds in the read model when it is due. Of several
//! instances one sweeps, and it leaves alone what another may still have in hand: see [`Patience`].

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use domain::notification::{self, Command, Failure, Skip};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use kernel::NotificationId;
use telemetry::metrics::IntCounterVec;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Notice, Unsent};
use crate::commands::{Queued, Results};

mod hands;
mod patience;
mod retry;
mod sweep;

use hands::Hands;
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
        let mut hands = Hands::new(patience);
        let mut due: VecDeque<Queued> = VecDeque::new();
        let mut look = tokio::time::interval(sender.retry.look_every);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            while let Some(queued) = hands.take_due(&mut due) {
                in_flight.push(sender.attempt(queued));
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = look.tick() => {
                    sender.channel.tidy();
                    if !hands.have_room_for_any(&due) {
                        due = sweep.due(&hands).await;
                    } else if !sweep.is_ours().await {
                        // Another instance finds them now.
                        due.clear();
                    }
                }
                Some(id) = in_flight.next(), if !in_flight.is_empty() => {
                    if let Some(queued) = hands.put_down(id) {
                        in_flight.push(sender.attempt(queued));
                    }
                }
                Some(fresh) = fresh.recv(), if hands.are_free() => {
                    if let Some(queued) = hands.take_fresh(fresh) {
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
    measures: Measures,
}

struct Measures {
    sent: IntCounterVec,
    attempts_failed: IntCounterVec,
    ended_unsent: IntCounterVec,
}

impl Sender {
    pub(crate) fn new(channel: Arc<dyn Channel>, results: Results, retry: Retry) -> Self {
        let counter = telemetry::metrics::counter_vec;
        let measures = Measures {
            sent: counter("notifications_sent_total", "Notifications sent.", &["event_type"]),
            attempts_failed: counter(
                "notification_attempts_failed_total",
                "Attempts at a notification that failed.",
                &["channel", "failure"],
            ),
            ended_unsent: counter(
                "notifications_unsent_total",
                "Notifications that ended unsent: failed for good, or skipped.",
                &["channel", "status"],
            ),
        };
        Self { channel, results, retry, measures }
    }

    fn patience(&self) -> Patience {
        Patience::of(self.channel.kind())
    }

    /// One attempt, recorded.
    async fn attempt(&self, queued: Queued) -> NotificationId {
        let id = queued.id;
        let notice = Notice { id, letter: &queued.letter, queued_at: queued.queued_at };
        let sent = tokio::time::timeout(self.patience().sends_max, self.send(notice)).await;
        let result = self.result(&queued, sent.unwrap_or(Err(Failure::TimedOut.into())));
        self.results.record(queued, result).await;
        id
    }

    async fn send(&self, notice: Notice<'_>) -> Result<(), Unsent> {
        // The log and webhooks are the shop's own business; mail is the customer's.
        if self.channel.kind() == notification::Channel::Email && !self.results.is_wanted(notice.letter).await? {
            return Err(Unsent::Skip(Skip::NotWanted));
        }
        self.channel.send(notice).await
    }

    /// What is to be recorded of an attempt.
    fn result(&self, queued: &Queued, sent: Result<(), Unsent>) -> Command {
        let (at, channel) = (self.results.now(), self.channel.kind().as_str());
        let (failure, code) = match sent {
            Ok(()) => {
                self.measures.sent.with_label_values(&[queued.template()]).inc();
                return Command::RecordSent { at };
            }
            Err(Unsent::Skip(why)) => {
                self.measures.ended_unsent.with_label_values(&[channel, "skipped"]).inc();
                tracing::info!(notification.id = %queued.id, channel, why = why.as_str(), "a notification is skipped");
                return Command::Skip { why, at };
            }
            Err(Unsent::Failed { failure, code }) => (failure, code),
        };
        self.measures.attempts_failed.with_label_values(&[channel, failure.as_str()]).inc();
        let next_attempt_at = self.retry.next(failure, queued.failed_attempts, at, rand::random());
        if next_attempt_at.is_none() {
            self.measures.ended_unsent.with_label_values(&[channel, "failed"]).inc();
        }
        tracing::warn!(
            notification.id = %queued.id, channel, failure = failure.as_str(), code,
            attempt = queued.attempts + 1, again = next_attempt_at.is_some(),
            "a notification was not sent"
        );
        Command::RecordFailure { failure, code, next_attempt_at, at }
    }
}
