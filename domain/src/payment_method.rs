//! What a customer pays with.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How many digits a card's number has (ISO/IEC 7812).
const CARD_DIGITS: RangeInclusive<usize> = 13..=19;

/// A payment provider's token for a card or an account: `tok_` and 1 to 40 of `a-z`, `0-9` and `_`. Never a card number.
///
/// Tokens choose the outcome at the simulated provider, as test cards do at a real one: `tok_ok`, `tok_declined`,
/// `tok_insufficient_funds`, `tok_timeout` (charged, and the reply does not come in time), `tok_flaky` (charged, and
/// the first answers are failures).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct PaymentMethod(String);

/// Not a token. It never holds what was given: that may be a card's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PaymentMethodError {
    /// Some other text.
    #[error("a payment method is a token such as tok_ok: tok_ and 1 to 40 of a-z, 0-9 and _")]
    NotAToken,
    /// It holds what looks like the number of a card.
    #[error(
        "this looks like a card number, which must never be sent here: give a token of the payment provider, such as tok_ok"
    )]
    CardNumber,
}

impl PaymentMethod {
    /// The token.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for PaymentMethod {
    /// The provider's token that always succeeds.
    fn default() -> Self {
        Self("tok_ok".to_owned())
    }
}

impl FromStr for PaymentMethod {
    type Err = PaymentMethodError;

    fn from_str(token: &str) -> Result<Self, Self::Err> {
        if holds_card_number(token) {
            return Err(PaymentMethodError::CardNumber);
        }
        let name = token.strip_prefix("tok_").ok_or(PaymentMethodError::NotAToken)?;
        let valid = (1..=40).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid { Ok(Self(token.to_owned())) } else { Err(PaymentMethodError::NotAToken) }
    }
}

impl fmt::Display for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether some run of digits, written together or in groups, has a card's length and check digit.
fn holds_card_number(text: &str) -> bool {
    let separates = |c: char| c.is_whitespace() || matches!(c, '-' | '\u{2010}'..='\u{2015}' | '_' | '.' | '/');
    let groups = text.split(|c: char| !(c.is_ascii_digit() || separates(c)));
    groups.map(|group| group.bytes().filter(u8::is_ascii_digit).map(|digit| u32::from(digit - b'0'))).any(|digits| {
        let digits: Vec<u32> = digits.collect();
        CARD_DIGITS.contains(&digits.len()) && luhn(&digits)
    })
}

/// The check of ISO/IEC 7812: every second digit from the right counts twice, and the sum ends in 0.
fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match place % 2 {
            0 => digit,
            _ if digit > 4 => 2 * digit - 9,
            _ => 2 * digit,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_payment_methods() {
        for token in ["tok_ok", "tok_insufficient_funds", "tok_4242", "tok_4242424242424241", "tok_1f3a4242424242b"] {
            assert_eq!(token.parse::<PaymentMethod>().unwrap().as_str(), token);
        }
        for text in
            ["", "tok_", "ok", "tok_OK", "tok_ö", "tok_a b", "4242424242424241", &format!("tok_{}", "a".repeat(41))]
        {
            assert_eq!(text.parse::<PaymentMethod>(), Err(PaymentMethodError::NotAToken), "{text}");
        }
    }

    #[test]
    fn card_numbers_are_refused_however_they_are_written() {
        for number in [
            "4242424242424242",
            "4242 4242 4242 4242",
            "4242-4242-4242-4242",
            " 5555 5555-5555 4444 ",
            "378282246310005",
            "3782 822463 10005",
            "4222222222222",
            "6304000000000000000",
            "tok_4242424242424242",
            "tok_4242_4242_4242_4242",
            "card 4000056655665556 exp 12/34",
            "4242\u{a0}4242\u{2013}4242 4242",
        ] {
            let refused = number.parse::<PaymentMethod>().unwrap_err();
            assert_eq!(refused, PaymentMethodError::CardNumber, "{number}");
            assert!(!format!("{refused} {refused:?}").contains("4242"));
        }
    }
}
