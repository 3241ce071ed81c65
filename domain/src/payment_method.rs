//! What a customer pays with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A payment provider's token for a card or an account: `tok_` and 1 to 40 of `a-z`, `0-9` and `_`. Never a card number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PaymentMethod(String);

/// Not a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a payment method is a token such as tok_ok: tok_ and 1 to 40 of a-z, 0-9 and _")]
pub struct PaymentMethodError;

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
        let name = token.strip_prefix("tok_").ok_or(PaymentMethodError)?;
        let valid = (1..=40).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid { Ok(Self(token.to_owned())) } else { Err(PaymentMethodError) }
    }
}

impl fmt::Display for PaymentMethod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_are_payment_methods() {
        for token in ["tok_ok", "tok_insufficient_funds", "tok_4242"] {
            assert_eq!(token.parse::<PaymentMethod>().unwrap().as_str(), token);
        }
        for text in
            ["", "tok_", "ok", "tok_OK", "tok_ö", "tok_a b", "4242424242424242", &format!("tok_{}", "a".repeat(41))]
        {
            assert_eq!(text.parse::<PaymentMethod>(), Err(PaymentMethodError), "{text}");
        }
    }
}
