//! Each rule of the ladder, and that every byte string gets a verdict.

use proptest::prelude::*;
use serde_json::{Value, json};
use wharf_plugin_api::RpcError;

use super::{
    Classified, Head, LegacyBody, LegacyMessage, ModernMessage, Rejection, classify, decoded, trimmed,
};

const MODERN: &str = "2026-07-28";

/// What a verdict comes to, for tables.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Legacy,
    Batch(usize),
    Modern,
    Refused(i64),
}

use Verdict::{Batch, Legacy, Modern, Refused};

fn verdict(head: Option<&Head<'_>>, body: &[u8]) -> Verdict {
    match classify(head, body) {
        Ok(Classified::Legacy(LegacyBody::One(_))) => Legacy,
        Ok(Classified::Legacy(LegacyBody::Batch(all))) => Batch(all.len()),
        Ok(Classified::Modern(_)) => Modern,
        Err(Rejection { error, .. }) => Refused(error.code),
    }
}

fn head<'a>(version: Option<&'a str>, method: Option<&'a str>, name: Option<&'a str>) -> Head<'a> {
    Head { protocol_version: version, method, name, params: Vec::new() }
}

fn envelope(version: &str) -> Value {
    json!({
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientCapabilities": {},
    })
}

fn message(method: &str, params: &Value) -> Vec<u8> {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string().into_bytes()
}

fn modern(method: &str) -> Vec<u8> {
    message(method, &json!({"_meta": envelope(MODERN)}))
}

