//! Where the values of some keys stand in an object, found in one look: who asks again does not look again.

use std::ops::Range;

use serde_json::value::RawValue;

use super::{known, scan, spelled};

/// The places of the values of `N` keys. They are good for every copy of the object that they were found in; of another
/// object they mean nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Places<const N: usize> {
    /// From, to; both 0 where there is none.
    at: [(u32, u32); N],
    /// Members in all.
    members: u32,
    /// Every reader finds the same.
    plain: bool,
}

impl<const N: usize> Places<N> {
    /// Of an object that is not there.
    #[must_use]
    pub fn none() -> Self {
        Self { at: [(0, 0); N], members: 0, plain: true }
    }

    /// Looks for them; each is found as [`super::field`] finds it.
    #[must_use]
    pub fn of(object: &RawValue, keys: [&str; N]) -> Self {
        let mut places = Self::none();
        let is_object = scan::members(object.get(), |name, value| {
            let is_escaped = memchr::memchr(b'\\', name.as_bytes()).is_some();
            let found = places.named((name, is_escaped), &keys);
            places.note(found, value);
        });
        places.plain &= is_object;
        places
    }

    /// Which of the keys this is: what stands between its quotes, and whether that holds an escape.
    pub(super) fn named(&mut self, (name, is_escaped): (&str, bool), keys: &[&str; N]) -> Option<usize> {
        let same = |name: &str| keys.iter().position(|key| *key == name);
        if !is_escaped {
            return same(name);
        }
        self.plain = false;
        spelled(name).and_then(|spelled| same(&spelled))
    }

    /// Notes one more member, and where its value stands if it is one of the keys.
    pub(super) fn note(&mut self, key: Option<usize>, value: Range<usize>) {
        self.members += 1;
        let Some(place) = key.and_then(|key| self.at.get_mut(key)) else { return };
        self.plain &= *place == (0, 0);
        // A body is far smaller than what these can count; one that were not would lack the member.
        *place = match (u32::try_from(value.start), u32::try_from(value.end)) {
            (Ok(from), Ok(to)) => (from, to),
            (_, _) => (0, 0),
        };
    }

    /// It is no object.
    pub(super) fn spoil(&mut self) {
        self.plain = false;
    }

