//! What leaves for a plugin: the client's bytes without its hop.

use std::sync::Arc;

use wharf_core::PluginId;
use wharf_plugin_api::{Caller, RawValue};

use crate::mcp::Params;

use super::said::Said;
use super::{text, to};

fn raw(json: &str) -> Arc<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap().into()
}

fn params(json: &str) -> Params {
    RawValue::from_string(json.to_owned()).unwrap().into()
}

fn bare(json: &str) -> String {
    let params = params(json);
    let bare = Said::of(Some(&params)).for_plugin(None);
    bare.map_or_else(|| params.get().to_owned(), |bare| bare.get().to_owned())
}

#[test]
fn the_hop_is_taken_out_and_all_else_stays() {
    let table = [
        (r#"{"name":"t","_meta":{}}"#, r#"{"name":"t","_meta":{}}"#),
        (
            r#"{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","traceparent":"00-a"},"name":"t","arguments":{"n":1.0}}"#,
            r#"{"_meta":{"traceparent":"00-a"},"name":"t","arguments":{"n":1.0}}"#,
        ),
        (
            r#"{"_meta":{"v/k":1e2,"io.modelcontextprotocol/logLevel":"debug","io.modelcontextprotocol/related-task":{"taskId":"1"}}}"#,
            r#"{"_meta":{"v/k":1e2,"io.modelcontextprotocol/related-task":{"taskId":"1"}}}"#,
        ),
        (r#"{"_meta":{"io.modelcontextprotocol\/clientInfo":{}}}"#, r#"{"_meta":{}}"#),
        (r#"{"_meta":{"wharf/idempotencyKey":"k","n":1.0}}"#, r#"{"_meta":{"n":1.0}}"#),
        (
            r#"{"arguments":{"_meta":{"io.modelcontextprotocol/clientInfo":{}}}}"#,
            r#"{"arguments":{"_meta":{"io.modelcontextprotocol/clientInfo":{}}}}"#,
        ),
        (r#"[1.0,"io.modelcontextprotocol/clientInfo"]"#, r#"[1.0,"io.modelcontextprotocol/clientInfo"]"#),
    ];
    for (given, expected) in table {
        assert_eq!(bare(given), expected);
    }
}

#[test]
fn a_tools_name_is_changed_together_with_what_else_is() {
    let named = |json: &str, name| {
        let params = params(json);
        Said::of(Some(&params)).for_plugin(Some(name)).map(|bare| bare.get().to_owned())
    };
    let hop = r#""io.modelcontextprotocol/clientInfo":{}"#;
    assert_eq!(
        named(&format!(r#"{{ "_meta":{{{hop}}},"name" : "p__t","arguments":{{"name":1.0}}}}"#), "t")
            .as_deref(),
        Some(r#"{ "_meta":{},"name" : "t","arguments":{"name":1.0}}"#)
    );
    assert_eq!(
        named(r#"{"name":"p__t","_meta":{"v/k":1}}"#, "t").as_deref(),
        Some(r#"{"name":"t","_meta":{"v/k":1}}"#)
    );
    assert_eq!(
        named(&format!(r#"{{"name":"t","_meta":{{"a":1,{hop}}}}}"#), "t").as_deref(),
        Some(r#"{"name":"t","_meta":{"a":1}}"#)
    );
    assert_eq!(named(r#"{"name":"t","_meta":{"v/k":1}}"#, "t"), None, "it is this one");
    for meta in [r#""v/k":1"#, hop] {
        let twice = named(&format!(r#"{{"name":"other","name":"t","_meta":{{{meta}}}}}"#), "t").unwrap();
        assert!(twice.starts_with(r#"{"name":"t","name":"t","#), "a plugin may read either: {twice}");
    }
}

#[test]
fn that_a_call_is_to_be_durable_is_read_and_goes_no_further() {
    let table = [
        (r#"{"_meta":{"wharf/durable":true,"n":1.0}}"#, true, r#"{"_meta":{"n":1.0}}"#),
        (r#"{"_meta":{"wharf\/d\u0075rable":true}}"#, true, r#"{"_meta":{}}"#),
        (r#"{"_meta":{"wharf/durable":false}}"#, false, r#"{"_meta":{}}"#),
        // It stays for the one who refuses it.
        (r#"{"_meta":{"wharf/durable":"yes"}}"#, false, r#"{"_meta":{"wharf/durable":"yes"}}"#),
        (
            r#"{"arguments":{"wharf/durable":true},"_meta":{}}"#,
            false,
            r#"{"arguments":{"wharf/durable":true},"_meta":{}}"#,
        ),
    ];
    for (given, durable, expected) in table {
        let plugin = PluginId::new("p").unwrap();
        let spec = to(&plugin, Caller::new("me"), "tools/call", Some(params(given))).spec;
        let params = spec.payload.params().unwrap();
        assert_eq!((spec.durable, params.get()), (durable, expected), "{given}");
    }
}

#[test]
fn a_progress_token_is_a_string_or_an_integer() {
    for (token, taken) in
        [("1", true), ("\"1\"", true), ("1.0", false), ("null", false), ("{}", false), ("true", false)]
    {
        let params = params(&format!(r#"{{"_meta":{{"progressToken":{token}}}}}"#));
        let found = Said::of(Some(&params)).token();
        assert_eq!(found.map(|found| found.get().to_owned()), taken.then(|| token.to_owned()));
    }
    assert!(Said::of(Some(&params(r#"{"progressToken":1}"#))).token().is_none());
}

#[test]
fn a_member_that_must_be_a_string_is_said_to() {
    let refused = text(Some(&raw(r#"{"name":1}"#)), "name").unwrap_err();
    assert_eq!((refused.code, refused.message.as_str()), (-32602, "params.name must be a string"));
    assert!(text(None, "name").is_err());
}

#[test]
fn a_key_is_read_from_the_metadata_alone_and_checked() {
    let read = |json: &str| Said::of(Some(&params(json))).key().map(|key| key.map(|key| key.to_string()));
    for given in [
        r#"{"name":"t","_meta":{"wharf/idempotencyKey":"k-1"}}"#,
        r#"{"_meta":{"wharf\/idempotency\u004bey":"k\u002d1"}}"#,
    ] {
        assert_eq!(read(given).unwrap().as_deref(), Some("k-1"), "{given}");
    }
    for given in [
        "{}",
        r#"{"_meta":{"idempotencyKey":"k"}}"#,
        r#"{"wharf/idempotencyKey":"k"}"#,
        r#"{"arguments":{"_meta":{"wharf/idempotencyKey":"k"}}}"#,
    ] {
        assert_eq!(read(given).unwrap(), None, "{given}");
    }
    for given in ["1", "null", r#""""#, r#""a b""#, r#"{"k":1}"#] {
        let refused = read(&format!(r#"{{"_meta":{{"wharf/idempotencyKey":{given}}}}}"#)).unwrap_err();
        assert_eq!(refused.code, -32602, "{given}");
        assert!(refused.message.contains("255 visible ASCII"), "{}", refused.message);
    }
}
