//! What is not named by a rule passes to the byte: messages of every shape that a typed reader would change or refuse.

use proptest::prelude::*;
use serde_json::value::RawValue;
use wharf_plugin_api::jsonrpc::{self, Message};
use wharf_plugin_api::{Era, Id, Reply, RpcError};

use super::{to_legacy, with_code, with_data, with_token, with_uris};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

/// A result as it is written for a modern client.
fn to_modern(result: Box<RawValue>, era: Era, method: &str) -> Box<RawValue> {
    let lacking = super::to_modern(&result, era, method);
    let written = jsonrpc::response_with(&Id::number(1), &result, &lacking.members);
    let Ok(Message::Response { reply: Reply::Result(result), .. }) = jsonrpc::parse(&written) else {
        panic!("{}", String::from_utf8_lossy(&written))
    };
    result
}

/// Results that hold nothing of either era's own.
const PLAIN: [&str; 40] = [
    r#"{}"#,
    r#"{"content":[]}"#,
    r#"{ "content" : [ ] , "isError" : false }"#,
    r#"{"content":[{"type":"text","text":"a\u00e9\n"}],"structuredContent":null}"#,
    r#"{"structuredContent":null}"#,
    r#"{"structuredContent":[1,1.0,1e2,1E+2,-0,-0.0]}"#,
    r#"{"structuredContent":"text"}"#,
    r#"{"structuredContent":18446744073709551616}"#,
    r#"{"structuredContent":{"n":123456789012345678901234567890.50}}"#,
    r#"{"content":[{"type":"text","text":"x","annotations":{"priority":1.0,"vendor":true}}]}"#,
    r#"{"content":[{"type":"text","text":"x","annotations":{"priority":1,"audience":["auditor"]}}]}"#,
    r#"{"content":[{"type":"hologram","beam":7}]}"#,
    r#"{"content":[{"type":"resource_link","uri":"x://a"}]}"#,
    r#"{"content":[{"type":"resource_link","uri":"x://a","name":"a","size":1.0,"icons":[{"src":"data:,"}]}]}"#,
    r#"{"content":[{"type":"resource","resource":{"uri":"x://a","text":"t","extra":{}}}]}"#,
    r#"{"content":[{"type":"image","data":"AA==","mimeType":"image/png","_meta":{"v/k":1}}]}"#,
    r#"{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}],"extra":{"a":[{}]}}"#,
    r#"{"_meta":{"vendor.example/key":{"deep":[null]}},"content":[]}"#,
    r#"{"_meta":null,"content":[]}"#,
    r#"{"_meta":{},"content":[]}"#,
    r#"{"_meta":{"traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}"#,
    r#"{"tools":[{"name":"t","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}"#,
    r#"{"tools":[{"name":"t","inputSchema":{"$schema":"x","$defs":{"a":{}},"allOf":[]},"vendor":1}]}"#,
    r#"{"tools":[{"name":"t","annotations":{"readOnlyHint":true,"unheardOfHint":"maybe"}}]}"#,
    r#"{"task":{"taskId":"1","status":"working","ttl":60000,"pollInterval":1.0}}"#,
    r#"{"taskId":"1","status":"input_required","statusMessage":null}"#,
    r#"{"capabilities":{"tasks":{"list":{}},"experimental":{"x":{"y":1}},"unheard":{"of":true}}}"#,
    r#"{"capabilities":{"elicitation":{"form":{},"url":{},"hologram":{}}}}"#,
    r#"{"messages":[{"role":"system","content":{"type":"text","text":"x"}}]}"#,
    r#"{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]}]}"#,
    r#"{"completion":{"values":["a"],"total":1e3,"hasMore":false,"more":1}}"#,
    r#"{"contents":[{"uri":"x://a","blob":"AA==","mimeType":"x/y","_meta":{"ui":{"csp":{}}}}]}"#,
    r#"{"nextCursor":"","resources":[]}"#,
    r#"{"resources":[{"uri":"x://a","name":"a","annotations":{"lastModified":"2025"}}]}"#,
    r#"{"roots":[{"uri":"file:///a","name":null,"x":1}]}"#,
    r#"{"action":"accept","content":{"n":1.0,"big":9007199254740993}}"#,
    r#"{"model":"m","role":"assistant","content":{"type":"tool_use","id":"1"},"stopReason":"vendor"}"#,
    "{\n  \"content\": [\n    {\"type\": \"text\", \"text\": \"pretty\"}\n  ]\n}",
    r#"{"a":1,"a":2}"#,
    r#"{"\u0063ontent":[],"\"":"\\"}"#,
];

