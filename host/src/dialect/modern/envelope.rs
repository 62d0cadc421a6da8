//! What every modern request says of itself: revision, and what the caller's client is and can do.
//!
//! The client is the caller's, not ours: a server may ask for what it declares, and for nothing else. All else in the params
//! stays as it was.

use serde_json::value::RawValue;
use wharf_core::splice;
use wharf_plugin_api::{Client, Id, Request, RpcError, Scope, jsonrpc};

use super::{Look, META, META_KEY};

/// The revision as JSON.
const QUOTED_REVISION: &str = "\"2026-07-28\"";
const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const PROGRESS_TOKEN: &str = "progressToken";
/// What this hop says itself.
const OURS: [&str; 5] = [VERSION, CAPABILITIES, INFO, LOG_LEVEL, PROGRESS_TOKEN];
/// Who asks where no client stands behind it, or one without a name.
const WHARF: &str = concat!(r#"{"name":"wharf","version":""#, env!("CARGO_PKG_VERSION"), r#""}"#);

/// Writes a request under our id, which is its progress token too if the caller wants progress. `None` if its params are no
/// object, which a modern request must have.
pub(crate) fn encode(id: u64, (request, look): (&Request, &Look), scope: &dyn Scope) -> Option<Vec<u8>> {
    let token = scope.wants_progress().then_some(id);
    let mut bytes = jsonrpc::request(&Id::number(id), &request.method, None);
    // The params go before the brace at the end.
    bytes.pop();
    bytes.extend_from_slice(b",\"params\":");
    stamp(&mut bytes, (request.params.as_deref(), look), &scope.caller().client, token)?;
    bytes.push(b'}');
    jsonrpc::single_line(&mut bytes);
    Some(bytes)
}

/// The answer to a request whose params are none that can be sent.
pub(crate) fn no_object() -> RpcError {
    RpcError::new(RpcError::INVALID_PARAMS, "the params of a modern request must be an object")
}

/// Writes the params with what the server must be told; `None` if they are no object. A token of someone else is taken out:
/// it must not be taken for ours.
fn stamp(
    out: &mut Vec<u8>,
    (params, look): (Option<&RawValue>, &Look),
    client: &Client,
    token: Option<u64>,
) -> Option<()> {
    let kept = params.and_then(|params| look.get(params, META)).and_then(others);
    let kept = kept.as_deref().and_then(inside).unwrap_or_default();
    let mut meta = String::with_capacity(kept.len() + client.capabilities.get().len() + 320);
    meta.push('{');
    meta.push_str(kept);
    let mut add = |key: &str, value: &str| {
        if meta.len() > 1 {
            meta.push(',');
        }
        meta.extend(["\"", key, "\":", value]);
    };
    add(VERSION, QUOTED_REVISION);
    add(CAPABILITIES, client.capabilities.get());
    add(INFO, client.info.as_deref().map_or(WHARF, RawValue::get));
    if let Some(level) = &client.log_level {
        add(LOG_LEVEL, &serde_json::to_string(level).ok()?);
    }
    if let Some(token) = token {
        add(PROGRESS_TOKEN, &token.to_string());
    }
    meta.push('}');
    out.reserve(params.map_or(0, |params| params.get().len()) + meta.len() + 16);
    match params {
        Some(params) => look.write_with(out, params, (META, META_KEY), &meta).then_some(()),
        None => {
            for part in ["{\"_meta\":", &meta, "}"] {
                out.extend_from_slice(part.as_bytes());
            }
            Some(())
        }
    }
}

/// What the caller's side said in the metadata beside what is ours to say; `None` if that is nothing.
fn others(meta: &RawValue) -> Option<Box<RawValue>> {
    let mut any = false;
    // Mostly there are none. What is spelled with an escape is looked at more closely.
    splice::each_member(meta, |name, _| any |= !OURS.contains(&name));
    any.then(|| splice::without_fields(meta, &OURS)).flatten()
}

/// The members of an object, without its braces and the blanks beside them.
fn inside(object: &RawValue) -> Option<&str> {
    Some(object.get().trim().strip_prefix('{')?.strip_suffix('}')?.trim())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use serde_json::value::RawValue;
    use serde_json::{Value, json};
    use wharf_plugin_api::{Client, Request};

    use super::super::look;
    use super::{QUOTED_REVISION, stamp};

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).expect("JSON")
    }

    fn client() -> Client {
        Client {
            capabilities: raw(r#"{ "sampling":{},"vendor":1.0 }"#).into(),
            info: Some(raw(r#"{"name":"c"}"#).into()),
            log_level: Some(Arc::from("debug")),
        }
    }

    fn text(params: Option<&str>, client: &Client, token: Option<u64>) -> Option<String> {
        let mut out = Vec::new();
        let request = Request { method: "tools/call".into(), params: params.map(|json| raw(json).into()) };
        stamp(&mut out, (request.params.as_deref(), &look(&request)), client, token)?;
        Some(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn the_revision_is_ours() {
        assert_eq!(QUOTED_REVISION, json!(crate::dialect::modern::REVISION).to_string());
    }

    #[test]
    fn the_caller_is_described_in_its_own_words() {
        let envelope = concat!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
            r#""io.modelcontextprotocol/clientCapabilities":{ "sampling":{},"vendor":1.0 },"#,
            r#""io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/logLevel":"debug""#
        );
        assert_eq!(text(None, &client(), None).unwrap(), format!("{{\"_meta\":{{{envelope}}}}}"));
        assert_eq!(
            text(Some(r#"{"a":1.0 , "_meta":{ "x":1.00, "progressToken":"theirs" } }"#), &client(), Some(7))
                .unwrap(),
            format!("{{\"a\":1.0 , \"_meta\":{{\"x\":1.00,{envelope},\"progressToken\":7}} }}")
        );
    }

    #[test]
    fn another_token_is_taken_out_however_it_is_spelled() {
        for theirs in [
            r#"{"_meta":{"progress\u0054oken":1}}"#,
            r#"{"_meta":{},"_meta":{"progressToken":1}}"#,
            r#"{"_meta":{"progressToken":1},"_meta":{}}"#,
            r#"{"_m\u0065ta":{"progressToken":1}}"#,
        ] {
            let written = text(Some(theirs), &client(), Some(7)).unwrap();
            let read: Value = serde_json::from_str(&written).unwrap();
            assert_eq!(read["_meta"]["progressToken"], 7, "{theirs} -> {written}");
            assert!(!written.contains(":1}") && !written.contains("0054"), "{theirs} -> {written}");
        }
    }

    #[test]
    fn what_another_hop_said_of_itself_is_not_passed_on() {
        let theirs = r#"{"_meta":{"io.modelcontextprotocol/logLevel":"debug","progressToken":1,
            "io.modelcontextprotocol/protocolVersion":"1","io.modelcontextprotocol/clientCapabilities":{"roots":{}}}}"#;
        let said: Value =
            serde_json::from_str(&text(Some(theirs), &Client::default(), None).unwrap()).unwrap();
        assert_eq!(
            said["_meta"],
            json!({
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientCapabilities": {},
                "io.modelcontextprotocol/clientInfo": {"name": "wharf", "version": env!("CARGO_PKG_VERSION")},
            })
        );
    }

    #[test]
    fn what_is_no_object_is_no_envelope() {
        for params in ["[]", "1", "null"] {
            assert_eq!(text(Some(params), &client(), None), None, "{params}");
        }
        let meta: Value =
            serde_json::from_str(&text(Some(r#"{"_meta":7}"#), &client(), None).unwrap()).unwrap();
        assert!(meta["_meta"].is_object(), "{meta}");
    }

    proptest! {
        #[test]
        fn all_else_stays(
            keys in prop::collection::btree_map("[a-z\"\\\\/]{1,6}", -9i64..9, 0..5),
            meta in prop::collection::btree_map("[a-z\"\\\\/]{1,6}", ".{0,6}", 0..5),
            token in prop::option::of(0u64..9),
        ) {
            let mut params = json!(keys);
            params["_meta"] = json!(meta);
            let text = text(Some(&params.to_string()), &client(), token).unwrap();
            let mut said: Value = serde_json::from_str(&text).unwrap();
            let stamped = said["_meta"].as_object_mut().unwrap();
            prop_assert_eq!(stamped.remove("progressToken"), token.map(|token| json!(token)));
            for key in &super::OURS[..4] {
                prop_assert!(stamped.remove(*key).is_some());
            }
            prop_assert_eq!(said, params);
        }
    }
}
