use super::first;
use crate::audit::facts::{Fact, Facts};
use crate::audit::findings::Findings;
use crate::audit::walk::Subject;
use chrono::{DateTime, Utc};
use domain::order::{Event, Order, OrderLine, OrderStatus};
use kernel::Money;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

/// An order at the end of its stream.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(in crate::audit) struct OrderFacts {
    pub(in crate::audit) status: OrderStatus,
    pub(in crate::audit) total: Money,
    pub(in crate::audit) placed_at: DateTime<Utc>,
    /// Product and quantity.
    pub(in crate::audit) lines: Vec<(Uuid, i64)>,
    /// It was confirmed after it had been cancelled.
    pub(in crate::audit) was_both: bool,
}

pub(in crate::audit) struct Orders {
    facts: Facts,
    was_both: bool,
}

impl Orders {
    pub(in crate::audit) fn new(facts: Facts) -> Self {
        Self { facts, was_both: false }
    }
}

#[derive(FromRow)]
pub(in crate::audit) struct Row {
    id: Uuid,
    user_id: Uuid,
    status: String,
    lines: Json<Vec<OrderLine>>,
    total_minor: i64,
    currency: String,
    payment_method: String,
    cancel_reason: Option<String>,
    cancel_requested: bool,
    sequence: i64,
}

impl Subject for Orders {
    type Aggregate = Order;
    type Row = Row;

    const TABLE: &'static str = "orders";
    const KEY: &'static str = "id";
    const ONCE: &'static [&'static str] = &["order_placed", "order_confirmed", "order_cancelled"];

    fn key(row: &Row) -> Uuid {
        row.id
    }

    fn sequence(row: &Row) -> i64 {
        row.sequence
    }

    fn difference(&self, row: &Row, state: &Order) -> Option<&'static str> {
        let Order::Placed(order) = state else { return Some("id") };
        first([
            ("user_id", row.user_id == order.user_id.0),
            ("status", row.status == order.status.as_str()),
            ("lines", row.lines.0 == order.lines),
            ("total_minor", row.total_minor == order.total.minor),
            ("currency", row.currency == order.total.currency.code()),
            ("payment_method", row.payment_method == order.payment_method.as_str()),
            ("cancel_reason", row.cancel_reason.as_deref() == order.cancel_reason.as_ref().map(|why| why.as_str())),
            ("cancel_requested", row.cancel_requested == order.cancellation_requested),
        ])
    }

    fn event(&mut self, _id: Uuid, before: &Order, event: &Event, _findings: &mut Findings) {
        let is_cancelled = matches!(before, Order::Placed(order) if order.status == OrderStatus::Cancelled);
        self.was_both |= is_cancelled && matches!(event, Event::OrderConfirmed { .. });
    }

    fn end(&mut self, id: Uuid, _sequence: u64, state: Order, _findings: &mut Findings) {
        let was_both = std::mem::take(&mut self.was_both);
        if let Order::Placed(order) = state {
            let line = |line: &OrderLine| (line.product_id.0, i64::from(line.quantity));
            let facts = OrderFacts {
                status: order.status,
                total: order.total,
                placed_at: order.placed_at,
                lines: order.lines.iter().map(line).collect(),
                was_both,
            };
            self.facts.put(id, Fact::Order(facts));
        }
    }
}
