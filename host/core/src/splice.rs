//! Edits of raw JSON that touch only what is ours: every other byte stays as it was.
//!
//! Nothing here builds a tree. An object is looked through for the places of its top-level values; an edit copies the text
//! around one of them. What comes in is JSON already, and so is what goes out: neither is read again, however large it is.
//! A key that stands twice is edited at both places, since two readers could choose differently.
//!
//! What is not here: what the keys mean, but for the one that every request of ours carries (`_meta.progressToken`).

mod key;
mod known;
mod look;
mod places;
mod scan;
mod strings;

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use serde::Deserializer;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

pub use self::key::Key;
pub use self::look::Look;
pub use self::places::Places;

/// The key of a message's metadata.
const META: &str = "_meta";
/// The key, in the metadata, under which a plugin reports progress.
const PROGRESS_TOKEN: &str = "progressToken";
/// Every request is searched for it.
static TOKEN: LazyLock<Key> = LazyLock::new(|| Key::new(PROGRESS_TOKEN));

/// An object that is longer is searched for the letters of a key before its members are told apart.
const LONG: usize = 1 << 10;

/// The value of a top-level key. `None` if `object` is no object or has no such key; the last one if it has several.
#[must_use]
pub fn field<'a>(object: &'a RawValue, key: &str) -> Option<&'a RawValue> {
    if object.get().len() > LONG && !may_hold(object, key) {
        return None;
    }
    let [found] = fields(object, [key]);
    found
}

/// The values of several keys, found in one look; each as [`field`] finds it.
#[must_use]
pub fn fields<'a, const N: usize>(object: &'a RawValue, keys: [&str; N]) -> [Option<&'a RawValue>; N] {
    let text = object.get();
    let mut found = [const { None }; N];
    scan::members(text, |name, value| {
        let same = |name: &str| keys.iter().position(|key| *key == name);
        // Its escapes are read once, however many keys are looked for.
        let at = spelled(name).map_or_else(|| same(name), |spelled| same(&spelled));
        if let Some(place) = at.and_then(|at| found.get_mut(at)) {
            *place = Some(value);
        }
    });
    found.map(|value| known::part(text.get(value?)?))
}

/// Likewise, where every reader finds the same. `None` if one might not, and a stricter one has to decide: a key stands twice,
/// any of the object's keys is spelled with an escape, or it is no object.
#[must_use]
pub fn plain_fields<'a, const N: usize>(
    object: &'a RawValue,
    keys: [&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    let text = object.get();
    let (mut found, mut plain) = ([const { None }; N], true);
    let is_object = scan::members(text, |name, value| {
        plain &= memchr::memchr(b'\\', name.as_bytes()).is_none();
        if let Some((_, place)) = keys.iter().zip(&mut found).find(|(key, _)| **key == name) {
            plain &= place.replace(value).is_none();
        }
    });
    (is_object && plain).then(|| found.map(|value| known::part(text.get(value?)?)))
}

/// What a string says. `None` if it is none.
#[must_use]
pub fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    said(value.get())
}

/// Likewise, of the text of a value.
#[must_use]
pub fn said(json: &str) -> Option<Cow<'_, str>> {
    let said = json.strip_prefix('"')?.strip_suffix('"')?;
    // For the few letters of nearly each this costs less than the search for a character does.
    if strings::run_end::<true>(said.as_bytes(), 0) == said.len() {
        return Some(Cow::Borrowed(said));
    }
    serde_json::from_str(json).ok().map(Cow::Owned)
}

/// A text as a string.
#[must_use]
pub fn quoted(text: &str) -> String {
    if strings::run_end::<false>(text.as_bytes(), 0) < text.len() {
        // A text becomes JSON always.
        return serde_json::to_string(text).unwrap_or_default();
    }
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    out.push_str(text);
    out.push('"');
    out
}

/// Tells `each` what stands between the quotes of each top-level key, and its value, in order. False: it is no object.
pub fn each_member(object: &RawValue, mut each: impl FnMut(&str, &str)) -> bool {
    let text = object.get();
    scan::members(text, |name, value| each(name, text.get(value).unwrap_or_default()))
}

/// Whether what stands between the quotes of a key spells this one.
fn is_key(name: &str, key: &str) -> bool {
    // An escape is longer than what it stands for.
    if name.len() <= key.len() {
        return name == key && !key.contains('\\');
    }
    spelled(name).is_some_and(|spelled| spelled == key)
}

/// What stands between the quotes of a key without its escapes. `None`: it has none, or means nothing.
fn spelled(name: &str) -> Option<String> {
    memchr::memchr(b'\\', name.as_bytes())?;
    serde_json::from_str(&format!("\"{name}\"")).ok()
}

/// Whether `object` may have a key, at any depth. False is certain; true may be a false alarm, for it is told without parsing.
#[must_use]
pub fn may_hold(object: &RawValue, key: &str) -> bool {
    let bytes = object.get().as_bytes();
    // Some letters can be spelled in no other way.
    let always = key.bytes().any(|b| b < b' ' || matches!(b, b'"' | b'\\'));
    always || memchr::memmem::find(bytes, key.as_bytes()).is_some() || holds_escape(bytes)
}

/// Whether a letter of a key, or its slash, may be spelled with an escape.
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

/// The element of an array that has one and no more. `None` of all else.
#[must_use]
pub fn only_item(array: &RawValue) -> Option<&RawValue> {
    known::part(array.get().get(scan::only(array.get())?)?)
}

/// The object with `key` set to `value`: replaced where it stands, else added at the end. `None` if it is no object.
#[must_use]
pub fn with_field(object: &RawValue, key: &str, value: &RawValue) -> Option<Box<RawValue>> {
    with_fields(object, &[(key, value)])
}

