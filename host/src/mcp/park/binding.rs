//! For which request a token is good: the same again, from the same principal, with nothing but the answers added.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::catalog::Face;

/// What of the params may differ between a request and its retry.
const OPEN: [&str; 3] = ["inputResponses", "requestState", "_meta"];

/// The request that a call came from.
#[derive(Clone, Debug)]
pub(crate) struct Origin {
    pub(crate) principal: Arc<str>,
    pub(crate) face: Face,
    pub(crate) method: String,
    pub(crate) params: Option<Arc<RawValue>>,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct Binding {
    principal: Arc<str>,
    face: Face,
    method: String,
    params: [u64; 2],
}

/// Digests under keys that nobody outside of this process knows.
#[derive(Debug, Default)]
pub(super) struct Digester([RandomState; 2]);

impl Digester {
    pub(super) fn binding(&self, origin: &Origin) -> Binding {
        let Origin { principal, face, method, params } = origin;
        let params = params.as_deref().map_or("null", RawValue::get);
        // What cannot be read as a tree is the same only to the letter.
        let tree = serde_json::from_str::<Value>(params).unwrap_or_else(|_| Value::String(params.to_owned()));
        let digest = |keys: &RandomState| {
            let mut hasher = keys.build_hasher();
            if let Value::Object(members) = &tree {
                let kept = members.iter().filter(|(key, _)| !OPEN.contains(&key.as_str()));
                digest_members(kept, &mut hasher);
            } else {
                digest(&tree, &mut hasher);
            }
            hasher.finish()
        };
        let params = [digest(&self.0[0]), digest(&self.0[1])];
        Binding { principal: Arc::clone(principal), face: face.clone(), method: method.clone(), params }
    }
}

/// The order of members and the blanks between them mean nothing: a client may write its retry anew.
fn digest(value: &Value, into: &mut impl Hasher) {
    match value {
        Value::Array(items) => {
            (4_u8, items.len()).hash(into);
            items.iter().for_each(|item| digest(item, into));
        }
        Value::Object(members) => digest_members(members.iter(), into),
        Value::Null => 0_u8.hash(into),
        Value::Bool(value) => (1_u8, value).hash(into),
        Value::Number(number) => (2_u8, number).hash(into),
        Value::String(text) => (3_u8, text).hash(into),
    }
}

fn digest_members<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>, into: &mut impl Hasher) {
    let sorted: BTreeMap<_, _> = members.collect();
    (5_u8, sorted.len()).hash(into);
    for (key, value) in sorted {
        key.hash(into);
        digest(value, into);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use wharf_core::PluginId;
    use wharf_core::catalog::Face;

    use super::{Digester, Origin};

    fn origin(params: &str) -> Origin {
        Origin {
            principal: "one".into(),
            face: Face::All,
            method: "tools/call".into(),
            params: Some(RawValue::from_string(params.to_owned()).unwrap().into()),
        }
    }

    #[test]
    fn the_same_request_is_the_same_however_it_is_written() {
        let digester = Digester::default();
        let first = digester.binding(&origin(r#"{"name":"t","arguments":{"a":1,"b":[2]},"_meta":{"x":1}}"#));
        let again =
            r#"{ "requestState":"s", "arguments" : {"b":[2],"a":1}, "inputResponses":{}, "name":"t" }"#;
        assert!(first == digester.binding(&origin(again)));
    }

    #[test]
    fn another_request_is_another() {
        let digester = Digester::default();
        let one = origin(r#"{"name":"t","arguments":{"a":1}}"#);
        let first = digester.binding(&one);
        for params in [
            r#"{"name":"t","arguments":{"a":2}}"#,
            r#"{"name":"u","arguments":{"a":1}}"#,
            r#"{"name":"t","arguments":{"a":"1"}}"#,
            r#"{"name":"t","arguments":{"a":1,"_meta":{}}}"#,
            r#"{"name":"t","arguments":{"a":[1]}}"#,
            r#"{"name":"t"}"#,
            "null",
        ] {
            assert!(first != digester.binding(&origin(params)), "{params}");
        }
        assert!(first != digester.binding(&Origin { principal: "two".into(), ..one.clone() }));
        assert!(first != digester.binding(&Origin { method: "prompts/get".into(), ..one.clone() }));
        assert!(first != digester.binding(&Origin { params: None, ..one.clone() }));
        let face = Face::Plugin(PluginId::new("p").unwrap());
        assert!(first != digester.binding(&Origin { face, ..one }));
    }

    proptest! {
        #[test]
        fn different_arguments_never_meet(a in ".{0,8}", b in ".{0,8}") {
            let digester = Digester::default();
            let of = |text: &str| digester.binding(&origin(&serde_json::json!({"arguments": text}).to_string()));
            prop_assert_eq!(of(&a) == of(&b), a == b);
        }
    }
}
