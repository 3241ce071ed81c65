//! The types of events that an enum has, by the names of its variants.

use serde::de::value::Error;
use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// The names of an enum's variants, as they are in JSON. A type that is no enum has none.
pub fn variants<E: for<'de> Deserialize<'de>>() -> &'static [&'static str] {
    let mut found: &'static [&'static str] = &[];
    // Always an error: the reader looks at the names and gives nothing.
    let _ = E::deserialize(Variants(&mut found));
    found
}

/// A reader that is told the names of an enum's variants.
struct Variants<'a>(&'a mut &'static [&'static str]);

impl<'de> Deserializer<'de> for Variants<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
        Err(Error::custom("no enum"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Error> {
        *self.0 = variants;
        Err(Error::custom("only the names were wanted"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// The type that a variant's events are stored under: `SagaStarted` and `saga_started` are both `saga_started`.
pub fn event_type(variant: &str) -> String {
    let mut snake = String::with_capacity(variant.len() + 4);
    for letter in variant.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    #[expect(dead_code, reason = "only its names are looked at")]
    enum Event {
        ManyAdded { number: u64 },
        Reminded,
    }

    #[test]
    fn an_enum_tells_its_names() {
        assert_eq!(variants::<Event>(), ["ManyAdded", "Reminded"]);
        assert!(variants::<u64>().is_empty());
        assert_eq!(["ManyAdded", "many_added", "reminded"].map(event_type), ["many_added", "many_added", "reminded"]);
    }
}
