//! Messages in: what the services published becomes input of the saga.

use chrono::{DateTime, Utc};
use event_schemas::Published;
use event_schemas::order::{OrderCancelRequested, OrderCancelled, OrderConfirmed, OrderCreated};
use event_schemas::payment::{PaymentFailed, PaymentRefunded, PaymentSuccess, RefundFailed};
use event_schemas::product::{StockCommitted, StockRejected, StockReleased, StockReserved};
use event_schemas::topics::{ORDER_EVENTS, PAYMENT_EVENTS, PRODUCT_EVENTS};
use kernel::OrderId;
use runtime::consumer::Follows;
use runtime::message::{self, Message};
use runtime::{Handler, Origin, Step, Timer};

use crate::measures;
use crate::saga::order_fulfilment::{Command, Direction, Event, Input, InputKind, Line, OrderFulfilment};

/// What the consumer follows.
pub const FOLLOWS: Follows = Follows {
    consumer: "orchestrator",
    topics: &[ORDER_EVENTS, PRODUCT_EVENTS, PAYMENT_EVENTS],
    acts_on: |message| input(message).is_ok_and(|input| input.is_some()),
};

/// Feeds the order fulfilment saga.
pub struct Sagas;

impl Handler for Sagas {
    type Aggregate = OrderFulfilment;

    const TIMERS: bool = true;

    fn commands(&self, message: &Message, now: DateTime<Utc>) -> Result<Vec<(String, Input)>, message::Error> {
        let input = input(message)?;
        Ok(input.map(|(order, kind)| (order.to_string(), Input { at: now, kind })).into_iter().collect())
    }

    fn timer(&self, _: &str, before: &OrderFulfilment, after: &OrderFulfilment) -> Option<Timer> {
        timer(before, after)
    }

    fn describe(&self, id: &str, input: &Input, span: &mut telemetry::Span) {
        span.set("saga.id", id);
        span.set("order.id", id);
        span.set("saga.input", input.kind.trigger().as_str());
    }

    /// Each asking for a step is a span, below which the services do it. What undoes is recorded in any case.
    fn step<'a>(&self, id: &'a str, event: &'a Event) -> Option<Step<'a>> {
        let Event::CommandIssued { step, direction, attempt, command, .. } = event else { return None };
        let undoes = *direction == Direction::Undo || matches!(command, Command::CancelOrder { .. });
        Some(Step {
            name: ("saga", command.as_str()).into(),
            kept: undoes.then_some("compensation"),
            attributes: vec![
                ("saga.id", id.into()),
                ("saga.step", step.to_string().into()),
                ("saga.direction", if *direction == Direction::Undo { "undo" } else { "forward" }.into()),
                ("saga.attempt", i64::from(*attempt).into()),
                ("order.id", id.into()),
            ],
        })
    }

    fn committed(&self, _: &str, saga: &OrderFulfilment, events: &[Event], _: &Origin) {
        measures::recorded(saga, events);
    }

    fn timeout(&self, _: &str, now: DateTime<Utc>) -> Option<Input> {
        Some(Input { at: now, kind: InputKind::Timeout })
    }
}

/// What the message is to the saga; nothing if it is no business of it.
fn input(message: &Message) -> Result<Option<(OrderId, InputKind)>, message::Error> {
    Ok(Some(match message.message_type.as_str() {
        OrderCreated::TYPE => order_created(message)?,
        OrderCancelRequested::TYPE => (message.data::<OrderCancelRequested>()?.order_id, InputKind::CancelRequested),
        OrderConfirmed::TYPE => (message.data::<OrderConfirmed>()?.order_id, InputKind::OrderConfirmed),
        OrderCancelled::TYPE => (message.data::<OrderCancelled>()?.order_id, InputKind::OrderCancelled),
        StockReserved::TYPE => {
            let data: StockReserved = message.data()?;
            (data.order_id, InputKind::StockReserved { product_id: data.product_id })
        }
        StockRejected::TYPE => {
            let data: StockRejected = message.data()?;
            (data.order_id, InputKind::StockRejected { product_id: data.product_id, reason: data.reason })
        }
        StockReleased::TYPE => {
            let data: StockReleased = message.data()?;
            (data.order_id, InputKind::StockReleased { product_id: data.product_id })
        }
        StockCommitted::TYPE => {
            let data: StockCommitted = message.data()?;
            (data.order_id, InputKind::StockCommitted { product_id: data.product_id })
        }
        PaymentSuccess::TYPE => {
            let data: PaymentSuccess = message.data()?;
            (data.order_id, InputKind::PaymentSucceeded { transaction_id: data.transaction_id })
        }
        PaymentFailed::TYPE => {
            let data: PaymentFailed = message.data()?;
            (data.order_id, InputKind::PaymentFailed { reason: data.reason })
        }
        PaymentRefunded::TYPE => (message.data::<PaymentRefunded>()?.order_id, InputKind::PaymentRefunded),
        RefundFailed::TYPE => {
            let data: RefundFailed = message.data()?;
            (data.order_id, InputKind::RefundFailed { reason: data.reason })
        }
        other if event_schemas::Entry::named(other).is_some() => return Ok(None),
        other => return Err(message::Error::UnknownType(other.to_owned())),
    }))
}

fn order_created(message: &Message) -> Result<(OrderId, InputKind), message::Error> {
    let data: OrderCreated = message.data()?;
    let total = data.total().map_err(|error| message.bad_data(&error))?;
    let lines = data.lines.iter().map(|line| Line { product_id: line.product_id, quantity: line.quantity }).collect();
    let (order_id, user_id, payment_method) = (data.order_id, data.user_id, data.payment_method);
    Ok((order_id, InputKind::OrderCreated { order_id, user_id, lines, total, payment_method }))
}

/// What becomes of a saga's timer. One that is due too early is left: firing in vain it moves itself. So a saga that goes
/// well sets its timer once and clears it once.
pub(crate) fn timer(before: &OrderFulfilment, after: &OrderFulfilment) -> Option<Timer> {
    match (before.deadline(), after.deadline()) {
        (Some(set), Some(needed)) if set <= needed && before != after => None,
        (_, Some(needed)) => Some(Timer::Set(needed)),
        (Some(_), None) => Some(Timer::Clear),
        (None, None) => None,
    }
}
