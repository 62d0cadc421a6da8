use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    EnvelopeError, Id, Message, Notification, Reply, Request, RpcError, notification, parse, request,
    response, response_with, single_line,
};

fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).unwrap()
}

fn refused(json: &str) -> String {
    parse(json.as_bytes()).expect_err(json).to_string()
}

#[test]
fn an_id_keeps_its_type_and_spelling() {
    let ids = ["1", "\"1\"", "-1", "-0", "0", "\"\"", "\"\\u0031\"", "12345678901234567890123"];
    let mut seen = HashSet::new();
    for id in ids {
        let line = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#);
        let Ok(Message::Request { id: read, .. }) = parse(line.as_bytes()) else { panic!("{id} is refused") };
        assert_eq!(read.as_str(), id);
        assert!(seen.insert(read), "{id} equals another id");
    }
    assert_eq!(Id::number(7).as_u64(), Some(7));
    assert_eq!(Id::text("7").as_u64(), None);
    assert_eq!(Id::text("a\"b").as_str(), r#""a\"b""#);
}

#[test]
fn what_is_no_id_is_refused() {
    for id in ["1.0", "1e5", "-1.5", "true", "[1]", "{}", "null"] {
        let text = refused(&format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"m"}}"#));
        assert!(text.contains("id"), "{id}: {text}");
    }
}

#[test]
fn an_error_may_answer_nobody_in_particular() {
    let line = br#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"what?"}}"#;
    let Ok(Message::Response { id: None, reply: Reply::Error(error) }) = parse(line) else { panic!() };
    assert_eq!((error.code, error.message.as_str()), (-32700, "what?"));
}

#[test]
fn a_key_that_stands_twice_is_refused() {
    for line in [
        r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"params":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"a","\u006dethod":"b"}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":1,"result":2}"#,
    ] {
        assert!(refused(line).contains("duplicate"), "{line}");
    }
}

#[test]
fn what_is_not_one_message_is_refused() {
    for line in [
        r#"[{"jsonrpc":"2.0","id":1,"method":"m"}]"#,
        "[]",
        "",
        "1",
        "{}",
        r#"{"jsonrpc":"2.0"}"#,
        r#"{"jsonrpc":"1.0","id":1,"method":"m"}"#,
        r#"{"id":1,"method":"m"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m","result":{}}"#,
        r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":3}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"m"} {"jsonrpc":"2.0","id":2,"method":"m"}"#,
    ] {
        refused(line);
    }
    assert!(parse(b"{\"jsonrpc\":\"2.0\",\"method\":\"\xff\"}").is_err());
}

