//! Finds requests to the provider that have no result: after a crash, or where too much waited.

use std::sync::Arc;
use std::time::Duration;

use event_store::PgStore;
use kernel::PaymentId;
use runtime::ProjectionHandle;
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::job::Job;
use crate::{queries, recorder};

/// At most so many a time, the oldest first.
const FOUND_MAX: i64 = 1_000;
/// At the start the read model may be so far behind that it is not waited for any longer: later
/// sweeps see what this one did not.
const CATCH_UP_MAX: Duration = Duration::from_secs(5);
const INTERVAL_SHORTEST: Duration = Duration::from_millis(100);
const INTERVAL_LONGEST: Duration = Duration::from_secs(2);

/// Looks for them, at the start and then again and again.
pub(crate) struct Sweep {
    pool: PgPool,
    store: Arc<PgStore>,
    projection: ProjectionHandle,
    jobs: mpsc::Sender<Job>,
    after: Duration,
}

impl Sweep {
    /// A sweep for requests without a result for longer than `after`.
    pub(crate) fn new(
        pool: PgPool,
        store: Arc<PgStore>,
        projection: ProjectionHandle,
        jobs: mpsc::Sender<Job>,
        after: Duration,
    ) -> Self {
        Self { pool, store, projection, jobs, after }
    }

    /// Sweeps until shutdown: first all that the last run of this service left, then what has
    /// waited too long.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let interval = (self.after / 2).clamp(INTERVAL_SHORTEST, INTERVAL_LONGEST);
        let work = async {
            let mut found = self.first().await;
            loop {
                if let Err(error) = found {
                    tracing::warn!(error = format!("{error:#}"), "payments without a result could not be looked for");
                }
                tokio::time::sleep(interval).await;
                found = self.sweep(self.after).await;
            }
        };
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = work => {}
        }
    }

    async fn first(&self) -> anyhow::Result<()> {
        let head = queries::head(&self.pool).await?;
        self.projection.wait_for(head, CATCH_UP_MAX).await;
        self.sweep(Duration::ZERO).await
    }

    /// The read model says where to look, the events what is to be done.
    async fn sweep(&self, after: Duration) -> anyhow::Result<()> {
        let ids: Vec<PaymentId> = queries::unanswered(&self.pool, after, FOUND_MAX).await?;
        if ids.is_empty() {
            return Ok(());
        }
        for (id, stored) in ids.iter().zip(recorder::load(&self.store, &ids).await?) {
            match stored {
                Ok(stored) => {
                    if let Some(job) = Job::outstanding(*id, &stored.payment, true) {
                        self.jobs.send(job.within(stored.correlation_id(), stored.traceparent())).await?;
                    }
                }
                Err(error) => tracing::error!(payment.id = %id, %error, "a payment cannot be looked after"),
            }
        }
        Ok(())
    }
}
