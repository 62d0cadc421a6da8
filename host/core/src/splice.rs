//! Edits of raw JSON that touch only what is ours: every other byte stays as it was.
//!
//! Nothing here builds a tree. An object is read for the places of its top-level values; an edit copies the text around
//! one of them. A key that stands twice is edited at both places, since two readers could choose differently.
//!
//! What is not here: what the keys mean, but for the one that every request of ours carries (`_meta.progressToken`).

mod scan;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// The key of a message's metadata.
const META: &str = "_meta";
/// The key, in the metadata, under which a plugin reports progress.
const PROGRESS_TOKEN: &str = "progressToken";
/// Every request is searched for it: to make the finder anew costs more than to use it.
static TOKEN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(PROGRESS_TOKEN));

/// Below this the members of an object are found as fast as it is told that it does not hold a key.
const SMALL: usize = 1 << 10;

/// The value of a top-level key. `None` if `object` is no object or has no such key; the last one if it has several.
#[must_use]
pub fn field<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    let text = object.get();
    if text.len() > SMALL && !may_hold(object, key) {
        return None;
    }
    let mut found = None;
    scan::members(text, |name, value| {
        if is_key(name, key) {
            found = Some(value);
        }
    });
    serde_json::from_str(text.get(found?)?).ok()
}

/// Tells `each` what stands between the quotes of each top-level key, and its value, in order. False: it is no object.
pub fn each_member(object: &RawValue, mut each: impl FnMut(&str, &str)) -> bool {
    let text = object.get();
    scan::members(text, |name, value| each(name, text.get(value).unwrap_or_default()))
}

/// Whether what stands between the quotes of a key spells this one.
fn is_key(name: &str, key: &str) -> bool {
    if memchr::memchr(b'\\', name.as_bytes()).is_none() {
        return name == key;
    }
    serde_json::from_str::<String>(&format!("\"{name}\"")).is_ok_and(|name| name == key)
}

/// Whether `object` may have a key, at any depth. False is certain; true may be a false alarm, for it is told without parsing.
#[must_use]
pub fn may_hold(object: &RawValue, key: &str) -> bool {
    let bytes = object.get().as_bytes();
    // Some letters can be spelled in no other way.
    let always = key.bytes().any(|b| b < b' ' || matches!(b, b'"' | b'\\'));
    always || memchr::memmem::find(bytes, key.as_bytes()).is_some() || holds_escape(bytes)
}

/// Whether a letter, or a slash, may be spelled with an escape, which begins like this.
fn holds_escape(json: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', json).any(|at| matches!(json.get(at + 1), Some(b'u' | b'/')))
}

/// The elements of an array of at most `most`. `None` if it is none, or has more.
#[must_use]
pub fn items(array: &[u8], most: usize) -> Option<Vec<&RawValue>> {
    let mut from = serde_json::Deserializer::from_slice(array);
    let items = from.deserialize_seq(Items(most)).ok()?;
    from.end().ok().map(|()| items)
}

/// The object with `key` set to `value`: replaced where it stands, else added at the end. `None` if it is no object.
#[must_use]
pub fn with_field(object: &RawValue, key: &str, value: &RawValue) -> Option<Box<RawValue>> {
    edit(object, key, &|_| Some(value.to_owned()))
}

/// Writes the object with `key` set to `value`, which must be JSON, behind what `out` holds: replaced where it stands, else
/// added at the end. False: it is no object, and nothing is written.
pub fn write_with_field(out: &mut Vec<u8>, object: &RawValue, key: &str, value: &str) -> bool {
    let text = object.get();
    let (Some(places), Some(close)) = (Places::of(text, key), text.rfind('}')) else { return false };
    let mut copied = 0;
    for place in &places.of_key {
        out.extend_from_slice(text.get(copied..place.start).unwrap_or_default().as_bytes());
        out.extend_from_slice(value.as_bytes());
        copied = place.end;
    }
    if copied == 0 {
        out.extend_from_slice(text.get(..close).unwrap_or_default().as_bytes());
        out.extend_from_slice(if places.is_empty { b"" } else { b"," });
        // A text becomes JSON always.
        out.extend_from_slice(&serde_json::to_vec(key).unwrap_or_default());
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
        copied = close;
    }
    out.extend_from_slice(text.get(copied..).unwrap_or_default().as_bytes());
    true
}

/// The object without these keys, every other byte as it was. `None` if it is no object.
#[must_use]
pub fn without_fields(object: &RawValue, keys: &[&str]) -> Option<Box<RawValue>> {
    let text = object.get();
    let members = Members::of(object)?.0;
    if !members.iter().any(|(name, _)| keys.contains(&name.as_ref())) {
        return Some(object.to_owned());
    }
    // A member reaches from the end of the one before it (or the brace) to the end of its value.
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut kept = false;
    let open = text.find('{')? + 1;
    let mut from = open;
    for (name, value) in &members {
        let end = value.get().as_ptr() as usize - text.as_ptr() as usize + value.get().len();
        if keys.contains(&name.as_ref()) {
            out.push_str(text.get(copied..from)?);
            copied = end;
        } else if !kept && copied > open {
            // What was before it is gone, its comma with it.
            out.push_str(text.get(copied..end)?.trim_start().strip_prefix(',')?);
            copied = end;
            kept = true;
        } else {
            kept = true;
        }
        from = end;
    }
    out.push_str(text.get(copied..)?);
    raw(out)
}

