//! Durable timers: what is due becomes a command to its aggregate.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::{DueTimer, EventStore, StreamId, TimerChange, UnitOfWork};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::batch::{self, Item};
use crate::consumer::{Handler, Timer};
use crate::states::Cache;
use crate::{Origin, failpoint};
use event_store::clock::Clock;

/// At most so many timers a unit of work.
const DUE_MAX: usize = 200;

/// Longest wait without a wake-up: a timer set by another process is seen by then.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Fires one aggregate type's timers.
pub struct Timers<H: Handler> {
    store: Arc<dyn EventStore>,
    clock: Arc<dyn Clock>,
    handler: Arc<H>,
}

impl<H: Handler> Timers<H> {
    /// Timers of the handler's aggregate.
    pub fn new(store: Arc<dyn EventStore>, clock: Arc<dyn Clock>, handler: Arc<H>) -> Self {
        Self { store, clock, handler }
    }

    /// Fires what is due until shutdown. Several instances may: the stream's version decides.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::for_outages();
        while !shutdown.is_cancelled() {
            match self.fire().await {
                Ok(wait) => {
                    backoff.reset();
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                // A conflict: the aggregate has just moved on by itself.
                Err(event_store::Error::Conflict { .. }) => {}
                Err(error) => {
                    tracing::warn!(%error, "timers are tried again");
                    backoff.wait(&shutdown).await;
                }
            }
        }
    }

    /// Fires what is due and tells how long to wait for the next.
    async fn fire(&self) -> Result<Duration, event_store::Error> {
        let now = self.clock.now();
        let (due, next) = self.store.due_timers(<H::Aggregate as cqrs_es::Aggregate>::TYPE, now, DUE_MAX).await?;
        if !due.is_empty() {
            self.handle(now, due).await?;
        }
        let until_next = next.map(|next| (next - self.clock.now()).to_std().unwrap_or_default());
        Ok(until_next.map_or(LOOK_EVERY, |wait| wait.min(LOOK_EVERY)))
    }

    async fn handle(&self, now: DateTime<Utc>, due: Vec<DueTimer>) -> Result<(), event_store::Error> {
        let mut items: Vec<Item<H::Aggregate>> = Vec::new();
        for (record, timer) in due.iter().enumerate() {
            if let Some(command) = self.handler.timeout(&timer.aggregate_id, now) {
                let origin = origin(timer, self.clock.as_ref());
                items.push(Item { record, id: timer.aggregate_id.clone(), command, origin });
            }
        }
        let mut cache = Cache::new(DUE_MAX);
        let mut decided = batch::decide(self.store.as_ref(), &mut cache, self.clock.as_ref(), &items, true).await?;
        for (record, reason) in std::mem::take(&mut decided.rejected) {
            tracing::error!(aggregate.id = %due[record].aggregate_id, reason, "a timeout was refused");
        }
        let (appends, mut timers) = decided.work(|id, before, after| self.handler.timer(id, before, after));
        for timer in &due {
            let stream = StreamId::of::<H::Aggregate>(timer.aggregate_id.clone());
            let fired = appends.iter().any(|append| append.stream == stream);
            if !fired {
                timers.push(self.fired_in_vain(now, timer, stream, decided.state(&timer.aggregate_id)));
            }
        }
        failpoint::pass("timers.before_commit");
        self.store.commit(UnitOfWork { appends, timers, ..UnitOfWork::default() }).await
    }

    /// A timer that led to nothing: moved to the aggregate's own deadline (never to at once, or
    /// it would spin), or gone if there is none.
    fn fired_in_vain(
        &self,
        now: DateTime<Utc>,
        timer: &DueTimer,
        stream: StreamId,
        state: Option<&H::Aggregate>,
    ) -> TimerChange {
        match state.and_then(|state| self.handler.timer(&timer.aggregate_id, state, state)) {
            Some(Timer::Set(deadline)) => TimerChange::Set {
                stream,
                due_at: deadline.max(now + LOOK_EVERY),
                traceparent: timer.traceparent.clone(),
                correlation_id: timer.correlation_id,
            },
            Some(Timer::Clear) | None => TimerChange::Expire { stream, due_at: timer.due_at },
        }
    }
}

fn origin(timer: &DueTimer, clock: &dyn Clock) -> Origin {
    let command_id = clock.new_id();
    Origin {
        correlation_id: timer.correlation_id,
        causation_id: command_id,
        command_id,
        actor: "system".to_owned(),
        traceparent: timer.traceparent.clone(),
    }
}
