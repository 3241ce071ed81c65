//! What spans say, and what they are called: borrowed where it can be, since it is written down at once.

use std::borrow::Cow;

use uuid::Uuid;

/// What an attribute says.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// A text.
    Text(Cow<'a, str>),
    /// An id, as the text that it usually is.
    Id(Uuid),
    /// A whole number.
    Integer(i64),
    /// A number.
    Number(f64),
    /// Yes or no.
    Flag(bool),
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl<'a> From<&'a String> for Value<'a> {
    fn from(text: &'a String) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value<'_> {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl From<Uuid> for Value<'_> {
    fn from(id: Uuid) -> Self {
        Self::Id(id)
    }
}

impl From<i64> for Value<'_> {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<f64> for Value<'_> {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value<'_> {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

/// A span's name: what is done, and often to what. The two are one text, which nobody has to put together first.
#[derive(Debug, Clone)]
pub struct Name<'a> {
    pub(super) verb: Cow<'a, str>,
    pub(super) object: Option<&'a str>,
}

impl<'a> From<&'a str> for Name<'a> {
    fn from(name: &'a str) -> Self {
        Self { verb: Cow::Borrowed(name), object: None }
    }
}

impl From<String> for Name<'_> {
    fn from(name: String) -> Self {
        Self { verb: Cow::Owned(name), object: None }
    }
}

impl<'a> From<(&'a str, &'a str)> for Name<'a> {
    fn from((verb, object): (&'a str, &'a str)) -> Self {
        Self { verb: Cow::Borrowed(verb), object: Some(object) }
    }
}
