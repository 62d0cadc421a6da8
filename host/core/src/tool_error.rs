//! Whether a tool's result says that the tool failed, told by a look at its two ends.
//!
//! A result can be of a megabyte, and this is looked at on the way of every call: so nothing is parsed, and the
//! key is looked for in [`WINDOW`] bytes of either end. Every server that is known writes `isError` first or last; one that puts it
//! between two large members is taken for one that did not fail. It is for counting; nothing may be decided by it.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use memchr::{memchr, memrchr};
use serde_json::value::RawValue;

/// What is looked at of either end, bytes.
pub const WINDOW: usize = 4096;

const KEY: &[u8] = b"\"isError\"";
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));

/// Whether the result of a tool says `"isError": true`. A key that is spelled with escapes is not seen.
#[must_use]
pub fn says_error(result: &RawValue) -> bool {
    let text = result.get().as_bytes();
    let from = text.len().saturating_sub(WINDOW);
    let tail = text.get(from..).unwrap_or_default();
    // Nearly every result is through here: what does not hold the word does not say it.
    let told = FINDER.find(tail).and_then(|at| from_end(text, from + at));
    if told.is_none() && from > 0 {
        let head = text.get(..WINDOW).unwrap_or_default();
        return FINDER.find(head).and_then(|_| from_start(head)).unwrap_or(false);
    }
    told.unwrap_or(false)
}

/// Reads backwards to `first`. A quote ends or begins a string unless an odd number of backslashes stands before it, which
/// is as certain from behind as from before.
fn from_end(text: &[u8], first: usize) -> Option<bool> {
    let (mut at, mut depth) = (text.len(), 0usize);
    while at > first {
        at -= 1;
        match text.get(at)? {
            b'}' | b']' => depth += 1,
            b'{' | b'[' => depth = depth.checked_sub(1)?,
            b'"' => {
                let begin = opening(text, at)?;
                if depth == 1
                    && text.get(begin..=at) == Some(KEY)
                    && let Some(is_error) = value(text.get(at + 1..)?)
                {
                    return Some(is_error);
                }
                at = begin;
            }
            _ => {}
        }
    }
    None
}

/// The quote that begins the string which ends at `end`.
fn opening(text: &[u8], end: usize) -> Option<usize> {
    let mut before = end;
    loop {
        before = memrchr(b'"', text.get(..before)?)?;
        if !is_escaped(text, before) {
            return Some(before);
        }
    }
}

fn is_escaped(text: &[u8], at: usize) -> bool {
    let before = text.get(..at).unwrap_or_default();
    before.iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1
}

fn from_start(head: &[u8]) -> Option<bool> {
    let (mut at, mut depth) = (0, 0usize);
    loop {
        match head.get(at)? {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.checked_sub(1)?,
            b'"' => {
                let mut end = at;
                loop {
                    end += 1 + memchr(b'"', head.get(end + 1..)?)?;
                    if !is_escaped(head, end) {
                        break;
                    }
                }
                if depth == 1
                    && head.get(at..=end) == Some(KEY)
                    && let Some(is_error) = value(head.get(end + 1..)?)
                {
                    return Some(is_error);
                }
                at = end;
            }
            _ => {}
        }
        at += 1;
    }
}

/// Whether the value behind a key is `true`; `None` if no value follows, since it was no key.
fn value(behind: &[u8]) -> Option<bool> {
    let value = behind.trim_ascii_start().strip_prefix(b":")?;
    Some(value.trim_ascii_start().starts_with(b"true"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::{RawValue, to_raw_value};
    use serde_json::{Value, json};

    use super::{WINDOW, from_start, says_error};

    fn said(json: &str) -> bool {
        says_error(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn only_the_member_of_the_result_itself_counts() {
        for (json, expected) in [
            (r#"{"content":[],"isError":true}"#, true),
            (r#"{"content":[], "isError" : true , "_meta":{"a":"b"}}"#, true),
            (r#"{"isError":true,"content":[{"type":"text","text":"x"}]}"#, true),
            (r#"{"content":[],"isError":false}"#, false),
            (r#"{"content":[]}"#, false),
            (r"{}", false),
            (r#"{"isError":false,"structuredContent":{"isError":true}}"#, false),
            (r#"{"isError":true,"structuredContent":{"isError":false}}"#, true),
            (r#"{"content":[{"type":"text","text":"{\"isError\":true}"}]}"#, false),
            (r#"{"content":[{"type":"text","text":"\\\"isError"}],"x":true}"#, false),
            (r#"{"x":"isError"}"#, false),
            (r#"{"x":["isError",true]}"#, false),
            (r#"{"isError":"true"}"#, false),
            (r#"{"a\\":"\"","isError":true,"b":"\\\\"}"#, true),
            ("[]", false),
            ("\"isError\"", false),
        ] {
            assert_eq!(said(json), expected, "{json}");
            assert_eq!(from_start(json.as_bytes()).unwrap_or(false), expected, "from its start: {json}");
        }
    }

    #[test]
    fn a_large_result_says_it_at_either_end() {
        let large = "\"isError ".repeat(WINDOW);
        let large = serde_json::to_string(&large).unwrap();
        assert!(said(&format!(r#"{{"content":[{large}],"isError":true}}"#)));
        assert!(said(&format!(r#"{{"isError":true,"content":[{large}]}}"#)));
        assert!(!said(&format!(r#"{{"content":[{large}],"isError":false}}"#)));
        // What is in the middle is not seen: it is known to be so.
        assert!(!said(&format!(r#"{{"content":[{large}],"isError":true,"structuredContent":{large}}}"#)));
    }

    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<bool>().prop_map(Value::from),
            "[\"\\\\:{}a]{0,6}".prop_map(Value::from),
            Just(json!("isError")),
            any::<i32>().prop_map(Value::from),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            let key = prop_oneof![Just("isError".to_owned()), "[\"\\\\{}:a]{0,4}"];
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key, inner, 0..4).prop_map(|map| json!(map)),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_says_what_a_parser_says(mut result in prop::collection::btree_map("[a-z\"\\\\{]{0,4}", anything(), 0..5), failed in prop::option::of(any::<bool>())) {
            if let Some(failed) = failed {
                result.insert("isError".to_owned(), failed.into());
            }
            let raw = to_raw_value(&result).unwrap();
            prop_assert_eq!(says_error(&raw), failed == Some(true));
            prop_assert_eq!(from_start(raw.get().as_bytes()).unwrap_or(false), failed == Some(true));
        }
    }
}
