//! Precedence: requests that are being answered come before the work that follows from them.
//!
//! Whoever answers requests [enters](Precedence::enter) while it does; whoever starts the work that follows
//! [gives way](Precedence::give_way) while several are at it. On a machine that cannot do both at once, a burst is
//! taken in first and worked off after it: what has been acknowledged is safe, and only a request can be lost.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

/// Fewer requests at a time are not a crowd: they leave room for both.
const CROWD: usize = 2;
/// A crowd that asks again as soon as it is answered makes pauses. One that has lasted is expected back for a while: a
/// pause this much of its time is its end.
const QUIET_SHARE: u32 = 4;
/// Two that came together by chance are waited for no longer than this.
const QUIET_MIN: Duration = Duration::from_millis(3);
/// The longest pause within a crowd: that of clients who get no processor to ask again.
const QUIET_MAX: Duration = Duration::from_millis(25);

/// Who is being answered now.
#[derive(Debug)]
pub struct Precedence {
    began: Instant,
    inside: AtomicUsize,
    /// When the crowd came together, in µs since `began`.
    gathered_us: AtomicU64,
    /// When the last of a crowd left, in µs since `began`; 0: there was none.
    crowded_us: AtomicU64,
    left: Notify,
}

impl Default for Precedence {
    fn default() -> Self {
        let (inside, gathered_us, crowded_us) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { began: Instant::now(), inside, gathered_us, crowded_us, left: Notify::new() }
    }
}

/// A request that is being answered, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct Inside<'a>(&'a Precedence);

impl Precedence {
    /// A request is being answered from now on.
    pub fn enter(&self) -> Inside<'_> {
        if self.inside.fetch_add(1, Ordering::Relaxed) + 1 == CROWD && self.pause().is_none() {
            self.gathered_us.store(self.now_us(), Ordering::Relaxed);
        }
        Inside(self)
    }

    /// Whether there is a crowd now, or was one a moment ago.
    pub fn is_crowded(&self) -> bool {
        self.crowded_for().is_some()
    }

    /// Waits until the crowd has gone, `longest` at most. `false` when it has not gone by then.
    pub async fn give_way(&self, longest: Duration) -> bool {
        let gone = async {
            loop {
                let left = self.left.notified();
                match self.crowded_for() {
                    None => return,
                    Some(Some(pause)) => tokio::time::sleep(pause).await,
                    Some(None) => left.await,
                }
            }
        };
        !self.is_crowded() || timeout_at(Instant::now() + longest, gone).await.is_ok()
    }

    /// None: there is no crowd. Else how long to wait before it counts as gone, if it has left.
    fn crowded_for(&self) -> Option<Option<Duration>> {
        if self.inside.load(Ordering::Relaxed) >= CROWD {
            return Some(None);
        }
        self.pause().map(Some)
    }

    /// What is left of the pause that a crowd which has left may make; none: it has gone, or there was none.
    fn pause(&self) -> Option<Duration> {
        let crowded_us = self.crowded_us.load(Ordering::Relaxed);
        if crowded_us == 0 {
            return None;
        }
        let lasted = Duration::from_micros(crowded_us.saturating_sub(self.gathered_us.load(Ordering::Relaxed)));
        let quiet = (lasted / QUIET_SHARE).clamp(QUIET_MIN, QUIET_MAX);
        let since = self.began.elapsed().saturating_sub(Duration::from_micros(crowded_us));
        quiet.checked_sub(since).filter(|pause| !pause.is_zero())
    }

    /// µs since `began`, never 0.
    fn now_us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX).max(1)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let precedence = self.0;
        if precedence.inside.fetch_sub(1, Ordering::Relaxed) >= CROWD {
            precedence.crowded_us.store(precedence.now_us(), Ordering::Relaxed);
            precedence.left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(100);

    #[tokio::test(start_paused = true)]
    async fn one_at_a_time_holds_nobody_up() {
        let precedence = Precedence::default();
        let _one = precedence.enter();
        assert!(!precedence.is_crowded());
        let began = Instant::now();
        assert!(precedence.give_way(LONGEST).await);
        assert_eq!(began.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_goes_first_until_it_has_gone() {
        let precedence = Precedence::default();
        let (one, other) = (precedence.enter(), precedence.enter());
        let began = Instant::now();
        let leave = async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            drop((one, other));
        };
        let (gone, ()) = tokio::join!(precedence.give_way(LONGEST), leave);
        assert!(gone);
        assert!(began.elapsed() >= Duration::from_millis(20 + 5), "{:?}", began.elapsed());
        assert!(!precedence.is_crowded());
    }

    #[tokio::test(start_paused = true)]
    async fn the_longer_a_crowd_lasts_the_longer_a_pause_it_may_make() {
        let precedence = Precedence::default();
        for (asks, quiet) in [(1, QUIET_MIN), (100, QUIET_MAX)] {
            for _ in 0..asks {
                let crowd = (precedence.enter(), precedence.enter());
                tokio::time::sleep(Duration::from_millis(2)).await;
                drop(crowd);
                // It asks again within the pause: it is the same crowd.
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let began = Instant::now();
            assert!(precedence.give_way(LONGEST).await);
            let pause = began.elapsed() + Duration::from_millis(1);
            assert!((quiet..quiet + Duration::from_millis(2)).contains(&pause), "{pause:?} after {asks}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_crowd_that_stays_is_not_waited_for_for_ever() {
        let precedence = Precedence::default();
        let _crowd = (precedence.enter(), precedence.enter());
        let began = Instant::now();
        assert!(!precedence.give_way(LONGEST).await);
        assert_eq!(began.elapsed(), LONGEST);
    }
}
