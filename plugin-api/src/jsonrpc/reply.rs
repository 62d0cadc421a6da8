//! Answers that are made here, and are not passed on.

use serde::Serialize;
use serde_json::json;
use serde_json::value::to_raw_value;

use super::{Reply, RpcError};

impl Reply {
    /// A result that serializes. One that does not is a bug of whoever made it, and becomes an internal error.
    pub fn of(result: &impl Serialize) -> Self {
        match to_raw_value(result) {
            Ok(raw) => Self::Result(raw),
            Err(error) => Self::Error(RpcError::new(RpcError::INTERNAL, error.to_string())),
        }
    }

    /// What `tools/call` answers where the tool failed. The model reads it and may try again; a JSON-RPC error would not
    /// reach it.
    #[must_use]
    pub fn tool_error(why: &str) -> Self {
        Self::of(&json!({ "content": [{ "type": "text", "text": why }], "isError": true }))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::{Reply, RpcError};

    #[test]
    fn what_serializes_is_a_result_and_what_does_not_is_an_internal_error() {
        assert!(matches!(Reply::of(&[1, 2]), Reply::Result(raw) if raw.get() == "[1,2]"));
        let no_json = BTreeMap::from([((1, 2), "a key of JSON is a text")]);
        assert!(matches!(Reply::of(&no_json), Reply::Error(error) if error.code == RpcError::INTERNAL));
    }

    #[test]
    fn a_failed_tool_says_why_to_the_model() {
        let Reply::Result(raw) = Reply::tool_error("no") else { panic!("it is an answer") };
        let answer: Value = serde_json::from_str(raw.get()).unwrap();
        assert_eq!(answer, json!({"content": [{"type": "text", "text": "no"}], "isError": true}));
    }
}
