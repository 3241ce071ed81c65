//! Topic `payment_events`: what became of payments.

use kernel::{Currency, OrderId, PaymentId, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::published::published;
use crate::{Amount, EventType};

/// How a charge ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// The money was taken.
    Success,
    /// It was not.
    Failed,
}

/// The customer was charged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentSuccess {
    /// The payment.
    #[schemars(with = "Uuid")]
    pub payment_id: PaymentId,
    /// What it is for.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Who paid.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// How much.
    pub amount: Amount,
    /// Of the amount.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Always `success`.
    pub status: PaymentStatus,
    /// The provider's number of the charge.
    pub transaction_id: String,
    /// Always `payment_success`.
    pub event_type: EventType<PaymentSuccess>,
}

/// The customer was not charged, and will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentFailed {
    /// The payment.
    #[schemars(with = "Uuid")]
    pub payment_id: PaymentId,
    /// What it was for.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Who was to pay.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// How much.
    pub amount: Amount,
    /// Of the amount.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Always `failed`.
    pub status: PaymentStatus,
    /// Always empty: there is no charge.
    pub transaction_id: String,
    /// Why: the provider's word, or `voided` when a refund had been asked for before the charge.
    pub reason: String,
    /// Always `payment_failed`.
    pub event_type: EventType<PaymentFailed>,
}

/// Whatever had been charged was paid back: the customer's balance for this order is nought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PaymentRefunded {
    /// The payment.
    #[schemars(with = "Uuid")]
    pub payment_id: PaymentId,
    /// What it was for.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Who had paid. Absent when no charge was ever asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Uuid>")]
    pub user_id: Option<UserId>,
    /// How much was paid back; 0 when nothing had been charged.
    pub amount: Amount,
    /// Of the amount. Absent when no charge was ever asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    pub currency: Option<Currency>,
    /// The provider's number of the refund; empty when nothing had been charged.
    pub transaction_id: String,
    /// Always `payment_refunded`.
    pub event_type: EventType<PaymentRefunded>,
}

/// The provider would not pay back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundFailed {
    /// The payment.
    #[schemars(with = "Uuid")]
    pub payment_id: PaymentId,
    /// What it was for.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// Always `refund_failed`.
    pub event_type: EventType<RefundFailed>,
}

published! {
    PaymentSuccess: "payment_success" on PAYMENT_EVENTS by order_id;
    PaymentFailed: "payment_failed" on PAYMENT_EVENTS by order_id;
    PaymentRefunded: "payment_refunded" on PAYMENT_EVENTS by order_id;
    RefundFailed: "refund_failed" on PAYMENT_EVENTS by order_id;
}
