//! The `Mcp-Param-*` headers of a tool call: that they say what the arguments say.
//!
//! A tool's schema names a header for an argument by `x-mcp-header`, at properties that are reached through `properties`
//! alone. Nothing is kept between calls: nearly no tool has an annotation, which the catalog tells, and the schema of one that
//! has is read again faster than a table of them would have to be guarded.

use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::RpcError;

use super::ladder::{decoded, mismatch};

/// The annotation.
const KEY: &str = "x-mcp-header";

/// An argument that a header repeats.
struct Repeated {
    /// The header's name without `Mcp-Param-`, as annotated.
    header: String,
    /// The way to the argument.
    path: Vec<String>,
}

/// Checks the headers of a call (lower-case names without the prefix) against the arguments in its params.
///
/// # Errors
/// -32020, naming the header and the argument.
pub(crate) fn check(
    definition: &RawValue,
    params: Option<&RawValue>,
    headers: &[(String, String)],
) -> Result<(), RpcError> {
    let annotated = annotated(definition);
    if annotated.is_empty() {
        return Ok(());
    }
    let arguments = params.and_then(|params| splice::field(params, "arguments"));
    let arguments = arguments.map_or(Ok(Value::Null), |raw| serde_json::from_str(raw.get()));
    let arguments: Value = arguments.map_err(|error| {
        RpcError::new(RpcError::INVALID_PARAMS, format!("the arguments cannot be read: {error}"))
    })?;
    annotated.iter().try_for_each(|repeated| {
        let value = repeated.path.iter().try_fold(&arguments, |value, key| value.get(key));
        repeated.check(value.filter(|value| !value.is_null()), headers)
    })
}

/// What the definition annotates. An annotation that cannot be a header is none: no client sends it.
fn annotated(definition: &RawValue) -> Vec<Repeated> {
    let mut found = Vec::new();
    if let Some(schema) = splice::field(definition, "inputSchema")
        && let Ok(schema) = serde_json::from_str::<Value>(schema.get())
    {
        collect(&schema, &mut Vec::new(), &mut found);
    }
    found
}

/// As deep as the reader of JSON goes, which is bounded.
fn collect(schema: &Value, path: &mut Vec<String>, found: &mut Vec<Repeated>) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    for (name, property) in properties {
        path.push(name.clone());
        let kind = property.get("type").and_then(Value::as_str);
        if let Some(header) = property.get(KEY).and_then(Value::as_str)
            && matches!(kind, Some("string" | "integer" | "boolean"))
            && is_token(header)
        {
            found.push(Repeated { header: header.to_owned(), path: path.clone() });
        }
        collect(property, path, found);
        path.pop();
    }
}

/// Whether it can be (a part of) the name of a header.
fn is_token(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.bytes().all(allowed)
}

