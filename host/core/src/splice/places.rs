//! Where the values of some keys stand in an object, found in one look: who asks again does not look again.

use serde_json::value::RawValue;

use super::{known, scan, spelled};

/// The places of the values of `N` keys. They are good for every copy of the object that they were found in; of another
/// object they mean nothing.
#[derive(Clone, Copy, Debug)]
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
        let (mut at, mut members, mut plain) = ([(0, 0); N], 0, true);
        let is_object = scan::members(object.get(), |name, value| {
            members += 1;
            let same = |name: &str| keys.iter().position(|key| *key == name);
            let found = if memchr::memchr(b'\\', name.as_bytes()).is_none() {
                same(name)
            } else {
                plain = false;
                spelled(name).and_then(|spelled| same(&spelled))
            };
            if let Some(place) = found.and_then(|found| at.get_mut(found)) {
                plain &= *place == (0, 0);
                // A body is far smaller than what these can count; one that were not would lack the member.
                *place = match (u32::try_from(value.start), u32::try_from(value.end)) {
                    (Ok(from), Ok(to)) => (from, to),
                    (_, _) => (0, 0),
                };
            }
        });
        Self { at, members, plain: is_object && plain }
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
        let (from, to) = self.at.get(key).filter(|(_, to)| *to > 0)?;
        known::part(object.get().get(*from as usize..*to as usize)?)
    }

    /// The object with other values for some of the keys, all else as it was. `None` if it is not plain, or lacks one of them.
    #[must_use]
    pub fn with<const M: usize>(
        &self,
        object: &RawValue,
        mut set: [(usize, &RawValue); M],
    ) -> Option<Box<RawValue>> {
        let text = object.get();
        set.sort_unstable_by_key(|(key, _)| self.at.get(*key));
        let room: usize = set.iter().map(|(_, value)| value.get().len()).sum();
        let mut out = String::with_capacity(text.len() + room);
        let mut copied = 0;
        for (key, value) in set {
            let (from, to) = self.at.get(key).filter(|(_, to)| self.plain && *to > 0)?;
            out.push_str(text.get(copied..*from as usize)?);
            out.push_str(value.get());
            copied = *to as usize;
        }
        out.push_str(text.get(copied..)?);
        known::whole(out)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;

    use super::super::{fields, with_fields};
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
            match places.with(&object, [(0, &one), (1, &two)]) {
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
