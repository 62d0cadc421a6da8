//! What is only looked through is judged as the strict reader judges it, whoever wrote it.

use proptest::prelude::*;
use serde_json::value::RawValue;
use wharf_plugin_api::jsonrpc::{self, Message};

use super::super::params::Looked;
use super::envelope::{Envelope, Meta};
use super::{Classified, LegacyBody, ModernMessage, classify, params_of, plain};

const VERSION: &str = r#""io.modelcontextprotocol/protocolVersion":"2026-07-28""#;
const CAPABILITIES: &str = r#""io.modelcontextprotocol/clientCapabilities":{}"#;

/// What a request or notification says, for comparison.
fn said(message: &Message<'_>) -> Option<(Option<String>, String, Option<String>)> {
    let params = |params: &Option<&RawValue>| params.map(|params| params.get().to_owned());
    match message {
        Message::Request { id, method, params: given } => {
            Some((Some(id.as_str().to_owned()), method.to_string(), params(given)))
        }
        Message::Notification { method, params: given } => Some((None, method.to_string(), params(given))),
        Message::Response { .. } => None,
    }
}

/// A modern request with these members of its params, and of its metadata.
fn request(params: &str, meta: &str) -> String {
    let meta = format!(r#""_meta":{{{meta}}}"#);
    format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"t"{params},{meta}}}}}"#)
}

/// `None`: it goes on as modern.
fn refused(body: &str) -> Option<String> {
    match classify(None, body.as_bytes()) {
        Ok(Classified::Modern(ModernMessage::Request(_))) => None,
        Ok(Classified::Legacy(LegacyBody::One(_))) => Some("legacy".to_owned()),
        Ok(other) => panic!("{other:?}"),
        Err(rejection) => Some(format!("{} {}", rejection.error.code, rejection.error.message)),
    }
}

