//! Amounts as they stand in a message.

use std::str::FromStr;

use kernel::{Currency, Money, MoneyError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Number;

/// An exact decimal, a JSON number such as `1999.90`; its currency stands beside it in the message.
///
/// It never passes through a binary float. Two amounts are equal when they are written alike.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Amount(Number);

impl Amount {
    /// Nothing, in whichever currency.
    pub fn zero() -> Self {
        Self(0.into())
    }

    /// The amount as money; fails when the currency has fewer digits or it is out of range.
    pub fn money(&self, currency: Currency) -> Result<Money, MoneyError> {
        Money::parse(self.0.as_str(), currency)
    }
}

impl From<Money> for Amount {
    /// Written with all of the currency's digits.
    fn from(money: Money) -> Self {
        // A plain decimal is always a JSON number.
        Self(Number::from_str(&money.to_decimal()).unwrap_or_else(|_| unreachable!("{money} is a decimal")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_written_and_read_exactly() {
        for (minor, text) in
            [(99_999, "999.99"), (199_990, "1999.90"), (0, "0.00"), (-1, "-0.01"), (i64::MAX, "92233720368547758.07")]
        {
            let money = Money::new(minor, Currency::EUR);
            let json = serde_json::to_string(&Amount::from(money)).unwrap();
            assert_eq!(json, text);
            assert_eq!(serde_json::from_str::<Amount>(&json).unwrap().money(Currency::EUR), Ok(money));
        }
    }

    #[test]
    fn it_survives_a_json_value() {
        let value = serde_json::to_value(Amount::from(Money::new(199_990, Currency::EUR))).unwrap();
        assert_eq!(serde_json::from_value::<Amount>(value).unwrap().money(Currency::EUR).unwrap().minor, 199_990);
    }

    #[test]
    fn what_is_no_amount_of_the_currency_is_refused() {
        let yen = "JPY".parse().unwrap();
        assert!(serde_json::from_str::<Amount>("0.5").unwrap().money(yen).is_err());
        assert!(serde_json::from_str::<Amount>("1e3").unwrap().money(yen).is_err());
        assert!(serde_json::from_str::<Amount>("\"5\"").is_err());
        assert_eq!(Amount::zero().money(Currency::EUR), Ok(Money::zero(Currency::EUR)));
    }
}