/// Whether a header's text is this value. Integers are compared as numbers: `1.0` is `1`.
fn same(text: &str, value: &Value) -> bool {
    match value {
        Value::String(value) => text == value,
        Value::Bool(value) => text == if *value { "true" } else { "false" },
        Value::Number(number) => same_number(text, &number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => false,
    }
}

fn same_number(text: &str, number: &str) -> bool {
    match (text.parse::<i128>(), number.parse::<i128>()) {
        (Ok(text), Ok(number)) => text == number,
        // An integer may be written with a fraction of zero, or an exponent.
        (_, _) => match (text.parse::<f64>(), number.parse::<f64>()) {
            (Ok(text), Ok(number)) => text.is_finite() && text.to_bits() == number.to_bits(),
            (_, _) => false,
        },
    }
}

// === impl Repeated ===

impl Repeated {
    fn check(&self, value: Option<&Value>, headers: &[(String, String)]) -> Result<(), RpcError> {
        let mut given = headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case(&self.header));
        let (header, again) = (given.next(), given.next());
        let (name, at) = (&self.header, self.path.join("."));
        if again.is_some() {
            return Err(mismatch(format!("the header Mcp-Param-{name} stands there twice")));
        }
        match (header, value) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(mismatch(format!(
                "the header Mcp-Param-{name} is missing, and the argument {at} is there"
            ))),
            (Some(_), None) => Err(mismatch(format!(
                "the header Mcp-Param-{name} is there, and the argument {at} is missing"
            ))),
            (Some((_, raw)), Some(value)) => match decoded(raw) {
                None => Err(mismatch(format!("the header Mcp-Param-{name} cannot be decoded: {raw:?}"))),
                Some(text) if same(&text, value) => Ok(()),
                Some(_) => {
                    Err(mismatch(format!("the header Mcp-Param-{name} is not what the argument {at} is")))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::value::{RawValue, to_raw_value};
    use serde_json::{Value, json};

    use super::check;

    fn tool() -> Box<RawValue> {
        let schema = json!({"type": "object", "properties": {
            "region": {"type": "string", "x-mcp-header": "Region"},
            "count": {"type": "integer", "x-mcp-header": "count"},
            "deep": {"type": "object", "properties": {"on": {"type": "boolean", "x-mcp-header": "On"}}},
            "list": {"type": "array", "items": {"properties": {"x": {"type": "string", "x-mcp-header": "Not"}}}},
            "bad": {"type": "string", "x-mcp-header": "a b"},
            "object": {"type": "object", "x-mcp-header": "Object"},
            "plain": {"type": "string"},
        }});
        to_raw_value(&json!({"name": "t", "inputSchema": schema})).unwrap()
    }

    fn checked(arguments: &Value, headers: &[(&str, &str)]) -> bool {
        let headers: Vec<_> = headers.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let params = to_raw_value(&json!({"name": "t", "arguments": arguments})).unwrap();
        let result = check(&tool(), Some(&params), &headers);
        assert!(result.as_ref().err().is_none_or(|error| error.code == -32020));
        result.is_ok()
    }

    #[test]
    fn headers_say_what_the_arguments_say() {
        let hello = json!({"region": "Hello"});
        let good: [(&Value, &[(&str, &str)]); 13] = [
            (&json!({}), &[]),
            (&json!({"region": null}), &[]),
            (&hello, &[("region", "Hello")]),
            (&hello, &[("region", "=?base64?SGVsbG8=?=")]),
            (&json!({"region": "SGVsbG8=?="}), &[("region", "SGVsbG8=?=")]),
            (&json!({"region": "=?base64?SGVsbG8="}), &[("region", "=?base64?SGVsbG8=")]),
            (&json!({"region": ""}), &[("region", "")]),
            (&json!({"count": 5}), &[("count", "5")]),
            (&json!({"count": 5}), &[("count", "5.0")]),
            (&json!({"count": -9_007_199_254_740_993_i64}), &[("count", "-9007199254740993")]),
            (&json!({"deep": {"on": true}}), &[("on", "true")]),
            (&json!({"list": [{"x": "y"}], "bad": "b", "object": {}, "plain": "p"}), &[]),
            (&json!({}), &[("other", "x")]),
        ];
        for (arguments, headers) in good {
            assert!(checked(arguments, headers), "{arguments} {headers:?}");
        }
    }

    #[test]
    fn and_nothing_else() {
        let hello = json!({"region": "Hello"});
        let bad: [(&Value, &[(&str, &str)]); 12] = [
            (&hello, &[]),
            (&hello, &[("region", "hello")]),
            (&hello, &[("region", "=?base64?SGVsbG8?=")]),
            (&hello, &[("region", "=?base64?SGVs!G8=?=")]),
            (&hello, &[("region", "Hello"), ("region", "Hello")]),
            (&json!({"region": "ä"}), &[("region", "ä")]),
            (&json!({}), &[("region", "x")]),
            (&json!({"region": null}), &[("region", "null")]),
            (&json!({"count": 5}), &[("count", "6")]),
            (&json!({"count": -9_007_199_254_740_993_i64}), &[("count", "-9007199254740992")]),
            (&json!({"count": 5}), &[("count", "five")]),
            (&json!({"deep": {"on": true}}), &[("on", "True")]),
        ];
        for (arguments, headers) in bad {
            assert!(!checked(arguments, headers), "{arguments} {headers:?}");
        }
    }

    #[test]
    fn a_tool_without_annotations_needs_none() {
        let plain = to_raw_value(&json!({"inputSchema": {"properties": {"a": {"type": "string"}}}})).unwrap();
        let params = to_raw_value(&json!({"arguments": {"a": "x"}})).unwrap();
        assert!(check(&plain, Some(&params), &[]).is_ok());
        assert!(check(&tool(), None, &[]).is_ok());
    }

    proptest! {
        #[test]
        fn only_the_right_text_passes(value in "[ -~]{0,12}", header in "[ -~]{0,12}") {
            let trimmed = header.trim();
            if !trimmed.starts_with("=?base64?") {
                prop_assert_eq!(checked(&json!({"region": value}), &[("region", &header)]), trimmed == value);
            }
        }
    }
}
