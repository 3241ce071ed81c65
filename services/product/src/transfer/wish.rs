//! What a line asks for.

use std::fmt::Display;
use std::str::FromStr;

use domain::product::{Category, Listing, Price, Product, ProductName, Sku};
use domain::stock::{AVAILABLE_MAX, Stock};
use kernel::Currency;
use uuid::Uuid;
use web::Amount;

use super::lines::{Fault, Line};
use crate::commands::{Changes, NewProduct, id_of_sku};

/// A line whose values are all good.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub line: u64,
    /// The product, if the line says which.
    pub id: Option<Uuid>,
    pub sku: Option<Sku>,
    pub changes: Changes,
}

/// What the wish comes to, with the product as it is.
#[derive(Debug)]
pub(super) enum Act {
    Create(NewProduct),
    Update(Changes),
    /// All is so already.
    Nothing,
}

impl Wish {
    /// The wish of a line, or everything that is wrong with it.
    pub fn of(line: &Line, currency: Currency) -> Result<Self, Vec<Fault>> {
        let mut faults = Faults { line, faults: Vec::new() };
        let id = faults.parsed("id", |text| Uuid::parse_str(text).map_err(|_| "is no UUID"));
        let sku: Option<Sku> = faults.parsed("sku", FromStr::from_str);
        let changes = Changes {
            name: faults.parsed("name", ProductName::from_str),
            price: faults.parsed("price", |text| price(text, currency)),
            category: faults.parsed("category", Category::from_str),
            stock: faults.parsed("stock", stock),
        };
        faults.parsed("currency", |text| match text {
            text if text == currency.code() => Ok(()),
            _ => Err(format!("this shop's prices are in {currency}")),
        });
        let of_sku = sku.as_ref().map(id_of_sku);
        if let (Some(id), Some(of_sku)) = (id, of_sku)
            && id != of_sku
        {
            faults.add("id", "is not the product with this SKU");
        }
        let Faults { faults, .. } = faults;
        if faults.is_empty() { Ok(Self { line: line.number, id: id.or(of_sku), sku, changes }) } else { Err(faults) }
    }

    /// What is to be done about a product that is so.
    pub fn act(&self, product: &Product, stock: &Stock) -> Result<Act, Fault> {
        match product {
            Product::Unknown => self.creation().map(Act::Create),
            Product::Deleted => Err(self.fault("id", "the product was deleted")),
            Product::Listed(listing) if self.done(listing, stock) => Ok(Act::Nothing),
            Product::Listed(_) => Ok(Act::Update(self.changes.clone())),
        }
    }

    /// The new product that it describes.
    pub fn creation(&self) -> Result<NewProduct, Fault> {
        let Changes { name, price, category, stock } = self.changes.clone();
        Ok(NewProduct {
            name: name.ok_or_else(|| self.fault("name", "a new product needs one"))?,
            price: price.ok_or_else(|| self.fault("price", "a new product needs one"))?,
            category,
            sku: self.sku.clone(),
            stock: stock.unwrap_or(0),
        })
    }

    pub fn fault(&self, field: &str, reason: impl ToString) -> Fault {
        Fault::new(self.line, Some(field), reason)
    }

    fn done(&self, listing: &Listing, stock: &Stock) -> bool {
        let Changes { name, price, category, stock: count } = &self.changes;
        name.as_ref().is_none_or(|name| *name == listing.name)
            && price.is_none_or(|price| price == listing.price)
            && (category.is_none() || *category == listing.category)
            && count.is_none_or(|count| count == stock.available)
    }
}

struct Faults<'a> {
    line: &'a Line,
    faults: Vec<Fault>,
}

impl Faults<'_> {
    fn add(&mut self, field: &str, reason: impl ToString) {
        self.faults.push(Fault::new(self.line.number, Some(field), reason));
    }

    fn parsed<T, E: Display>(&mut self, field: &str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match parse(self.line.get(field)?) {
            Ok(value) => Some(value),
            Err(reason) => {
                self.add(field, reason);
                None
            }
        }
    }
}

fn price(text: &str, currency: Currency) -> Result<Price, String> {
    let amount: Amount = text.parse().map_err(|error: kernel::MoneyError| error.to_string())?;
    let money = amount.to_money(currency).map_err(|error| error.to_string())?;
    Price::try_from(money).map_err(|error| error.to_string())
}

fn stock(text: &str) -> Result<i64, String> {
    let count = text.parse::<i64>().ok().filter(|count| (0..=AVAILABLE_MAX).contains(count));
    count.ok_or_else(|| format!("is a whole number from 0 to {AVAILABLE_MAX}"))
}
