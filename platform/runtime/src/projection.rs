//! Projections: read models that follow the event table.
//!
//! The checkpoint is committed together with the rows, so a read model is always exactly the fold
//! up to its checkpoint. Of two instances that follow at once, one commits each page.
//!
//! What can be followed can be made anew: a projection that is a [`ReadModel`] is rebuilt beside the table that serves
//! ([`rebuild()`]) and compared with its events ([`verify::compare`]).

mod background;
mod begun;
mod catch_up;
mod copy;
mod database;
mod fill;
mod model;
mod others;
mod passed;
mod progress;
mod rebuild;
mod shadow;
mod state;
mod streams;
pub mod verify;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use event_store::{Cursor, EventStore, RecordedEvent};
use sqlx::{PgConnection, PgPool};
use telemetry::{Kind, Span, Tracer};
use tokio::sync::{Notify, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::measures::Projecting;
use crate::precedence::Precedence;
use crate::relay::{LOOK_EVERY, idle};

pub(crate) use background::Keeper;
pub use copy::{Cell, Jsonb, Row};
pub use database::Database;
pub use model::{Fold, ReadModel, Table};
pub use others::Others;
pub use passed::Passed;
pub use progress::{Pace, Progress, Stage};
pub use rebuild::{Error, Options, Report, rebuild};
pub use shadow::drop_old;
pub use state::{Description, State, Underway, describe, place_of, place_since, states};

/// At most so many events a transaction.
const PAGE_EVENTS_MAX: usize = 1_000;
/// The least time between two transactions while requests crowd and nobody waits.
const CROWDED: Duration = Duration::from_millis(100);

/// A read model.
#[async_trait]
pub trait Projection: Send + Sync + 'static {
    /// The name of its checkpoint.
    fn name(&self) -> &'static str;

    /// The least time between two of its transactions while it keeps up and nobody waits for it:
    /// it gathers what comes meanwhile, and fewer transactions hold the readers up less. Whoever
    /// waits ([`ProjectionHandle::wait_for`]) is not kept waiting by it.
    fn pace(&self) -> Duration {
        Duration::from_millis(50)
    }

    /// What it is folded from, where it can be made from the events alone: then its rows are made anew when the code's
    /// version has changed.
    fn model(&self) -> Option<Arc<dyn ReadModel>> {
        None
    }

    /// Whether it reads this event at all.
    fn reads(&self, event: &RecordedEvent) -> bool;

    /// Writes what the events mean, within the transaction that moves the checkpoint. Events come
    /// in the visible order; each is seen once.
    async fn apply(&self, connection: &mut PgConnection, events: &[RecordedEvent]) -> anyhow::Result<()>;

    /// After the commit, for whoever waits for a row to change.
    fn committed(&self, events: &[RecordedEvent]) {
        let _ = events;
    }
}

/// Tells how far a projection has come.
#[derive(Debug, Clone)]
pub struct ProjectionHandle {
    at: watch::Receiver<Cursor>,
    wanted: Arc<Notify>,
}

impl ProjectionHandle {
    /// Waits until the projection has passed the cursor: read your own writes. `false` when it
    /// has not within `longest`.
    pub async fn wait_for(&self, cursor: Cursor, longest: Duration) -> bool {
        let mut at = self.at.clone();
        if *at.borrow() < cursor {
            self.wanted.notify_one();
        }
        let passed = at.wait_for(|at| *at >= cursor);
        matches!(tokio::time::timeout(longest, passed).await, Ok(Ok(_)))
    }

    /// Where it stands.
    pub fn at(&self) -> Cursor {
        *self.at.borrow()
    }
}

/// Prepares a projection: the handle, and the follower to be run. Metrics name it as one of this service.
pub fn follow(
    service: &'static str,
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projection: Arc<dyn Projection>,
) -> (ProjectionHandle, Follower) {
    let (sender, at) = watch::channel(Cursor::default());
    let wanted = Arc::new(Notify::new());
    let measures = Projecting::new(service, projection.name());
    let handle = ProjectionHandle { at, wanted: Arc::clone(&wanted) };
    let (precedence, tracer) = (Arc::default(), Tracer::of(service));
    (handle, Follower { service, store, pool, projection, at: sender, wanted, precedence, measures, tracer })
}

/// The checkpoint is not where this instance left it.
#[derive(Debug, thiserror::Error)]
#[error("another instance or a rebuild has moved the checkpoint")]
struct Moved;

/// Runs one projection.
pub struct Follower {
    service: &'static str,
    store: Arc<dyn EventStore>,
    pool: PgPool,
    projection: Arc<dyn Projection>,
    at: watch::Sender<Cursor>,
    /// Somebody waits for what comes next.
    wanted: Arc<Notify>,
    measures: Projecting,
    tracer: Tracer,
    precedence: Arc<Precedence>,
}

impl Follower {
    /// Gathers more while requests crowd.
    pub fn after(self, precedence: Arc<Precedence>) -> Self {
        Self { precedence, ..self }
    }

