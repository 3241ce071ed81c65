//! What callers may ask of the catalogue, over REST and gRPC alike.

use domain::product::{Category, ProductName};
use kernel::Currency;
use uuid::Uuid;
use web::{Amount, Problem};

use crate::queries::Wanted;
use crate::refusal::not_valid_parameter;

/// How many products a page has where nothing is said, and at most.
pub(crate) const PAGE_DEFAULT: u32 = 100;
pub(crate) const PAGE_MAX: u32 = 1_000;
/// A search for a longer text finds nothing, as no name is longer.
const SEARCH_CHARS_MAX: usize = ProductName::CHARS_MAX;

/// A question as it came.
#[derive(Debug, Default)]
pub(crate) struct Question {
    pub search: Option<String>,
    pub price_min: Option<Amount>,
    pub price_max: Option<Amount>,
    pub category: Option<String>,
    pub in_stock: Option<bool>,
    pub deleted: bool,
    pub after: Option<Uuid>,
    pub limit: Option<u32>,
}

impl Question {
    /// The question, if it is one.
    pub fn judged(self, currency: Currency) -> Result<Wanted, Problem> {
        let minor = |field: &str, amount: Option<Amount>| {
            let money = amount.map(|amount| amount.to_money(currency)).transpose();
            money.map(|money| money.map(|money| money.minor)).map_err(|error| not_valid_parameter(field, error))
        };
        Ok(Wanted {
            search: short("search", self.search, SEARCH_CHARS_MAX)?,
            price_min: minor("min_price", self.price_min)?,
            price_max: minor("max_price", self.price_max)?,
            category: short("category", self.category, Category::CHARS_MAX)?,
            in_stock: self.in_stock,
            deleted: self.deleted,
            after: self.after,
            limit: limit(self.limit)?,
        })
    }
}

/// How many a page is to have.
pub(crate) fn limit(asked: Option<u32>) -> Result<u32, Problem> {
    let limit = asked.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        Ok(limit)
    } else {
        Err(not_valid_parameter("limit", format!("must be 1 to {PAGE_MAX}")))
    }
}

fn short(field: &str, text: Option<String>, chars_max: usize) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.chars().nth(chars_max).is_some() => {
            Err(not_valid_parameter(field, format!("must have at most {chars_max} characters")))
        }
        Some(text) if text.contains('\0') => Err(not_valid_parameter(field, "must not contain a NUL character")),
        text => Ok(text),
    }
}
