use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};

use super::{
    LONG, call_params, field, fields, items, may_hold_progress_token, only_item, plain_fields, text,
    with_field, with_fields, with_meta_progress_token, write_with_field,
};

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.to_owned()).expect("JSON")
}

fn with_token(params: &str) -> String {
    with_meta_progress_token(Some(&raw(params)), 7).expect("edited").get().to_owned()
}

#[test]
fn a_token_is_added_where_there_is_none() {
    assert_eq!(with_meta_progress_token(None, 7).expect("made").get(), r#"{"_meta":{"progressToken":7}}"#);
    assert_eq!(with_token("{}"), r#"{"_meta":{"progressToken":7}}"#);
    assert_eq!(with_token("{ \"a\" : 1.0 }"), "{ \"a\" : 1.0 ,\"_meta\":{\"progressToken\":7}}");
    assert_eq!(with_token(r#"{"_meta":null,"a":1}"#), r#"{"_meta":{"progressToken":7},"a":1}"#);
}

#[test]
fn a_token_is_replaced_and_all_else_stays_byte_by_byte() {
    assert_eq!(
        with_token(
            "{\"x\":1e400,\n \"_meta\" : { \"progressToken\" : \"mine\", \"a/b\":[ 1 ] } , \"y\":\"}\"}"
        ),
        "{\"x\":1e400,\n \"_meta\" : { \"progressToken\" : 7, \"a/b\":[ 1 ] } , \"y\":\"}\"}"
    );
    assert_eq!(
        with_token(r#"{"_meta":{"a":{"_meta":{}}}}"#),
        r#"{"_meta":{"a":{"_meta":{}},"progressToken":7}}"#
    );
}

#[test]
fn a_key_twice_or_spelled_with_escapes_is_edited_too() {
    assert_eq!(
        with_token(r#"{"_meta":{"progressToken":1},"\u005fmeta":{"progress\u0054oken":2}}"#),
        r#"{"_meta":{"progressToken":7},"\u005fmeta":{"progress\u0054oken":7}}"#
    );
}

#[test]
fn what_is_no_object_stays() {
    for params in ["[1, 2]", "null", "\"_meta\"", r#"{"_meta":[1]}"#] {
        assert_eq!(with_token(params), params);
    }
    assert!(with_field(&raw("[1]"), "a", &raw("1")).is_none());
}

#[test]
fn no_token_is_overlooked() {
    assert!(may_hold_progress_token(&raw(r#"{"_meta":{"progressToken":1}}"#)));
    assert!(may_hold_progress_token(&raw(r#"{"_meta":{"progress\u0054oken":1}}"#)));
    assert!(!may_hold_progress_token(&raw(r#"{"name":"echo","arguments":{"text":"x\n"}}"#)));
}

#[test]
fn call_params_hold_what_is_given() {
    let made = call_params("a\"b", Some(&raw("{ \"x\": 1 }")), Some(&raw("{}"))).expect("made");
    assert_eq!(made.get(), r#"{"name":"a\"b","arguments":{ "x": 1 },"_meta":{}}"#);
    assert_eq!(call_params("t", None, None).expect("made").get(), r#"{"name":"t"}"#);
}

#[test]
fn an_array_is_split_into_its_raw_elements() {
    let array = raw(r#"[ {"a": 1}, 2.50 ,[]]"#);
    let parts: Vec<&str> =
        items(array.get().as_bytes(), 9).expect("an array").iter().map(|item| item.get()).collect();
    assert_eq!(parts, [r#"{"a": 1}"#, "2.50", "[]"]);
    assert!(items(b"{}", 9).is_none());
    assert!(items(b"[1,2] 3", 9).is_none(), "nothing may follow");
    assert!(items(b"[1,2]", 2).is_some() && items(b"[1,2]", 1).is_none());
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~\\n\"\\\\{}ä€😀]{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof![Just("_meta".to_owned()), Just("progressToken".to_owned()), "[a-z\"\\\\}é]{0,4}"];
    leaf.prop_recursive(4, 32, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn spelled(value: &Value, pretty: bool) -> Box<RawValue> {
    let text = if pretty { serde_json::to_string_pretty(value) } else { serde_json::to_string(value) };
    raw(&text.expect("JSON"))
}

fn parsed(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).expect("JSON")
}

proptest! {
    #[test]
    fn editing_text_is_the_same_as_editing_the_tree(params in value(), token: u64, pretty: bool) {
        let mut expected = params.clone();
        if let Value::Object(object) = &mut expected {
            let meta = object.entry("_meta").or_insert(Value::Null);
            if meta.is_null() {
                *meta = json!({});
            }
            if let Value::Object(meta) = meta {
                meta.insert("progressToken".to_owned(), token.into());
            }
        }
        let edited = with_meta_progress_token(Some(&spelled(&params, pretty)), token).expect("edited");
        prop_assert_eq!(parsed(&edited), expected);
    }

    #[test]
    fn what_is_written_is_what_is_edited(object in value(), pretty: bool, set in value(), key in "[_a-d\"é]{0,3}|_meta") {
        let (object, set) = (spelled(&object, pretty), spelled(&set, pretty));
        let edited = with_field(&object, &key, &set);
        let mut out = b"before".to_vec();
        prop_assert_eq!(write_with_field(&mut out, &object, &key, set.get()), edited.is_some());
        prop_assert_eq!(String::from_utf8(out).unwrap(), format!("before{}", edited.as_deref().map_or("", RawValue::get)));
    }

    #[test]
    fn reading_text_is_the_same_as_reading_the_tree(object in value(), pretty: bool) {
        let spelled = spelled(&object, pretty);
        for key in ["_meta", "progressToken", "a", ""] {
            prop_assert_eq!(field(&spelled, key).map(parsed), object.get(key).cloned());
        }
        prop_assert_eq!(items(spelled.get().as_bytes(), 9).map(|all| all.into_iter().map(parsed).collect::<Vec<_>>()), object.as_array().cloned());
    }

    #[test]
    fn several_keys_are_found_and_set_at_once(object in value(), new in value(), pretty: bool) {
        let (spelled, new) = (spelled(&object, pretty), to_raw_value(&new).expect("JSON"));
        let keys = ["_meta", "progressToken", "a"];
        let expected = keys.map(|key| object.get(key).cloned());
        prop_assert_eq!(fields(&spelled, keys).map(|found| found.map(parsed)), expected.clone());
        if let Some(found) = plain_fields(&spelled, keys) {
            prop_assert_eq!(found.map(|found| found.map(parsed)), expected);
        }
        let set = with_fields(&spelled, &[("_meta", &new), ("a", &new)]).map(|set| parsed(&set));
        let mut tree = object.clone();
        prop_assert_eq!(set.is_some(), tree.is_object());
        if let (Some(set), Value::Object(tree)) = (set, &mut tree) {
            tree.insert("_meta".to_owned(), parsed(&new));
            tree.insert("a".to_owned(), parsed(&new));
            prop_assert_eq!(set, Value::Object(tree.clone()));
        }
    }

    #[test]
    fn what_a_string_says_is_what_a_reader_reads(said in ".{0,12}", escaped: bool) {
        let spelled = if escaped { format!("\"\\u0041{}\"", said.replace(['"', '\\'], "")) } else { json!(said).to_string() };
        let spelled = RawValue::from_string(spelled);
        // A bare control character is no JSON.
        if let Ok(spelled) = spelled {
            prop_assert_eq!(text(&spelled).map(|said| said.into_owned()), serde_json::from_str::<String>(spelled.get()).ok());
        }
    }

    #[test]
    fn a_call_is_the_same_as_one_built_as_a_tree(name in ".{0,8}", arguments in value(), meta in value()) {
        let made = call_params(&name, Some(&to_raw_value(&arguments).expect("JSON")), Some(&spelled(&meta, true)));
        prop_assert_eq!(parsed(&made.expect("made")), json!({"name": name, "arguments": arguments, "_meta": meta}));
    }
}

#[test]
fn fields_are_taken_out_and_every_other_byte_stays() {
    let table = [
        (r#"{"a":1,"b":2,"c":3}"#, &["a"][..], r#"{"b":2,"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["b"], r#"{"a":1,"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["c"], r#"{"a":1,"b":2}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["a", "b"], r#"{"c":3}"#),
        (r#"{"a":1,"b":2,"c":3}"#, &["a", "c"], r#"{"b":2}"#),
        (r#"{ "a" : [1, {"a":2}] , "b":1.0e1 }"#, &["a"], r#"{ "b":1.0e1 }"#),
        (r#"{"a":1,"a":2}"#, &["a"], "{}"),
        (r#"{ "x":1 }"#, &["a"], r#"{ "x":1 }"#),
        ("{}", &["a"], "{}"),
    ];
    for (from, keys, expected) in table {
        let from = RawValue::from_string(from.to_owned()).unwrap();
        assert_eq!(super::without_fields(&from, keys).unwrap().get(), expected, "{from} {keys:?}");
    }
    assert!(super::without_fields(&RawValue::from_string("[1]".to_owned()).unwrap(), &["a"]).is_none());
}

proptest::proptest! {
    #[test]
    fn what_is_taken_out_is_gone_and_the_rest_is_equal(
        keys in proptest::collection::vec("[a-d]{1,2}", 0..8), out in proptest::collection::vec("[a-d]{1,2}", 0..3), gap in "[ \n\t]{0,2}"
    ) {
        let unique: std::collections::BTreeMap<String, usize> = keys.iter().cloned().zip(0..).collect();
        let body: Vec<String> = unique.iter().map(|(k, v)| format!("{gap}\"{k}\"{gap}:{gap}{v}{gap}")).collect();
        let object = RawValue::from_string(format!("{{{}}}", body.join(","))).unwrap();
        let out: Vec<&str> = out.iter().map(String::as_str).collect();
        let left = super::without_fields(&object, &out).unwrap();
        let left: std::collections::BTreeMap<String, usize> = serde_json::from_str(left.get()).unwrap();
        let expected: std::collections::BTreeMap<String, usize> =
            unique.into_iter().filter(|(key, _)| !out.contains(&key.as_str())).collect();
        proptest::prop_assert_eq!(left, expected);
    }
}

#[test]
fn a_key_is_found_however_it_is_spelled() {
    for (object, key) in [
        (r#"{"a":1,"k\u0065y":2}"#, "key"),
        (r#"{"a\/b":2}"#, "a/b"),
        (r#"{"x":"k","key":2}"#, "key"),
        (r#"{"\u006b\u0065\u0079":2}"#, "key"),
    ] {
        assert_eq!(field(&raw(object), key).map(RawValue::get), Some("2"), "{object}");
    }
    assert!(field(&raw(r#"{"a":{"key":2},"b":"key"}"#), "key").is_none());
}

proptest! {
    #[test]
    fn a_field_is_what_a_parser_finds(entries in prop::collection::vec(("[a-c\"\\\\é]{0,3}", value()), 0..6), key in "[a-c\"\\\\é]{0,3}") {
        let members: Vec<String> =
            entries.iter().map(|(key, value)| format!("{}: {value}", Value::from(key.as_str()))).collect();
        let object = raw(&format!("{{ {} }}", members.join(" ,")));
        let expected = entries.iter().rev().find(|(name, _)| *name == key).map(|(_, value)| value.to_string());
        prop_assert_eq!(field(&object, &key).map(|value| value.get().to_owned()), expected);
    }
}

#[test]
fn what_two_readers_could_read_differently_is_not_plain() {
    let plain = |object: &str| {
        plain_fields(&raw(object), ["a", "b"]).map(|found| found.map(|raw| raw.map(RawValue::to_string)))
    };
    assert_eq!(plain(r#"{"c":{"a":1},"b": "\\" }"#), Some([None, Some(r#""\\""#.to_owned())]));
    assert_eq!(plain(r#"{"c":1,"c":2}"#), Some([None, None]), "it is not asked for");
    assert_eq!(plain("{}"), Some([None, None]));
    for object in [
        r#"{"a":1,"a":1}"#,
        r#"{"\u0061":1}"#,
        r#"{"a":1,"\u0061":2}"#,
        r#"{"c\n":1}"#,
        r#"{"c":1,"\ud800":2}"#,
        "[]",
        "null",
        "\"a\"",
    ] {
        assert!(plain(object).is_none(), "{object}");
    }
}

#[test]
fn a_string_is_read_and_nothing_else_is() {
    for (json, said) in
        [(r#""x""#, Some("x")), (r#""\u0078""#, Some("x")), (r#""""#, Some("")), (r#""a\"""#, Some("a\""))]
    {
        assert_eq!(text(&raw(json)).as_deref(), said, "{json}");
    }
    for json in ["1", "null", "[\"x\"]", r#"{"x":"y"}"#, r#""\ud800""#] {
        assert!(text(&raw(json)).is_none(), "{json}");
    }
}

#[test]
fn a_long_object_is_searched_like_a_short_one() {
    let long = "x".repeat(2 * LONG);
    for (object, found) in [
        (format!(r#"{{"a":"{long}","key":1}}"#), Some("1")),
        (format!(r#"{{"a":"{long}","k\u0065y":1}}"#), Some("1")),
        (format!(r#"{{"a":{{"key":"{long}"}}}}"#), None),
        (format!(r#"{{"a":"{long}"}}"#), None),
    ] {
        assert_eq!(field(&raw(&object), "key").map(RawValue::get), found);
    }
}

#[test]
fn the_only_element_is_told_from_all_else() {
    for one in ["1", "-1.5e3", "null", r#""a,]\"[""#, r#"{"a":[1,2],"b":"]"}"#, "[[],[]]", "[ ]"] {
        for array in [format!("[{one}]"), format!("[ {one}\n]")] {
            assert_eq!(only_item(&raw(&array)).map(RawValue::get), Some(one), "{array}");
        }
        let more = raw(&format!("[{one} , {one}]"));
        assert!(only_item(&more).is_none(), "{more}");
    }
    for none in ["[]", "[ ]", "1", r#""[1]""#, r#"{"a":1}"#, "null"] {
        assert!(only_item(&raw(none)).is_none(), "{none}");
    }
}
