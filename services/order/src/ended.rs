//! Orders that have ended, as they were read a moment ago: what their customers look at again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use domain::order::{OrderStatus, Placed};
use kernel::OrderId;
use telemetry::metrics::CacheReads;

/// Orders kept in the process.
const ORDERS_MAX: u64 = 10_000;
/// So long at most may an order be shown as it was before another instance's projection changed it.
const LIFETIME: Duration = Duration::from_secs(1);

/// A cache of ended orders; dropped from it when the projection has written something new of them.
pub(crate) struct Ended {
    orders: moka::sync::Cache<OrderId, Arc<Placed>>,
    /// Rises with each change: an order read before one is not kept after it.
    changes: AtomicU64,
    reads: CacheReads,
}

impl Default for Ended {
    fn default() -> Self {
        let orders = moka::sync::Cache::builder().max_capacity(ORDERS_MAX).time_to_live(LIFETIME).build();
        Self { orders, changes: AtomicU64::new(0), reads: CacheReads::new("order", "ended_orders") }
    }
}

impl Ended {
    /// The order, if it is kept, else as `read` finds it.
    pub async fn get_or<E>(
        &self,
        id: OrderId,
        read: impl Future<Output = Result<Option<Placed>, E>>,
    ) -> Result<Option<Arc<Placed>>, E> {
        if let Some(order) = self.orders.get(&id) {
            self.reads.hit();
            return Ok(Some(order));
        }
        self.reads.miss();
        let changes = self.changes.load(Ordering::SeqCst);
        let Some(order) = read.await?.map(Arc::new) else { return Ok(None) };
        if order.status != OrderStatus::Pending {
            self.orders.insert(id, Arc::clone(&order));
            // In this order: a change after our look drops what we have put there.
            if self.changes.load(Ordering::SeqCst) != changes {
                self.orders.invalidate(&id);
            }
        }
        Ok(Some(order))
    }

    /// The rows of these orders have changed.
    pub fn changed(&self, ids: impl Iterator<Item = OrderId>) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        ids.for_each(|id| self.orders.invalidate(&id));
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use chrono::DateTime;
    use domain::PaymentMethod;
    use kernel::{Currency, Money, UserId};
    use uuid::Uuid;

    use super::*;

    const ID: OrderId = OrderId(Uuid::nil());

    fn order(status: OrderStatus) -> Placed {
        Placed {
            order_id: ID,
            user_id: UserId(Uuid::nil()),
            lines: Vec::new(),
            total: Money::new(0, Currency::EUR),
            address_id: None,
            payment_method: PaymentMethod::default(),
            status,
            cancellation_requested: false,
            cancel_reason: None,
            placed_at: DateTime::UNIX_EPOCH,
            confirmed_at: None,
            updated_at: DateTime::UNIX_EPOCH,
        }
    }

    async fn read(ended: &Ended, found: OrderStatus) -> OrderStatus {
        let read = ended.get_or(ID, async { Ok::<_, Infallible>(Some(order(found))) });
        let Ok(Some(order)) = read.await else { panic!("it is there") };
        order.status
    }

    #[tokio::test]
    async fn an_ended_order_is_kept_until_it_changes_and_a_pending_one_never() {
        let ended = Ended::default();
        assert_eq!(read(&ended, OrderStatus::Pending).await, OrderStatus::Pending);
        assert_eq!(read(&ended, OrderStatus::Confirmed).await, OrderStatus::Confirmed);
        assert_eq!(read(&ended, OrderStatus::Cancelled).await, OrderStatus::Confirmed, "from memory");
        ended.changed([ID].into_iter());
        assert_eq!(read(&ended, OrderStatus::Cancelled).await, OrderStatus::Cancelled);
    }

    #[tokio::test]
    async fn what_changed_while_it_was_read_is_not_kept() {
        let ended = Ended::default();
        let meanwhile = ended.get_or(ID, async {
            ended.changed([ID].into_iter());
            Ok::<_, Infallible>(Some(order(OrderStatus::Confirmed)))
        });
        assert!(meanwhile.await.is_ok());
        assert_eq!(read(&ended, OrderStatus::Cancelled).await, OrderStatus::Cancelled);
    }
}