/// Likewise, of results that a modern server sent.
const MODERN: [(&str, &str); 9] = [
    (r#"{"resultType":"complete"}"#, r#"{}"#),
    (r#"{"resultType":"complete","content":[]}"#, r#"{"content":[]}"#),
    (r#"{"content":[],"resultType":"complete"}"#, r#"{"content":[]}"#),
    (r#"{"content":[ 1.0 ],"resultType":"complete","x":1e2}"#, r#"{"content":[ 1.0 ],"x":1e2}"#),
    (r#"{"contents":[],"ttlMs":5,"cacheScope":"public","resultType":"complete"}"#, r#"{"contents":[]}"#),
    (r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"}},"content":[]}"#, r#"{"content":[]}"#),
    (
        r#"{"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"s"},"v/k":1.0},"content":[]}"#,
        r#"{"_meta":{"v/k":1.0},"content":[]}"#,
    ),
    (
        r#"{"content":[{"resultType":"x","ttlMs":1,"_meta":{"a/b":1}}],"ttlMs":1}"#,
        r#"{"content":[{"resultType":"x","ttlMs":1,"_meta":{"a/b":1}}]}"#,
    ),
    (r#"{"structuredContent":{"cacheScope":"public"}}"#, r#"{"structuredContent":{"cacheScope":"public"}}"#),
];

#[test]
fn what_has_nothing_of_the_other_era_passes_to_the_byte() {
    for message in PLAIN {
        assert_eq!(to_legacy(raw(message)).get(), message);
        for method in ["tools/call", "prompts/get", "resources/read"] {
            let same = with_uris(raw(message), method, &|_| None);
            assert_eq!(same.get(), message, "{method}");
        }
    }
}

#[test]
fn a_legacy_client_sees_no_word_of_the_modern_era() {
    for (given, expected) in MODERN {
        assert_eq!(to_legacy(raw(given)).get(), expected);
    }
}

#[test]
fn a_modern_client_is_told_what_every_result_must_say_and_nothing_else_changes() {
    for message in PLAIN {
        let out = to_modern(raw(message), Era::Legacy, "tools/call");
        let body = message.trim_end_matches('}').trim_end_matches('\n');
        assert!(out.get().starts_with(body.trim_end()), "{message} -> {}", out.get());
        assert!(out.get().trim_end().ends_with(r#""resultType":"complete"}"#), "{}", out.get());
        assert!(!out.get().contains("ttlMs"));
    }
    let read = to_modern(raw(r#"{"contents":[]}"#), Era::Legacy, "resources/read");
    assert_eq!(read.get(), r#"{"contents":[],"resultType":"complete","ttlMs":0,"cacheScope":"private"}"#);
    for (era, own) in [
        (Era::Legacy, r#"{"resultType":"input_required","inputRequests":{}}"#),
        (Era::Legacy, r#"{"resultType":"complete","ttlMs":9,"cacheScope":"public"}"#),
        (Era::Modern, r#"{"resultType":"input_required","inputRequests":{}}"#),
        (Era::Modern, r#"{"contents":[],"resultType":"complete"}"#),
    ] {
        assert_eq!(to_modern(raw(own), era, "resources/read").get(), own, "{era:?}");
    }
}

#[test]
fn what_is_no_object_passes() {
    for odd in ["null", "[]", "1.0", "\"text\""] {
        assert_eq!(to_legacy(raw(odd)).get(), odd);
        assert_eq!(to_modern(raw(odd), Era::Legacy, "resources/read").get(), odd);
        assert_eq!(with_uris(raw(odd), "resources/read", &|_| Some("x".into())).get(), odd);
    }
}

#[test]
fn a_progress_token_is_put_back_in_its_own_type() {
    let sent = r#"{"progressToken":7,"progress":1.0,"total":1e2,"message":"x","vendor":null}"#;
    for token in ["\"7\"", "7", "-1", "\"progress-test-1\"", "123456789012345678901234567890"] {
        let out = with_token(&raw(sent), &raw(token)).unwrap();
        assert_eq!(out.get(), sent.replacen(":7,", &format!(":{token},"), 1));
    }
}

#[test]
fn uris_are_renamed_where_mcp_has_them_and_nowhere_else() {
    let known = |uri: &str| (uri == "x://a").then(|| "p+x://a".to_owned());
    let table = [
        (
            "resources/read",
            r#"{"contents":[{"uri":"x://a","text":"x://a"}, {"uri":"x://b"}]}"#,
            r#"{"contents":[{"uri":"p+x://a","text":"x://a"}, {"uri":"x://b"}]}"#,
        ),
        (
            "tools/call",
            r#"{"content":[{"type":"resource_link","uri":"x://a"},{"type":"text","uri":"x://a"},{"type":"resource","resource":{ "uri" : "x:\/\/a"}}],"structuredContent":{"uri":"x://a"}}"#,
            r#"{"content":[{"type":"resource_link","uri":"p+x://a"},{"type":"text","uri":"x://a"},{"type":"resource","resource":{ "uri" : "p+x://a"}}],"structuredContent":{"uri":"x://a"}}"#,
        ),
        (
            "prompts/get",
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"x://a"}}}]}"#,
            r#"{"messages":[{"role":"user","content":{"type":"resource","resource":{"uri":"p+x://a"}}}]}"#,
        ),
        ("completion/complete", r#"{"contents":[{"uri":"x://a"}]}"#, r#"{"contents":[{"uri":"x://a"}]}"#),
    ];
    for (method, given, expected) in table {
        assert_eq!(with_uris(raw(given), method, &known).get(), expected);
    }
}

/// JSON text of any shape, with spaces and spellings that a reader would lose.
fn json() -> impl Strategy<Value = String> {
    let number = prop_oneof!["-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?"];
    let text = "[a-z/:.é]{0,8}".prop_map(|text| format!("\"{text}\""));
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number, text];
    leaf.prop_recursive(3, 24, 4, |inner| {
        let array =
            prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[ {} ]", all.join(" , ")));
        let object = prop::collection::vec(("[a-z]{1,6}", inner), 0..4).prop_map(|all| {
            let members: Vec<_> =
                all.into_iter().map(|(key, value)| format!("\"{key}\" : {value}")).collect();
            format!("{{{}}}", members.join(","))
        });
        prop_oneof![array, object]
    })
}

proptest! {
    #[test]
    fn to_modern_and_back_is_the_same_to_the_byte(
        members in prop::collection::vec(("[b-z]{1,6}", json()), 0..6),
        method in prop_oneof![Just("tools/call"), Just("resources/read")],
    ) {
        let all: Vec<_> = members.iter().map(|(key, value)| format!("\"{key}\": {value}")).collect();
        let message = format!("{{{}}}", all.join(" ,"));
        let there = to_modern(raw(&message), Era::Legacy, method);
        prop_assert!(there.get().contains("\"resultType\":\"complete\""));
        let back = to_legacy(there);
        prop_assert_eq!(back.get(), message);
    }

    #[test]
    fn a_token_changes_nothing_but_itself(token in 0_u64..u64::MAX, rest in json()) {
        let params = format!("{{\"progress\":1.0,\"progressToken\":1,\"x\": {rest} }}");
        let out = with_token(&raw(&params), &raw(&token.to_string())).unwrap();
        let expected = params.replacen("Token\":1", &format!("Token\":{token}"), 1);
        prop_assert_eq!(out.get(), expected);
    }
}

#[test]
fn an_error_with_another_code_keeps_every_other_byte() {
    let line = br#"{"jsonrpc":"2.0","id":1,"error":{ "vendor":[1.0] ,"code" : -32002, "message":"\u006e" }}"#;
    let Ok(Message::Response { reply: Reply::Error(error), .. }) = jsonrpc::parse(line) else { panic!() };
    let error = with_code(error, -32602);
    let shown = |error: &RpcError| serde_json::to_string(error).unwrap();
    assert_eq!(shown(&error), r#"{ "vendor":[1.0] ,"code" : -32602, "message":"\u006e" }"#);
    let error = with_data(error, Some(raw("1.0")));
    assert_eq!(shown(&error), r#"{ "vendor":[1.0] ,"code" : -32602, "message":"\u006e" ,"data":1.0}"#);
    assert_eq!(shown(&with_data(error, Some(raw("2")))).matches("data").count(), 1);
    let ours = with_data(with_code(RpcError::new(-1, "no"), -2), Some(raw("{}")));
    assert_eq!(shown(&ours), r#"{"code":-2,"message":"no","data":{}}"#);
}
