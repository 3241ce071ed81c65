//! What stands in requests and answers.

use domain::order::{self, OrderStatus, Placed};
use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};
use uuid::Uuid;
use web::{Amount, Text, Timestamp};

use super::token::Token;
use crate::timeline;

/// An order as it is asked for: `product_id` and `quantity`, or `lines`.
#[derive(Object)]
#[oai(deny_unknown_fields, skip_serializing_if_is_none, example)]
pub(super) struct CreateOrder {
    /// The product, of an order of one product.
    pub product_id: Option<Uuid>,
    /// How many of it.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: Option<i64>,
    /// An order of several products, each in one line.
    #[oai(validator(min_items = 1, max_items = 100))]
    pub lines: Option<Vec<CreateLine>>,
    /// Where it goes: an entry of your address book.
    pub address_id: Option<Uuid>,
    /// The payment provider's token, never a card's number; `tok_ok` when left out.
    pub payment_method: Option<Token>,
    /// Your own id, if you like.
    pub user_id: Option<Uuid>,
}

impl Example for CreateOrder {
    /// Two of the first product of the catalogue that a new shop begins with.
    fn example() -> Self {
        Self {
            product_id: Some(Uuid::from_u128(0x0189_0000_0000_7000_8000_0000_0000_0001)),
            quantity: Some(2),
            lines: None,
            address_id: None,
            payment_method: Some(Token::from("tok_ok")),
            user_id: None,
        }
    }
}

/// So many of one product.
#[derive(Object)]
#[oai(deny_unknown_fields)]
pub(super) struct CreateLine {
    /// The product.
    pub product_id: Uuid,
    /// How many.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: i64,
}

/// A wish to cancel.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct CancelOrder {
    /// Why.
    #[oai(validator(max_length = 200))]
    pub reason: Option<Text>,
}

impl Example for CancelOrder {
    fn example() -> Self {
        Self { reason: Some("changed my mind".into()) }
    }
}

/// Where an order stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub(super) enum Status {
    /// It is not decided yet.
    Pending,
    /// Paid and sold.
    Confirmed,
    /// Everything was undone.
    Cancelled,
}

impl From<OrderStatus> for Status {
    fn from(status: OrderStatus) -> Self {
        match status {
            OrderStatus::Pending => Self::Pending,
            OrderStatus::Confirmed => Self::Confirmed,
            OrderStatus::Cancelled => Self::Cancelled,
        }
    }
}

impl From<Status> for OrderStatus {
    fn from(status: Status) -> Self {
        match status {
            Status::Pending => Self::Pending,
            Status::Confirmed => Self::Confirmed,
            Status::Cancelled => Self::Cancelled,
        }
    }
}

/// An order.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct Order {
    /// Its id.
    pub id: Uuid,
    /// Whose it is.
    pub user_id: Uuid,
    /// The first line's product.
    pub product_id: Option<Uuid>,
    /// The first line's quantity.
    pub quantity: Option<u32>,
    /// All lines.
    pub lines: Vec<Line>,
    /// Where it stands.
    pub status: Status,
    /// The sum of the lines.
    pub total_price: Amount,
    /// Of all amounts: ISO 4217.
    pub currency: String,
    /// Where it goes: an entry of the customer's address book.
    pub address_id: Option<Uuid>,
    /// The token that is charged.
    pub payment_method: String,
    /// Whether the customer asked to cancel it.
    pub cancel_requested: bool,
    /// Why it was cancelled.
    pub cancel_reason: Option<String>,
    /// When it was placed.
    pub created_at: Timestamp,
    /// When something last happened to it.
    pub updated_at: Timestamp,
}

/// So many of one product, at the price of the order's placement.
#[derive(Object)]
pub(super) struct Line {
    /// The product.
    pub product_id: Uuid,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub unit_price: Amount,
}

/// Some of one's orders.
#[derive(Object)]
#[oai(skip_serializing_if_is_none)]
pub(super) struct OrderPage {
    /// The orders, the newest first.
    pub orders: Vec<Order>,
    /// The cursor of the next page, to be given as `after`.
    pub next: Option<Uuid>,
}

/// One thing that happened to an order.
#[derive(Object)]
pub(super) struct Happening {
    /// Its number, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// The event's type.
    pub event: String,
    /// What happened, in plain words.
    pub text: String,
    /// Where the order stands after it.
    pub status: Status,
    /// Who did it: `user:<id>` or `service:<name>`.
    pub actor: String,
}

impl From<&Placed> for Order {
    fn from(order: &Placed) -> Self {
        let first = order.lines.first();
        Self {
            id: order.order_id.0,
            user_id: order.user_id.0,
            product_id: first.map(|line| line.product_id.0),
            quantity: first.map(|line| line.quantity.get()),
            lines: order.lines.iter().map(Line::from).collect(),
            status: order.status.into(),
            total_price: order.total.into(),
            currency: order.total.currency.code().to_owned(),
            address_id: order.address_id.map(|address| address.0),
            payment_method: order.payment_method.as_str().to_owned(),
            cancel_requested: order.cancellation_requested,
            cancel_reason: order.cancel_reason.as_ref().map(|reason| reason.as_str().to_owned()),
            created_at: order.placed_at.into(),
            updated_at: order.updated_at.into(),
        }
    }
}

impl From<&order::OrderLine> for Line {
    fn from(line: &order::OrderLine) -> Self {
        Self { product_id: line.product_id.0, quantity: line.quantity.get(), unit_price: line.unit_price.into() }
    }
}

impl From<timeline::Happening> for Happening {
    fn from(happening: timeline::Happening) -> Self {
        let timeline::Happening { sequence, at, event, text, status, actor } = happening;
        Self { sequence, at: at.into(), event, text, status: status.into(), actor }
    }
}
