//! Texts that people write: bounded, one line, nothing invisible.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// Nothing but spaces.
    #[error("must not be empty")]
    Empty,
    /// Too many characters.
    #[error("must have at most {max} characters")]
    TooLong {
        /// The most it may have.
        max: usize,
    },
    /// A line break, a NUL or the like.
    #[error("must not contain control characters")]
    ControlCharacter,
}

/// The text without spaces around it, if it has 1 to `max` characters and no control characters.
pub(crate) fn one_line(text: &str, max: usize) -> Result<String, TextError> {
    let text = text.trim();
    match text {
        "" => Err(TextError::Empty),
        _ if text.chars().any(char::is_control) => Err(TextError::ControlCharacter),
        _ if text.chars().nth(max).is_some() => Err(TextError::TooLong { max }),
        _ => Ok(text.to_owned()),
    }
}

/// Makes a newtype of a text of 1 to `max` characters.
///
/// What is stored was parsed once, so it is read back as it is: a rule that becomes stricter must not make old events
/// unreadable.
macro_rules! line {
    ($(#[$doc:meta])* $name:ident, $max:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
        #[serde(transparent)]
        #[schemars(inline)]
        pub struct $name(String);

        impl $name {
            /// The most characters that it may have.
            pub const CHARS_MAX: usize = $max;

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::str::FromStr for $name {
            type Err = $crate::TextError;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                $crate::text::one_line(text, Self::CHARS_MAX).map(Self)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}
pub(crate) use line;

/// Why something was done. Any text becomes one: control characters become spaces, what is too long is cut.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
#[schemars(inline)]
pub struct Reason(String);

impl Reason {
    /// The most characters that are kept.
    pub const CHARS_MAX: usize = 200;

    /// The text; never empty.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Reason {
    fn from(text: &str) -> Self {
        let visible = text.trim().chars().map(|c| if c.is_control() { ' ' } else { c });
        match visible.take(Self::CHARS_MAX).collect::<String>() {
            empty if empty.is_empty() => Self("unspecified".to_owned()),
            text => Self(text),
        }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_trimmed_and_bounded_in_characters() {
        assert_eq!(one_line("  Zoë \t", 3).as_deref(), Ok("Zoë"));
        assert_eq!(one_line("four", 3), Err(TextError::TooLong { max: 3 }));
        assert_eq!(one_line(" \n ", 3), Err(TextError::Empty));
        for text in ["a\0b", "a\nb", "a\u{1b}[0m", "a\u{85}b"] {
            assert_eq!(one_line(text, 10), Err(TextError::ControlCharacter), "{text:?}");
        }
    }

    #[test]
    fn any_text_is_a_reason() {
        assert_eq!(Reason::from("out_of_stock").as_str(), "out_of_stock");
        assert_eq!(Reason::from("a\0b\nc").as_str(), "a b c");
        assert_eq!(Reason::from(" ").as_str(), "unspecified");
        assert_eq!(Reason::from("é".repeat(500)).as_str().chars().count(), Reason::CHARS_MAX);
    }
}
