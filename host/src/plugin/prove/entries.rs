//! The entries of one page of a list: no more of them are kept than a list may have, however many a page holds.

use std::fmt;

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Reads an array as far as `MOST` entries and one more, which tells that there were too many; what follows is only
/// checked.
///
/// # Errors
/// If it is no array.
pub(super) fn bounded<'de, const MOST: usize, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Vec<Box<RawValue>>>, D::Error> {
    struct Bounded<const MOST: usize>;
    impl<'de, const MOST: usize> Visitor<'de> for Bounded<MOST> {
        type Value = Option<Vec<Box<RawValue>>>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an array or null")
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Self::Value, A::Error> {
            let mut kept = Vec::new();
            while kept.len() <= MOST {
                match from.next_element()? {
                    Some(entry) => kept.push(entry),
                    None => return Ok(Some(kept)),
                }
            }
            while from.next_element::<IgnoredAny>()?.is_some() {}
            Ok(Some(kept))
        }
    }
    from.deserialize_any(Bounded::<MOST>)
}
