//! The time of a history that is written: it goes where it is put, and all that is drawn follows from a seed.

use chrono::{DateTime, Utc};
use event_store::clock::Clock;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use uuid::{Builder, Uuid};

/// A clock that is put on by hand.
pub(super) struct HandClock {
    micros: AtomicI64,
    ids: Mutex<StdRng>,
}

impl HandClock {
    /// One whose ids follow from the seed.
    pub(super) fn new(at: DateTime<Utc>, seed: u64) -> Self {
        Self { micros: AtomicI64::new(at.timestamp_micros()), ids: Mutex::new(StdRng::seed_from_u64(seed)) }
    }

    /// It is then.
    pub(super) fn put_on(&self, micros: i64) {
        self.micros.store(micros, Ordering::Relaxed);
    }

    /// Microseconds since the Unix epoch.
    pub(super) fn micros(&self) -> i64 {
        self.micros.load(Ordering::Relaxed)
    }
}

impl Clock for HandClock {
    fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_micros(self.micros()).unwrap_or_default()
    }

    fn new_id(&self) -> Uuid {
        let mut random = [0; 10];
        self.ids.lock().unwrap_or_else(PoisonError::into_inner).fill_bytes(&mut random);
        let millis = u64::try_from(self.micros() / 1_000).unwrap_or(0);
        Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_from_seed_and_time() {
        let at = DateTime::from_timestamp_micros(1_700_000_000_000_000).unwrap();
        let ids = |seed| {
            let clock = HandClock::new(at, seed);
            let first = clock.new_id();
            clock.put_on(clock.micros() + 1_000);
            (first, clock.new_id())
        };
        let (first, second) = ids(7);
        assert_eq!(ids(7), (first, second));
        assert_ne!(ids(8).0, first);
        assert!(first < second && first.get_version_num() == 7, "{first} {second}");
    }
}
