//! A payment method in a request, with what one looks like in the document.

use poem_openapi::registry::MetaSchema;
use web::{Form, Formed};

/// A text that should be a token of the payment provider: the domain knows what to say of a card's number.
pub(super) type Token = Formed<OfToken>;

pub(super) struct OfToken;

impl Form for OfToken {
    fn schema() -> MetaSchema {
        MetaSchema { pattern: Some("^tok_[a-z0-9_]{1,40}$".to_owned()), ..MetaSchema::new("string") }
    }
}
