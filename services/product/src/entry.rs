//! A product as callers see it.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use poem::http::HeaderValue;
use poem_openapi::Object;
use poem_openapi::types::{Example, ParseFromJSON, ToJSON};
use uuid::Uuid;
use web::{Amount, Timestamp};

use crate::seed::Seeded;

/// A product of the catalogue.
#[derive(Debug, Clone, PartialEq, Object)]
#[oai(rename = "Product", example)]
pub(crate) struct Entry {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// What one costs.
    pub price: Amount,
    /// The price's currency (ISO 4217).
    pub currency: String,
    /// How many can be ordered now.
    pub stock: i64,
    /// What kind of product it is.
    pub category: Option<String>,
    /// The shop's own number, if it has one.
    #[oai(skip_serializing_if_is_none)]
    pub sku: Option<String>,
    /// Another one after each change of anything here. In quotes it is the `ETag`, for `If-Match`.
    pub version: String,
    /// When it entered the catalogue.
    pub created_at: Timestamp,
    /// When its description changed or its stock was counted; orders do not count.
    pub updated_at: Timestamp,
    /// When it left the catalogue.
    #[oai(skip_serializing_if_is_none)]
    pub deleted_at: Option<Timestamp>,
}

impl Example for Entry {
    fn example() -> Self {
        let at = Timestamp(chrono::DateTime::from_timestamp_micros(1_795_382_780_177_192).unwrap_or_default());
        Self {
            id: Seeded::FIRST,
            name: "Laptop".to_owned(),
            price: "999.99".parse().unwrap_or_else(|_| unreachable!("a decimal")),
            currency: "EUR".to_owned(),
            stock: 10_000,
            category: Some("Computers".to_owned()),
            sku: None,
            version: Version { product: 1, stock: 1 }.to_string(),
            created_at: at,
            updated_at: at,
            deleted_at: None,
        }
    }
}

/// Which state of a product: the last events of its description and of its stock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version {
    pub product: u64,
    pub stock: u64,
}

impl Version {
    /// The strong entity tag.
    pub fn etag(self) -> String {
        format!("\"{self}\"")
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.product, self.stock)
    }
}

impl FromStr for Version {
    type Err = NotVersion;

    fn from_str(text: &str) -> Result<Self, NotVersion> {
        let (product, stock) = text.split_once('.').ok_or(NotVersion)?;
        let number = |text: &str| text.parse().map_err(|_| NotVersion);
        Ok(Self { product: number(product)?, stock: number(stock)? })
    }
}

/// A text that names no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no version")]
pub(crate) struct NotVersion;

/// A product as it is sent: written once, sent often.
#[derive(Debug)]
pub(crate) struct Shown {
    pub entry: Entry,
    pub json: Bytes,
    pub etag: HeaderValue,
}

impl Shown {
    /// # Errors
    /// A version that is none.
    pub fn new(entry: Entry) -> Result<Self, NotVersion> {
        let json = entry.to_json_string();
        Self::of(entry, json)
    }

    /// The product that this JSON is.
    pub fn read(json: String) -> Option<Self> {
        let entry = Entry::parse_from_json_string(&json).ok()?;
        Self::of(entry, json).ok()
    }

    fn of(entry: Entry, json: String) -> Result<Self, NotVersion> {
        let version: Version = entry.version.parse()?;
        let etag = HeaderValue::try_from(version.etag()).map_err(|_| NotVersion)?;
        Ok(Self { entry, json: json.into(), etag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cached_is_what_is_sent() {
        let shown = Shown::new(Entry::example()).unwrap();
        assert_eq!(shown.etag, "\"1.1\"");
        let json = String::from_utf8(shown.json.to_vec()).unwrap();
        let read = Shown::read(json.clone()).unwrap();
        assert_eq!((read.entry, read.json), (shown.entry, shown.json));
        for foreign in ["", "{}", "[]", &json.replace("1.1", "x"), &json.replace("\"version\"", "\"v\"")] {
            assert!(Shown::read(foreign.to_owned()).is_none(), "{foreign}");
        }
    }
}
