//! An e-mail address in a request, with what one is in the document.

use domain::user::EmailAddress;
use poem_openapi::registry::MetaSchema;
use web::{Form, Formed};

/// A text that should be an e-mail address.
pub(super) type Email = Formed<OfEmail>;

pub(super) struct OfEmail;

impl Form for OfEmail {
    fn schema() -> MetaSchema {
        let max_length = Some(EmailAddress::BYTES_MAX);
        MetaSchema { max_length, ..MetaSchema::new_with_format("string", "email") }
    }
}
