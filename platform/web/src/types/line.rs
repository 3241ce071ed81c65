//! Texts of one line in requests, with their bounds in the document.

use std::borrow::Cow;
use std::ops::Deref;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;

use super::Text;

/// A JSON string of 1 to `MAX` characters: no control characters, and not spaces alone. The document says so, and what
/// it says is what is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line<const MAX: usize>(Text);

/// As regular expressions have it that are common to JSON Schema's readers.
pub(crate) const PATTERN: &str = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$";

impl<const MAX: usize> Line<MAX> {
    fn read(text: Text) -> Result<Self, String> {
        let empty = text.trim().is_empty();
        match text.chars().nth(MAX) {
            None if !empty && !text.chars().any(char::is_control) => Ok(Self(text)),
            _ => Err(format!("must have 1 to {MAX} characters: not only spaces, and no control characters")),
        }
    }
}

/// # Panics
/// The text is none: for examples.
impl<const MAX: usize> From<&str> for Line<MAX> {
    fn from(text: &str) -> Self {
        Self::read(text.into()).unwrap_or_else(|reason| panic!("{text:?} {reason}"))
    }
}

impl<const MAX: usize> Deref for Line<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<const MAX: usize> Type for Line<MAX> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;

    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        Text::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            min_length: Some(1),
            max_length: Some(MAX),
            pattern: Some(PATTERN.to_owned()),
            ..MetaSchema::new("string")
        }))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl<const MAX: usize> ParseFromJSON for Line<MAX> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let text = Text::parse_from_json(value).map_err(ParseError::propagate)?;
        Self::read(text).map_err(ParseError::custom)
    }
}

impl<const MAX: usize> ToJSON for Line<MAX> {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_is_bounded_and_visible() {
        for good in ["a", " Zoë ", "abcde"] {
            assert_eq!(&*Line::<5>::parse_from_json(Some(json!(good))).unwrap(), good);
        }
        for bad in
            [json!(""), json!("   "), json!("\u{2003}"), json!("abcdef"), json!("a\nb"), json!("a\u{85}"), json!(5)]
        {
            assert!(Line::<5>::parse_from_json(Some(bad.clone())).is_err(), "{bad}");
        }
        assert!(Line::<5>::parse_from_json(None).is_err());
    }
}
