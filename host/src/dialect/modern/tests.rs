use serde_json::value::RawValue;
use wharf_plugin_api::{CauseKind, Reply, RpcError};

use super::{Discovery, discovered, subscription};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("JSON")
}

fn answered(json: &str) -> Discovery {
    discovered("stdio", Reply::Result(raw(json)))
}

fn refused(code: i64, message: &str, data: Option<&str>) -> Discovery {
    let data = data.map(raw);
    discovered("stdio", Reply::Error(RpcError { data, ..RpcError::new(code, message) }))
}

#[test]
fn the_answer_is_kept_as_it_came() {
    let answer = r#"{"resultType":"complete","supportedVersions":["2027-01-01","2026-07-28"],
        "capabilities":{ "x":1.0 },"instructions":"i","serverInfo":{"name":"body"},
        "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"meta"}}}"#;
    let hello = answered(answer).required().expect("a hello");
    assert_eq!((hello.dialect, hello.revision.as_str()), ("stdio", "2026-07-28"));
    assert_eq!(hello.capabilities.expect("there").get(), "{ \"x\":1.0 }");
    assert_eq!(hello.server_info.expect("there").get(), r#"{"name":"meta"}"#);
    assert_eq!(hello.instructions.as_deref(), Some("i"));
    let body = answered(r#"{"supportedVersions":["2026-07-28"],"serverInfo":{"name":"body"}}"#);
    assert_eq!(body.required().expect("a hello").server_info.expect("there").get(), r#"{"name":"body"}"#);
}

#[test]
fn what_is_no_discovery_proves_nothing() {
    for answer in ["{}", "[]", r#"{"supportedVersions":[]}"#, r#"{"supportedVersions":["2027-01-01"]}"#] {
        assert!(matches!(answered(answer), Discovery::Unknown(_)), "{answer}");
    }
    for code in [-32601, -32602, -32000, -32001, -32603, 7] {
        assert!(matches!(refused(code, "no", None), Discovery::Unknown(_)), "{code}");
    }
    let far = refused(-32022, "no", Some(r#"{"supported":["2027-01-01"]}"#));
    assert!(matches!(&far, Discovery::Unknown(cause) if cause.detail.contains("2027-01-01")), "{far:?}");
}

#[test]
fn a_modern_refusal_is_known_by_its_words() {
    for discovery in [
        refused(-32020, "header mismatch", None),
        refused(-32021, "needs sampling", None),
        refused(-32602, "missing io.modelcontextprotocol/clientCapabilities", None),
        refused(-32602, "missing", Some(r#"{"missing":["io.modelcontextprotocol/protocolVersion"]}"#)),
    ] {
        let Discovery::Refused(cause) = discovery else { panic!("{discovery:?}") };
        assert_eq!(cause.kind, CauseKind::HandshakeRefused);
    }
    let again = refused(-32022, "no", Some(r#"{"supported":["2026-07-28"],"requested":"x"}"#));
    assert!(matches!(again, Discovery::Again(_)));
}

#[test]
fn a_subscription_is_named_by_the_id_of_its_request() {
    let of = |json: &str| subscription(Some(&raw(json)));
    assert_eq!(of(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":7}}"#), Some(7));
    assert_eq!(of(r#"{"_meta":{"io.modelcontextprotocol/subscriptionId":"7"}}"#), None, "another type");
    assert_eq!(of(r#"{"_meta":{}}"#), None);
    assert_eq!(of("[]"), None);
    assert_eq!(subscription(None), None);
}
