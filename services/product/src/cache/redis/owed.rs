//! Tombstones that could not be set when they were due.
//!
//! What lies in Redis of a product whose tombstone is owed is out of date, and may be read by whoever reaches Redis. So
//! this process believes nothing of it, and every other instance does the same for itself: each hears of the change and
//! buries too. They are set as soon as Redis answers again.

use std::collections::HashSet;
use std::sync::Weak;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use uuid::Uuid;

use super::{LIFETIME, Redis};

/// How often it is tried.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// So many are remembered; where there are more, nothing is believed until all that lay there has expired.
const IDS_MAX: usize = 10_000;
/// In one call.
const CALL_IDS_MAX: usize = 1_000;

#[derive(Default)]
pub(super) struct Owed(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    ids: HashSet<Uuid>,
    /// Some were forgotten.
    too_many: bool,
    paying: bool,
    /// Nothing is believed before.
    until: Option<Instant>,
}

impl Owed {
    /// Whether anything there may be out of date.
    pub fn any(&self) -> bool {
        let inner = self.0.lock();
        inner.paying || inner.until.is_some_and(|until| Instant::now() < until)
    }

    /// Whether somebody has to begin to pay.
    #[must_use]
    pub fn add(&self, ids: &[Uuid]) -> bool {
        let mut inner = self.0.lock();
        inner.ids.extend(ids);
        if inner.ids.len() > IDS_MAX {
            inner.ids.clear();
            inner.too_many = true;
        }
        !std::mem::replace(&mut inner.paying, true)
    }

    fn some(&self) -> Vec<Uuid> {
        let mut inner = self.0.lock();
        let some: Vec<Uuid> = inner.ids.iter().take(CALL_IDS_MAX).copied().collect();
        some.iter().for_each(|id| {
            inner.ids.remove(id);
        });
        some
    }

    /// Whether nothing is left to pay.
    fn settled(&self) -> bool {
        let mut inner = self.0.lock();
        if !inner.ids.is_empty() {
            return false;
        }
        inner.paying = false;
        if std::mem::take(&mut inner.too_many) {
            inner.until = Some(Instant::now() + LIFETIME);
        }
        true
    }
}

/// Sets what is owed, then ends; also when nobody uses this Redis any more.
pub(super) async fn pay(redis: Weak<Redis>) {
    loop {
        tokio::time::sleep(TRY_EVERY).await;
        let Some(redis) = redis.upgrade() else { return };
        loop {
            let ids = redis.owed.some();
            // Of too many none is known by name: the call then only tells that Redis answers.
            let nobody = [Uuid::nil()];
            if !redis.try_bury(if ids.is_empty() { &nobody } else { &ids }).await {
                let _ = redis.owed.add(&ids);
                break;
            }
            if redis.owed.settled() {
                tracing::info!("Redis is used again");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_paid_before_anything_is_believed() {
        let owed = Owed::default();
        assert!(!owed.any());
        let ids: Vec<Uuid> = (0..1_500).map(Uuid::from_u128).collect();
        assert!(owed.add(&ids), "somebody has to begin");
        assert!(!owed.add(&ids[..1]), "somebody has begun");
        assert_eq!(owed.some().len(), CALL_IDS_MAX);
        assert!(!owed.settled() && owed.any());
        assert_eq!(owed.some().len(), 500);
        assert!(owed.settled() && !owed.any());
    }

    #[test]
    fn of_too_many_none_is_remembered_and_nothing_believed_for_long() {
        let owed = Owed::default();
        let ids: Vec<Uuid> = (0..=IDS_MAX as u128).map(Uuid::from_u128).collect();
        assert!(owed.add(&ids));
        assert!(owed.some().is_empty());
        assert!(owed.settled() && owed.any());
    }
}
