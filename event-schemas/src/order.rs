//! Topic `order_events`: what became of orders.

use kernel::{AddressId, Currency, Money, MoneyError, OrderId, ProductId, Quantity, UserId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::published::published;
use crate::{Amount, EventType};

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// The saga has not ended yet.
    Pending,
    /// Paid, and the stock is sold.
    Confirmed,
    /// Everything was undone.
    Cancelled,
}

/// One product of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderLine {
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many.
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub quantity: Quantity,
    /// The price of one, in the order's currency.
    pub unit_price: Amount,
}

/// An order was accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCreated {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Whose it is.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// The product, of an order with one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Uuid>")]
    pub product_id: Option<ProductId>,
    /// How many, of an order with one line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<u32>", range(min = 1, max = 1_000_000))]
    pub quantity: Option<Quantity>,
    /// All lines; a product stands in one of them only.
    pub lines: Vec<OrderLine>,
    /// Always `pending`.
    pub status: OrderStatus,
    /// The sum of the lines.
    pub total_price: Amount,
    /// Of all amounts.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Where it goes: the user service knows the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Uuid>")]
    pub address_id: Option<AddressId>,
    /// The token that is to be charged.
    pub payment_method: String,
    /// Always `order_created`.
    pub event_type: EventType<OrderCreated>,
}

impl OrderCreated {
    /// The sum of the lines as money.
    pub fn total(&self) -> Result<Money, MoneyError> {
        self.total_price.money(self.currency)
    }
}

/// The customer wants the order cancelled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelRequested {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Whose it is.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Always `order_cancel_requested`.
    pub event_type: EventType<OrderCancelRequested>,
}

/// The order is paid and its stock sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderConfirmed {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Whose it is.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// What was paid.
    pub total_price: Amount,
    /// Its currency.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Always `confirmed`.
    pub status: OrderStatus,
    /// Always `order_confirmed`.
    pub event_type: EventType<OrderConfirmed>,
}

/// The order has ended, nothing is charged, nothing held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OrderCancelled {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// Whose it is.
    #[schemars(with = "Uuid")]
    pub user_id: UserId,
    /// Why.
    pub reason: String,
    /// Always `cancelled`.
    pub status: OrderStatus,
    /// Always `order_cancelled`.
    pub event_type: EventType<OrderCancelled>,
}

published! {
    OrderCreated: "order_created" on ORDER_EVENTS by order_id;
    OrderCancelRequested: "order_cancel_requested" on ORDER_EVENTS by order_id;
    OrderConfirmed: "order_confirmed" on ORDER_EVENTS by order_id;
    OrderCancelled: "order_cancelled" on ORDER_EVENTS by order_id;
}
