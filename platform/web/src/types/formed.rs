//! Texts whose form the document tells and somebody else judges.

use std::borrow::Cow;
use std::marker::PhantomData;
use std::ops::Deref;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::Value;

use super::Text;

/// What a text should look like.
pub trait Form: Send + Sync + 'static {
    /// As the document has it.
    fn schema() -> MetaSchema;
}

/// A JSON string that should be of a form. Any string is read: whether it is of that form the domain says, which knows
/// best what is wrong with it.
#[derive(Debug)]
pub struct Formed<F>(Text, PhantomData<fn() -> F>);

impl<F> From<&str> for Formed<F> {
    fn from(text: &str) -> Self {
        Self(text.into(), PhantomData)
    }
}

impl<F> Deref for Formed<F> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<F: Form> Type for Formed<F> {
    const IS_REQUIRED: bool = true;

    type RawValueType = Self;

    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        Text::name()
    }

    fn schema_ref() -> MetaSchemaRef {
        MetaSchemaRef::Inline(Box::new(F::schema()))
    }

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(self.as_raw_value().into_iter())
    }
}

impl<F: Form> ParseFromJSON for Formed<F> {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let text = Text::parse_from_json(value).map_err(ParseError::propagate)?;
        Ok(Self(text, PhantomData))
    }
}

impl<F: Form> ToJSON for Formed<F> {
    fn to_json(&self) -> Option<Value> {
        self.0.to_json()
    }
}
