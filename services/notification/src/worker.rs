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
use kernel::{Live, NotificationId};
use telemetry::logs::{self, Ids};
use telemetry::{Kind, Tracer, trace};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::channel::{Channel, Notice, Unsent};
use crate::commands::{Queued, Results};
use crate::measures;

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
    live: Live,
    results: Results,
    retry: Retry,
    tracer: Tracer,
}

impl Sender {
    pub(crate) fn new(channel: Arc<dyn Channel>, live: Live, results: Results, retry: Retry) -> Self {
        Self { channel, live, results, retry, tracer: Tracer::of("notification") }
    }

    fn patience(&self) -> Patience {
        Patience::of(self.channel.kind())
    }

    /// One attempt, recorded.
    async fn attempt(&self, queued: Queued) -> NotificationId {
        let ids = Ids::new(queued.story.correlation_id, queued.story.traceparent.as_deref());
        logs::scope(ids, self.attempt_within(queued)).await
    }

    async fn attempt_within(&self, mut queued: Queued) -> NotificationId {
        let id = queued.id;
        let span = self.span(&queued);
        let notice = Notice { id, letter: &queued.letter, queued_at: queued.queued_at };
        let sending = tokio::time::timeout(self.patience().sends_max, self.send(notice));
        let sent = trace::scope(span.clone(), sending).await.unwrap_or(Err(Failure::TimedOut.into()));
        if let Some(current) = span {
            queued.story.traceparent = Some(current.at().traceparent());
            let mut span = current.into_span();
            if let Err(Unsent::Failed { failure, .. }) = &sent {
                span.set("error.type", failure.as_str());
                span.fail(failure.as_str());
            }
        }
        let result = self.result(&queued, sent);
        self.results.record(queued, result).await;
        id
    }

    /// The span of an attempt, in the trace of what it tells of.
    fn span(&self, queued: &Queued) -> Option<trace::Current> {
        if !self.tracer.is_on() {
            return None;
        }
        let channel = self.channel.kind().as_str();
        let name = ("send", channel);
        let mut span = self.tracer.resume(Kind::Client, name, queued.story.traceparent.as_deref());
        span.set("notification.channel", channel);
        span.set("notification.template", queued.template());
        span.set("notification.attempt", i64::from(queued.attempts) + 1);
        span.set("notification.id", queued.id.0);
        if let Some(order_id) = queued.letter.order_id {
            span.set("order.id", order_id.0);
        }
        span.into_current()
    }

    async fn send(&self, notice: Notice<'_>) -> Result<(), Unsent> {
        // The log and webhooks are the shop's own business; mail is the customer's.
        if self.channel.kind() == notification::Channel::Email && !self.results.is_wanted(notice.letter).await? {
            return Err(Unsent::Skip(Skip::NotWanted));
        }
        self.channel.send(self.live, notice).await
    }

    /// What is to be recorded of an attempt.
    fn result(&self, queued: &Queued, sent: Result<(), Unsent>) -> Command {
        let (at, kind) = (self.results.now(), self.channel.kind());
        let channel = kind.as_str();
        let (failure, code) = match sent {
            Ok(()) => {
                measures::sent(queued.template(), kind, queued.queued_at, at);
                return Command::RecordSent { at };
            }
            Err(Unsent::Skip(why)) => {
                measures::skipped(kind);
                tracing::info!(notification.id = %queued.id, channel, why = why.as_str(), "a notification is skipped");
                return Command::Skip { why, at };
            }
            Err(Unsent::Failed { failure, code }) => (failure, code),
        };
        let next_attempt_at = self.retry.next(failure, queued.failed_attempts, at, rand::random());
        measures::failed(kind, failure, next_attempt_at.is_none());
        tracing::warn!(
            notification.id = %queued.id, channel, failure = failure.as_str(), code,
            attempt = queued.attempts + 1, again = next_attempt_at.is_some(),
            "a notification was not sent"
        );
        Command::RecordFailure { failure, code, next_attempt_at, at }
    }
}