#[test]
fn an_envelope_that_two_readers_could_read_differently_is_refused() {
    let good = format!("{VERSION},{CAPABILITIES}");
    let escaped = good.replace("Version", "\\u0056ersion");
    let huge = format!(r#"{good},"v/k":"{}""#, "\\\"_meta\\\":{}".repeat(20_000));
    let nested = format!(r#"{good},"v/k":{{{}}}"#, VERSION.replace("2026-07-28", "1"));
    for meta in [&good, &escaped, &huge, &nested] {
        assert_eq!(refused(&request("", meta)), None, "{}", meta.get(..200).unwrap_or(meta));
    }
    let twice = |key: &str| Some(format!("-32602 in _meta: duplicate field `{key}`"));
    let named =
        |refused: Option<String>| refused.map(|text| text.split(" at line").next().unwrap().to_owned());
    let version = "io.modelcontextprotocol/protocolVersion";
    assert_eq!(named(refused(&request("", &format!("{good},{VERSION}")))), twice(version));
    assert_eq!(
        named(refused(&request("", &format!("{good},{}", VERSION.replace("io", "i\\u006f"))))),
        twice(version)
    );
    assert_eq!(named(refused(&request(r#","_meta":{}"#, &good))), twice("_meta"));
    assert_eq!(named(refused(&request(r#","\u005fmeta":{}"#, &good))), twice("_meta"));
    assert_eq!(
        named(refused(&request("", &format!(r#"{good},"progressToken":1,"progressToken":1"#)))),
        twice("progressToken")
    );
    // A look-alike deeper down is none.
    let inside = format!(r#","arguments":{{"_meta":{{{good}}},"x":"\"_meta\":{{"}}"#);
    assert_eq!(refused(&request(&inside, "")), Some("legacy".to_owned()));
    for (wrong, why) in [
        (good.replace("\"2026-07-28\"", "20260728"), "is not a string"),
        (good.replace("\"2026-07-28\"", "\"\\ud800\""), "is not a string"),
        (good.replace("{}", "[]"), "is not an object"),
        (good.replace("{}", "\"{}\""), "is not an object"),
        (VERSION.to_owned(), "is required"),
        (CAPABILITIES.to_owned(), "is required"),
    ] {
        let text = refused(&request("", &wrong)).unwrap();
        assert!(text.starts_with("-32602 params._meta:") && text.ends_with(why), "{wrong}: {text}");
    }
}

#[test]
fn what_is_no_plain_request_goes_to_the_strict_reader() {
    for body in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","\u006dethod":"y"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"x"}"#,
        r#"{"jsonrpc":2.0,"id":1,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":{},"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":["x"]}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
        r#"{"id":1,"method":"x"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"x"} {}"#,
        "[]",
        "",
    ] {
        assert!(plain(body.as_bytes()).is_none(), "{body}");
    }
    assert!(plain(b"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"other\":\"\xff\"}").is_none());
    assert!(
        plain(br#" { "params" : [1.0] , "x":{"id":2} , "method":"a\/b", "id":"\u0031" ,"jsonrpc":"2.0" } "#)
            .is_some()
    );
}

/// Members of an object: keys that mean something, some of them escaped, each with a value that fits or not.
fn object(keys: &'static [&'static str]) -> impl Strategy<Value = String> {
    let value = prop::sample::select(vec![
        "1",
        "null",
        "\"2.0\"",
        "\"x\"",
        "\"\\u0078\"",
        "\"2026-07-28\"",
        "{}",
        "[]",
        "{\"_meta\":{\"id\":1}}",
        "\"{\\\"\"",
        "\"\\ud800\"",
        "1.0",
    ]);
    let member = (prop::sample::select(keys), value, 0..12_u8);
    prop::collection::vec(member, 0..6).prop_map(|members| {
        let members: Vec<String> = members
            .into_iter()
            .map(|(key, value, spelled)| match spelled {
                0 => format!("\"{}\":{value}", key.replacen('e', "\\u0065", 1)),
                1 => format!(" \"{key}\" : {value} "),
                _ => format!("\"{key}\":{value}"),
            })
            .collect();
        format!("{{{}}}", members.join(","))
    })
}

const WIRE: &[&str] = &["jsonrpc", "id", "method", "params", "result", "error", "other"];
const META: &[&str] = &[
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "progressToken",
    "other",
];

proptest! {
    #[test]
    fn a_body_that_is_looked_through_says_what_the_strict_reader_says(body in object(WIRE)) {
        let body = body.replacen("\"jsonrpc\":1", "\"jsonrpc\":\"2.0\"", 1);
        if let Some((message, looked)) = plain(body.as_bytes()) {
            prop_assert_eq!(said(&message), said(&jsonrpc::parse(body.as_bytes()).unwrap()));
            prop_assert_eq!(looked, params_of(&message).map(Looked::at));
        }
    }

    /// One client, and another request each time: of its `_meta`, which was looked over before, only the place is new.
    #[test]
    fn a_meta_that_comes_again_is_found_wherever_it_stands(requests in prop::collection::vec((object(WIRE), 0..3_usize, 0..4_u8), 1..9)) {
        for (around, which, twice) in requests {
            let info = ["", r#","io.modelcontextprotocol/clientInfo":{"name":"a"}"#, r#","progressToken":1"#][which];
            let meta = format!("{{{VERSION},{CAPABILITIES}{info}}}");
            let again = if twice == 0 { format!(",\"_meta\":{meta}") } else { String::new() };
            let params = format!(r#"{{"arguments":{around},"_meta":{meta}{again},"name":"n"}}"#);
            let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"m","params":{params}}}"#);
            let (message, looked) = plain(body.as_bytes()).unwrap();
            prop_assert_eq!(looked, params_of(&message).map(Looked::at));
        }
    }

    #[test]
    fn an_envelope_that_is_looked_through_says_what_the_strict_reader_says(meta in object(META), twice: bool) {
        let again = if twice { ",\"_meta\":{}" } else { "" };
        let params = RawValue::from_string(format!("{{\"_meta\":{meta}{again}}}")).unwrap();
        let looked = Meta::of(Some((&params, &Looked::at(&params)))).and_then(Envelope::of);
        let strict = Meta::strict(&params).and_then(Envelope::of);
        prop_assert_eq!(format!("{looked:?}"), format!("{strict:?}"));
    }
}
