//! What happened to an order, in plain words.

use chrono::{DateTime, Utc};
use cqrs_es::{Aggregate, DomainEvent};
use domain::order::{Event, Order, OrderStatus, Placed};
use event_store::{EventStore, RecordedEvent, StreamId};
use kernel::OrderId;

use crate::error::Error;

/// One thing that happened to an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Happening {
    pub sequence: u64,
    pub at: DateTime<Utc>,
    pub event: String,
    /// In plain words.
    pub text: String,
    /// Where the order stands after it.
    pub status: OrderStatus,
    /// Who did it.
    pub actor: String,
}

/// An order as far as its events have been read.
#[derive(Debug, Default)]
pub(crate) struct Timeline {
    order: Order,
    sequence: u64,
}

impl Timeline {
    /// Reads on from where it stands; returns what is new.
    pub async fn read(&mut self, store: &dyn EventStore, id: OrderId) -> Result<Vec<Happening>, Error> {
        let stream = (StreamId::of::<Order>(id.to_string()), self.sequence);
        let recorded = store.load(&[stream]).await?.pop().unwrap_or_default();
        let mut new = Vec::with_capacity(recorded.len());
        for recorded in recorded {
            self.next(&recorded, &mut new)?;
        }
        Ok(new)
    }

    /// What the row means, each event a happening.
    fn next(&mut self, recorded: &RecordedEvent, into: &mut Vec<Happening>) -> Result<(), Error> {
        let sequence = recorded.sequence;
        for event in recorded.decode_all::<Order>()? {
            let (at, text) = in_words(&event);
            let name = event.event_type();
            self.order.apply(event);
            let status = self.order().map_or(OrderStatus::Pending, |order| order.status);
            let actor = recorded.metadata.actor.clone();
            into.push(Happening { sequence, at, event: name, text, status, actor });
        }
        self.sequence = sequence;
        Ok(())
    }

    /// The order, if there is one.
    pub fn order(&self) -> Option<&Placed> {
        match &self.order {
            Order::Placed(order) => Some(order),
            Order::Unknown => None,
        }
    }

    /// The last sequence that was read.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether nothing more is to be expected. A confirmed order whose cancellation was asked for is not at its end.
    pub fn is_over(&self) -> bool {
        self.order().is_some_and(|order| match order.status {
            OrderStatus::Pending => false,
            OrderStatus::Confirmed => !order.cancellation_requested,
            OrderStatus::Cancelled => true,
        })
    }
}

/// What an event of an order says, in plain words, and when it happened.
pub fn in_words(event: &Event) -> (DateTime<Utc>, String) {
    match event {
        Event::OrderPlaced { lines, total, payment_method, at, .. } => {
            let lines = if lines.len() == 1 { "1 line".to_owned() } else { format!("{} lines", lines.len()) };
            (*at, format!("The order was placed: {lines}, {total} in all, to be paid with {payment_method}"))
        }
        Event::CancellationRequested { reason: Some(reason), at, .. } => {
            (*at, format!("Its cancellation was asked for: {reason}"))
        }
        Event::CancellationRequested { reason: None, at, .. } => (*at, "Its cancellation was asked for".to_owned()),
        Event::OrderConfirmed { total, at, .. } => (*at, format!("The order is confirmed: {total} was paid")),
        Event::OrderCancelled { reason, at, .. } => (*at, format!("The order is cancelled: {reason}")),
    }
}
