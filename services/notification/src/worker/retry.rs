//! When a failed attempt is made again.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use domain::notification::Failure;

/// Exponential backoff, and an end to it.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// Before the second attempt. Up to half as much more is added at random, to this wait and to each further one.
    pub base: Duration,
    /// Each further wait is so many times the one before.
    pub factor: u32,
    /// The longest wait.
    pub wait_max: Duration,
    /// So many attempts, then it has failed.
    pub attempts_max: u32,
    /// How often is looked for what is due.
    pub look_every: Duration,
}

impl Retry {
    /// Over three hours: 5 s, 15 s, 45 s, 2 min, 7 min, 20 min, then hours. Mail servers come back.
    pub fn of_mail() -> Self {
        let (base, wait_max) = (Duration::from_secs(5), Duration::from_secs(3_600));
        Self { base, factor: 3, wait_max, attempts_max: 10, look_every: Duration::from_secs(1) }
    }

    /// Over half a day: 5 s, 20 s, 80 s, 5 min, 21 min, 85 min, then every six hours at most.
    pub fn of_webhooks() -> Self {
        let (base, wait_max) = (Duration::from_secs(5), Duration::from_secs(6 * 3_600));
        Self { base, factor: 4, wait_max, attempts_max: 9, look_every: Duration::from_secs(1) }
    }

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
        if attempts >= self.attempts_max || failure.is_permanent() {
            return None;
        }
        let wait = self.base.saturating_mul(self.factor.saturating_pow(failed_before)).min(self.wait_max);
        let wait = wait.mul_f64(1.0 + jitter / 2.0);
        Some(now + TimeDelta::from_std(wait).unwrap_or(TimeDelta::days(1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_up_to_the_longest_and_to_the_last_attempt() {
        let now = DateTime::UNIX_EPOCH;
        let next = |failed, jitter| Retry::of_webhooks().next(Failure::TimedOut, failed, now, jitter);
        let waits: Vec<i64> = (0..).map_while(|failed| next(failed, 0.0)).map(|at| (at - now).num_seconds()).collect();
        assert_eq!(waits, [5, 20, 80, 320, 1_280, 5_120, 20_480, 21_600]);
        assert_eq!(next(0, 1.0).map(|at| (at - now).num_milliseconds()), Some(7_500));
        assert_eq!(next(u32::MAX, 0.0), None);
    }

    #[test]
    fn what_is_refused_for_good_is_not_tried_again() {
        for failure in [Failure::Refused, Failure::NoRecipient, Failure::ForbiddenAddress] {
            assert_eq!(Retry::of_mail().next(failure, 0, DateTime::UNIX_EPOCH, 0.0), None);
        }
    }
}
