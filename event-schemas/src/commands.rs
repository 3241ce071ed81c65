//! Topics `order_commands`, `product_commands` and `payment_commands`: what the orchestrator asks for.
//!
//! A command's id (`ce_id`) is the same at each sending, so that it has one effect however often it arrives.

use kernel::{Currency, Money, MoneyError, OrderId, ProductId, Quantity, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::published::published;
use crate::{Amount, EventType};

/// The order is to become confirmed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfirmOrder {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Always `confirm_order`.
    pub event_type: EventType<ConfirmOrder>,
}

/// The order is to become cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CancelOrder {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// Always `cancel_order`.
    pub event_type: EventType<CancelOrder>,
}

/// Stock is to be held for the order. Answered by `stock_reserved` or `stock_rejected`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReserveStock {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many.
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub quantity: Quantity,
    /// Always `reserve_stock`.
    pub event_type: EventType<ReserveStock>,
}

/// Whatever the order did to this stock is to be undone. Answered by `stock_released`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseStock {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// Always `release_stock`.
    pub event_type: EventType<ReleaseStock>,
}

/// What is held for the order is to be sold. Answered by `stock_committed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitStock {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// Always `commit_stock`.
    pub event_type: EventType<CommitStock>,
}

/// The customer is to be charged. Answered by `payment_success` or `payment_failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChargePayment {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Who pays.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// How much.
    pub amount: Amount,
    /// Of the amount.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// The token that is to be charged.
    pub payment_method: String,
    /// Always `charge_payment`.
    pub event_type: EventType<ChargePayment>,
}

impl ChargePayment {
    /// The amount as money.
    pub fn money(&self) -> Result<Money, MoneyError> {
        self.amount.money(self.currency)
    }
}

/// The customer is to have back whatever was or will be charged. Answered by `payment_refunded` or `refund_failed`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RefundPayment {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Why.
    pub reason: String,
    /// Always `refund_payment`.
    pub event_type: EventType<RefundPayment>,
}

published! {
    ConfirmOrder: "confirm_order" on ORDER_COMMANDS by order_id;
    CancelOrder: "cancel_order" on ORDER_COMMANDS by order_id;
    ReserveStock: "reserve_stock" on PRODUCT_COMMANDS by product_id;
    ReleaseStock: "release_stock" on PRODUCT_COMMANDS by product_id;
    CommitStock: "commit_stock" on PRODUCT_COMMANDS by product_id;
    ChargePayment: "charge_payment" on PAYMENT_COMMANDS by order_id;
    RefundPayment: "refund_payment" on PAYMENT_COMMANDS by order_id;
}
