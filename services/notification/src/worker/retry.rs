//! When a failed attempt is made again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::notification::Failure;

/// Exponential backoff, and an end to it.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Before the second attempt; doubled before each further one, and up to half as much more at random.
    pub base: Duration,
    /// So many attempts, then it is given up.
    pub attempts_max: u32,
    /// How often is looked for what is due.
    pub look_every: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { base: Duration::from_secs(1), attempts_max: 5, look_every: Duration::from_secs(1) }
    }
}

impl Retry {
    /// When to try again after this failure, `failed_before` having failed before it; `jitter` is from 0 to 1.
    /// None: never.
    pub(crate) fn next(
        &self,
        failure: Failure,
        failed_before: u32,
        now: DateTime<Utc>,
        jitter: f64,
    ) -> Option<DateTime<Utc>> {
        let attempts = failed_before.saturating_add(1);
        if attempts >= self.attempts_max || matches!(failure, Failure::Refused | Failure::NoRecipient) {
            return None;
        }
        let wait = self.base.saturating_mul(1 << failed_before.min(16)).mul_f64(1.0 + jitter / 2.0);
        Some(now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_attempt() {
        let now = DateTime::UNIX_EPOCH;
        let next = |failed, jitter| Retry::default().next(Failure::TimedOut, failed, now, jitter);
        let seconds = |failed| next(failed, 0.0).map(|at| (at - now).num_seconds());
        assert_eq!([0, 1, 2, 3, 4].map(seconds), [Some(1), Some(2), Some(4), Some(8), None]);
        assert_eq!(next(0, 1.0).map(|at| (at - now).num_milliseconds()), Some(1_500));
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        for failure in [Failure::Refused, Failure::NoRecipient] {
            assert_eq!(Retry::default().next(failure, 0, DateTime::UNIX_EPOCH, 0.0), None);
        }
    }
}
