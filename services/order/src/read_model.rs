//! The read model of orders as it is made from the events alone.

use cqrs_es::Aggregate;
use domain::order::Order;
use event_store::Stored;
use runtime::projection::{Fold, ReadModel, Row, Table};

static ORDERS: Table = Table {
    name: "orders",
    version: 1,
    columns: &[
        "id",
        "user_id",
        "status",
        "lines",
        "total_minor",
        "currency",
        "address_id",
        "payment_method",
        "cancel_reason",
        "cancel_requested",
        "created_at",
        "updated_at",
        "sequence",
    ],
    kinds: &[Order::TYPE],
    channel: None,
};

/// A row an order.
#[derive(Debug)]
pub struct OrderList;

impl ReadModel for OrderList {
    fn table(&self) -> &'static Table {
        &ORDERS
    }

    fn begin(&self) -> Box<dyn Fold> {
        Box::new(Folded::default())
    }
}

#[derive(Default)]
struct Folded {
    order: Order,
    sequence: i64,
}

impl Fold for Folded {
    fn take(&mut self, event: &Stored<'_>) -> anyhow::Result<()> {
        self.sequence = i64::try_from(event.sequence)?;
        event.decode_all::<Order>()?.for_each(|event| self.order.apply(event));
        Ok(())
    }

    fn row(&self, row: &mut Row<'_>) -> anyhow::Result<()> {
        let Order::Placed(order) = &self.order else { return Ok(()) };
        let lines = serde_json::to_string(&order.lines)?;
        row.put(order.order_id.0)
            .put(order.user_id.0)
            .put(order.status.as_str())
            .put(&*lines)
            .put(order.total.minor)
            .put(order.total.currency.code())
            .put(order.address_id.map(|address| address.0))
            .put(order.payment_method.as_str())
            .put(order.cancel_reason.as_ref().map(|reason| reason.as_str()))
            .put(order.cancellation_requested)
            .put(order.placed_at)
            .put(order.updated_at)
            .put(self.sequence);
        Ok(())
    }
}
