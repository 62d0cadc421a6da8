//! A key that many objects are asked for and nearly none has.

use memchr::memmem::Finder;
use serde_json::value::RawValue;

use super::{field, holds_escape};

/// A key. To make the finder of its letters costs more than to use it, so that it is made once.
#[derive(Debug)]
pub struct Key {
    name: &'static str,
    finder: Finder<'static>,
}

impl Key {
    /// A key without characters that JSON escapes always.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        Self { name, finder: Finder::new(name) }
    }

    /// Whether `object` may have it, at any depth. False is certain; true may be a false alarm, for it is told without parsing.
    #[must_use]
    pub fn may_be_in(&self, object: &RawValue) -> bool {
        let bytes = object.get().as_bytes();
        self.finder.find(bytes).is_some() || holds_escape(bytes)
    }

    /// Its value, as [`field`] finds it.
    #[must_use]
    pub fn of<'a>(&self, object: &'a RawValue) -> Option<&'a RawValue> {
        if self.may_be_in(object) { field(object, self.name) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::super::field;
    use super::Key;

    #[test]
    fn it_is_found_wherever_a_look_finds_it() {
        let key = Key::new("task");
        for (object, may_be) in [
            (r#"{"a":1,"task":{"b":2}}"#, true),
            (r#"{"t\u0061sk":1}"#, true),
            (r#"{"a":{"task":1}}"#, true),
            (r#"{"a":"x\n"}"#, false),
            ("{}", false),
            (r#"["task"]"#, true),
        ] {
            let object = RawValue::from_string(object.to_owned()).unwrap();
            assert_eq!(key.may_be_in(&object), may_be, "{object}");
            assert_eq!(
                key.of(&object).map(RawValue::get),
                field(&object, "task").map(RawValue::get),
                "{object}"
            );
        }
    }
}
