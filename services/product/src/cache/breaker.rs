//! A circuit breaker: after some failures in a row nobody tries for a while.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many failures in a row open it.
const FAILURES_MAX: u32 = 3;
/// So long nobody tries; then one failure is enough to open it again.
const OPEN_FOR: Duration = Duration::from_secs(5);

#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    failures: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// Whether a call may be tried now.
    pub fn allows(&self, now: Instant) -> bool {
        self.0.lock().open_until.is_none_or(|until| until <= now)
    }

    pub fn succeeded(&self) {
        *self.0.lock() = State::default();
    }

    /// Whether this failure opened it.
    pub fn failed(&self, now: Instant) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        if state.failures < FAILURES_MAX {
            return false;
        }
        state.open_until = Some(now + OPEN_FOR);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_in_a_row_open_it_for_a_while() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        assert!(!breaker.failed(now) && !breaker.failed(now));
        breaker.succeeded();
        assert!(!breaker.failed(now) && !breaker.failed(now) && breaker.allows(now));
        assert!(breaker.failed(now));
        assert!(!breaker.allows(now + OPEN_FOR / 2));
        let later = now + OPEN_FOR;
        assert!(breaker.allows(later));
        assert!(breaker.failed(later) && !breaker.allows(later));
        breaker.succeeded();
        assert!(breaker.allows(later));
    }
}