#[test]
fn what_is_no_message_is_refused() {
    let table: [(&[u8], i64); 11] = [
        (b"", -32700),
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[", -32700),
        (b"1", -32600),
        (b"{}", -32600),
        (br#"{"jsonrpc":"1.0","id":1,"method":"x"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":null,"method":"x"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1.5,"method":"x"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#, -32600),
        (br#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#, -32600),
    ];
    for (body, code) in table {
        assert_eq!(verdict(None, body), Refused(code), "{}", String::from_utf8_lossy(body));
    }
}

#[test]
fn a_batch_is_legacy_as_a_whole_or_nothing() {
    let one = String::from_utf8(message("ping", &json!({}))).unwrap();
    let envelope = String::from_utf8(modern("tools/list")).unwrap();
    let table = [
        (format!("[{one},{one}]"), Batch(2)),
        (format!(" [{one}]"), Batch(1)),
        (r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#.to_owned(), Batch(1)),
        ("[]".to_owned(), Refused(-32600)),
        (format!("[{one},{envelope}]"), Refused(-32600)),
        (format!("[{one},1]"), Refused(-32600)),
        (format!("[{one},[]]"), Refused(-32600)),
        (format!("[{}]", vec![one.as_str(); 129].join(",")), Refused(-32600)),
    ];
    for (body, expected) in table {
        assert_eq!(verdict(None, body.as_bytes()), expected, "{body}");
    }
    let under = head(Some(MODERN), Some("ping"), None);
    assert_eq!(verdict(Some(&under), format!("[{one}]").as_bytes()), Refused(-32600));
}

#[test]
fn an_answer_is_legacy_unless_its_head_is_modern() {
    let body = br#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    assert_eq!(verdict(None, body), Legacy);
    assert_eq!(verdict(Some(&head(Some("2025-06-18"), None, None)), body), Legacy);
    assert_eq!(verdict(Some(&head(Some(MODERN), None, None)), body), Refused(-32600));
}

#[test]
fn the_message_says_its_era_whatever_its_method() {
    let right = |method| head(Some(MODERN), Some(method), None);
    for method in ["tools/list", "initialize", "ping", "unknown/method"] {
        assert_eq!(verdict(Some(&right(method)), &modern(method)), Modern, "{method}");
        assert_eq!(verdict(None, &modern(method)), Modern, "{method}");
    }
    let legacy = message("tools/list", &json!({"_meta": envelope("2025-11-25")}));
    assert_eq!(verdict(None, &legacy), Legacy);
    assert_eq!(verdict(Some(&right("tools/list")), &legacy), Refused(-32020));
    let future = message("tools/list", &json!({"_meta": envelope("v999.0.0")}));
    // A disagreement is found before the revision is looked at.
    assert_eq!(verdict(Some(&right("tools/list")), &future), Refused(-32020));
    assert_eq!(verdict(Some(&head(Some("v999.0.0"), Some("tools/list"), None)), &future), Refused(-32022));
    assert_eq!(verdict(None, &future), Refused(-32022));
    assert_eq!(verdict(None, &message("x", &json!({"_meta": envelope("")}))), Refused(-32022));
}

#[test]
fn what_claims_nothing_is_of_its_heads_era() {
    let plain = message("tools/list", &json!({"_meta": {"progressToken": 1}}));
    let table = [
        (None, Legacy),
        (Some(head(None, None, None)), Legacy),
        (Some(head(Some("2025-03-26"), None, None)), Legacy),
        (Some(head(Some(MODERN), Some("tools/list"), None)), Refused(-32602)),
        (Some(head(Some("v999"), Some("tools/list"), None)), Refused(-32602)),
    ];
    for (head, expected) in table {
        assert_eq!(verdict(head.as_ref(), &plain), expected, "{head:?}");
    }
    for params in [json!([]), json!(null), json!({"_meta": 1})] {
        assert_eq!(verdict(None, &message("initialize", &params)), Legacy, "{params}");
    }
    let notification = br#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(verdict(None, notification), Legacy);
    assert_eq!(verdict(Some(&head(Some(MODERN), None, None)), notification), Modern);
    assert_eq!(verdict(Some(&head(Some(MODERN), Some("x"), None)), notification), Refused(-32020));
}

#[test]
fn an_envelope_must_be_whole_and_the_answer_names_what_is_not() {
    let version = "io.modelcontextprotocol/protocolVersion";
    let capabilities = "io.modelcontextprotocol/clientCapabilities";
    let log_level = "io.modelcontextprotocol/logLevel";
    let table = [
        (json!({version: MODERN}), vec![capabilities]),
        (json!({capabilities: {}}), vec![version]),
        (json!({"io.modelcontextprotocol/clientInfo": {}}), vec![version, capabilities]),
        (json!({version: 1, capabilities: {}}), vec![version]),
        (json!({version: MODERN, capabilities: []}), vec![capabilities]),
        (json!({version: MODERN, capabilities: null}), vec![capabilities]),
        (json!({version: MODERN, capabilities: {}, log_level: "loud"}), vec![log_level]),
        (json!({version: MODERN, capabilities: {}, log_level: 3}), vec![log_level]),
        (
            json!({version: MODERN, capabilities: {}, "io.modelcontextprotocol/clientInfo": "x"}),
            vec!["io.modelcontextprotocol/clientInfo"],
        ),
        (json!({version: MODERN, capabilities: {}, "progressToken": 1.5}), vec!["progressToken"]),
    ];
    for (meta, keys) in table {
        let error = classify(None, &message("tools/list", &json!({"_meta": meta}))).unwrap_err();
        assert_eq!(error.error.code, -32602, "{meta}");
        assert_eq!(error.id.unwrap().as_str(), "7");
        let data: Value = serde_json::from_str(error.error.data.unwrap().get()).unwrap();
        assert_eq!(data["keys"], json!(keys), "{meta}");
    }
    let under = head(Some(MODERN), Some("server/discover"), None);
    let nothing = br#"{"jsonrpc":"2.0","id":1,"method":"server/discover"}"#;
    assert_eq!(verdict(Some(&under), nothing), Refused(-32602));
}

#[test]
fn two_envelopes_are_none() {
    let body = br#"{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{},"_meta":{}}}"#;
    assert_eq!(verdict(None, body), Refused(-32602));
}

#[test]
fn a_head_must_say_what_the_message_says() {
    let call = message("tools/call", &json!({"name": "zähler", "_meta": envelope(MODERN)}));
    let read = message("resources/read", &json!({"uri": "a://b c", "_meta": envelope(MODERN)}));
    let task = message("tasks/get", &json!({"taskId": "t", "_meta": envelope(MODERN)}));
    let coded = "=?base64?esOkaGxlcg==?=";
    let table = [
        (&call, Some(MODERN), Some("tools/call"), Some(coded), Modern),
        (&call, None, Some("tools/call"), Some(coded), Refused(-32020)),
        (&call, Some(MODERN), None, Some(coded), Refused(-32020)),
        (&call, Some(MODERN), Some("TOOLS/CALL"), Some(coded), Refused(-32020)),
        (&call, Some(MODERN), Some("tools/list"), Some(coded), Refused(-32020)),
        (&call, Some(MODERN), Some("tools/call"), None, Refused(-32020)),
        (&call, Some(MODERN), Some("tools/call"), Some("other"), Refused(-32020)),
        (&call, Some(MODERN), Some("tools/call"), Some("zähler"), Refused(-32020)),
        (&call, Some(MODERN), Some("tools/call"), Some("=?base64?esOkaGxlcg=?="), Refused(-32020)),
        (&read, Some(MODERN), Some("resources/read"), Some(" a://b c\t"), Modern),
        (&read, Some(MODERN), Some("resources/read"), Some("a://b%20c"), Refused(-32020)),
        (&task, Some(MODERN), Some("tasks/get"), Some("t"), Modern),
        (&task, Some(MODERN), Some("tasks/get"), None, Refused(-32020)),
    ];
    for (body, version, method, name, expected) in table {
        let head = head(version, method, name);
        assert_eq!(verdict(Some(&head), body), expected, "{head:?}");
    }
    let nameless = message("tools/call", &json!({"_meta": envelope(MODERN)}));
    assert_eq!(verdict(Some(&head(Some(MODERN), Some("tools/call"), None)), &nameless), Modern);
    assert_eq!(verdict(Some(&head(Some(MODERN), Some("tools/call"), Some("x"))), &nameless), Refused(-32020));
}

#[test]
fn a_revision_that_is_not_spoken_is_answered_with_those_that_are() {
    let body = message("server/discover", &json!({"_meta": envelope("v999.0.0")}));
    let rejection = classify(None, &body).unwrap_err();
    let answer: Value = serde_json::from_slice(&rejection.answered().message.unwrap()).unwrap();
    assert_eq!(answer["id"], 7);
    assert_eq!(answer["error"]["data"], json!({"supported": [MODERN], "requested": "v999.0.0"}));
}

#[test]
fn what_is_passed_on_is_what_came() {
    let body = br#"{"jsonrpc":"2.0","id":"1","method":"x","params":{ "a":1.0,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{ }}}}"#;
    let head = Head { params: vec![("region".into(), "x".into())], ..head(Some(MODERN), Some("x"), None) };
    let Ok(Classified::Modern(ModernMessage::Request(request))) = classify(Some(&head), body) else {
        panic!()
    };
    assert_eq!((request.id.as_str(), &*request.method), ("\"1\"", "x"));
    assert!(request.params.unwrap().get().starts_with(r#"{ "a":1.0,"#));
    assert_eq!(request.param_headers, Some(vec![("region".into(), "x".into())]));
    let body = br#"{"jsonrpc":"2.0","id":01,"method":"x"}"#;
    assert_eq!(verdict(None, body), Refused(-32700));
    let Ok(Classified::Legacy(LegacyBody::One(LegacyMessage::Request { id, params, .. }))) =
        classify(None, br#"{"jsonrpc":"2.0","id":-3,"method":"x","params":null}"#)
    else {
        panic!()
    };
    assert_eq!((id.as_str(), params.unwrap().get()), ("-3", "null"));
}

#[test]
fn an_error_without_a_request_has_no_id() {
    let answer = classify(None, b"{").unwrap_err().answered();
    let answer: Value = serde_json::from_slice(&answer.message.unwrap()).unwrap();
    assert!(answer.get("id").is_none() && answer["error"]["code"] == -32700, "{answer}");
}

#[test]
fn a_value_is_trimmed_as_ever() {
    for value in ["", "a", " a", "a\t", " \u{a0}a b\u{2003}", "\u{2003}", "a\u{2003}"] {
        assert_eq!(trimmed(value), value.trim(), "{value:?}");
    }
}

#[test]
fn a_value_is_decoded_in_its_one_spelling() {
    let table = [
        ("plain", Some("plain")),
        (" a b\t", Some("a b")),
        ("=?base64?SGVsbG8=?=", Some("Hello")),
        ("=?base64??=", Some("")),
        ("SGVsbG8=?=", Some("SGVsbG8=?=")),
        ("=?base64?SGVsbG8=", Some("=?base64?SGVsbG8=")),
        ("=?base64?SGVsbG8?=", None),
        ("=?base64?SGVsbG9=?=", None),
        ("=?base64?SGVs!G8=?=", None),
        ("=?base64?SG=sbG8=?=", None),
        ("=?base64?A===?=", None),
        ("=?base64?/w==?=", None),
        ("a\nb", None),
        ("ä", None),
    ];
    for (value, expected) in table {
        assert_eq!(decoded(value).as_deref(), expected, "{value:?}");
    }
}

proptest! {
    #[test]
    fn every_body_gets_a_verdict(body in proptest::collection::vec(any::<u8>(), 0..64)) {
        for head in [None, Some(head(None, None, None)), Some(head(Some(MODERN), Some("x"), Some("y")))] {
            if let Err(rejection) = classify(head.as_ref(), &body) {
                prop_assert!(rejection.error.code < 0);
                let answer = rejection.answered().message.unwrap();
                prop_assert!(serde_json::from_slice::<Value>(&answer).is_ok());
            }
        }
    }

    #[test]
    fn every_shape_of_a_message_gets_a_verdict(
        method in prop_oneof!["tools/call".prop_map(|s| s), ".{0,12}"],
        version in prop_oneof![Just(MODERN.to_owned()), Just("2025-11-25".to_owned()), ".{0,12}"],
        named in proptest::option::of(".{0,12}"),
        meta in 0..4_u8,
    ) {
        let mut params = json!({"name": method});
        params["_meta"] = match meta { 0 => envelope(&version), 1 => json!({}), 2 => json!(1), _ => json!({
            "io.modelcontextprotocol/clientInfo": version }) };
        let body = message(&method, &params);
        let head = head(named.as_deref(), Some(&method), named.as_deref());
        let verdict = classify(Some(&head), &body);
        if let Err(Rejection { error: RpcError { code, .. }, id }) = &verdict {
            prop_assert!([-32600, -32602, -32020, -32022].contains(code), "{code}");
            prop_assert_eq!(id.as_ref().unwrap().as_str(), "7");
        }
        // Whatever went through as modern says a revision that is spoken, in both places.
        if let Ok(Classified::Modern(_)) = &verdict {
            prop_assert_eq!(version.as_str(), MODERN);
            prop_assert_eq!(named.as_deref().map(str::trim), Some(MODERN));
        }
    }
}
