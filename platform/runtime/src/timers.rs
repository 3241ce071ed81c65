//! Durable timers: what is due becomes a command to its aggregate.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use event_store::{DueTimer, EventStore, StreamId, TimerChange, UnitOfWork};
use telemetry::logs::{self, Ids};
use telemetry::{Kind, Tracer};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::batch::{self, Item};
use crate::consumer::{EventOf, Handler, Timer};
use crate::measures::Firing;
use crate::states::Cache;
use crate::traces::Traces;
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
    measures: Firing,
    tracer: Tracer,
}

impl<H: Handler> Timers<H> {
    /// Timers of the handler's aggregate. Metrics name them as this service's.
    pub fn new(service: &'static str, store: Arc<dyn EventStore>, clock: Arc<dyn Clock>, handler: Arc<H>) -> Self {
        let measures = Firing::new(service, <H::Aggregate as cqrs_es::Aggregate>::TYPE);
        Self { store, clock, handler, measures, tracer: Tracer::of(service) }
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
        let mut traces = Traces::begin(self.tracer);
        for (record, timer) in due.iter().enumerate() {
            if let Some(command) = self.handler.timeout(&timer.aggregate_id, now) {
                let mut origin = origin(timer, self.clock.as_ref());
                if traces.are_on() {
                    let name = ("timeout", <H::Aggregate as cqrs_es::Aggregate>::TYPE);
                    let of = origin.traceparent.take();
                    origin.traceparent = traces.handle(record, Kind::Internal, name, of.as_deref(), |span| {
                        span.set("aggregate.type", <H::Aggregate as cqrs_es::Aggregate>::TYPE);
                        self.handler.describe(&timer.aggregate_id, &command, span);
                    });
                }
                items.push(Item { record, id: timer.aggregate_id.clone(), command, origin });
            }
        }
        let mut cache = Cache::new(DUE_MAX);
        let (store, clock) = (self.store.as_ref(), self.clock.as_ref());
        let mut step = |item: &Item<H::Aggregate>, event: &EventOf<H::Aggregate>| {
            let step = self.tracer.is_on().then(|| self.handler.step(&item.id, event))??;
            traces.step(item.origin.traceparent.as_deref(), step)
        };
        let mut decided = batch::decide(store, &mut cache, clock, &items, true, &mut step).await?;
        for (record, reason) in std::mem::take(&mut decided.rejected) {
            let timer = &due[record];
            logs::in_scope(Ids::new(timer.correlation_id, timer.traceparent.as_deref()), || {
                tracing::error!(aggregate.id = %timer.aggregate_id, reason, "a timeout was refused");
            });
        }
        let (appends, mut timers) = decided.work(|id, before, after| self.handler.timer(id, before, after));
        let mut fired_since = Vec::with_capacity(due.len());
        for (record, timer) in due.iter().enumerate() {
            let stream = StreamId::of::<H::Aggregate>(timer.aggregate_id.clone());
            let fired = appends.iter().any(|append| append.stream == stream);
            if fired {
                fired_since.push(timer.due_at);
            } else {
                traces.forget(record);
                timers.push(self.fired_in_vain(now, timer, stream, decided.state(&timer.aggregate_id)));
            }
        }
        failpoint::pass("timers.before_commit");
        self.store.commit(UnitOfWork { appends, timers, ..UnitOfWork::default() }).await?;
        let now = self.clock.now();
        fired_since.into_iter().for_each(|due_at| self.measures.fired(due_at, now));
        if traces.are_on() {
            let name = ("timeouts", <H::Aggregate as cqrs_es::Aggregate>::TYPE);
            traces.committed(name, &decided.sequences, |span| span.set("db.system.name", "postgresql"));
        }
        decided.committed(&mut cache, |id, loaded, events, origin| {
            logs::in_scope(origin.ids(), || self.handler.committed(id, &loaded.state, events, origin));
        });
        Ok(())
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
