//! Who waits for an order's end: woken by the projection, never polling.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use kernel::OrderId;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// So many may wait at once; more are answered at once with what there is.
const WAITERS_MAX: usize = 10_000;

/// All who wait in this process.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    orders: HashMap<OrderId, Awaited>,
    waiters: usize,
    generations: u64,
}

/// An order that somebody waits for.
struct Awaited {
    ended: CancellationToken,
    waiters: usize,
    /// Tells it from an earlier entry of the same order.
    generation: u64,
}

/// A place among those who wait; given up when dropped.
pub(crate) struct Waiter {
    all: Arc<Waiters>,
    order: OrderId,
    generation: u64,
    ended: CancellationToken,
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
        inner.generations += 1;
        let generation = inner.generations;
        let awaited = inner.orders.entry(order).or_insert_with(|| Awaited {
            ended: CancellationToken::new(),
            waiters: 0,
            generation,
        });
        awaited.waiters += 1;
        let (ended, generation) = (awaited.ended.clone(), awaited.generation);
        Some(Waiter { all: Arc::clone(self), order, generation, ended })
    }

    /// Wakes all who wait for the order.
    pub fn ended(&self, order: OrderId) {
        if let Some(awaited) = self.0.lock().orders.remove(&order) {
            awaited.ended.cancel();
        }
    }
}

impl Waiter {
    /// Returns when the order has ended.
    pub async fn ended(&self) {
        self.ended.cancelled().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut inner = self.all.0.lock();
        inner.waiters -= 1;
        if let Entry::Occupied(mut entry) = inner.orders.entry(self.order)
            && entry.get().generation == self.generation
        {
            entry.get_mut().waiters -= 1;
            if entry.get().waiters == 0 {
                entry.remove();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn an_end_wakes_all_who_wait_for_that_order_and_nobody_else() {
        let waiters = Arc::new(Waiters::default());
        let [order, other] = [1, 2].map(|n| OrderId(Uuid::from_u128(n)));
        let (first, second, third) =
            (waiters.register(order).unwrap(), waiters.register(order).unwrap(), waiters.register(other).unwrap());
        waiters.ended(order);
        first.ended().await;
        second.ended().await;
        assert!(!third.ended.is_cancelled());
        let again = waiters.register(order).unwrap();
        drop((first, second));
        assert_eq!(waiters.0.lock().orders.len(), 2, "the one who waits again keeps the place");
        drop((again, third));
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
