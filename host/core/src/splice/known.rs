//! A text that is known to be JSON, as a raw value, without being read again: a part of a raw value, or what was put together
//! of such parts.
//!
//! `serde_json` lets a raw value in only through a deserializer; the one here hands over the text as it is. A build with
//! debug assertions, as every test is, reads it all the same.

use serde::de::value::{BorrowedStrDeserializer, Error, MapDeserializer};
use serde::de::{Error as _, IntoDeserializer, Visitor};
use serde::{Deserialize, Deserializer, forward_to_deserialize_any};
use serde_json::value::RawValue;

/// A part of a raw value: one whole value, nothing before and nothing behind it.
pub(super) fn part(text: &str) -> Option<&RawValue> {
    debug_assert!(is_json(text), "no JSON: {text}");
    <&RawValue>::deserialize(Known(BorrowedStrDeserializer::new(text))).ok()
}

/// What was put together of parts.
pub(super) fn whole(text: String) -> Option<Box<RawValue>> {
    debug_assert!(is_json(&text), "no JSON: {text}");
    Box::<RawValue>::deserialize(Known(text)).ok()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok_and(|raw| raw.get().len() == text.len())
}

/// Gives its text to a raw value, and nothing to anything else.
struct Known<T>(T);

impl<'de, T: IntoDeserializer<'de, Error>> Deserializer<'de> for Known<T> {
    type Error = Error;

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        // A raw value asks for a map with its own name as the key, and its text as the value.
        visitor.visit_map(MapDeserializer::new(std::iter::once((name, self.0))))
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(Error::custom("this is for raw values only"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct seq
        tuple tuple_struct map struct enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::{part, whole};

    #[test]
    fn a_text_becomes_a_raw_value_as_it_is() {
        for text in [r#"{"a": [1.0e5, "\u0041"] }"#, "null", "\"x\"", "-1"] {
            assert_eq!(part(text).map(|raw| raw.get()), Some(text));
            assert_eq!(whole(text.to_owned()).map(|raw| raw.get().to_owned()).as_deref(), Some(text));
            let raw = part(text).unwrap();
            assert_eq!(raw.get().as_ptr(), text.as_ptr(), "nothing is copied");
        }
    }
}
