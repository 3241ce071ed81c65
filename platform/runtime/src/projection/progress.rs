//! How far a rebuild or a verification has come, and how much of the machine it may take.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::others::Others;
use crate::precedence::Precedence;

/// A batch waits so long at most for a crowd of requests to go.
const GIVES_WAY: Duration = Duration::from_millis(250);
/// Of the time, while others are at work.
const SHARE_BESIDE_OTHERS: f64 = 0.3;
/// Batches are so many times smaller then: what others wait for is over sooner.
const SMALLER_BESIDE_OTHERS: usize = 4;

/// What is being done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Stage {
    /// Looking at what there is.
    #[default]
    Planning,
    /// Filling the new table.
    Filling,
    /// Making its indexes.
    Indexing,
    /// Following what was recorded meanwhile.
    CatchingUp,
    /// Comparing it with the fold.
    Verifying,
    /// Putting it in the old one's place.
    Swapping,
}

impl Stage {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "planning",
            Self::Filling => "filling",
            Self::Indexing => "indexing",
            Self::CatchingUp => "catching up",
            Self::Verifying => "verifying",
            Self::Swapping => "swapping",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How far it has come: written by those who work, read by whoever shows it.
#[derive(Debug)]
pub struct Progress {
    stage: watch::Sender<Stage>,
    total: AtomicU64,
    events: AtomicU64,
    rows: AtomicU64,
}

impl Default for Progress {
    fn default() -> Self {
        let (total, events, rows) = Default::default();
        Self { stage: watch::channel(Stage::Planning).0, total, events, rows }
    }
}

impl Progress {
    /// What is being done, and when that changes.
    pub fn stage(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// About so many events there are.
    pub fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    /// Events that were folded, those of earlier runs included.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Rows that were written or compared, those of earlier runs included.
    pub fn rows(&self) -> u64 {
        self.rows.load(Ordering::Relaxed)
    }

    pub(super) fn enter(&self, stage: Stage) {
        self.stage.send_if_modified(|now| std::mem::replace(now, stage) != stage);
    }

    /// Begins to count anew.
    pub(super) fn of(&self, total: u64, events: u64, rows: u64) {
        self.total.store(total, Ordering::Relaxed);
        self.events.store(events, Ordering::Relaxed);
        self.rows.store(rows, Ordering::Relaxed);
    }

    pub(super) fn passed(&self, events: u64, rows: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

/// How much of the machine it may take.
#[derive(Debug, Clone, Default)]
pub struct Pace {
    /// At most so many events a second, all workers together.
    pub events_per_s_max: Option<f64>,
    /// Works for this share of the time, and leaves the rest to others.
    pub share: Option<f64>,
    /// Leaves these most of the time while they are at work.
    pub others: Option<Others>,
    /// Lets crowds of requests go first.
    pub precedence: Option<Arc<Precedence>>,
}

/// One worker's.
#[derive(Debug)]
pub(super) struct Steps {
    pace: Pace,
    workers: f64,
    began: Instant,
    events: f64,
    since: Instant,
}

impl Pace {
    pub(super) fn steps(&self, workers: usize) -> Steps {
        let now = Instant::now();
        Steps { pace: self.clone(), workers: workers as f64, began: now, events: 0.0, since: now }
    }
}

impl Steps {
    /// A batch of so many at most is made smaller beside others.
    pub(super) fn batch_max(&self, at_most: usize) -> usize {
        if self.is_beside_others() { at_most / SMALLER_BESIDE_OTHERS } else { at_most }
    }

    fn is_beside_others(&self) -> bool {
        self.pace.others.as_ref().is_some_and(Others::are_busy)
    }

    fn share(&self) -> Option<f64> {
        let share = self.pace.share;
        if self.is_beside_others() { Some(share.unwrap_or(1.0).min(SHARE_BESIDE_OTHERS)) } else { share }
    }

    /// After a batch of so many events: waits as long as is to be left to others.
    pub(super) async fn done(&mut self, events: u64) {
        if let Some(share) = self.share() {
            tokio::time::sleep(self.since.elapsed().mul_f64((1.0 - share).max(0.0) / share.max(0.01))).await;
        }
        if let Some(rate) = self.pace.events_per_s_max {
            self.events += events as f64;
            let due = Duration::from_secs_f64(self.events * self.workers / rate.max(1.0));
            tokio::time::sleep_until(self.began + due).await;
        }
        if let Some(precedence) = &self.pace.precedence {
            precedence.give_way(GIVES_WAY).await;
        }
        self.since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_kept_by_all_workers_together() {
        let began = Instant::now();
        let mut steps = Pace { events_per_s_max: Some(1_000.0), ..Pace::default() }.steps(2);
        steps.done(500).await;
        steps.done(500).await;
        assert_eq!(began.elapsed().as_millis(), 2_000);
    }

    #[tokio::test(start_paused = true)]
    async fn a_share_of_the_time_is_left_to_others() {
        let mut steps = Pace { share: Some(0.25), ..Pace::default() }.steps(1);
        tokio::time::advance(Duration::from_millis(100)).await;
        let began = Instant::now();
        steps.done(1).await;
        assert_eq!(began.elapsed().as_millis(), 300);
    }
}
