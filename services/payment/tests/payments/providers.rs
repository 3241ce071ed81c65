//! Providers that do what the simulated one does, and misbehave around it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use kernel::Live;
use payment_service::provider::{Behaviour, ChargeRequest, Error, Outcome, Provider, RefundRequest, SimulatedProvider};
use sqlx::PgPool;
use tokio::sync::Semaphore;

/// The simulated provider, with a door in front of its answers to charges and a count of what it is asked.
pub struct Observed {
    inner: SimulatedProvider,
    /// Each answer to a charge takes one.
    pub answers: Semaphore,
    pub charges: AtomicUsize,
    pub finds: AtomicUsize,
    /// Refunds that are refused before one is made.
    pub refusals: AtomicUsize,
    /// Calls that fail before one is answered.
    pub outages: AtomicUsize,
}

impl Observed {
    pub fn new(pool: &PgPool) -> Self {
        let behaviour = Behaviour { lost_reply_after: Duration::ZERO, ..Behaviour::default() };
        Self {
            inner: SimulatedProvider::new(pool.clone(), behaviour),
            answers: Semaphore::new(Semaphore::MAX_PERMITS),
            charges: AtomicUsize::default(),
            finds: AtomicUsize::default(),
            refusals: AtomicUsize::default(),
            outages: AtomicUsize::default(),
        }
    }

    /// Charges, and does not say so until `answers` has permits.
    pub fn silent(pool: &PgPool) -> Arc<Self> {
        Arc::new(Self { answers: Semaphore::new(0), ..Self::new(pool) })
    }

    fn reachable(&self) -> Result<(), Error> {
        if count_down(&self.outages) { Err(Error::Unavailable("connection refused".to_owned())) } else { Ok(()) }
    }
}

fn count_down(counter: &AtomicUsize) -> bool {
    counter.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)).is_ok()
}

#[async_trait]
impl Provider for Observed {
    fn name(&self) -> &'static str {
        "observed"
    }

    async fn charge(&self, live: Live, request: &ChargeRequest) -> Result<Outcome, Error> {
        self.reachable()?;
        self.charges.fetch_add(1, Ordering::SeqCst);
        let outcome = self.inner.charge(live, request).await?;
        self.answers.acquire().await.unwrap().forget();
        Ok(outcome)
    }

    async fn refund(&self, live: Live, request: &RefundRequest) -> Result<Outcome, Error> {
        self.reachable()?;
        if count_down(&self.refusals) {
            return Ok(Outcome::Refused { reason: "account_closed".to_owned() });
        }
        self.inner.refund(live, request).await
    }

    async fn find(&self, key: &str) -> Result<Option<Outcome>, Error> {
        self.reachable()?;
        self.finds.fetch_add(1, Ordering::SeqCst);
        self.inner.find(key).await
    }
}
