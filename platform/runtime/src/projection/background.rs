//! Read models whose code has changed: their rows are made anew in the background, and the old ones serve meanwhile.

use std::sync::Arc;
use std::time::Duration;

use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

use super::model::ReadModel;
use super::others::Others;
use super::progress::{Pace, Progress};
use super::rebuild::{self, Error, Options, Report};
use super::{Database, database};
use crate::backoff::Backoff;
use crate::measures::Versions;
use crate::precedence::Precedence;

/// Whoever rebuilds it now may die: so often it is looked whether that has happened.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Of the time: the rest belongs to requests, and more of it while there are any.
const SHARE: f64 = 0.5;

/// Keeps one read model's rows of this code's version.
pub(crate) struct Keeper {
    pub(crate) service: &'static str,
    pub(crate) pool: PgPool,
    pub(crate) model: Arc<dyn ReadModel>,
    pub(crate) precedence: Arc<Precedence>,
}

impl Keeper {
    /// Looks once, rebuilds if it must, and waits for shutdown.
    pub(crate) async fn run(self, shutdown: CancellationToken) {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(60));
        while !shutdown.is_cancelled() {
            match self.bring_up_to_date(&shutdown).await {
                Ok(()) => break,
                Err(Error::Busy { .. }) => {
                    tokio::select! {
                        () = tokio::time::sleep(LOOK_EVERY) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Err(error) => {
                    let name = self.model.table().name;
                    tracing::warn!(projection = name, %error, "the read model's older rows go on serving");
                    if matches!(error, Error::NotAllowed(_) | Error::HasDependents { .. }) {
                        // Somebody has to do something about it, and then rebuilds it by hand.
                        break;
                    }
                    backoff.wait(&shutdown).await;
                }
            }
        }
        shutdown.cancelled().await;
    }

    async fn bring_up_to_date(&self, shutdown: &CancellationToken) -> Result<(), Error> {
        let table = self.model.table();
        let of_rows = database::register(&self.pool, table).await?;
        let measures = Versions::new(self.service, table.name);
        measures.set(table.version, of_rows);
        if of_rows > table.version {
            tracing::warn!(
                projection = table.name,
                projection.version = table.version,
                rows.version = of_rows,
                "the read model was made by a newer program"
            );
        }
        if of_rows >= table.version {
            return Ok(());
        }
        tracing::info!(
            projection = table.name,
            projection.version = table.version,
            rows.version = of_rows,
            "the read model's code has changed: its rows are made anew, and the older ones serve meanwhile"
        );
        let database = Database::of(&self.pool);
        let pace = Pace {
            share: Some(SHARE),
            others: Some(Others::watch(&database)),
            precedence: Some(Arc::clone(&self.precedence)),
            ..Pace::default()
        };
        let options = Options { pace, ..Options::default() };
        let progress = Arc::<Progress>::default();
        let made = rebuild::rebuild(&database, &self.model, &options, &progress, shutdown).await?;
        if let Some(Report { rows, took, swap, .. }) = made {
            measures.set(table.version, table.version);
            tracing::info!(
                projection = table.name,
                projection.version = table.version,
                rows,
                duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
                swap_ms = u64::try_from(swap.as_millis()).unwrap_or(u64::MAX),
                "the read model's new rows serve"
            );
        }
        Ok(())
    }
}