/// Likewise, with several at once, no key of which stands there twice.
#[must_use]
pub fn with_fields(object: &RawValue, set: &[(&str, &RawValue)]) -> Option<Box<RawValue>> {
    let value = |n: usize, _: Option<&RawValue>| set.get(n).map(|(_, value)| Cow::Borrowed(*value));
    let keys: Vec<&str> = set.iter().map(|(key, _)| *key).collect();
    edit(object, &keys, set.iter().map(|(_, value)| value.get().len()).sum(), &value)
}

/// Writes the object with `key` set to `value`, which must be JSON, behind what `out` holds: replaced where it stands, else
/// added at the end. False: it is no object, and nothing is written.
pub fn write_with_field(out: &mut Vec<u8>, object: &RawValue, key: &str, value: &str) -> bool {
    let text = object.get();
    let (Some(members), Some(close)) = (members(text), text.rfind('}')) else { return false };
    let mut copied = 0;
    for (_, place) in members.iter().filter(|(name, _)| is_key(name, key)) {
        out.extend_from_slice(text.get(copied..place.start).unwrap_or_default().as_bytes());
        out.extend_from_slice(value.as_bytes());
        copied = place.end;
    }
    if copied == 0 {
        out.extend_from_slice(text.get(..close).unwrap_or_default().as_bytes());
        out.extend_from_slice(if members.is_empty() { b"" } else { b"," });
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
    let members = members(text)?;
    let goes = |name: &str| keys.iter().any(|key| is_key(name, key));
    if !members.iter().any(|(name, _)| goes(name)) {
        return Some(object.to_owned());
    }
    // A member reaches from the end of the one before it (or the brace) to the end of its value.
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    let mut kept = false;
    let open = text.find('{')? + 1;
    let mut from = open;
    for (name, value) in &members {
        let end = value.end;
        if goes(name) {
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
    known::whole(out)
}

/// `params` whose `_meta.progressToken` is `token`. Unknown keys of `_meta` stay. What is no object stays as it is,
/// since no token can be added to it.
#[must_use]
pub fn with_meta_progress_token(params: Option<&RawValue>, token: u64) -> Option<Box<RawValue>> {
    let token = known::whole(token.to_string())?;
    let Some(params) = params else {
        return known::whole(format!("{{\"{META}\":{{\"{PROGRESS_TOKEN}\":{token}}}}}"));
    };
    let edited = edit(params, &[META], 2 * PROGRESS_TOKEN.len() + 20, &|_, meta| match meta {
        Some(meta) if meta.get() != "null" => {
            Some(Cow::Owned(with_field(meta, PROGRESS_TOKEN, &token).unwrap_or_else(|| meta.to_owned())))
        }
        Some(_) | None => known::whole(format!("{{\"{PROGRESS_TOKEN}\":{token}}}")).map(Cow::Owned),
    });
    Some(edited.unwrap_or_else(|| params.to_owned()))
}

/// Whether `params` may hold a progress token of whoever wrote it. False is certain; true may be a false alarm, for it is
/// told without parsing.
#[must_use]
pub fn may_hold_progress_token(params: &RawValue) -> bool {
    TOKEN.may_be_in(params)
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
    let name = quoted(name);
    let parts = [("\"arguments\":", arguments), ("\"_meta\":", meta)];
    let room: usize =
        parts.iter().filter_map(|(key, part)| Some(key.len() + part.as_ref()?.get().len() + 1)).sum();
    let mut out = String::with_capacity(name.len() + room + 9);
    out.push_str("{\"name\":");
    out.push_str(&name);
    for (key, part) in parts {
        let Some(part) = part else { continue };
        out.push(',');
        out.push_str(key);
        out.push_str(part.get());
    }
    out.push('}');
    known::whole(out).ok_or_else(|| serde_json::Error::custom("no raw value"))
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

/// The top-level members of an object, in order: what stands between the quotes of each key, and where its value does. `None`
/// if it is no object.
fn members(text: &str) -> Option<Vec<(&str, Range<usize>)>> {
    let mut members = Vec::with_capacity(8);
    scan::members(text, |name, value| members.push((name, value))).then_some(members)
}

/// Makes the value of one of the keys that are edited, by its number, of what stands there.
type Make<'m, 'v> = dyn Fn(usize, Option<&RawValue>) -> Option<Cow<'v, RawValue>> + 'm;

/// Replaces the value of each of the keys where it stands, or adds it at the end; `room` is about what is added in bytes.
/// `None` if it is no object.
fn edit(object: &RawValue, keys: &[&str], room: usize, make: &Make<'_, '_>) -> Option<Box<RawValue>> {
    let text = object.get();
    let members = members(text)?;
    let key_room: usize = keys.iter().map(|key| key.len() + 4).sum();
    let mut out = String::with_capacity(text.len() + key_room + room);
    let mut copied = 0;
    let mut found = vec![false; keys.len()];
    for (name, value) in &members {
        let Some(n) = keys.iter().position(|key| is_key(name, key)) else { continue };
        out.push_str(text.get(copied..value.start)?);
        out.push_str(make(n, Some(known::part(text.get(value.clone())?)?))?.get());
        copied = value.end;
        *found.get_mut(n)? = true;
    }
    let end = text.rfind('}')?;
    out.push_str(text.get(copied..end)?);
    let mut is_first = members.is_empty();
    for (n, key) in keys.iter().enumerate().filter(|(n, _)| found.get(*n) == Some(&false)) {
        if !is_first {
            out.push(',');
        }
        is_first = false;
        out.push_str(&serde_json::to_string(key).ok()?);
        out.push(':');
        out.push_str(make(n, None)?.get());
    }
    out.push_str(text.get(end..)?);
    known::whole(out)
}

#[cfg(test)]
mod tests;
