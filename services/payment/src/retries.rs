//! How many calls to the provider may be repeated.

use std::sync::atomic::{AtomicI64, Ordering};

/// One retry at its usual pause for five answers, and a hundred saved at most: while a provider fails because of too
/// much load, retries must not add to it.
pub(crate) struct RetryBudget(AtomicI64);

impl RetryBudget {
    const RETRY: i64 = 5;
    const MAX: i64 = 100 * Self::RETRY;

    /// A call was answered.
    pub(crate) fn deposit(&self) {
        let save = |left| (left < Self::MAX).then_some(left + 1);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, save);
    }

    /// Whether one may be repeated soon.
    pub(crate) fn withdraw(&self) -> bool {
        let spend = |left| (left >= Self::RETRY).then_some(left - Self::RETRY);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self(AtomicI64::new(Self::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_earned_by_answers() {
        let budget = RetryBudget::default();
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 100);
        (0..9).for_each(|_| budget.deposit());
        assert_eq!((0..10).filter(|_| budget.withdraw()).count(), 1);
        (0..10_000).for_each(|_| budget.deposit());
        assert_eq!((0..1_000).filter(|_| budget.withdraw()).count(), 100);
    }
}
