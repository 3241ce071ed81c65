//! Products: what the shop sells, and for how much.

use chrono::{DateTime, Utc};
use kernel::{Idempotent, Money, ProductId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text::line;

line!(
    /// A product's name: 1 to 200 characters.
    ProductName,
    200
);
line!(
    /// What kind of product it is: 1 to 100 characters.
    Category,
    100
);
line!(
    /// The shop's own number of a product (stock keeping unit): 1 to 64 characters. It never changes.
    Sku,
    64
);

/// What one of a product costs: more than nothing, at most [`Price::MINOR_MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Price(Money);

/// Not a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a price is more than 0 and at most {}, not {}", Money::new(Price::MINOR_MAX, .0.currency), .0.to_decimal())]
pub struct PriceError(pub Money);

impl Price {
    /// The highest price in minor units: 99,999,999.99 of a currency with cents. The largest order (100 lines of the
    /// largest [`kernel::Quantity`]) then still has a total that is counted exactly.
    pub const MINOR_MAX: i64 = 9_999_999_999;

    /// The price as money.
    pub fn money(self) -> Money {
        self.0
    }
}

impl TryFrom<Money> for Price {
    type Error = PriceError;

    fn try_from(money: Money) -> Result<Self, Self::Error> {
        if (1..=Self::MINOR_MAX).contains(&money.minor) { Ok(Self(money)) } else { Err(PriceError(money)) }
    }
}

/// What may be asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Put a new product into the catalogue.
    Create {
        /// The new product.
        product_id: ProductId,
        /// Its name.
        name: ProductName,
        /// Its price.
        price: Price,
        /// Its kind.
        category: Option<Category>,
        /// Its number.
        sku: Option<Sku>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Change what is given, leave the rest.
    Update {
        /// The new name.
        name: Option<ProductName>,
        /// The new price.
        price: Option<Price>,
        /// The new kind.
        category: Option<Category>,
        /// Now.
        at: DateTime<Utc>,
    },
    /// Take it out of the catalogue for ever.
    Delete {
        /// Now.
        at: DateTime<Utc>,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A product entered the catalogue.
    ProductCreated {
        /// The product.
        product_id: ProductId,
        /// Its name.
        name: ProductName,
        /// Its price.
        price: Price,
        /// Its kind.
        #[serde(default)]
        category: Option<Category>,
        /// Its number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        sku: Option<Sku>,
        /// When.
        at: DateTime<Utc>,
    },
    /// It changed; everything is given as it is now.
    ProductUpdated {
        /// Its name.
        name: ProductName,
        /// Its price.
        price: Price,
        /// Its kind.
        #[serde(default)]
        category: Option<Category>,
        /// When.
        at: DateTime<Utc>,
    },
    /// It left the catalogue.
    ProductDeleted {
        /// When.
        at: DateTime<Utc>,
    },
}

impl Event {
    fn event_type(&self) -> &'static str {
        match self {
            Self::ProductCreated { .. } => "product_created",
            Self::ProductUpdated { .. } => "product_updated",
            Self::ProductDeleted { .. } => "product_deleted",
        }
    }

    fn event_version(&self) -> &'static str {
        "1"
    }
}

/// A product as the events tell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Product {
    /// There is no such product.
    #[default]
    Unknown,
    /// It is in the catalogue.
    Listed(Listing),
    /// It was.
    Deleted,
}

/// What the catalogue says of a product.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Its name.
    pub name: ProductName,
    /// Its price.
    pub price: Price,
    /// Its kind.
    pub category: Option<Category>,
    /// Its number.
    #[serde(default)]
    pub sku: Option<Sku>,
}

impl Product {
    fn fold_event(&mut self, event: Event) {
        *self = match event {
            Event::ProductCreated { name, price, category, sku, .. } => {
                Self::Listed(Listing { name, price, category, sku })
            }
            Event::ProductUpdated { name, price, category, .. } => {
                let sku = if let Self::Listed(listing) = self { listing.sku.take() } else { None };
                Self::Listed(Listing { name, price, category, sku })
            }
            Event::ProductDeleted { at: _ } => Self::Deleted,
        };
    }