    /// Follows until shutdown.
    pub async fn run(self, shutdown: CancellationToken) {
        let (mut backoff, mut known, mut singly) = (Backoff::for_outages(), None, false);
        while !shutdown.is_cancelled() {
            if let Err(error) = self.catch_up(singly, &mut known, &shutdown, &mut backoff).await {
                self.tell(&error);
                singly = error.downcast_ref().is_some_and(event_store::Error::is_unreadable);
                self.measures.failed(&error);
                backoff.wait(&shutdown).await;
            }
        }
    }

    fn tell(&self, error: &anyhow::Error) {
        let (service, projection) = (self.service, self.projection.name());
        if let Some(event_store::Error::UnknownVersion { .. }) = error.downcast_ref() {
            tracing::error!(service, projection, %error, "the projection stands still: it reads nothing beyond this");
        } else if error.is::<Moved>() {
            // Nothing is wrong: another instance was faster, or new rows serve.
            tracing::debug!(service, projection, %error, "the projection goes on from there");
        } else {
            tracing::warn!(service, projection, %error, "the projection tries again");
        }
    }

    /// Follows; event by event if one is near that cannot be read, to pass all before it.
    async fn catch_up(
        &self,
        mut singly: bool,
        known: &mut Option<Cursor>,
        shutdown: &CancellationToken,
        backoff: &mut Backoff,
    ) -> anyhow::Result<()> {
        if let Some(model) = self.projection.model() {
            // Before the first page: rows that are new are of this code's version.
            database::register(&self.pool, model.table()).await?;
        }
        let mut commits = self.store.commits();
        let mut at = self.store.checkpoint(self.projection.name()).await?;
        self.at.send_replace(at);
        if let Some(from) = *known {
            self.tell_of_others(from, at).await?;
        }
        *known = Some(at);
        let (mut rebuild, mut rebuilt) = (None, 0);
        while !shutdown.is_cancelled() {
            commits.mark_unchanged();
            let limit = if singly { 1 } else { PAGE_EVENTS_MAX };
            let mut page = self.store.read_after(at, limit).await?;
            singly &= page.more;
            if at == Cursor::default() && page.events.len() == PAGE_EVENTS_MAX {
                rebuild = Some(self.rebuild());
            }
            rebuilt += i64::try_from(page.events.len()).unwrap_or_default();
            if page.events.len() < PAGE_EVENTS_MAX
                && let Some(mut span) = rebuild.take()
            {
                span.set("sagashop.events", rebuilt);
            }
            if let Some(last) = page.events.last() {
                let (to, passed, began) = (last.cursor, page.events.len(), Instant::now());
                page.events.retain(|event| self.projection.reads(event));
                self.commit(at, to, &page.events).await?;
                self.measures.committed(passed, began.elapsed());
                self.projection.committed(&page.events);
                at = to;
                *known = Some(at);
                self.at.send_replace(at);
                backoff.reset();
                if !page.more {
                    let crowded = if self.precedence.is_crowded() { CROWDED } else { Duration::ZERO };
                    tokio::select! {
                        () = tokio::time::sleep(self.projection.pace().max(crowded)) => {}
                        () = self.wanted.notified() => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
            if !page.more {
                idle(self.store.as_ref(), page.hidden, LOOK_EVERY, &mut commits, shutdown).await;
            }
        }
        Ok(())
    }

    /// What is read anew from the beginning is a trace of its own: it goes on with none of those that its events are of.
    fn rebuild(&self) -> Span {
        let mut span = self.tracer.start(Kind::Internal, ("rebuild", self.projection.name()), None);
        span.set("sagashop.projection", self.projection.name());
        span
    }

    /// What another instance has committed in between: whoever waits in this process waits for that too.
    async fn tell_of_others(&self, mut from: Cursor, to: Cursor) -> anyhow::Result<()> {
        while from < to {
            let mut page = self.store.read_after(from, PAGE_EVENTS_MAX).await?;
            let Some(last) = page.events.last() else { break };
            from = last.cursor;
            page.events.retain(|event| event.cursor <= to && self.projection.reads(event));
            self.projection.committed(&page.events);
        }
        Ok(())
    }

    /// The rows and the checkpoint, both or neither. Somebody else's step in between fails it.
    async fn commit(&self, from: Cursor, to: Cursor, events: &[RecordedEvent]) -> anyhow::Result<()> {
        let mut transaction = self.pool.begin().await?;
        if !events.is_empty() {
            self.projection.apply(&mut transaction, events).await?;
        }
        let moved = sqlx::query(
            "INSERT INTO checkpoints AS c (follower, transaction_id, position) VALUES ($1, $2::text::xid8, $3)
             ON CONFLICT (follower) DO UPDATE
                SET transaction_id = EXCLUDED.transaction_id, position = EXCLUDED.position, updated_at = clock_timestamp()
              WHERE (c.transaction_id, c.position) = ($4::text::xid8, $5)",
        )
        .bind(self.projection.name())
        .bind(to.transaction_id.to_string())
        .bind(to.position)
        .bind(from.transaction_id.to_string())
        .bind(from.position)
        .execute(&mut *transaction)
        .await?;
        anyhow::ensure!(moved.rows_affected() == 1, Moved);
        transaction.commit().await?;
        Ok(())
    }
}
