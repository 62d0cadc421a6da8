//! What a modern request over HTTP repeats of its body in its headers, so that who forwards it need not read the body.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::Request;

use super::{ABOUT, Look};

const MCP_METHOD: HeaderName = HeaderName::from_static("mcp-method");
const MCP_NAME: HeaderName = HeaderName::from_static("mcp-name");
const TOOLS_CALL: HeaderValue = HeaderValue::from_static("tools/call");
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Which of its params says what a request is about.
pub(super) fn about(method: &str) -> Option<&'static str> {
    match method {
        "tools/call" | "prompts/get" => Some("name"),
        "resources/read" => Some("uri"),
        method if method.starts_with("tasks/") => Some("taskId"),
        _ => None,
    }
}

/// Makes room for what every request has, so that a copy of the headers need not grow for it.
pub(crate) fn room(headers: &mut HeaderMap) {
    headers.insert(MCP_METHOD, TOOLS_CALL);
    headers.insert(MCP_NAME, HeaderValue::from_static(""));
}

/// Leaves out what only requests have.
pub(crate) fn leave(headers: &mut HeaderMap) {
    headers.remove(MCP_METHOD);
    headers.remove(MCP_NAME);
}

/// Puts in what every request has: its method, and what it is about.
pub(crate) fn standard((request, look): (&Request, &Look), headers: &mut HeaderMap) {
    let method = match request.method.as_ref() {
        "tools/call" => Some(TOOLS_CALL),
        other => HeaderValue::from_str(other).ok(),
    };
    let name = request.params.as_deref().and_then(|params| look.get(params, ABOUT)).and_then(value);
    for (key, value) in [(MCP_METHOD, method), (MCP_NAME, name)] {
        match value {
            Some(value) => drop(headers.insert(key, value)),
            None => drop(headers.remove(key)),
        }
    }
}

/// A JSON string, number or truth value as the value of a header; `None` for anything else.
pub(super) fn value(json: &RawValue) -> Option<HeaderValue> {
    let text = json.get();
    match text.as_bytes().first()? {
        b'"' => encoded(&splice::text(json)?),
        b'-' | b'0'..=b'9' | b't' | b'f' => encoded(text),
        _ => None,
    }
}

/// A text as it is where a header can hold it, else in the wrapping that says so. What looks wrapped is wrapped too.
fn encoded(text: &str) -> Option<HeaderValue> {
    let at_an_end = text.starts_with(' ') || text.ends_with(' ');
    let plain = text.bytes().all(|byte| (0x20..=0x7e).contains(&byte))
        && !at_an_end
        && !(text.starts_with("=?base64?") && text.ends_with("?="));
    if plain {
        return HeaderValue::from_str(text).ok();
    }
    HeaderValue::from_str(&format!("=?base64?{}?=", base64(text.as_bytes()))).ok()
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |n| u32::from(chunk.get(n).copied().unwrap_or_default());
        let group = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let six = (group >> (18 - 6 * n)) & 0x3f;
            let letter = ALPHABET.get(six as usize).map_or('=', |letter| char::from(*letter));
            // Writing to a String does not fail.
            out.write_char(if n <= chunk.len() { letter } else { '=' }).ok();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use proptest::prelude::*;
    use serde_json::value::{RawValue, to_raw_value};
    use wharf_plugin_api::Request;

    use super::super::look;
    use super::{room, standard, value};

    fn shown(json: &str) -> Option<String> {
        let raw = RawValue::from_string(json.to_owned()).expect("JSON");
        value(&raw).map(|value| value.to_str().expect("text").to_owned())
    }

    #[test]
    fn values_are_plain_where_a_header_can_hold_them() {
        for (json, header) in [
            (r#""us-west1""#, "us-west1"),
            (r#""a b""#, "a b"),
            (r#""""#, ""),
            (r#""\u0041""#, "A"),
            ("42", "42"),
            ("-7", "-7"),
            ("true", "true"),
            (r#"" a""#, "=?base64?IGE=?="),
            (r#""a\tb""#, "=?base64?YQli?="),
            (r#""Hällo""#, "=?base64?SMOkbGxv?="),
            (r#""=?base64?eA==?=""#, "=?base64?PT9iYXNlNjQ/ZUE9PT89?="),
            (r#""=?base64?""#, "=?base64?"),
        ] {
            assert_eq!(shown(json).as_deref(), Some(header), "{json}");
        }
        for json in ["null", "[]", "{}"] {
            assert_eq!(shown(json), None, "{json}");
        }
    }

    #[test]
    fn a_request_names_its_method_and_its_object() {
        for (method, params, name) in [
            ("tools/call", r#"{"name":"my-tool","uri":"x"}"#, Some("my-tool")),
            ("prompts/get", r#"{"name":"p"}"#, Some("p")),
            ("resources/read", r#"{"uri":"file:///a/file%20name.txt"}"#, Some("file:///a/file%20name.txt")),
            ("tasks/get", r#"{"taskId":"t"}"#, Some("t")),
            ("tools/list", r#"{"name":"x"}"#, None),
        ] {
            let mut headers = HeaderMap::new();
            room(&mut headers);
            let params = RawValue::from_string(params.to_owned()).expect("JSON").into();
            let request = Request { method: method.into(), params: Some(params) };
            standard((&request, &look(&request)), &mut headers);
            assert_eq!(headers.get("mcp-method").expect("there"), method);
            assert_eq!(headers.get("mcp-name").map(|name| name.to_str().expect("text")), name, "{method}");
        }
    }

    proptest! {
        #[test]
        fn every_text_comes_back(text in ".{0,40}") {
            let header = value(&to_raw_value(&text).unwrap()).unwrap();
            let header = header.to_str().unwrap();
            let wrapped = header.strip_prefix("=?base64?").and_then(|rest| rest.strip_suffix("?="));
            let back = wrapped.map_or_else(|| header.to_owned(), decoded);
            prop_assert_eq!(back, text);
        }
    }

    fn decoded(base64: &str) -> String {
        let mut bits = Vec::new();
        for letter in base64.bytes().filter(|letter| *letter != b'=') {
            let six = super::ALPHABET.iter().position(|known| *known == letter).unwrap();
            bits.extend((0..6).rev().map(|n| six >> n & 1));
        }
        let bytes = bits.chunks_exact(8).map(|byte| byte.iter().fold(0u8, |all, bit| all << 1 | *bit as u8));
        String::from_utf8(bytes.collect()).unwrap()
    }
}
