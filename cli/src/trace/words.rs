//! What events say, in plain words.

use cqrs_es::Aggregate;
use domain::notification::{self, Notification};
use domain::order::Order;
use domain::payment::{self, Payment};
use domain::product::{self, Product};
use domain::stock::{self, Stock};
use event_store::{Error, RecordedEvent};
use kernel::Decide;
use orchestrator::saga::order_fulfilment::OrderFulfilment;

/// What an event says. Of a kind that says nothing of orders, its name.
pub(super) fn of(event: &RecordedEvent) -> String {
    in_words(event).unwrap_or_else(|_| format!("{}, which this version cannot read", named(event)))
}

fn in_words(event: &RecordedEvent) -> Result<String, Error> {
    match event.aggregate_type.as_str() {
        Order::TYPE => all::<Order>(event, |event| lower(&order_service::in_words(event).1)),
        OrderFulfilment::TYPE => all::<OrderFulfilment>(event, orchestrator::inspect::in_words),
        Stock::TYPE => all::<Stock>(event, |stock| of_stock(stock, &event.aggregate_id)),
        Payment::TYPE => all::<Payment>(event, of_payment),
        Notification::TYPE => all::<Notification>(event, of_notification),
        Product::TYPE => all::<Product>(event, of_product),
        _ => Ok(named(event)),
    }
}

/// What was recorded as one may be several events today, or none.
fn all<A: Decide>(recorded: &RecordedEvent, words: impl Fn(&A::Event) -> String) -> Result<String, Error> {
    let told: Vec<String> = recorded.decode_all::<A>()?.map(|event| words(&event)).collect();
    Ok(if told.is_empty() { format!("{}, which means nothing today", named(recorded)) } else { told.join("; ") })
}

/// `user_registered`: user registered.
fn named(event: &RecordedEvent) -> String {
    event.event_type.replace('_', " ")
}

fn lower(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_lowercase().chain(letters).collect()).unwrap_or_default()
}

fn of_stock(event: &stock::Event, product: &str) -> String {
    use stock::Event;
    match event {
        Event::StockOpened { quantity, .. } => format!("counting of product {product} began with {quantity}"),
        Event::StockRestocked { quantity, available, .. } => {
            format!("{} more of product {product} came: {available} available", i64::from(*quantity))
        }
        Event::StockAdjusted { delta, available, .. } => {
            format!("product {product} was counted anew ({delta:+}): {available} available")
        }
        Event::StockReserved { quantity, available, .. } => {
            format!("{} of product {product} are held: {available} still available", i64::from(*quantity))
        }
        Event::StockRejected { requested, available, reason, .. } => {
            let (requested, reason) = (i64::from(*requested), reason.as_str().replace('_', " "));
            format!("{requested} of product {product} cannot be held ({reason}): {available} available")
        }
        Event::StockReleased { quantity: 0, .. } => {
            format!("nothing of product {product} was held, so nothing came back")
        }
        Event::StockReleased { quantity, was_sold, available, .. } => {
            let had = if *was_sold { "sold" } else { "held" };
            format!("{quantity} of product {product} that were {had} came back: {available} available")
        }
        Event::StockCommitted { quantity, .. } => format!("{} of product {product} are sold", i64::from(*quantity)),
        Event::StockClosed {} => format!("no more of product {product} will be held"),
    }
}

fn of_payment(event: &payment::Event) -> String {
    use payment::Event;
    match event {
        Event::ChargeRequested { amount, payment_method, .. } => {
            format!("the provider is to charge {amount} to {payment_method}")
        }
        Event::ChargeRefused { amount, .. } => format!("the charge of {amount} came after its refund: it is not made"),
        Event::PaymentCaptured { amount, transaction_id, .. } => format!("{amount} was charged ({transaction_id})"),
        Event::PaymentDeclined { amount, reason, .. } => format!("the charge of {amount} was declined: {reason}"),
        Event::PaymentVoided { reason, .. } => format!("nothing was charged, and nothing will be: {reason}"),
        Event::RefundDeferred { reason, .. } => format!("a refund waits for the charge's end: {reason}"),
        Event::RefundRequested { amount, attempt: 1, reason, .. } => {
            format!("the provider is to pay {amount} back: {reason}")
        }
        Event::RefundRequested { amount, attempt, reason, .. } => {
            format!("the provider is to pay {amount} back (attempt {attempt}): {reason}")
        }
        Event::PaymentRefunded { amount, transaction_id: Some(id), .. } => format!("{amount} was paid back ({id})"),
        Event::PaymentRefunded { .. } => "nothing had been charged, so nothing was paid back".to_owned(),
        Event::RefundFailed { reason, .. } => format!("the provider would not pay back: {reason}"),
    }
}

fn of_notification(event: &notification::Event) -> String {
    use notification::Event;
    match event {
        Event::NotificationQueued { channel, template, .. } => {
            format!("a notification ({}) is to be sent by {}", template.replace('_', " "), channel.as_str())
        }
        Event::NotificationSent { attempt, .. } => format!("a notification was sent at attempt {attempt}"),
        Event::AttemptFailed { attempt, next_attempt_at, .. } => {
            format!("attempt {attempt} at a notification failed; the next is due at {}", next_attempt_at.format("%T"))
        }
        Event::NotificationGaveUp { attempts, .. } => format!("a notification was given up after {attempts} attempts"),
        Event::NotificationSkipped { .. } => "a notification is not to be sent".to_owned(),
        Event::NotificationRequeued { .. } => "a notification is to be sent once more".to_owned(),
    }
}

fn of_product(event: &product::Event) -> String {
    use product::Event;
    match event {
        Event::ProductCreated { name, price, .. } => {
            format!("product {} entered the catalogue at {}", name.as_str(), price.money())
        }
        Event::ProductUpdated { name, price, .. } => format!("product {} is now {}", name.as_str(), price.money()),
        Event::ProductDeleted { .. } => "a product left the catalogue".to_owned(),
    }
}
