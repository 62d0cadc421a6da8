//! The id of a request, letter by letter. It must not know what is asked.
//!
//! Every message carries one, so one of ordinary length is kept in place, without memory of its own.

use std::fmt;
use std::sync::Arc;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

/// What fits in place: any number of 64 bits, and most strings.
const SHORT: usize = 22;

/// A request id: a JSON string or integer, kept letter by letter.
#[derive(Clone)]
pub struct Id(Text);

#[derive(Clone)]
enum Text {
    Short { length: u8, bytes: [u8; SHORT] },
    Long(Arc<str>),
}

impl Id {
    /// An integer id.
    #[must_use]
    pub fn number(n: u64) -> Self {
        let mut bytes = [0; SHORT];
        let mut at = SHORT;
        let mut left = n;
        // At most 20 digits.
        while let Some(place) = at.checked_sub(1).and_then(|at| bytes.get_mut(at)) {
            at -= 1;
            *place = b'0' + u8::try_from(left % 10).unwrap_or_default();
            left /= 10;
            if left == 0 {
                break;
            }
        }
        bytes.rotate_left(at);
        Self(Text::Short { length: u8::try_from(SHORT - at).unwrap_or_default(), bytes })
    }

    /// An integer id that is not negative, as it stands in a message. `None`: these are not the digits of one.
    pub(super) fn digits(digits: &str) -> Option<Self> {
        // A zero before others is no JSON.
        let is_number =
            digits == "0" || digits.bytes().next().is_some_and(|first| matches!(first, b'1'..=b'9'));
        (is_number && digits.bytes().all(|b| b.is_ascii_digit())).then(|| Self::kept(digits))
    }

    /// A string id.
    #[must_use]
    pub fn text(s: &str) -> Self {
        Self::kept(&serde_json::to_string(s).unwrap_or_else(|_| "null".to_owned()))
    }

    /// An id as it stands in a message; `None` if it is neither a string nor an integer.
    #[must_use]
    pub fn from_raw(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        let integer = || {
            let digits = text.strip_prefix('-').unwrap_or(text);
            !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
        };
        (text.starts_with('"') || integer()).then(|| Self::kept(text))
    }

    /// The id as it stands in JSON, with its quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match &self.0 {
            // It was copied whole from a text.
            Text::Short { .. } => std::str::from_utf8(self.as_bytes()).unwrap_or("null"),
            Text::Long(text) => text,
        }
    }

    /// Likewise, as bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Text::Short { length, bytes } => bytes.get(..usize::from(*length)).unwrap_or(b"null"),
            Text::Long(text) => text.as_bytes(),
        }
    }

    /// The number, if it is one that fits.
    #[must_use]
    pub fn as_u64(&self) -> Option<u64> {
        let bytes = self.as_bytes();
        let next = |number: u64, byte: &u8| {
            let digit = char::from(*byte).to_digit(10)?;
            number.checked_mul(10)?.checked_add(u64::from(digit))
        };
        bytes.iter().try_fold(0, next).filter(|_| !bytes.is_empty())
    }

    fn kept(json: &str) -> Self {
        let mut bytes = [0; SHORT];
        match (bytes.get_mut(..json.len()), u8::try_from(json.len())) {
            (Some(place), Ok(length)) => {
                place.copy_from_slice(json.as_bytes());
                Self(Text::Short { length, bytes })
            }
            _ => Self(Text::Long(json.into())),
        }
    }
}

impl PartialEq for Id {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Id {}

impl std::hash::Hash for Id {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        use serde::ser::Error as _;
        RawValue::from_string(self.as_str().to_owned()).map_err(S::Error::custom)?.serialize(to)
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(from)?;
        Self::from_raw(&raw).ok_or_else(|| D::Error::custom("an id is a string or an integer"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::Id;

    #[test]
    fn an_id_of_any_length_keeps_its_letters() {
        for n in [0, 1, 9, 10, 12345, u64::MAX] {
            let id = Id::number(n);
            assert_eq!(id.as_bytes(), n.to_string().as_bytes());
            assert_eq!((id.as_str(), id.as_u64()), (n.to_string().as_str(), Some(n)));
        }
        for length in 0..60 {
            let text = format!("\"{}\"", "\u{e4}".repeat(length));
            let raw = RawValue::from_string(text.clone()).unwrap();
            let id = Id::from_raw(&raw).unwrap();
            assert_eq!((id.as_str(), id.as_u64()), (text.as_str(), None));
            assert_eq!(serde_json::to_string(&id).unwrap(), text);
            assert_eq!(serde_json::from_str::<Id>(&text).unwrap(), id);
        }
        assert_eq!(Id::text("a\"b").as_str(), r#""a\"b""#);
    }
}
