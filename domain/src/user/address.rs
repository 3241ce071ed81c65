//! Postal addresses: an entry of a user's address book. What is stored of one is its ciphertext alone.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::text::{TextError, line};

line!(
    /// A line of an address: 1 to 100 characters.
    AddressLine,
    100
);
line!(
    /// A postal code: 1 to 16 characters.
    PostalCode,
    16
);

/// A country's code (ISO 3166-1 alpha-2), in capitals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Country(String);

/// Not a country's code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a country's code of two letters such as AT")]
pub struct CountryError;

impl Country {
    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let code = text.trim().to_ascii_uppercase();
        let valid = code.len() == 2 && code.bytes().all(|b| b.is_ascii_uppercase());
        if valid { Ok(Self(code)) } else { Err(CountryError) }
    }
}

/// Where a parcel goes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// Who receives it.
    pub recipient: AddressLine,
    /// Street and number.
    pub line1: AddressLine,
    /// What else the carrier needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line2: Option<AddressLine>,
    /// The postal code.
    pub postal_code: PostalCode,
    /// The town.
    pub city: AddressLine,
    /// The state or province, where addresses have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<AddressLine>,
    /// The country.
    pub country: Country,
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Address(…)")
    }
}

/// An optional line: nothing but spaces is none.
///
/// # Errors
/// A text that is no line.
pub fn optional_line(text: Option<&str>) -> Result<Option<AddressLine>, TextError> {
    text.filter(|text| !text.trim().is_empty()).map(str::parse).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn countries_are_codes() {
        assert_eq!(" at ".parse::<Country>().unwrap().as_str(), "AT");
        for bad in ["", "A", "AUT", "4T", "ÖS"] {
            assert_eq!(bad.parse::<Country>(), Err(CountryError), "{bad}");
        }
        assert_eq!(optional_line(Some("  ")), Ok(None));
        assert!(optional_line(Some("a\nb")).is_err());
    }
}
