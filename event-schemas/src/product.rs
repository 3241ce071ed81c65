//! Topic `product_events`: what became of products and their stock.

use kernel::{Currency, OrderId, ProductId, Quantity};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::published::published;
use crate::{Amount, EventType};

/// A product entered the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductCreated {
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// The price of one.
    pub price: Amount,
    /// Of the price.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Always `product_created`.
    pub event_type: EventType<ProductCreated>,
}

/// A product's name or price is another; both are given as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductUpdated {
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// Its name.
    pub name: String,
    /// The price of one.
    pub price: Amount,
    /// Of the price.
    #[schemars(with = "String")]
    pub currency: Currency,
    /// Always `product_updated`.
    pub event_type: EventType<ProductUpdated>,
}

/// A product left the catalogue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProductDeleted {
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// Always `product_deleted`.
    pub event_type: EventType<ProductDeleted>,
}

/// Stock was opened, filled up or counted anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockChanged {
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many came; negative when there were fewer than thought.
    pub delta: i64,
    /// How many can be ordered now.
    pub available: i64,
    /// Always `stock_changed`.
    pub event_type: EventType<StockChanged>,
}

/// Stock is held for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockReserved {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many.
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub quantity: Quantity,
    /// Always `stock_reserved`.
    pub event_type: EventType<StockReserved>,
}

/// Stock could not be held for an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockRejected {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many were asked for.
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub requested: Quantity,
    /// How many there were.
    pub available: i64,
    /// Why: `out_of_stock`, `unknown_product` or `product_deleted`.
    pub reason: String,
    /// Always `stock_rejected`.
    pub event_type: EventType<StockRejected>,
}

/// Whatever an order held or had bought is available again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockReleased {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many came back; 0 when the order had nothing.
    pub quantity: i64,
    /// Always `stock_released`.
    pub event_type: EventType<StockReleased>,
}

/// What was held for an order is sold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StockCommitted {
    /// The order.
    #[schemars(with = "Uuid")]
    pub order_id: OrderId,
    /// The product.
    #[schemars(with = "Uuid")]
    pub product_id: ProductId,
    /// How many.
    #[schemars(with = "u32", range(min = 1, max = 1_000_000))]
    pub quantity: Quantity,
    /// Always `stock_committed`.
    pub event_type: EventType<StockCommitted>,
}

published! {
    ProductCreated: "product_created" on PRODUCT_EVENTS by product_id;
    ProductUpdated: "product_updated" on PRODUCT_EVENTS by product_id;
    ProductDeleted: "product_deleted" on PRODUCT_EVENTS by product_id;
    StockChanged: "stock_changed" on PRODUCT_EVENTS by product_id;
    StockReserved: "stock_reserved" on PRODUCT_EVENTS by product_id;
    StockRejected: "stock_rejected" on PRODUCT_EVENTS by product_id;
    StockReleased: "stock_released" on PRODUCT_EVENTS by product_id;
    StockCommitted: "stock_committed" on PRODUCT_EVENTS by product_id;
}
