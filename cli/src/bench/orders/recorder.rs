//! Times and errors of the orders that count.

use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// The longest time that is told exactly.
const LONGEST_US: u64 = 120_000_000;

/// Takes results in from all clients. What was due in the window counts for times and errors, what was confirmed in it
/// for the throughput.
pub(super) struct Recorder {
    from: Instant,
    /// The end of the window.
    pub(super) to: Instant,
    results: Mutex<Results>,
}

/// What was recorded.
#[derive(Clone)]
pub(super) struct Results {
    /// Orders confirmed in the window.
    pub(super) confirmed: u64,
    /// From the moment it was due until the client saw it confirmed, in µs.
    pub(super) latency: Histogram<u64>,
    /// From the moment it was due until it was acknowledged, in µs.
    pub(super) accepted: Histogram<u64>,
    /// Errors by kind.
    pub(super) errors: BTreeMap<String, u64>,
}

impl Recorder {
    pub(super) fn new(from: Instant, to: Instant) -> Self {
        let empty = || Histogram::new_with_bounds(1, LONGEST_US, 3).expect("these bounds are allowed");
        let results = Results { confirmed: 0, latency: empty(), accepted: empty(), errors: BTreeMap::new() };
        Self { from, to, results: Mutex::new(results) }
    }

    /// An order that was due at `due` is over now: confirmed, having been acknowledged at that moment, or an error.
    pub(super) fn record(&self, due: Instant, ended: Result<Instant, String>) {
        self.record_at(due, ended, Instant::now());
    }

    fn record_at(&self, due: Instant, ended: Result<Instant, String>, now: Instant) {
        let counts = (self.from..self.to).contains(&due);
        let us = |moment: Instant| u64::try_from((moment - due).as_micros()).unwrap_or(u64::MAX);
        let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
        match ended {
            Ok(accepted) => {
                results.confirmed += u64::from((self.from..self.to).contains(&now));
                if counts {
                    results.latency.saturating_record(us(now));
                    results.accepted.saturating_record(us(accepted));
                }
            }
            Err(kind) if counts => *results.errors.entry(kind).or_default() += 1,
            Err(_) => {}
        }
    }

    /// All results so far.
    pub(super) fn results(&self) -> Results {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn only_what_is_in_the_window_counts_and_times_begin_when_an_order_was_due() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let recorder = Recorder::new(at(1_000), at(2_000));
        recorder.record_at(at(900), Ok(at(905)), at(1_010)); // due before, confirmed within
        recorder.record_at(at(1_500), Ok(at(1_520)), at(1_540));
        recorder.record_at(at(1_990), Ok(at(1_995)), at(2_490)); // due within, confirmed after
        recorder.record_at(at(990), Err("early".to_owned()), at(1_001));
        recorder.record_at(at(1_700), Err("503".to_owned()), at(1_701));
        let results = recorder.results();
        assert_eq!(results.confirmed, 2);
        assert_eq!(results.latency.len(), 2);
        assert!((499_000..=501_000).contains(&results.latency.max()), "{}", results.latency.max());
        assert_eq!(results.errors, BTreeMap::from([("503".to_owned(), 1)]));
    }
}
