//! Results that the provider tells by itself: webhooks, and what the simulated one says twice. They take the way of a
//! reply; one that is late or comes again changes nothing.

use std::sync::Arc;
use std::time::Duration;

use domain::payment::Payment;
use event_store::PgStore;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::job::{Ask, Job};
use crate::provider::Notice;
use crate::recorder;
use crate::worker::Worker;

/// Whoever tells does not wait longer for the record.
const RECORD_MAX: Duration = Duration::from_secs(5);

/// Takes notices.
#[derive(Clone)]
pub(crate) struct Notices {
    store: Arc<PgStore>,
    worker: Arc<Worker>,
    jobs: mpsc::Sender<Job>,
}

/// What came of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// The payment waited for it.
    Recorded,
    /// It changes nothing: the result is known, or it is about something that this shop did not ask.
    Known,
}

/// Why a notice was not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It may come again later.
    #[error("the result cannot be recorded at present: {0}")]
    NotNow(String),
    /// It contradicts what was asked.
    #[error("the notice contradicts the payment: {0}")]
    Contradiction(String),
}

impl Notices {
    pub(crate) fn new(store: Arc<PgStore>, worker: Arc<Worker>, jobs: mpsc::Sender<Job>) -> Self {
        Self { store, worker, jobs }
    }

    /// Takes those of a channel until shutdown.
    pub(crate) async fn follow(self, mut notices: mpsc::Receiver<Notice>, shutdown: CancellationToken) {
        loop {
            let notice = tokio::select! {
                () = shutdown.cancelled() => return,
                notice = notices.recv() => notice,
            };
            match notice {
                Some(notice) => {
                    if let Err(error) = self.take(notice).await {
                        tracing::warn!(%error, "a result that was told is not recorded");
                    }
                }
                // Nobody tells anything.
                None => return shutdown.cancelled().await,
            }
        }
    }

    /// Records the result if the payment waits for it.
    pub(crate) async fn take(&self, notice: Notice) -> Result<Taken, Error> {
        let payment = self.payment(&notice).await?;
        let waiting = Job::outstanding(notice.payment_id, &payment, true).filter(|job| job.key() == notice.key);
        let Some(job) = waiting else { return Ok(Taken::Known) };
        let asked = match &job.ask {
            Ask::Charge(request) => request.amount,
            Ask::Refund(request) => request.amount,
        };
        if asked != notice.amount {
            return Err(Error::Contradiction(format!("{} was asked, and {} told", asked, notice.amount)));
        }
        let recording = self.worker.told(&job, notice.outcome);
        let next = tokio::time::timeout(RECORD_MAX, recording)
            .await
            .map_err(|_| Error::NotNow("the store does not answer".to_owned()))?
            .map_err(|error| Error::Contradiction(error.to_string()))?;
        if let Some(next) = next {
            // What finds no place is found by the sweep.
            let _ = self.jobs.try_send(next);
        }
        Ok(Taken::Recorded)
    }

    async fn payment(&self, notice: &Notice) -> Result<Payment, Error> {
        let not_now = |error: event_store::Error| Error::NotNow(error.to_string());
        let mut loaded = recorder::load(&self.store, &[notice.payment_id]).await.map_err(not_now)?;
        let stored = loaded.pop().ok_or_else(|| Error::NotNow("nothing was loaded".to_owned()))?;
        Ok(stored.map_err(not_now)?.payment)
    }
}