    fn decide_command(&self, command: Command) -> Result<Idempotent<Vec<Event>>, Error> {
        let event = match (self, command) {
            (Self::Unknown, Command::Create { product_id, name, price, category, sku, at }) => {
                Event::ProductCreated { product_id, name, price, category, sku, at }
            }
            (Self::Listed(listing), Command::Create { name, price, category, sku, .. }) => {
                let same = *listing == Listing { name, price, category, sku };
                return if same { Ok(Idempotent::AlreadyDone) } else { Err(Error::AlreadyCreated) };
            }
            (Self::Listed(listing), Command::Update { name, price, category, at }) => {
                let updated = Listing {
                    name: name.unwrap_or_else(|| listing.name.clone()),
                    price: price.unwrap_or(listing.price),
                    category: category.or_else(|| listing.category.clone()),
                    sku: listing.sku.clone(),
                };
                if updated == *listing {
                    return Ok(Idempotent::AlreadyDone);
                }
                Event::ProductUpdated { name: updated.name, price: updated.price, category: updated.category, at }
            }
            (Self::Listed(_), Command::Delete { at }) => Event::ProductDeleted { at },
            (Self::Deleted, Command::Delete { .. }) => return Ok(Idempotent::AlreadyDone),
            (Self::Unknown, Command::Update { .. } | Command::Delete { .. }) => return Err(Error::Unknown),
            (Self::Deleted, Command::Create { .. } | Command::Update { .. }) => return Err(Error::Deleted),
        };
        Ok(Idempotent::Executed(vec![event]))
    }
}

kernel::aggregate!(Product, "product", Command, Event, Error);

/// Why not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The id belongs to another product.
    #[error("there is such a product already")]
    AlreadyCreated,
    /// There is no such product.
    #[error("there is no such product")]
    Unknown,
    /// There was one.
    #[error("the product was deleted")]
    Deleted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{at, euros, every_command_in_every_state, given, id};

    fn name(text: &str) -> ProductName {
        text.parse().unwrap()
    }

    fn price(cents: i64) -> Price {
        euros(cents).try_into().unwrap()
    }

    fn create(cents: i64) -> Command {
        let (name, price) = (name("Laptop"), price(cents));
        Command::Create { product_id: id(1), name, price, category: None, sku: None, at: at() }
    }

    fn update(new_name: Option<&str>, cents: Option<i64>) -> Command {
        Command::Update { name: new_name.map(name), price: cents.map(price), category: None, at: at() }
    }

    fn delete() -> Command {
        Command::Delete { at: at() }
    }

    #[test]
    fn every_command_does_what_it_must_in_every_state() {
        let deleted = vec![create(99_999), delete()];
        every_command_in_every_state::<Product>(
            &[create(99_999), create(1), update(None, Some(5)), update(Some("Laptop"), Some(99_999)), delete()],
            &[
                ("unknown", vec![], "product_created product_created !Unknown !Unknown !Unknown"),
                ("listed", vec![create(99_999)], "- !AlreadyCreated product_updated - product_deleted"),
                ("deleted", deleted, "!Deleted !Deleted !Deleted !Deleted -"),
            ],
        );
    }

    #[test]
    fn an_update_keeps_what_is_not_given() {
        let category = Some("Computers".parse().unwrap());
        let listed = given::<Product>([create(99_999)]);
        listed
            .when(Command::Update { name: None, price: None, category: category.clone(), at: at() })
            .then([Event::ProductUpdated { name: name("Laptop"), price: price(99_999), category, at: at() }]);
        listed.when(update(Some("Notebook"), None)).then([Event::ProductUpdated {
            name: name("Notebook"),
            price: price(99_999),
            category: None,
            at: at(),
        }]);
    }

    #[test]
    fn a_number_stays_with_its_product() {
        let sku: Option<Sku> = Some("LAP-1".parse().unwrap());
        let (name, price) = (name("Laptop"), price(5));
        let numbered = Command::Create { product_id: id(1), name, price, category: None, sku: sku.clone(), at: at() };
        let Product::Listed(listing) = given::<Product>([numbered.clone(), update(Some("Notebook"), None)]).0 else {
            panic!("not listed")
        };
        assert_eq!(listing.sku, sku);
        given::<Product>([numbered.clone()]).when(numbered).then_already_done();
    }

    #[test]
    fn an_event_from_before_there_were_numbers_is_read() {
        let stored = r#"{"product_created":{"product_id":"00000000-0000-0000-0000-000000000001","name":"Laptop",
            "price":{"minor":5,"currency":"EUR"},"category":null,"at":"2026-11-22T20:26:20Z"}}"#;
        let event: Event = serde_json::from_str(stored).unwrap();
        assert!(matches!(event, Event::ProductCreated { sku: None, .. }));
    }

    #[test]
    fn prices_are_bounded() {
        for cents in [i64::MIN, -1, 0, Price::MINOR_MAX + 1, i64::MAX] {
            assert_eq!(Price::try_from(euros(cents)), Err(PriceError(euros(cents))));
        }
        assert_eq!(price(Price::MINOR_MAX).money().to_decimal(), "99999999.99");
        assert_eq!(PriceError(euros(0)).to_string(), "a price is more than 0 and at most 99999999.99 EUR, not 0.00");
        let largest = price(Price::MINOR_MAX).money().checked_mul(kernel::Quantity::MAX).unwrap();
        assert!(largest.checked_mul(100).is_ok());
    }
}
