//! Failed logins: after so many for one account within a time, no more passwords are tried until the time is over.

use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::time::Instant;
use uuid::Uuid;

/// Accounts whose failures are remembered; each takes about 150 bytes.
const ACCOUNTS_MAX: u64 = 100_000;

/// Counts failures by account, whether there is such an account or not.
pub(crate) struct Attempts {
    failures: Cache<Uuid, Arc<Mutex<Failures>>>,
    failures_max: u32,
    window: Duration,
}

struct Failures {
    since: Instant,
    count: u32,
}

impl Attempts {
    pub(crate) fn new(failures_max: u32, window: Duration) -> Self {
        let failures = Cache::builder().max_capacity(ACCOUNTS_MAX).time_to_live(window * 2).build();
        Self { failures, failures_max, window }
    }

    /// How long nothing may be tried, if there were too many failures.
    pub(crate) fn refused(&self, account: Uuid) -> Option<Duration> {
        let failures = self.failures.get(&account)?;
        let failures = failures.lock();
        let left = self.window.saturating_sub(failures.since.elapsed());
        (failures.count >= self.failures_max && !left.is_zero()).then_some(left)
    }

    pub(crate) fn failed(&self, account: Uuid) {
        let new = || Arc::new(Mutex::new(Failures { since: Instant::now(), count: 0 }));
        let failures = self.failures.get_with(account, new);
        let mut failures = failures.lock();
        if failures.since.elapsed() >= self.window {
            *failures = Failures { since: Instant::now(), count: 0 };
        }
        failures.count = failures.count.saturating_add(1);
    }

    pub(crate) fn succeeded(&self, account: Uuid) {
        self.failures.invalidate(&account);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_account_rests_after_too_many_failures() {
        let attempts = Attempts::new(3, Duration::from_secs(60));
        let (john, jane) = (Uuid::from_u128(1), Uuid::from_u128(2));
        attempts.failed(john);
        attempts.failed(john);
        attempts.succeeded(john);
        for _ in 0..3 {
            assert_eq!(attempts.refused(john), None);
            attempts.failed(john);
        }
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(attempts.refused(john), Some(Duration::from_secs(50)));
        assert_eq!(attempts.refused(jane), None);
        tokio::time::advance(Duration::from_secs(50)).await;
        assert_eq!(attempts.refused(john), None);
        attempts.failed(john);
        assert_eq!(attempts.refused(john), None, "a new window begins with the first failure");
    }
}