#[test]
fn an_error_of_null_beside_a_result_is_none() {
    let line = parse(br#"{"jsonrpc":"2.0","id":1,"result":{},"error":null}"#);
    assert!(matches!(line, Ok(Message::Response { reply: Reply::Result(_), .. })), "{line:?}");
}

#[test]
fn null_is_not_absent() {
    let result = parse(br#"{"jsonrpc":"2.0","id":1,"result":null}"#);
    let Ok(Message::Response { reply: Reply::Result(result), .. }) = result else { panic!() };
    assert_eq!(result.get(), "null");

    let Ok(Message::Notification { params, .. }) = parse(br#"{"jsonrpc":"2.0","method":"m","params":null}"#)
    else {
        panic!()
    };
    assert_eq!(params.map(RawValue::get), Some("null"));
    let Ok(Message::Notification { params, .. }) = parse(br#"{"jsonrpc":"2.0","method":"m"}"#) else {
        panic!()
    };
    assert!(params.is_none());
}

#[test]
fn payloads_leave_as_they_came() {
    for payload in [
        r#"{"a":1.0,"b":1e5,"c":12345678901234567890123,"d":-0.0}"#,
        r#"{"k":1,"k":2, "z" : [ 1 ,2 ] ,"a":"\u00e4\/\ud83d\ude00"}"#,
        "\"ä\u{2028}\"",
        "0.10",
    ] {
        let line = format!("{{\"jsonrpc\" : \"2.0\", \"result\" :  {payload} , \"id\":\"x\" }}");
        let Ok(Message::Response { id: Some(id), reply }) = parse(line.as_bytes()) else { panic!("{line}") };
        let Reply::Result(result) = &reply else { panic!("{line}") };
        assert_eq!(result.get(), payload);
        let out = String::from_utf8(response(&id, &reply)).unwrap();
        assert_eq!(out, format!(r#"{{"jsonrpc":"2.0","id":"x","result":{payload}}}"#));
    }
}

#[test]
fn an_error_leaves_as_it_came() {
    for error in [
        r#"{"code":-32000,"message":"m","data":{"n":1.0}}"#,
        r#"{"code":1,"message":"m","data":null}"#,
        r#"{ "vendor" : [1.0] ,"message":"\u006d","code" : 1, "vendor":2 }"#,
        r#"{"code":7}"#,
    ] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        let Ok(Message::Response { id: Some(id), reply }) = parse(line.as_bytes()) else { panic!("{line}") };
        assert_eq!(String::from_utf8(response(&id, &reply)).unwrap(), line);
    }
}

#[test]
fn a_malformed_error_still_answers_its_request() {
    for error in [r#"{"code":"E1","message":"m"}"#, r#"{"message":null}"#] {
        let line = format!(r#"{{"jsonrpc":"2.0","id":1,"error":{error}}}"#);
        let Ok(Message::Response { id: Some(_), reply: Reply::Error(read) }) = parse(line.as_bytes()) else {
            panic!("{line}")
        };
        assert_eq!(read.code, RpcError::INTERNAL);
        assert_eq!(read.data.unwrap().get(), error);
    }
}

#[test]
fn an_answer_that_is_none_says_whose_it_was() {
    for members in [
        r#""result":{},"error":{"code":1,"message":""}"#,
        r#""vendor":1"#,
        r#""error":null"#,
        r#""error":"boom""#,
        r#""error":[]"#,
    ] {
        for id in ["1", "\"a\""] {
            let line = format!(r#"{{"jsonrpc":"2.0",{members},"id":{id}}}"#);
            let named = match parse(line.as_bytes()) {
                Err(EnvelopeError::Answer { id, .. }) => id,
                other => panic!("{line} {other:?}"),
            };
            assert_eq!(named.as_str(), id);
        }
        let nobodys = format!(r#"{{"jsonrpc":"2.0",{members},"id":null}}"#);
        assert!(matches!(parse(nobodys.as_bytes()), Err(EnvelopeError::Shape(_))), "{nobodys}");
    }
}

#[test]
fn a_single_line_says_the_same() {
    let mut json = b"{\r\n \"a\": \"x\\ny\",\n\t\"b\": [1,\n2]}\n".to_vec();
    let before: Value = serde_json::from_slice(&json).unwrap();
    single_line(&mut json);
    assert!(!json.iter().any(|byte| matches!(byte, b'\n' | b'\r')));
    assert_eq!(serde_json::from_slice::<Value>(&json).unwrap(), before);
}

#[test]
fn the_owned_forms_keep_absent_apart() {
    assert!(Request::bare("ping").params.is_none());
    assert_eq!(Request::new("m", &()).unwrap().params.unwrap().get(), "null");
    assert!(Notification::bare("n").params.is_none());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_is_written_reads_back(number: u64, text in ".*", named: bool, method in ".*", params in prop::option::of(any_json()), pretty: bool) {
        let id = if named { Id::text(&text) } else { Id::number(number) };
        let params = params.map(|p| raw(&if pretty { serde_json::to_string_pretty(&p).unwrap() } else { p.to_string() }));
        let line = request(&id, &method, params.as_deref());
        match parse(&line) {
            Ok(Message::Request { id: read, method: m, params: p }) => {
                prop_assert_eq!(read, id);
                prop_assert_eq!(m, method.as_str());
                prop_assert_eq!(p.map(RawValue::get), params.as_deref().map(RawValue::get));
            }
            other => prop_assert!(false, "{:?}", other),
        }
        let line = notification(&method, params.as_deref());
        match parse(&line) {
            Ok(Message::Notification { method: m, params: p }) => {
                prop_assert_eq!(m, method.as_str());
                prop_assert_eq!(p.map(RawValue::get), params.as_deref().map(RawValue::get));
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn no_bytes_bring_the_reader_down(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        parse(&bytes).ok();
    }
}

#[test]
fn members_are_added_to_a_result_as_it_is_written() {
    let with =
        |result: &str, more| String::from_utf8(response_with(&Id::number(1), &raw(result), more)).unwrap();
    for (result, more, written) in [
        (r#"{"a":[1.0]}"#, r#""b":2"#, r#"{"a":[1.0],"b":2}"#),
        ("{}", r#""b":2"#, r#"{"b":2}"#),
        ("{ }", r#""b":2"#, r#"{ "b":2}"#),
        ("{ \"a\" : \"}\" }", r#""b":2"#, r#"{ "a" : "}" ,"b":2}"#),
        (r#"{"a":1}"#, "", r#"{"a":1}"#),
        ("[1]", r#""b":2"#, "[1]"),
        ("null", r#""b":2"#, "null"),
    ] {
        assert_eq!(
            with(result, more),
            format!(r#"{{"jsonrpc":"2.0","id":1,"result":{written}}}"#),
            "{result} {more}"
        );
    }
}
