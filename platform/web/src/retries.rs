//! How many calls to another service may be repeated.

use std::sync::atomic::{AtomicI64, Ordering};

/// A budget of retries, earned by good answers: while the other side fails because of too much load, retries must not add
/// to it.
#[derive(Debug)]
pub struct RetryBudget {
    left: AtomicI64,
    price: i64,
    most: i64,
}

impl RetryBudget {
    /// One retry for each `answers` good answers, and `saved` retries at most and to begin with.
    pub fn new(answers: u32, saved: u32) -> Self {
        let (price, saved) = (i64::from(answers.max(1)), i64::from(saved));
        Self { left: AtomicI64::new(price * saved), price, most: price * saved }
    }

    /// A call was answered.
    pub fn deposit(&self) {
        let save = |left| (left < self.most).then_some(left + 1);
        let _ = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, save);
    }

    /// Whether a call may be repeated soon: takes one retry out.
    pub fn withdraw(&self) -> bool {
        let spend = |left| (left >= self.price).then_some(left - self.price);
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_earned_by_answers() {
        for (answers, saved) in [(10, 10), (5, 100), (1, 1)] {
            let budget = RetryBudget::new(answers, saved);
            let withdrawn = || (0..1_000).filter(|_| budget.withdraw()).count();
            assert_eq!(withdrawn(), saved as usize);
            (0..2 * answers - 1).for_each(|_| budget.deposit());
            assert_eq!(withdrawn(), 1, "no half of a retry");
            (0..10_000).for_each(|_| budget.deposit());
            assert_eq!(withdrawn(), saved as usize);
        }
    }
}
