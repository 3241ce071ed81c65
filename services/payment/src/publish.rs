//! The only place where payments' own events become published messages.

use domain::payment::{Event, Payment};
use event_schemas::payment::{PaymentFailed, PaymentRefunded, PaymentStatus, PaymentSuccess, RefundFailed};
use event_schemas::{Amount, EventType, Published};
use event_store::RecordedEvent;
use kernel::PaymentId;
use runtime::{Outgoing, Publish};

/// Why a charge failed that came after its refund.
const VOIDED: &str = "voided";

/// Publishes how payments end; what is asked of the provider is nobody else's business.
pub struct Publisher;

impl Publish for Publisher {
    fn publish(&self, event: &RecordedEvent) -> Result<Vec<Outgoing>, event_store::Error> {
        let payment_id: PaymentId = event.aggregate_id.parse().map_err(|_| event_store::Error::Undecodable {
            stream: event.aggregate_id.clone(),
            sequence: event.sequence,
            error: "the stream's id is no payment id".to_owned(),
        })?;
        Ok(event.decode_all::<Payment>()?.filter_map(|event| told(payment_id, event)).collect())
    }
}

fn told(payment_id: PaymentId, event: Event) -> Option<Outgoing> {
    Some(match event {
        Event::PaymentCaptured { order_id, user_id, amount, transaction_id, .. } => message(&PaymentSuccess {
            payment_id,
            order_id,
            user_id,
            amount: amount.into(),
            currency: amount.currency,
            status: PaymentStatus::Success,
            transaction_id: transaction_id.0,
            event_type: EventType::default(),
        }),
        Event::PaymentDeclined { order_id, user_id, amount, reason, .. } => {
            message(&failed(payment_id, order_id, user_id, amount, reason.as_str()))
        }
        Event::ChargeRefused { order_id, user_id, amount, .. } => {
            message(&failed(payment_id, order_id, user_id, amount, VOIDED))
        }
        Event::PaymentVoided { order_id, user_id, currency, .. } => message(&PaymentRefunded {
            payment_id,
            order_id,
            user_id,
            amount: Amount::zero(),
            currency,
            transaction_id: String::new(),
            event_type: EventType::default(),
        }),
        Event::PaymentRefunded { order_id, user_id, amount, transaction_id, .. } => message(&PaymentRefunded {
            payment_id,
            order_id,
            user_id: Some(user_id),
            amount: amount.into(),
            currency: Some(amount.currency),
            transaction_id: transaction_id.map(|id| id.0).unwrap_or_default(),
            event_type: EventType::default(),
        }),
        Event::RefundFailed { order_id, reason, .. } => message(&RefundFailed {
            payment_id,
            order_id,
            reason: reason.to_string(),
            event_type: EventType::default(),
        }),
        Event::ChargeRequested { .. } | Event::RefundDeferred { .. } | Event::RefundRequested { .. } => return None,
    })
}

fn failed(
    payment_id: PaymentId,
    order_id: kernel::OrderId,
    user_id: kernel::UserId,
    amount: kernel::Money,
    reason: &str,
) -> PaymentFailed {
    PaymentFailed {
        payment_id,
        order_id,
        user_id,
        amount: amount.into(),
        currency: amount.currency,
        status: PaymentStatus::Failed,
        transaction_id: String::new(),
        reason: reason.to_owned(),
        event_type: EventType::default(),
    }
}

fn message<M: Published>(message: &M) -> Outgoing {
    Outgoing::new(M::TOPIC, message.key(), M::TYPE, message)
}
