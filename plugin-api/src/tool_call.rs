//! The call of a tool, opened: for a [`Link`](crate::Link) that translates calls and passes them on.

use serde::{Deserialize, Serialize};
use serde_json::value::to_raw_value;
use serde_json::{Map, Value};

use crate::jsonrpc::Request;

/// The parameters of `tools/call`.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub struct ToolCall {
    /// The tool.
    pub name: String,
    /// Its arguments; null for none, which are not written: a plugin may refuse a null.
    #[serde(skip_serializing_if = "Value::is_null")]
    pub arguments: Value,
    /// All else, `_meta` for one, which is passed on as it came.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

// === impl ToolCall ===

impl ToolCall {
    /// The method of a request that calls a tool.
    pub const METHOD: &'static str = "tools/call";

    /// What a request calls: no tool, without arguments, if its parameters are not such as `tools/call` has.
    #[must_use]
    pub fn of(request: &Request) -> Self {
        let params = request.params.as_ref().map_or("{}", |params| params.get());
        serde_json::from_str(params).unwrap_or_default()
    }
}

impl From<ToolCall> for Request {
    fn from(call: ToolCall) -> Self {
        // Texts as keys: it always serializes.
        Self { method: ToolCall::METHOD.into(), params: to_raw_value(&call).ok().map(Into::into) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::ToolCall;
    use crate::jsonrpc::Request;

    #[test]
    fn what_is_not_changed_is_passed_on() {
        let params = json!({"name": "a", "arguments": {"x": 1}, "_meta": {"trace": "t"}, "later": true});
        let mut call = ToolCall::of(&Request::new(ToolCall::METHOD, &params).unwrap());
        assert_eq!((call.name.as_str(), &call.arguments), ("a", &json!({"x": 1})));
        (call.name, call.arguments) = ("b".to_owned(), json!({"y": 2}));
        let request = Request::from(call);
        assert_eq!(request.method, "tools/call");
        let sent: serde_json::Value = serde_json::from_str(request.params.unwrap().get()).unwrap();
        assert_eq!(sent, json!({"name": "b", "arguments": {"y": 2}, "_meta": {"trace": "t"}, "later": true}));
    }

    #[test]
    fn a_call_without_arguments_gets_none() {
        let params = json!({"name": "a", "_meta": {"trace": "t"}});
        let call = ToolCall::of(&Request::new(ToolCall::METHOD, &params).unwrap());
        assert!(call.arguments.is_null());
        let sent: serde_json::Value =
            serde_json::from_str(Request::from(call).params.unwrap().get()).unwrap();
        assert_eq!(sent, params);
    }

    #[test]
    fn what_is_no_call_calls_nothing() {
        for params in [json!([]), json!(null), json!({"name": 5}), json!({})] {
            let call = ToolCall::of(&Request::new(ToolCall::METHOD, &params).unwrap());
            assert!(call.name.is_empty() && call.arguments.is_null(), "{params}");
        }
        assert!(ToolCall::of(&Request::bare("tools/call")).name.is_empty());
    }
}