    /// Whether every reader finds the same: it is an object, none of the keys stands twice, and no key of it is spelled with an
    /// escape. If not, a stricter one has to decide.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.plain
    }

    /// Whether the object has these keys alone, or fewer. False may be a false alarm.
    #[must_use]
    pub fn are_all(&self, keys: impl IntoIterator<Item = usize>) -> bool {
        let found = keys.into_iter().filter(|key| self.has(*key)).count();
        self.plain && u32::try_from(found) == Ok(self.members)
    }

    /// Whether the key of this number is there.
    #[must_use]
    pub fn has(&self, key: usize) -> bool {
        self.at.get(key).is_some_and(|(_, to)| *to > 0)
    }

    /// The value of the key of this number.
    #[must_use]
    pub fn get<'a>(&self, object: &'a RawValue, key: usize) -> Option<&'a RawValue> {
        known::part(self.text(object, key)?)
    }

    /// What stands there, as text.
    #[must_use]
    pub fn text<'a>(&self, object: &'a RawValue, key: usize) -> Option<&'a str> {
        let (from, to) = self.at.get(key).filter(|(_, to)| *to > 0)?;
        object.get().get(*from as usize..*to as usize)
    }

    /// The object with other values for some of the keys, each of which must be JSON, all else as it was. `None` if it is not
    /// plain, or lacks one of them.
    #[must_use]
    pub fn with<const M: usize>(
        &self,
        object: &RawValue,
        mut set: [(usize, &str); M],
    ) -> Option<Box<RawValue>> {
        let text = object.get();
        set.sort_unstable_by_key(|(key, _)| self.at.get(*key));
        let old: usize = set.iter().filter_map(|(key, _)| self.text(object, *key)).map(str::len).sum();
        let new: usize = set.iter().map(|(_, value)| value.len()).sum();
        // To the byte, so that it need not be copied to where it fits.
        let mut out = String::with_capacity((text.len() + new).saturating_sub(old));
        let mut copied = 0;
        for (key, value) in set {
            let (from, to) = self.at.get(key).filter(|(_, to)| self.plain && *to > 0)?;
            out.push_str(text.get(copied..*from as usize)?);
            out.push_str(value);
            copied = *to as usize;
        }
        out.push_str(text.get(copied..)?);
        known::whole(out)
    }

    /// Writes the object with `key`, which has this number here, set to `value`, which must be JSON: as
    /// [`super::write_with_field`] does, without another look where every reader finds the same. False: it is no object, and
    /// nothing is written.
    pub fn write_with(&self, out: &mut Vec<u8>, object: &RawValue, key: (usize, &str), value: &str) -> bool {
        let text = object.get();
        let parts = match self.at.get(key.0) {
            Some((from, to)) if self.plain && *to > 0 => {
                (text.get(..*from as usize), text.get(*to as usize..))
            }
            Some(_) | None => (None, None),
        };
        let (Some(before), Some(behind)) = parts else {
            return super::write_with_field(out, object, key.1, value);
        };
        for part in [before, value, behind] {
            out.extend_from_slice(part.as_bytes());
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::super::{fields, with_fields, write_with_field};
    use super::Places;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    const KEYS: [&str; 3] = ["name", "_meta", "c"];

    /// An object of some members, keys of ours among them, some twice, some spelled otherwise.
    fn object() -> impl Strategy<Value = String> {
        let key = prop_oneof![
            4 => prop::sample::select(&["name", "_meta", "c", "x", "y"][..]).prop_map(str::to_owned),
            1 => Just("n\\u0061me".to_owned()),
        ];
        let value = prop::sample::select(&["1", "\"n\\\"ame\"", "{\"c\":{}}", "null", "[1,{}]"][..]);
        let blank = prop::sample::select(&["", " ", "\n"][..]);
        let member = (blank.clone(), key, blank, value)
            .prop_map(|(before, key, between, value)| format!("{before}\"{key}\"{between}:{between}{value}"));
        prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
    }

    proptest! {
        #[test]
        fn a_value_is_written_where_another_look_would_find_it(object in object(), n in 0..KEYS.len()) {
            let object = raw(&object);
            let key = KEYS.get(n).copied().unwrap_or_default();
            let (mut out, mut expected) = (b"x".to_vec(), b"x".to_vec());
            prop_assert!(Places::of(&object, KEYS).write_with(&mut out, &object, (n, key), "[]"));
            prop_assert!(write_with_field(&mut expected, &object, key, "[]"));
            prop_assert_eq!(String::from_utf8(out), String::from_utf8(expected));
        }

        #[test]
        fn what_stands_there_is_what_a_look_finds(object in object()) {
            let object = raw(&object);
            let (places, found) = (Places::of(&object, KEYS), fields(&object, KEYS));
            for (n, found) in found.iter().enumerate() {
                prop_assert_eq!(places.get(&object, n).map(RawValue::get), found.map(RawValue::get));
                prop_assert_eq!(places.has(n), found.is_some());
            }
        }

        #[test]
        fn values_are_replaced_where_every_reader_finds_them(object in object()) {
            let object = raw(&object);
            let (places, one, two) = (Places::of(&object, KEYS), raw("\"one\""), raw("{}"));
            match places.with(&object, [(0, one.get()), (1, two.get())]) {
                Some(with) => {
                    let expected = with_fields(&object, &[("name", &one), ("_meta", &two)]).unwrap();
                    prop_assert_eq!(with.get(), expected.get());
                }
                None => prop_assert!(!places.is_plain() || !places.has(0) || !places.has(1)),
            }
        }
    }

    #[test]
    fn what_is_no_object_holds_nothing_and_is_not_plain() {
        for none in ["[]", "null", "1", "\"{}\""] {
            let places = Places::of(&raw(none), KEYS);
            assert!(!places.is_plain() && !places.has(0) && !places.are_all([]), "{none}");
        }
    }

    #[test]
    fn keys_are_all_there_are_only_if_there_is_no_other() {
        for (object, all) in [
            ("{}", true),
            (r#"{"name":1}"#, true),
            (r#"{"name":1,"_meta":2}"#, true),
            (r#"{"name":1,"x":2}"#, false),
            (r#"{"name":1,"c":2}"#, false),
            (r#"{"name":1,"name":2}"#, false),
        ] {
            assert_eq!(Places::of(&raw(object), KEYS).are_all([0, 1]), all, "{object}");
        }
    }
}
