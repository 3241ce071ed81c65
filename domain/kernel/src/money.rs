//! Money: whole minor units of an ISO 4217 currency, checked arithmetic, exact decimals.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// An ISO 4217 currency code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// Codes whose minor unit is not a hundredth; all others have two digits (ISO 4217, list one).
const NO_MINOR_UNIT: [&str; 16] =
    ["BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "UYI", "VND", "VUV", "XAF", "XOF"];
const THREE_DIGITS: [&str; 7] = ["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"];

impl Currency {
    /// The shop's default currency.
    pub const EUR: Self = Self(*b"EUR");
    /// US dollars.
    pub const USD: Self = Self(*b"USD");

    /// The three letters.
    pub fn code(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }

    /// The codes whose minor unit is not a hundredth, with their digits after the decimal point.
    pub fn not_hundredths() -> impl Iterator<Item = (&'static str, u32)> {
        NO_MINOR_UNIT.into_iter().map(|code| (code, 0)).chain(THREE_DIGITS.into_iter().map(|code| (code, 3)))
    }

    /// Digits after the decimal point.
    pub fn digits(self) -> u32 {
        match self.code() {
            code if NO_MINOR_UNIT.contains(&code) => 0,
            code if THREE_DIGITS.contains(&code) => 3,
            _ => 2,
        }
    }
}

impl FromStr for Currency {
    type Err = MoneyError;

    fn from_str(code: &str) -> Result<Self, Self::Err> {
        match <[u8; 3]>::try_from(code.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(MoneyError::UnknownCurrency(code.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = MoneyError;

    fn try_from(code: String) -> Result<Self, Self::Error> {
        code.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.code().to_owned()
    }
}

impl JsonSchema for Currency {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Currency".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[A-Z]{3}$" })
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount of money. May be negative (a balance); prices are checked where they come in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Money {
    /// Whole minor units: cents of a euro.
    pub minor: i64,
    /// Their currency.
    pub currency: Currency,
}

/// What is wrong with an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not a plain decimal number.
    #[error("{0:?} is not a decimal amount such as 999.99")]
    NotDecimal(String),
    /// More digits after the point than the currency has.
    #[error("{currency} has {digits} digits after the decimal point, not {given}")]
    TooPrecise {
        /// The currency.
        currency: Currency,
        /// Its digits.
        digits: u32,
        /// Those given.
        given: usize,
    },
    /// Beyond what is counted here.
    #[error("the amount is too large")]
    TooLarge,
    /// Not three capital letters.
    #[error("{0:?} is not an ISO 4217 currency code such as EUR")]
    UnknownCurrency(String),
    /// Amounts of two currencies do not add up.
    #[error("{0} and {1} cannot be reckoned together")]
    Mixed(Currency, Currency),
}

impl Money {
    /// So many minor units.
    pub fn new(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Nothing.
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// Reads a plain decimal (`999.99`, `-5`, `7.5`), exactly; no exponent, no thousands mark.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        let not_decimal = || MoneyError::NotDecimal(text.chars().take(40).collect());
        let (negative, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
        let (whole, fraction) = digits.split_once('.').map_or((digits, None), |(w, f)| (w, Some(f)));
        let all_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || fraction.is_some_and(|f| !all_digits(f)) {
            return Err(not_decimal());
        }
        // Zeros at the end say nothing: 999.990 is 999.99.
        let fraction = fraction.unwrap_or("").trim_end_matches('0');
        let places = currency.digits() as usize;
        if fraction.len() > places {
            return Err(MoneyError::TooPrecise { currency, digits: currency.digits(), given: fraction.len() });
        }
        let minor = format!("{whole}{fraction:0<places$}").parse::<i64>().map_err(|_| MoneyError::TooLarge)?;
        Ok(Self { minor: if negative { -minor } else { minor }, currency })
    }

    /// The exact decimal with all of the currency's digits, without its code: `1999.90`.
    pub fn to_decimal(self) -> String {
        let sign = if self.minor < 0 { "-" } else { "" };
        let minor = self.minor.unsigned_abs();
        match self.currency.digits() {
            0 => format!("{sign}{minor}"),
            digits => {
                let unit = 10_u64.pow(digits);
                format!("{sign}{}.{:0width$}", minor / unit, minor % unit, width = digits as usize)
            }
        }
    }

    /// The sum; of one currency, and within range.
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// The difference; of one currency, and within range.
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same(other)?;
        let minor = self.minor.checked_sub(other.minor).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    /// So many times the amount, within range.
    pub fn checked_mul(self, times: u32) -> Result<Self, MoneyError> {
        let minor = self.minor.checked_mul(i64::from(times)).ok_or(MoneyError::TooLarge)?;
        Ok(Self { minor, ..self })
    }

    fn same(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency { Ok(()) } else { Err(MoneyError::Mixed(self.currency, other.currency)) }
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.to_decimal(), self.currency)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_and_written_exactly() {
        for (text, minor, written) in [
            ("999.99", 99_999, "999.99"),
            ("1999.9", 199_990, "1999.90"),
            ("0.01", 1, "0.01"),
            ("-5", -500, "-5.00"),
            ("7.500", 750, "7.50"),
        ] {
            let money = Money::parse(text, Currency::EUR).unwrap();
            assert_eq!((money.minor, money.to_decimal().as_str()), (minor, written), "{text}");
        }
        let yen = "JPY".parse().unwrap();
        assert_eq!(Money::parse("120", yen).unwrap().to_decimal(), "120");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for text in ["", ".", "1.", ".5", "1e3", "1,000", " 1", "+1", "--1", "0x10", "NaN"] {
            assert!(matches!(Money::parse(text, Currency::EUR), Err(MoneyError::NotDecimal(_))), "{text}");
        }
        assert!(matches!(Money::parse("0.001", Currency::EUR), Err(MoneyError::TooPrecise { given: 3, .. })));
        assert_eq!(Money::parse("99999999999999999999", Currency::EUR), Err(MoneyError::TooLarge));
        assert!("eur".parse::<Currency>().is_err());
    }

    #[test]
    fn arithmetic_is_checked() {
        let most = Money::new(i64::MAX, Currency::EUR);
        assert_eq!(most.checked_add(Money::new(1, Currency::EUR)), Err(MoneyError::TooLarge));
        assert_eq!(most.checked_mul(2), Err(MoneyError::TooLarge));
        let mixed = Money::new(1, Currency::EUR).checked_add(Money::new(1, Currency::USD));
        assert_eq!(mixed, Err(MoneyError::Mixed(Currency::EUR, Currency::USD)));
        assert_eq!(Money::new(12_345_678, Currency::EUR).checked_mul(100).unwrap().to_decimal(), "12345678.00");
    }
}
