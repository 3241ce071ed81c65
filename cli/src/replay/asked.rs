//! Which command led to events: read back from what they say.

use domain::order::{self, Order};
use domain::payment::{self, Payment};
use domain::product::{self, Product};
use domain::stock::{self, Stock};
use domain::{PaymentMethod, Reason};
use orchestrator::saga::order_fulfilment::{Direction, Event as SagaEvent, Input, InputKind, OrderFulfilment, StepId};

/// Of an order.
pub fn order(_: &Order, events: &[order::Event]) -> Option<order::Command> {
    use order::{Command, Event};
    Some(match events.first()?.clone() {
        Event::OrderPlaced { order_id, user_id, lines, total: _, address_id, payment_method, at } => {
            Command::Place { order_id, user_id, lines, address_id, payment_method, at }
        }
        Event::CancellationRequested { reason, at, .. } => Command::RequestCancellation { reason, at },
        Event::OrderConfirmed { at, .. } => Command::Confirm { at },
        Event::OrderCancelled { reason, at, .. } => Command::Cancel { reason, at },
    })
}

/// Of stock.
pub fn stock(_: &Stock, events: &[stock::Event]) -> Option<stock::Command> {
    use stock::{Command, Event};
    Some(match events.first()?.clone() {
        Event::StockOpened { product_id, quantity } => Command::Open { product_id, quantity },
        Event::StockRestocked { quantity, at, .. } => Command::Restock { quantity, at },
        Event::StockAdjusted { available, at, .. } => Command::Adjust { to: available, at },
        Event::StockReserved { order_id, quantity, at, .. } => Command::Reserve { order_id, quantity, at },
        Event::StockRejected { order_id, requested, at, .. } => Command::Reserve { order_id, quantity: requested, at },
        Event::StockReleased { order_id, .. } => Command::Release { order_id },
        Event::StockCommitted { order_id, .. } => Command::Commit { order_id },
        Event::StockClosed {} => Command::Close,
    })
}

/// Of a product.
pub fn product(_: &Product, events: &[product::Event]) -> Option<product::Command> {
    use product::{Command, Event};
    Some(match events.first()?.clone() {
        Event::ProductCreated { product_id, name, price, category, sku, at } => {
            Command::Create { product_id, name, price, category, sku, at }
        }
        Event::ProductUpdated { name, price, category, at } => {
            Command::Update { name: Some(name), price: Some(price), category, at }
        }
        Event::ProductDeleted { at } => Command::Delete { at },
    })
}

/// Of a payment. A charge that was refused does not say with what it was to be paid, and a refund of nothing not why: the
/// decider records neither.
pub fn payment(state: &Payment, events: &[payment::Event]) -> Option<payment::Command> {
    use payment::{Command, Event};
    Some(match events.first()?.clone() {
        Event::ChargeRequested { order_id, user_id, amount, payment_method, at } => {
            Command::Charge { order_id, user_id, amount, payment_method, at }
        }
        Event::ChargeRefused { order_id, user_id, amount, at } => {
            Command::Charge { order_id, user_id, amount, payment_method: PaymentMethod::default(), at }
        }
        Event::PaymentCaptured { transaction_id, at, .. } => Command::RecordCaptured { transaction_id, at },
        Event::PaymentDeclined { reason, at, .. } => Command::RecordDeclined { reason, at },
        Event::PaymentVoided { order_id, reason, at, .. } | Event::RefundRequested { order_id, reason, at, .. } => {
            Command::Refund { order_id, reason, at }
        }
        Event::RefundDeferred { reason, at } => {
            let Payment::Asked { charge, .. } = state else { return None };
            Command::Refund { order_id: charge.order_id, reason, at }
        }
        Event::PaymentRefunded { transaction_id: Some(transaction_id), at, .. } => {
            Command::RecordRefunded { transaction_id, at }
        }
        Event::PaymentRefunded { order_id, transaction_id: None, at, .. } => {
            Command::Refund { order_id, reason: Reason::from("refunded"), at }
        }
        Event::RefundFailed { reason, at, .. } => Command::RecordRefundFailed { reason, at },
    })
}

/// Of a saga: the message, the timer or the operator's act that it was told of.
pub fn saga(_: &OrderFulfilment, events: &[SagaEvent]) -> Option<Input> {
    let (at, kind) = match events.first()?.clone() {
        SagaEvent::SagaStarted { at, order, .. } => {
            let (order_id, user_id, lines) = (order.order_id, order.user_id, order.lines);
            let (total, payment_method) = (order.total, order.payment_method);
            (at, InputKind::OrderCreated { order_id, user_id, lines, total, payment_method })
        }
        SagaEvent::StepSucceeded { at, step, direction, reference } => (at, succeeded(step, direction, reference)),
        SagaEvent::StepFailed { at, step, direction, reason, .. } => (at, failed(step, direction, reason)?),
        SagaEvent::StepTimedOut { at, .. } | SagaEvent::CommandIssued { at, .. } | SagaEvent::SagaStuck { at, .. } => {
            (at, InputKind::Timeout)
        }
        // Whatever else turns a saga back is recorded before it.
        SagaEvent::CompensationStarted { at, .. } => (at, InputKind::CancelRequested),
        SagaEvent::OperatorRetried { at, actor, reason } => (at, InputKind::OperatorRetry { actor, reason }),
        SagaEvent::OperatorSkipped { at, actor, reason } => (at, InputKind::OperatorSkip { actor, reason }),
        SagaEvent::OperatorCancelled { at, actor, reason } => (at, InputKind::OperatorCancel { actor, reason }),
        SagaEvent::OperatorPaused { at, actor, reason } => (at, InputKind::OperatorPause { actor, reason }),
        SagaEvent::OperatorResumed { at, actor, reason } => (at, InputKind::OperatorResume { actor, reason }),
        SagaEvent::OperatorRestarted { at, actor, reason, from } => {
            (at, InputKind::OperatorRestart { actor, reason, from })
        }
        SagaEvent::InputKept { at, input } => (at, input),
        SagaEvent::SagaCompleted { .. } | SagaEvent::SagaCancelled { .. } => return None,
    };
    Some(Input { at, kind })
}

fn succeeded(step: StepId, direction: Direction, reference: Option<String>) -> InputKind {
    match (step, direction) {
        (StepId::ReserveStock(product_id), Direction::Forward) => InputKind::StockReserved { product_id },
        (StepId::ReserveStock(product_id), Direction::Undo) => InputKind::StockReleased { product_id },
        (StepId::ChargePayment, Direction::Forward) => {
            InputKind::PaymentSucceeded { transaction_id: reference.unwrap_or_default() }
        }
        (StepId::ChargePayment, Direction::Undo) => InputKind::PaymentRefunded,
        (StepId::CommitStock(product_id), _) => InputKind::StockCommitted { product_id },
        (StepId::ConfirmOrder, _) => InputKind::OrderConfirmed,
        (StepId::CancelOrder, _) => InputKind::OrderCancelled,
    }
}

fn failed(step: StepId, direction: Direction, reason: String) -> Option<InputKind> {
    match (step, direction) {
        (StepId::ReserveStock(product_id), Direction::Forward) => Some(InputKind::StockRejected { product_id, reason }),
        (StepId::ChargePayment, Direction::Forward) => Some(InputKind::PaymentFailed { reason }),
        (StepId::ChargePayment, Direction::Undo) => Some(InputKind::RefundFailed { reason }),
        _ => None,
    }
}
