//! Values as they stand in JSON.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use kernel::{Currency, Money, MoneyError};
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::{Number, Value};

mod formed;
pub(crate) mod line;
mod optional;
mod text;
mod timestamp;

pub use formed::{Form, Formed};
pub use line::Line;
pub use optional::OptionalJson;
pub use text::Text;
pub use timestamp::Timestamp;

/// Longer numbers are no amounts of anything.
const TEXT_BYTES_MAX: usize = 40;

/// An exact decimal, a JSON number such as `1999.90`. It never passes through binary floating point: what was written
/// is kept as text until its currency is known.
///
/// A string (`"1999.90"`) is read too; it is always written as a number, with all digits of its currency.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amount(String);

impl Amount {
    /// The amount in `currency`.
    ///
    /// # Errors
    /// More digits than the currency has, an exponent, or beyond what is counted.
    pub fn to_money(&self, currency: Currency) -> Result<Money, MoneyError> {
        Money::parse(&self.0, currency)
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money.to_decimal())
    }
}

impl FromStr for Amount {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = text.len() <= TEXT_BYTES_MAX && text.parse::<Number>().is_ok();
        if number { Ok(Self(text.to_owned())) } else { Err(MoneyError::NotDecimal(text.chars().take(40).collect())) }
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Type for Amount {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;

    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "decimal".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let example = "999.99".parse::<Number>().ok().map(Value::Number);
        MetaSchemaRef::Inline(Box::new(MetaSchema { example, ..MetaSchema::new_with_format("number", "decimal") }))
    }

    fn as_raw_value(&self) -> Option<&Self::RawValueType> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self::RawElementValueType> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl ParseFromJSON for Amount {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::Number(number) => number.to_string().parse().map_err(ParseError::custom),
            Value::String(text) => text.parse().map_err(ParseError::custom),
            value => Err(ParseError::expected_type(value)),
        }
    }
}

impl ParseFromParameter for Amount {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        text.parse().map_err(ParseError::custom)
    }
}

impl ToJSON for Amount {
    fn to_json(&self) -> Option<Value> {
        self.0.parse::<Number>().ok().map(Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Money, String> {
        let value = serde_json::from_str::<Value>(json).map_err(|error| error.to_string())?;
        let amount = Amount::parse_from_json(Some(value)).map_err(ParseError::into_message)?;
        amount.to_money(Currency::EUR).map_err(|error| error.to_string())
    }

    #[test]
    fn decimals_are_read_exactly() {
        // As a double, the last one is 90071992547409.92 with its cents gone.
        for (json, minor) in [
            ("999.99", 99_999),
            ("\"999.99\"", 99_999),
            ("5", 500),
            ("0.10", 10),
            ("90071992547409931.23", 9_007_199_254_740_993_123),
        ] {
            assert_eq!(read(json), Ok(Money::new(minor, Currency::EUR)), "{json}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for json in ["0.001", "1e3", "true", "null", "\"\"", "\"abc\"", "[]", &"9".repeat(41), "99999999999999999999"] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn amounts_are_written_as_numbers_with_the_currencys_digits() {
        let amount = Amount::from(Money::new(199_990, Currency::EUR));
        assert_eq!(amount.to_json().unwrap().to_string(), "1999.90");
        let yen = Amount::from(Money::new(120, "JPY".parse().unwrap()));
        assert_eq!(yen.to_json().unwrap().to_string(), "120");
    }
}
