//! What stands in requests and answers, beside the product itself.

use poem_openapi::Object;
use poem_openapi::types::Example;
use uuid::Uuid;
use web::{Amount, Text};

/// A product for the catalogue.
#[derive(Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(super) struct CreateProduct {
    /// 1 to 200 characters.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub name: Text,
    /// What one costs: more than 0, with no more digits than the currency has.
    pub price: Amount,
    /// How many there are: 0 to 1,000,000,000.
    #[oai(default, validator(minimum(value = "0"), maximum(value = "1000000000")))]
    pub stock: i64,
    /// What kind of product it is: 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub category: Option<Text>,
    /// The shop's own number: 1 to 64 characters. No two products have the same, and it never changes.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub sku: Option<Text>,
}

impl Example for CreateProduct {
    fn example() -> Self {
        Self {
            name: "Mechanical keyboard".into(),
            price: decimal("129.90"),
            stock: 25,
            category: Some("Accessories".into()),
            sku: None,
        }
    }
}

/// What is to become different. What is left out stays as it is.
#[derive(Object)]
#[oai(deny_unknown_fields, example, skip_serializing_if_is_none)]
pub(super) struct UpdateProduct {
    /// 1 to 200 characters.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub name: Option<Text>,
    /// What one costs.
    pub price: Option<Amount>,
    /// How many are available from now on.
    #[oai(validator(minimum(value = "0"), maximum(value = "1000000000")))]
    pub stock: Option<i64>,
    /// What kind of product it is: 1 to 100 characters.
    #[oai(validator(min_length = 1, max_length = 100))]
    pub category: Option<Text>,
}

impl Example for UpdateProduct {
    fn example() -> Self {
        Self { name: None, price: Some(decimal("899.99")), stock: None, category: None }
    }
}

/// More of a product.
#[derive(Object)]
#[oai(deny_unknown_fields, example)]
pub(super) struct Restock {
    /// How many came: 1 to 1,000,000.
    #[oai(validator(minimum(value = "1"), maximum(value = "1000000")))]
    pub quantity: i64,
}

impl Example for Restock {
    fn example() -> Self {
        Self { quantity: 10 }
    }
}

/// Whether so many could be ordered now. Nothing is held by asking.
#[derive(Object)]
pub(super) struct Availability {
    pub product_id: Uuid,
    /// How many were asked for.
    pub quantity: i64,
    pub available: bool,
    /// How many there are.
    pub stock: i64,
}

#[derive(Object)]
pub(super) struct Message {
    pub message: String,
}

fn decimal(text: &str) -> Amount {
    text.parse().unwrap_or_else(|_| unreachable!("a decimal"))
}
