//! How a bank behaves. Each key is treated alike however often it comes.

use std::time::Duration;

use uuid::Uuid;

/// How a bank behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Behaviour {
    /// The share of charges that it accepts, 0 to 1; a key is always accepted or never.
    pub success_rate: f64,
    /// How long it takes to answer.
    pub latency: Duration,
    /// When a reply that was lost comes after all: later than anybody waits.
    pub lost_reply_after: Duration,
    /// What goes wrong besides.
    pub chaos: Chaos,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            success_rate: 1.0,
            latency: Duration::ZERO,
            lost_reply_after: Duration::from_secs(10),
            chaos: Chaos::default(),
        }
    }
}

/// What goes wrong on the way back. Whatever was asked has happened then.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Chaos {
    /// The share of replies that are lost, 0 to 1.
    pub lost: f64,
    /// The share of replies that are late.
    pub late: f64,
    /// By how much.
    pub late_by: Duration,
    /// The share of results that are told twice.
    pub duplicated: f64,
}

impl Behaviour {
    /// Whether every share is one.
    pub fn makes_sense(&self) -> bool {
        let Chaos { lost, late, duplicated, .. } = self.chaos;
        [self.success_rate, lost, late, duplicated].iter().all(|share| (0.0..=1.0).contains(share))
    }

    pub(super) fn declines(&self, key: &str) -> bool {
        share(key) >= self.success_rate
    }

    pub(super) fn answers_twice(&self, key: &str) -> bool {
        falls(key, "twice", self.chaos.duplicated)
    }

    /// As long as the answer takes; after the entry, which is there even if nobody waits any more.
    pub(super) async fn take_time(&self, key: &str) {
        let late = if falls(key, "late", self.chaos.late) { self.chaos.late_by } else { Duration::ZERO };
        let takes = if falls(key, "lost", self.chaos.lost) { self.lost_reply_after } else { self.latency + late };
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
    }
}

/// Whether the key is among those of this share to which `what` happens.
fn falls(key: &str, what: &str, rate: f64) -> bool {
    rate > 0.0 && share(&format!("{what}/{key}")) < rate
}

/// Where in 0..1 the key falls, evenly spread.
fn share(key: &str) -> f64 {
    let [a, b, c, d, ..] = Uuid::new_v5(&Uuid::NAMESPACE_OID, key.as_bytes()).into_bytes();
    f64::from(u32::from_be_bytes([a, b, c, d])) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_spread_evenly_and_always_fall_alike() {
        let behaviour = Behaviour { success_rate: 0.8, ..Behaviour::default() };
        let accepted = (0..10_000).filter(|n| !behaviour.declines(&format!("{n}/charge"))).count();
        assert!((7_800..8_200).contains(&accepted), "{accepted}");
        assert_eq!(share("1/charge").to_bits(), share("1/charge").to_bits());
    }

    #[test]
    fn the_extremes_are_all_and_none() {
        assert!((0..10_000).map(|n| share(&n.to_string())).all(|share| (0.0..1.0).contains(&share)));
        assert!((0..1_000).all(|n| falls(&n.to_string(), "late", 1.0) && !falls(&n.to_string(), "late", 0.0)));
    }

    #[test]
    fn shares_are_0_to_1() {
        assert!(Behaviour::default().makes_sense());
        for wrong in [-0.1, 1.1, f64::NAN] {
            let chaos = Chaos { late: wrong, ..Chaos::default() };
            assert!(!Behaviour { chaos, ..Behaviour::default() }.makes_sense());
            assert!(!Behaviour { success_rate: wrong, ..Behaviour::default() }.makes_sense());
        }
    }
}
