//! What the others are told of orders: the only place where private events become published messages.

use cqrs_es::Aggregate;
use domain::order::{Event, Order, OrderLine};
use event_schemas::order::{OrderCancelRequested, OrderCancelled, OrderConfirmed, OrderCreated, OrderStatus};
use event_schemas::{EventType, Published, order};
use event_store::RecordedEvent;
use kernel::OrderId;
use runtime::{Outgoing, Publish};

/// Publishes to the topic `order_events`.
pub struct OrderMessages;

impl Publish for OrderMessages {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        if event.aggregate_type != Order::TYPE {
            return Ok(Vec::new());
        }
        let order_id = order_id(event)?;
        Ok(event.decode_all::<Order>()?.map(|event| message(order_id, event)).collect())
    }
}

fn message(order_id: OrderId, event: Event) -> Outgoing {
    match event {
        Event::OrderPlaced { order_id, user_id, lines, total, address_id, payment_method, at: _ } => {
            let single = match lines.as_slice() {
                [line] => Some(line),
                _ => None,
            };
            outgoing(&OrderCreated {
                order_id,
                user_id,
                product_id: single.map(|line| line.product_id),
                quantity: single.map(|line| line.quantity),
                lines: lines.iter().map(published).collect(),
                status: OrderStatus::Pending,
                total_price: total.into(),
                currency: total.currency,
                address_id,
                payment_method: payment_method.to_string(),
                event_type: EventType::default(),
            })
        }
        Event::CancellationRequested { user_id, .. } => {
            outgoing(&OrderCancelRequested { order_id, user_id, event_type: EventType::default() })
        }
        Event::OrderConfirmed { user_id, total, at: _ } => outgoing(&OrderConfirmed {
            order_id,
            user_id,
            total_price: total.into(),
            currency: total.currency,
            status: OrderStatus::Confirmed,
            event_type: EventType::default(),
        }),
        Event::OrderCancelled { user_id, reason, at: _ } => outgoing(&OrderCancelled {
            order_id,
            user_id,
            reason: reason.to_string(),
            status: OrderStatus::Cancelled,
            event_type: EventType::default(),
        }),
    }
}

/// The order that an event belongs to.
pub(crate) fn order_id(event: &RecordedEvent) -> Result<OrderId, event_store::Error> {
    event.aggregate_id.parse().map_err(|_| event_store::Error::Undecodable {
        stream: format!("{}/{}", event.aggregate_type, event.aggregate_id),
        sequence: event.sequence,
        error: "the stream's id is no order's".to_owned(),
    })
}

fn outgoing<M: Published>(message: &M) -> Outgoing {
    Outgoing::new(M::TOPIC, message.key(), M::TYPE, message)
}

fn published(line: &OrderLine) -> order::OrderLine {
    order::OrderLine { product_id: line.product_id, quantity: line.quantity, unit_price: line.unit_price.into() }
}
