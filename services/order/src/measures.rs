//! What is counted of orders, as their events are committed.

use domain::order::{Event, Order};
use telemetry::metrics::{Counters, Family, Histograms, LONG_SECONDS, Label};

const OUTCOME: Label = Label::one_of("outcome", &["confirmed", "cancelled"]);

static PLACED: Counters = Counters::new("orders_placed_total", "Orders accepted.", &[]);
static ENDED: Counters = Counters::new(
    "orders_ended_total",
    "Orders confirmed, and orders cancelled, those that were confirmed before included.",
    &[OUTCOME],
);
static FULFILMENT: Histograms = Histograms::new(
    "order_fulfilment_seconds",
    "From an order's placement to its confirmation or cancellation.",
    &[OUTCOME],
    LONG_SECONDS,
);

/// All of them, for `docs/metrics.md`.
pub const FAMILIES: &[&Family] = &[PLACED.family(), ENDED.family(), FULFILMENT.family()];

/// Shows all of them, before anything has happened.
pub(crate) fn init() {
    PLACED.init(&[]);
    ENDED.init(&[]);
    FULFILMENT.init(&[]);
}

/// An order was accepted.
pub(crate) fn placed() {
    PLACED.with(&[]).inc();
}

/// Counts the ends among events that were just committed; `order` is the state after them.
pub(crate) fn recorded(order: &Order, events: &[Event]) {
    let Order::Placed(order) = order else { return };
    for event in events {
        let (outcome, at) = match event {
            Event::OrderConfirmed { at, .. } => ("confirmed", at),
            Event::OrderCancelled { at, .. } => ("cancelled", at),
            Event::OrderPlaced { .. } | Event::CancellationRequested { .. } => continue,
        };
        ENDED.with(&[outcome]).inc();
        FULFILMENT.with(&[outcome]).observe((*at - order.placed_at).to_std().unwrap_or_default().as_secs_f64());
    }
}
