//! Messages out: what stored events mean to others.

use cqrs_es::Aggregate;
use domain::product::{self, Product};
use domain::stock::{self, Stock};
use event_schemas::product::{
    ProductCreated, ProductDeleted, ProductUpdated, StockChanged, StockCommitted, StockRejected, StockReleased,
    StockReserved,
};
use event_schemas::{EventType, Published};
use event_store::{Error, RecordedEvent};
use kernel::ProductId;
use runtime::{Outgoing, Publish};

/// Maps this service's events to the messages of `product_events`.
pub struct Publisher;

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, Error> {
        Ok(match event.aggregate_type.as_str() {
            Product::TYPE => {
                let product_id = product_id(event)?;
                event.decode_all::<Product>()?.map(|event| of_product(product_id, event)).collect()
            }
            Stock::TYPE => {
                let product_id = product_id(event)?;
                event.decode_all::<Stock>()?.filter_map(|event| of_stock(product_id, event)).collect()
            }
            _ => Vec::new(),
        })
    }
}

/// The product that an event is about: its stream's id.
pub(crate) fn product_id(event: &RecordedEvent) -> Result<ProductId, Error> {
    event.aggregate_id.parse().map_err(|error: uuid::Error| Error::Undecodable {
        stream: format!("{}/{}", event.aggregate_type, event.aggregate_id),
        sequence: event.sequence,
        error: error.to_string(),
    })
}

fn of_product(product_id: ProductId, event: product::Event) -> Outgoing {
    use product::Event;
    let event_type = EventType::default();
    match event {
        Event::ProductCreated { name, price, .. } => {
            let (name, money) = (name.to_string(), price.money());
            let (price, currency) = (money.into(), money.currency);
            message(&ProductCreated { product_id, name, price, currency, event_type })
        }
        Event::ProductUpdated { name, price, .. } => {
            let (name, money) = (name.to_string(), price.money());
            let (price, currency, event_type) = (money.into(), money.currency, EventType::default());
            message(&ProductUpdated { product_id, name, price, currency, event_type })
        }
        Event::ProductDeleted { .. } => message(&ProductDeleted { product_id, event_type: EventType::default() }),
    }
}

fn of_stock(product_id: ProductId, event: stock::Event) -> Option<Outgoing> {
    use stock::Event;
    Some(match event {
        Event::StockOpened { quantity, .. } => changed(product_id, quantity, quantity),
        Event::StockRestocked { quantity, available, .. } => changed(product_id, quantity.into(), available),
        Event::StockAdjusted { delta, available, .. } => changed(product_id, delta, available),
        Event::StockReserved { order_id, quantity, .. } => {
            message(&StockReserved { order_id, product_id, quantity, event_type: EventType::default() })
        }
        Event::StockRejected { order_id, requested, available, reason, .. } => {
            let (reason, event_type) = (reason.as_str().to_owned(), EventType::default());
            message(&StockRejected { order_id, product_id, requested, available, reason, event_type })
        }
        Event::StockReleased { order_id, quantity, .. } => {
            message(&StockReleased { order_id, product_id, quantity, event_type: EventType::default() })
        }
        Event::StockCommitted { order_id, quantity } => {
            message(&StockCommitted { order_id, product_id, quantity, event_type: EventType::default() })
        }
        // That the product was deleted is said by its own event.
        Event::StockClosed {} => return None,
    })
}

fn changed(product_id: ProductId, delta: i64, available: i64) -> Outgoing {
    message(&StockChanged { product_id, delta, available, event_type: EventType::default() })
}

fn message<M: Published>(message: &M) -> Outgoing {
    Outgoing::new(M::TOPIC, message.key(), M::TYPE, message)
}
