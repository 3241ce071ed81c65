//! How many requests are handled at once, and who is turned away when more are asked for.
//!
//! A slot is taken without waiting as long as one is free. Where none is, requests wait in a bounded queue, first come
//! first served, and no longer than makes sense: a queue that has not been empty for a while will not empty by itself,
//! so its patience falls to a tenth (after CoDel, Nichols and Jacobson 2012). What is let in is answered while somebody
//! still waits for it. What is turned away is told so no sooner than a patient queue would have told it: whoever hears no
//! at once asks again at once, and refusals would take the time in which others could be answered.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use telemetry::metrics::{self, IntCounter, IntGauge};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::Instant;

use crate::measures::{SHED, WAITING};
use crate::{EdgeOptions, Problem};

/// A queue that has not been empty for this long is a standing one.
const STANDING_MS: u64 = 100;
/// Requests that are known to take long, such as long polls, at once.
const LONG_MAX: usize = 8_192;
/// Refusals that are held back at once; more are told at once.
const HELD_MAX: usize = 8_192;

/// The slots of a server.
pub(crate) struct Gate {
    slots: Semaphore,
    long: Semaphore,
    waiting: AtomicUsize,
    held: Semaphore,
    /// When the queue was last empty, in milliseconds since `started`, plus one; zero while it is.
    crowded_since: AtomicU64,
    started: Instant,
    queue_max: usize,
    patience: Duration,
    shed: IntCounter,
    waits: IntGauge,
}

impl Gate {
    pub fn new(service: &str, options: &EdgeOptions) -> Self {
        let service = &[metrics::role(service)];
        Self {
            slots: Semaphore::new(options.concurrency_max.clamp(1, Semaphore::MAX_PERMITS)),
            long: Semaphore::new(LONG_MAX),
            waiting: AtomicUsize::new(0),
            held: Semaphore::new(HELD_MAX),
            crowded_since: AtomicU64::new(0),
            started: Instant::now(),
            queue_max: options.queue_max,
            patience: options.queue_timeout,
            shed: SHED.with(service),
            waits: WAITING.with(service),
        }
    }

    /// A slot, at once or after waiting for one.
    ///
    /// # Errors
    /// 503: there was none in time.
    pub async fn enter(&self) -> Result<SemaphorePermit<'_>, Problem> {
        if let Ok(slot) = self.slots.try_acquire() {
            return Ok(slot);
        }
        let came = Instant::now();
        if let Some(slot) = self.wait().await {
            return Ok(slot);
        }
        if let Ok(_held) = self.held.try_acquire() {
            tokio::time::sleep_until(came + self.patience).await;
        }
        Err(self.turn_away())
    }

    /// A slot for a request that is known to take long.
    ///
    /// # Errors
    /// 503: there is none.
    pub fn enter_long(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.long.try_acquire().map_err(|_| self.turn_away())
    }

    fn turn_away(&self) -> Problem {
        self.shed.inc();
        Problem::overloaded()
    }

    async fn wait(&self) -> Option<SemaphorePermit<'_>> {
        let queued = Queued::join(self)?;
        let slot = tokio::time::timeout(queued.patience(), self.slots.acquire()).await;
        slot.ok()?.ok()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
    }
}

/// One place in the queue.
struct Queued<'a>(&'a Gate);

impl<'a> Queued<'a> {
    fn join(gate: &'a Gate) -> Option<Self> {
        let ahead = gate.waiting.fetch_add(1, Ordering::Relaxed);
        let queued = Self(gate);
        gate.waits.inc();
        if ahead == 0 {
            gate.crowded_since.store(gate.now_ms(), Ordering::Relaxed);
        }
        (ahead < gate.queue_max).then_some(queued)
    }

    fn patience(&self) -> Duration {
        let since = self.0.crowded_since.load(Ordering::Relaxed);
        let standing = since != 0 && self.0.now_ms().saturating_sub(since) > STANDING_MS;
        if standing { self.0.patience / 10 } else { self.0.patience }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.waits.dec();
        if self.0.waiting.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.crowded_since.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::*;

    fn gate(concurrency_max: usize, queue_max: usize) -> Arc<Gate> {
        let queue_timeout = Duration::from_millis(500);
        let options = EdgeOptions { concurrency_max, queue_max, queue_timeout, ..EdgeOptions::default() };
        Arc::new(Gate::new("gate", &options))
    }

    #[tokio::test(start_paused = true)]
    async fn a_slot_that_comes_free_in_time_goes_to_who_waits() {
        let gate = gate(1, 1);
        let slot = gate.enter().await.unwrap();
        let waiting = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(400)).await;
        // The queue is full: this one waits for no slot, and hears so as late as it would have if it had.
        let (begun, full) = (Instant::now(), Arc::clone(&gate));
        let refused = tokio::spawn(async move { full.enter().await.is_err().then(|| begun.elapsed()) });
        tokio::task::yield_now().await;
        drop(slot);
        assert!(waiting.await.unwrap());
        assert!(gate.enter().now_or_never().unwrap().is_ok());
        assert!(refused.await.unwrap().unwrap() >= Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_standing_queue_loses_its_patience() {
        let gate = gate(1, 10);
        let _slot = gate.enter().await.unwrap();
        let first = tokio::spawn({
            let gate = Arc::clone(&gate);
            async move { gate.enter().await.is_ok() }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        let begun = Instant::now();
        assert!(gate.wait().await.is_none());
        assert!(begun.elapsed() < Duration::from_millis(60), "{:?}", begun.elapsed());
        assert!(!first.await.unwrap());
        // The queue is empty again, and so it is patient again.
        let begun = Instant::now();
        assert!(gate.wait().await.is_none());
        assert!(begun.elapsed() >= Duration::from_millis(500));
    }
}