/// `params` whose `_meta.progressToken` is `token`. Unknown keys of `_meta` stay. What is no object stays as it is,
/// since no token can be added to it.
#[must_use]
pub fn with_meta_progress_token(params: Option<&RawValue>, token: u64) -> Option<Box<RawValue>> {
    let token = raw(token.to_string())?;
    let Some(params) = params else {
        return raw(format!("{{\"{META}\":{{\"{PROGRESS_TOKEN}\":{token}}}}}"));
    };
    let edited = edit(params, META, &|meta| match meta {
        Some(meta) if meta.get() != "null" => {
            Some(with_field(meta, PROGRESS_TOKEN, &token).unwrap_or_else(|| meta.to_owned()))
        }
        Some(_) | None => raw(format!("{{\"{PROGRESS_TOKEN}\":{token}}}")),
    });
    Some(edited.unwrap_or_else(|| params.to_owned()))
}

/// Whether `params` may hold a progress token of whoever wrote it. False is certain; true may be a false alarm, for it is
/// told without parsing.
#[must_use]
pub fn may_hold_progress_token(params: &RawValue) -> bool {
    let bytes = params.get().as_bytes();
    TOKEN.find(bytes).is_some() || holds_escape(bytes)
}

/// The params of a `tools/call`. The pieces are JSON already and are not read again, however large they are.
///
/// # Errors
/// Never, as far as is known; the serializer's signature allows for it.
pub fn call_params(
    name: &str,
    arguments: Option<&RawValue>,
    meta: Option<&RawValue>,
) -> Result<Box<RawValue>, serde_json::Error> {
    #[derive(Serialize)]
    struct Params<'a> {
        name: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        arguments: Option<&'a RawValue>,
        #[serde(rename = "_meta", skip_serializing_if = "Option::is_none")]
        meta: Option<&'a RawValue>,
    }
    to_raw_value(&Params { name, arguments, meta })
}

/// Reads the elements of an array, up to a bound.
struct Items(usize);

impl<'de> Visitor<'de> for Items {
    type Value = Vec<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array of at most {} elements", self.0)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            if items.len() == self.0 {
                return Err(A::Error::invalid_length(self.0 + 1, &self));
            }
            items.push(item);
        }
        Ok(items)
    }
}

/// Where the values of a key stand in an object.
struct Places {
    of_key: Vec<Range<usize>>,
    /// Whether the object has no members at all.
    is_empty: bool,
}

/// The top-level members of an object, in order.
struct Members<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

/// Replaces the value of each `key`, or adds one at the end; `make` gets what stands there. `None` if it is no object.
fn edit(
    object: &RawValue,
    key: &str,
    make: &dyn Fn(Option<&RawValue>) -> Option<Box<RawValue>>,
) -> Option<Box<RawValue>> {
    let text = object.get();
    let places = Places::of(text, key)?;
    let mut out = String::with_capacity(text.len() + key.len() + 48);
    let mut copied = 0;
    for place in places.of_key {
        out.push_str(text.get(copied..place.start)?);
        out.push_str(make(serde_json::from_str(text.get(place.clone())?).ok())?.get());
        copied = place.end;
    }
    let end = if copied == 0 { text.rfind('}')? } else { text.len() };
    out.push_str(text.get(copied..end)?);
    if copied == 0 {
        if !places.is_empty {
            out.push(',');
        }
        out.push_str(&serde_json::to_string(key).ok()?);
        out.push(':');
        out.push_str(make(None)?.get());
        out.push_str(text.get(end..)?);
    }
    raw(out)
}

/// Validates: whatever comes out of here is JSON, also if a rule above were wrong.
fn raw(text: String) -> Option<Box<RawValue>> {
    RawValue::from_string(text).ok()
}

// === impl Places ===

impl Places {
    /// `None`: it is no object.
    fn of(object: &str, key: &str) -> Option<Self> {
        let mut places = Self { of_key: Vec::new(), is_empty: true };
        let is_object = scan::members(object, |name, value| {
            places.is_empty = false;
            if is_key(name, key) {
                places.of_key.push(value);
            }
        });
        is_object.then_some(places)
    }
}

// === impl Members ===

impl<'a> Members<'a> {
    fn of(object: &'a RawValue) -> Option<Self> {
        serde_json::from_str(object.get()).ok()
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::with_capacity(8);
                while let Some((Key(key), value)) = map.next_entry()? {
                    members.push((key, value));
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Collect)
    }
}

#[cfg(test)]
mod tests;
