//! Who waits for something to happen to an order: woken by the projection, never polling.

use std::collections::HashMap;
use std::sync::Arc;

use kernel::OrderId;
use parking_lot::Mutex;
use tokio::sync::watch;

/// So many may wait at once; more are answered at once with what there is.
const WAITERS_MAX: usize = 10_000;

/// All who wait in this process.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    orders: HashMap<OrderId, Awaited>,
    waiters: usize,
}

/// An order that somebody waits for.
struct Awaited {
    seen: watch::Sender<Seen>,
    waiters: usize,
}

/// What the projection has seen of an order since somebody waits for it.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    sequence: u64,
    ended: bool,
}

/// A place among those who wait; given up when dropped.
pub(crate) struct Waiter {
    all: Arc<Waiters>,
    order: OrderId,
    seen: watch::Receiver<Seen>,
}

impl Waiters {
    /// Takes a place. Do so before looking at the order: whatever happens to it afterwards is not missed. `None` when
    /// all places are taken.
    pub fn register(self: &Arc<Self>, order: OrderId) -> Option<Waiter> {
        let mut inner = self.0.lock();
        if inner.waiters >= WAITERS_MAX {
            return None;
        }
        inner.waiters += 1;
        let awaited =
            inner.orders.entry(order).or_insert_with(|| Awaited { seen: watch::Sender::default(), waiters: 0 });
        awaited.waiters += 1;
        let seen = awaited.seen.subscribe();
        Some(Waiter { all: Arc::clone(self), order, seen })
    }

    /// Wakes those who wait for these orders: each with the sequence of an event, and whether it ended the order.
    pub fn happened(&self, events: impl Iterator<Item = (OrderId, u64, bool)>) {
        let inner = self.0.lock();
        if inner.orders.is_empty() {
            return;
        }
        for (order, sequence, ended) in events {
            if let Some(awaited) = inner.orders.get(&order) {
                awaited.seen.send_modify(|seen| {
                    *seen = Seen { sequence: seen.sequence.max(sequence), ended: seen.ended || ended };
                });
            }
        }
    }
}

impl Waiter {
    /// Returns when the order has ended.
    pub async fn ended(&mut self) {
        self.until(|seen| seen.ended).await;
    }

    /// Returns when something has happened to the order after this sequence.
    pub async fn beyond(&mut self, sequence: u64) {
        self.until(|seen| seen.sequence > sequence).await;
    }

    async fn until(&mut self, enough: impl FnMut(&Seen) -> bool) {
        // The sender lives as long as anybody waits.
        if self.seen.wait_for(enough).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.all.0.lock();
        inner.waiters -= 1;
        if let Some(awaited) = inner.orders.get_mut(&self.order) {
            awaited.waiters -= 1;
            if awaited.waiters == 0 {
                inner.orders.remove(&self.order);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn an_event_wakes_all_who_wait_for_it_and_nobody_else() {
        let waiters = Arc::new(Waiters::default());
        let [order, other] = [1, 2].map(|n| OrderId(Uuid::from_u128(n)));
        let (mut first, mut second, mut third) =
            (waiters.register(order).unwrap(), waiters.register(order).unwrap(), waiters.register(other).unwrap());
        waiters.happened([(order, 2, false)].into_iter());
        first.beyond(1).await;
        assert!(first.beyond(2).now_or_never().is_none() && second.ended().now_or_never().is_none());
        waiters.happened([(order, 3, true), (order, 4, false)].into_iter());
        first.ended().await;
        second.ended().await;
        second.beyond(3).await;
        assert!(third.beyond(0).now_or_never().is_none());
        drop(first);
        assert_eq!(waiters.0.lock().orders.len(), 2, "the one who still waits keeps the place");
        drop((second, third));
        let left = waiters.0.lock();
        assert_eq!((left.orders.len(), left.waiters), (0, 0));
    }

    #[test]
    fn places_are_limited() {
        let waiters = Arc::new(Waiters::default());
        let order = OrderId(Uuid::nil());
        let mut all = (0..WAITERS_MAX).map(|_| waiters.register(order).unwrap()).collect::<Vec<_>>();
        assert!(waiters.register(order).is_none());
        all.pop();
        assert!(waiters.register(order).is_some());
    }
}
