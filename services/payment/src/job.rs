//! What is to be asked of the provider.

use domain::payment::{Event, Payment, Stage};
use kernel::PaymentId;
use telemetry::logs::Ids;
use uuid::Uuid;

use crate::provider::{ChargeRequest, RefundRequest};

/// A request to the provider that was committed and has no result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Whose.
    pub payment_id: PaymentId,
    /// What is asked.
    pub ask: Ask,
    /// It may have been sent before: the provider is asked by key first.
    pub(crate) maybe_sent: bool,
    /// Where it goes on from.
    pub(crate) traceparent: Option<String>,
    /// The story that it belongs to.
    pub(crate) correlation_id: Option<Uuid>,
}

/// The request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Take the money.
    Charge(ChargeRequest),
    /// Give it back.
    Refund(RefundRequest),
}

impl Job {
    /// What the payment waits for, if it waits.
    pub fn outstanding(payment_id: PaymentId, payment: &Payment, maybe_sent: bool) -> Option<Self> {
        let Payment::Asked { charge, stage } = payment else { return None };
        let ask = match stage {
            Stage::InFlight { .. } => Ask::Charge(ChargeRequest {
                key: format!("{payment_id}/charge"),
                payment_id,
                amount: charge.amount,
                payment_method: charge.payment_method.clone(),
            }),
            Stage::Refunding { transaction_id, attempt } => Ask::Refund(RefundRequest {
                key: format!("{payment_id}/refund/{attempt}"),
                payment_id,
                amount: charge.amount,
                charge: transaction_id.clone(),
            }),
            Stage::Declined
            | Stage::Void
            | Stage::Captured { .. }
            | Stage::RefundFailed { .. }
            | Stage::Refunded { .. } => return None,
        };
        Some(Self { payment_id, ask, maybe_sent, traceparent: None, correlation_id: None })
    }

    /// What these events, just recorded, newly ask of the provider; `payment` is the state after them.
    pub fn newly_asked(payment_id: PaymentId, payment: &Payment, events: &[Event]) -> Option<Self> {
        let asks = |event: &Event| matches!(event, Event::ChargeRequested { .. } | Event::RefundRequested { .. });
        if events.iter().any(asks) { Self::outstanding(payment_id, payment, false) } else { None }
    }

    /// As part of this story and its trace.
    #[must_use]
    pub(crate) fn within(self, correlation_id: Option<Uuid>, traceparent: Option<String>) -> Self {
        Self { correlation_id, traceparent, ..self }
    }

    /// What lines of the log about it have in common.
    pub(crate) fn ids(&self) -> Option<Ids> {
        self.correlation_id.map(|story| Ids::new(story, self.traceparent.as_deref()))
    }

    /// The idempotency key.
    pub fn key(&self) -> &str {
        match &self.ask {
            Ask::Charge(request) => &request.key,
            Ask::Refund(request) => &request.key,
        }
    }
}
