//! Payments: one an order. A customer is charged at most once, and whatever was charged can be paid back.
//!
//! What the provider is to do is recorded before it is asked (`ChargeRequested`, `RefundRequested`); what it answered
//! is recorded after. A refund may be asked for at any time: before the charge it prevents it, during the charge it
//! waits for its end.

use std::fmt;

use chrono::{DateTime, Utc};
use kernel::{Currency, Idempotent, Money, OrderId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{PaymentMethod, Reason};

/// The provider's number of a charge or of a refund.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct TransactionId(pub String);

impl fmt::Display for TransactionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Charge the customer.
    Charge {
        /// The order.
        order_id: OrderId,
        /// Who pays.
        user_id: UserId,
        /// How much; more than nothing.
        amount: Money,
        /// With what.
        payment_method: PaymentMethod,
        /// Now.
        at: DateTime<Utc>,
    },
    /// The provider took the money.
    RecordCaptured {
        /// Its number.
        transaction_id: TransactionId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// The provider did not take it, and will not.
    RecordDeclined {
        /// Why.
        reason: Reason,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Give the customer back whatever was charged, or will be.
    Refund {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
        /// Now.
        at: DateTime<Utc>,
    },
    /// The provider paid it back.
    RecordRefunded {
        /// Its number.
        transaction_id: TransactionId,
        /// Now.
        at: DateTime<Utc>,
    },
    /// The provider would not pay it back.
    RecordRefundFailed {
        /// Why.
        reason: Reason,
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The provider is to charge. The payment's id is the idempotency key.
    ChargeRequested {
        /// The order.
        order_id: OrderId,
        /// Who pays.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// With what.
        payment_method: PaymentMethod,
        /// When.
        at: DateTime<Utc>,
    },
    /// A charge came after the refund: it was not made.
    ChargeRefused {
        /// The order.
        order_id: OrderId,
        /// Who was to pay.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// When.
        at: DateTime<Utc>,
    },
    /// The customer was charged.
    PaymentCaptured {
        /// The order.
        order_id: OrderId,
        /// Who paid.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// The provider's number of the charge.
        transaction_id: TransactionId,
        /// When.
        at: DateTime<Utc>,
    },
    /// The customer was not charged.
    PaymentDeclined {
        /// The order.
        order_id: OrderId,
        /// Who was to pay.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
    /// A refund was asked for when nothing had been charged: nothing is paid back, nothing will be charged.
    PaymentVoided {
        /// The order.
        order_id: OrderId,
        /// Who was to pay, if a charge was ever asked for.
        #[serde(default)]
        user_id: Option<UserId>,
        /// In which currency, if a charge was ever asked for.
        #[serde(default)]
        currency: Option<Currency>,
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
    /// A refund was asked for while the provider charges: it waits for the answer.
    RefundDeferred {
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
    /// The provider is to pay back. The payment's id and the attempt are the idempotency key.
    RefundRequested {
        /// The order.
        order_id: OrderId,
        /// Who paid.
        user_id: UserId,
        /// How much.
        amount: Money,
        /// The provider's number of the charge.
        transaction_id: TransactionId,
        /// How often it was asked, from 1 on; raised only after the provider had refused.
        attempt: u32,
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
    /// Whatever was charged is paid back.
    PaymentRefunded {
        /// The order.
        order_id: OrderId,
        /// Who paid.
        user_id: UserId,
        /// How much was paid back: all that was charged, so nothing when the charge was declined.
        amount: Money,
        /// The provider's number of the refund, if there was one.
        #[serde(default)]
        transaction_id: Option<TransactionId>,
        /// When.
        at: DateTime<Utc>,
    },
    /// The provider would not pay back.
    RefundFailed {
        /// The order.
        order_id: OrderId,
        /// Why.
        reason: Reason,
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::ChargeRequested { .. } => "charge_requested",
            Self::ChargeRefused { .. } => "charge_refused",
            Self::PaymentCaptured { .. } => "payment_captured",
            Self::PaymentDeclined { .. } => "payment_declined",
            Self::PaymentVoided { .. } => "payment_voided",
            Self::RefundDeferred { .. } => "refund_deferred",
            Self::RefundRequested { .. } => "refund_requested",
            Self::PaymentRefunded { .. } => "payment_refunded",
            Self::RefundFailed { .. } => "refund_failed",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A payment as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Payment {
    /// Nobody asked for anything.
    #[default]
    Unasked,
    /// A refund was asked for first: no charge will be made.
    Voided {
        /// Whether a charge was asked for since.
        charge_refused: bool,
    },
    /// A charge was asked for.
    Asked {
        /// Which.
        charge: Charge,
        /// What became of it.
        stage: Stage,
    },
}

/// A charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The order.
    pub order_id: OrderId,
    /// Who pays.
    pub user_id: UserId,
    /// How much.
    pub amount: Money,
    /// With what.
    pub payment_method: PaymentMethod,
}

/// What became of a charge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// The provider's answer is awaited; if there is a reason, it is then paid back.
    InFlight {
        /// Why it is to be paid back.
        refund: Option<Reason>,
    },
    /// The customer was not charged.
    Declined,
    /// The customer was not charged, and whoever asked for a refund knows.
    Void,
    /// The customer was charged.
    Captured {
        /// The charge.
        transaction_id: TransactionId,
    },
    /// The provider is paying back.
    Refunding {
        /// The charge.
        transaction_id: TransactionId,
        /// How often it was asked.
        attempt: u32,
    },
    /// The provider would not.
    RefundFailed {
        /// The charge.
        transaction_id: TransactionId,
        /// How often it was asked.
        attempt: u32,
    },
    /// It is paid back.
    Refunded {
        /// The charge.
        transaction_id: TransactionId,
        /// The refund.
        refund_id: TransactionId,
    },
}

impl Payment {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (_, Event::ChargeRequested { order_id, user_id, amount, payment_method, at: _ }) => {
                let charge = Charge { order_id, user_id, amount, payment_method };
                *self = Self::Asked { charge, stage: Stage::InFlight { refund: None } };
            }
            (Self::Voided { charge_refused }, Event::ChargeRefused { .. }) => *charge_refused = true,
            (Self::Unasked, Event::PaymentVoided { .. }) => *self = Self::Voided { charge_refused: false },
            (Self::Asked { stage, .. }, event) => stage.fold_event(event),
            (Self::Unasked | Self::Voided { .. }, _) => {}
        }
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (_, Command::Charge { amount, .. }) if amount.minor <= 0 => return Err(Error::NotAnAmount(amount)),
            (Self::Unasked, Command::Charge { order_id, user_id, amount, payment_method, at }) => {
                Event::ChargeRequested { order_id, user_id, amount, payment_method, at }
            }
            (Self::Voided { charge_refused: false }, Command::Charge { order_id, user_id, amount, at, .. }) => {
                Event::ChargeRefused { order_id, user_id, amount, at }
            }
            (Self::Unasked, Command::Refund { order_id, reason, at }) => {
                Event::PaymentVoided { order_id, user_id: None, currency: None, reason, at }
            }
            (Self::Voided { .. }, Command::Charge { .. } | Command::Refund { .. }) => {
                return Ok(Idempotent::AlreadyDone);
            }
            (Self::Unasked | Self::Voided { .. }, _) => return Err(Error::NothingAsked),
            (Self::Asked { charge, stage }, command) => return stage.decide(charge, command),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

impl Stage {
    fn fold_event(&mut self, event: Event) {
        match (&mut *self, event) {
            (Self::InFlight { refund }, Event::RefundDeferred { reason, .. }) => *refund = Some(reason),
            (Self::InFlight { .. }, Event::PaymentCaptured { transaction_id, .. }) => {
                *self = Self::Captured { transaction_id };
            }
            (Self::InFlight { .. }, Event::PaymentDeclined { .. }) => *self = Self::Declined,
            (Self::Declined, Event::PaymentVoided { .. } | Event::PaymentRefunded { .. }) => *self = Self::Void,
            (_, Event::RefundRequested { transaction_id, attempt, .. }) => {
                *self = Self::Refunding { transaction_id, attempt };
            }
            (
                Self::Refunding { transaction_id, .. } | Self::RefundFailed { transaction_id, .. },
                Event::PaymentRefunded { transaction_id: Some(refund_id), .. },
            ) => *self = Self::Refunded { transaction_id: transaction_id.clone(), refund_id },
            (Self::Refunding { transaction_id, attempt }, Event::RefundFailed { .. }) => {
                *self = Self::RefundFailed { transaction_id: transaction_id.clone(), attempt: *attempt };
            }
            _ => {}
        }
    }

    fn decide(&self, charge: &Charge, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        match command {
            Command::Charge { .. } => Ok(Idempotent::AlreadyDone),
            Command::RecordCaptured { transaction_id, at } => self.captured(charge, transaction_id, at),
            Command::RecordDeclined { reason, at } => self.declined(charge, reason, at),
            Command::Refund { reason, at, .. } => Ok(self.refund(charge, reason, at)),
            Command::RecordRefunded { transaction_id, at } => self.refunded(charge, transaction_id, at),
            Command::RecordRefundFailed { reason, at } => match self {
                Self::Refunding { .. } => {
                    Ok(Idempotent::Executed(vec![Event::RefundFailed { order_id: charge.order_id, reason, at }]))
                }
                Self::RefundFailed { .. } => Ok(Idempotent::AlreadyDone),
                Self::Refunded { .. } => Err(Error::AlreadyRefunded),
                _ => Err(Error::NothingAsked),
            },
        }
    }

    fn captured(&self, charge: &Charge, id: TransactionId, at: DateTime<Utc>) -> Result<Idempotent<Vec<Event>>, Error> {
        let Charge { order_id, user_id, amount, .. } = *charge;
        match self {
            Self::InFlight { refund } => {
                let refund = refund.clone().map(|reason| charge.refund_requested(&id, 1, reason, at));
                let captured = Event::PaymentCaptured { order_id, user_id, amount, transaction_id: id, at };
                Ok(Idempotent::Executed([captured].into_iter().chain(refund).collect()))
            }
            Self::Declined | Self::Void => Err(Error::AlreadyDeclined),
            Self::Captured { transaction_id }
            | Self::Refunding { transaction_id, .. }
            | Self::RefundFailed { transaction_id, .. }
            | Self::Refunded { transaction_id, .. } => same(transaction_id, id),
        }
    }

    fn declined(&self, charge: &Charge, reason: Reason, at: DateTime<Utc>) -> Result<Idempotent<Vec<Event>>, Error> {
        let Charge { order_id, user_id, amount, .. } = *charge;
        match self {
            Self::InFlight { refund } => {
                let nothing = Money::zero(amount.currency);
                let refunded = Event::PaymentRefunded { order_id, user_id, amount: nothing, transaction_id: None, at };
                let declined = Event::PaymentDeclined { order_id, user_id, amount, reason, at };
                Ok(Idempotent::Executed([declined].into_iter().chain(refund.is_some().then_some(refunded)).collect()))
            }
            Self::Declined | Self::Void => Ok(Idempotent::AlreadyDone),
            _ => Err(Error::AlreadyCaptured),
        }
    }

    fn refund(&self, charge: &Charge, reason: Reason, at: DateTime<Utc>) -> Idempotent<Vec<Event>> {
        Idempotent::Executed(vec![match self {
            Self::InFlight { refund: None } => Event::RefundDeferred { reason, at },
            Self::Declined => Event::PaymentVoided {
                order_id: charge.order_id,
                user_id: Some(charge.user_id),
                currency: Some(charge.amount.currency),
                reason,
                at,
            },
            Self::Captured { transaction_id } => charge.refund_requested(transaction_id, 1, reason, at),
            Self::RefundFailed { transaction_id, attempt } => {
                charge.refund_requested(transaction_id, attempt.saturating_add(1), reason, at)
            }
            Self::InFlight { refund: Some(_) } | Self::Void | Self::Refunding { .. } | Self::Refunded { .. } => {
                return Idempotent::AlreadyDone;
            }
        }])
    }

    fn refunded(&self, charge: &Charge, id: TransactionId, at: DateTime<Utc>) -> Result<Idempotent<Vec<Event>>, Error> {
        let Charge { order_id, user_id, amount, .. } = *charge;
        match self {
            // After a refusal too: when the provider says that it paid, it paid.
            Self::Refunding { .. } | Self::RefundFailed { .. } => {
                let transaction_id = Some(id);
                let refunded = Event::PaymentRefunded { order_id, user_id, amount, transaction_id, at };
                Ok(Idempotent::Executed(vec![refunded]))
            }
            Self::Refunded { refund_id, .. } => same(refund_id, id),
            _ => Err(Error::NothingAsked),
        }
    }
}

impl Charge {
    fn refund_requested(&self, charged: &TransactionId, attempt: u32, reason: Reason, at: DateTime<Utc>) -> Event {
        let Self { order_id, user_id, amount, .. } = *self;
        Event::RefundRequested { order_id, user_id, amount, transaction_id: charged.clone(), attempt, reason, at }
    }
}

fn same(known: &TransactionId, told: TransactionId) -> Result<Idempotent<Vec<Event>>, Error> {
    if *known == told { Ok(Idempotent::AlreadyDone) } else { Err(Error::AnotherTransaction(told)) }
}

kernel::aggregate!(Payment, "payment", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing is charged for nothing.
    #[error("an amount to charge is more than 0, not {}", .0.to_decimal())]
    NotAnAmount(Money),
    /// An answer to what was never asked.
    #[error("the provider was not asked for that")]
    NothingAsked,
    /// It was declined.
    #[error("the payment was declined")]
    AlreadyDeclined,
    /// The money was taken.
    #[error("the payment was captured")]
    AlreadyCaptured,
    /// The money was paid back.
    #[error("the payment was refunded")]
    AlreadyRefunded,
    /// A second transaction for what must happen once.
    #[error("the provider did this in another transaction before, not in {0}")]
    AnotherTransaction(TransactionId),
}

#[cfg(test)]
mod tests;
