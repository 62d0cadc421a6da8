//! What a call is read from, and what it is answered with.

use std::time::Duration;

use serde_json::Value;
use serde_json::value::RawValue;
use wharf_core::catalog::Tool;
use wharf_core::hints::Hints;
use wharf_core::{CallId, Code, InstanceNo, PluginId};
use wharf_plugin_api::{Era, Reply, RpcError};

use super::{Wanted, alone, answer, must_be_object, parse};
use crate::route::Settled;

pub(crate) fn tool() -> Tool {
    Tool {
        plugin: PluginId::new("p").unwrap(),
        meter: std::sync::Arc::default(),
        name: "t".into(),
        upstream: "t".into(),
        exposed: "p__t".into(),
        description: None,
        definition: RawValue::from_string("{}".into()).unwrap().into(),
        hints: Hints::default(),
        made: wharf_core::catalog::Made::default(),
    }
}

pub(crate) fn wanted(body: &[u8]) -> Wanted<'_> {
    parse(body).unwrap()
}

pub(crate) fn settled(reply: Reply) -> Settled {
    Settled {
        call_id: CallId::new(1, 2),
        instance: InstanceNo(3),
        duration: Duration::from_millis(4),
        reply,
        era: Era::Legacy,
        undeclared: Vec::new(),
        replayed: false,
    }
}

#[test]
fn a_result_leaves_byte_identical() {
    let raw = "{ \"content\":[],\r\n \"x\":1.0e2, \"\\u00e4\":\"ä\", \"x\":12345678901234567890123 }";
    let body = answer(&tool(), settled(Reply::Result(RawValue::from_string(raw.into()).unwrap()))).unwrap();
    let expected =
        format!(r#"{{"call_id":"c-00000001-2","plugin":"p","instance":3,"duration_ms":4,"result":{raw}}}"#);
    assert_eq!(String::from_utf8(body).unwrap(), expected);
}

#[test]
fn a_json_rpc_error_is_a_problem_with_the_plugins_words() {
    let problem = answer(&tool(), settled(Reply::Error(RpcError::new(-32602, "Unknown tool")))).unwrap_err();
    assert_eq!(problem.code(), Code::ProtocolError);
    let body: Value = serde_json::from_slice(&problem.to_json()).unwrap();
    assert_eq!(body["rpc_error"]["code"], -32602);
    assert_eq!(
        (body["call_id"].as_str(), body["delivery"].as_str()),
        (Some("c-00000001-2"), Some("answered"))
    );
    assert!(body["detail"].as_str().unwrap().contains("Unknown tool"));
}

#[test]
fn a_call_is_read_strictly() {
    let wanted = parse(br#" {"arguments": { "a" : 1.0 }, "timeout_ms": 5, "meta": {}}"#).unwrap();
    assert_eq!(wanted.arguments.unwrap().get(), "{ \"a\" : 1.0 }");
    assert_eq!(wanted.timeout_ms, Some(5));
    assert!(parse(b"{}").unwrap().arguments.is_none());
    for bad in [
        "",
        "[]",
        "null",
        "1",
        "{",
        "{}{}",
        r#"{"arguments":null}"#,
        r#"{"arguments":[]}"#,
        r#"{"arguments":"{}"}"#,
        r#"{"meta":1}"#,
        r#"{"timeout_ms":-1}"#,
        r#"{"timeout_ms":1.5}"#,
        r#"{"argument":{}}"#,
        r#"{"inputResponses":null}"#,
        r#"{"inputResponses":[]}"#,
        r#"{"requestState":1}"#,
        r#"{"arguments":{},"arguments":{}}"#,
    ] {
        assert_eq!(parse(bad.as_bytes()).err().map(|p| p.code()), Some(Code::BadRequest), "{bad}");
    }
}

#[test]
fn arguments_that_stand_alone_are_what_the_strict_reader_finds() {
    for (body, is_alone) in [
        (r#"{"arguments":{"a":1.0}}"#, true),
        (r#"{"arguments": { "a" : "}" } }"#, true),
        (r#"{"arguments":{},"timeout_ms":5}"#, false),
        (r#"{"arguments":{},"arguments":{}}"#, false),
        (r#" {"arguments":{}}"#, false),
        (r#"{"arguments":null}"#, false),
        (r#"{"arguments":[]}"#, false),
        (r#"{"arguments":{}"#, false),
        (r#"{"arguments":}"#, false),
        (r#"{"arguments":{}}}"#, false),
    ] {
        let (found, strict) = (alone(body.as_bytes()), serde_json::from_str::<Wanted<'_>>(body));
        assert_eq!(found.is_some(), is_alone, "{body}");
        if let Some(found) = found {
            assert_eq!(strict.unwrap().arguments.unwrap().get(), found.get());
        }
    }
    let broken = b"{\"arguments\":{\"a\":\"\xff\"}}";
    assert!(alone(broken).is_none() && parse(broken).is_err());
}

#[test]
fn only_an_object_can_be_arguments() {
    for (json, good) in [("{}", true), ("[]", false), ("null", false), ("\"{\"", false)] {
        let raw = RawValue::from_string(json.into()).unwrap();
        assert_eq!(must_be_object("x", Some(&raw)).is_ok(), good, "{json}");
    }
    assert!(must_be_object("x", None).is_ok());
}
