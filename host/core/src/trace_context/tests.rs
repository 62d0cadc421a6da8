use std::borrow::Cow;

use proptest::prelude::*;
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Value, json};
use wharf_plugin_api::Trace;

use super::grammar::{is_baggage, is_state};
use super::{TraceContext, TraceParent, stamped, with_default};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const OTHER: &str = "00-11111111111111111111111111111111-2222222222222222-00";

fn raw(value: &Value) -> Box<RawValue> {
    to_raw_value(value).unwrap()
}

fn read(meta: &Value, headers: &[(&str, &'static str)]) -> Option<TraceContext> {
    let header =
        |name: &str| headers.iter().find(|(key, _)| *key == name).map(|(_, value)| Cow::Borrowed(*value));
    let heard = Some(TraceContext::of_headers(header)).filter(|heard| !heard.is_empty());
    match TraceContext::of_meta(&raw(meta)) {
        Some(said) => Some(said.or(heard.as_ref())),
        None => heard,
    }
}

fn next(meta: &Value, headers: &[(&str, &'static str)]) -> Option<Trace> {
    read(meta, headers)?.told()
}

#[test]
fn a_parent_is_what_the_specification_says() {
    assert_eq!(TraceParent::parse(PARENT).unwrap().to_string(), PARENT);
    let later = format!("cc-{}-01-what-comes", &PARENT[3..52]);
    assert_eq!(
        TraceParent::parse(&later).unwrap().to_string(),
        PARENT,
        "a later version is read as this one"
    );
    assert_eq!(
        TraceParent::parse(&PARENT.replace("-01", "-ff")).unwrap().to_string(),
        PARENT.replace("-01", "-03")
    );
    for bad in [
        String::new(),
        PARENT.replace("00-4", "ff-4"),
        PARENT.replace("00-4", "0-4"),
        PARENT.to_uppercase(),
        PARENT.replace('-', "_"),
        format!("{PARENT}-"),
        format!("{PARENT}0"),
        format!(" {PARENT}"),
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
        PARENT.replace("4bf9", "4bg9"),
        PARENT.replace("-01", "-0x"),
        PARENT[..54].to_owned(),
        format!("cc-{}-01what", &PARENT[3..52]),
        PARENT.replace("4bf9", "4bfä"),
    ] {
        assert_eq!(TraceParent::parse(&bad), None, "{bad}");
    }
}

#[test]
fn a_state_has_bounds_and_each_key_once() {
    for good in ["a=1", "rojo=00f0,congo=t61", "a=1,,b=2", " a=1 ,\tb=2", "1t@sys=x", "a=b c", "a_-*/0=!"] {
        assert!(is_state(good), "{good}");
    }
    let many = (0..33).map(|n| format!("k{n}=1")).collect::<Vec<_>>().join(",");
    let long = format!("a={}", "x".repeat(257));
    let whole = [format!("a={}", "x".repeat(255)), format!("b={}", "x".repeat(254))].join(",");
    assert!(!is_state(&whole), "{}", whole.len());
    assert!(is_state(whole[..512].trim_end_matches(',')));
    for bad in [
        "", ",", "a", "a=", "A=1", "1=1", "a=1,a=2", "a=1=2", "a@=1", "a=\u{e4}", "a=\n", &many, &long,
        "a=1 \n",
    ] {
        assert!(!is_state(bad), "{bad:?}");
    }
}

#[test]
fn a_baggage_has_bounds() {
    for good in ["a=1", "userId=Am%C3%A9lie,b = 2;p;q=1", "a=", "a=b=c", "a=1;x = y"] {
        assert!(is_baggage(good), "{good}");
    }
    let long = format!("a={}", "x".repeat(8191));
    let many = vec!["a=1"; 65].join(",");
    for bad in ["", "a", "=1", "a=1,", "a=\"x\"", "a=ä", "a=b c", "a=1\r\nb: 2", "a=1;=x", &long, &many] {
        assert!(!is_baggage(bad), "{bad:?}");
    }
}

#[test]
fn meta_goes_before_the_headers_and_what_is_malformed_says_nothing() {
    let said =
        next(&json!({ "traceparent": PARENT, "x": 1 }), &[("traceparent", OTHER), ("tracestate", "a=1")])
            .unwrap();
    assert_eq!(said.parent.as_deref(), Some(PARENT));
    assert_eq!(said.state, None, "the state of another trace");
    let said = next(
        &json!({ "traceparent": "bad", "tracestate": "b=2" }),
        &[("traceparent", OTHER), ("tracestate", "a=1")],
    );
    assert!(said.as_ref().unwrap().parent.as_ref().unwrap().starts_with("00-1111"), "{said:?}");
    assert_eq!(said.unwrap().state.as_deref(), Some("a=1"));
    let said = next(&json!({ "baggage": "a=1" }), &[("baggage", "b=2")]).unwrap();
    assert_eq!((said.parent, said.baggage.as_deref()), (None, Some("a=1")));
    assert_eq!(next(&json!({ "tracestate": "a=1" }), &[]), None, "a state of no trace");
}

#[test]
fn where_nobody_says_anything_there_is_nothing() {
    assert_eq!(read(&json!({ "progressToken": 1 }), &[]), None);
    assert_eq!(read(&json!({}), &[("traceparent", "bad")]), None);
    assert_eq!(read(&json!({ "k": "\\ traceparent" }), &[]), None);
    let emptied = read(&json!({ "traceparent": 5 }), &[]);
    assert!(emptied.as_ref().is_some_and(TraceContext::is_empty), "it has to be taken out: {emptied:?}");
}

#[test]
fn the_next_hop_finds_it_in_place_of_what_was_said() {
    let trace = Trace { parent: Some(OTHER.to_owned()), state: None, baggage: Some("a=1".to_owned()) };
    let params =
        raw(&json!({ "name": "t", "_meta": { "traceparent": PARENT, "tracestate": "x=1", "k": 1.5 } }));
    let said: Value = serde_json::from_str(stamped(Some(&params), Some(&trace)).unwrap().get()).unwrap();
    assert_eq!(said, json!({ "name": "t", "_meta": { "traceparent": OTHER, "k": 1.5, "baggage": "a=1" } }));
    let bare: Value = serde_json::from_str(stamped(Some(&params), None).unwrap().get()).unwrap();
    assert_eq!(bare, json!({ "name": "t", "_meta": { "k": 1.5 } }));
    let made: Value = serde_json::from_str(stamped(None, Some(&trace)).unwrap().get()).unwrap();
    assert_eq!(made, json!({ "_meta": { "traceparent": OTHER, "baggage": "a=1" } }));
    assert!(stamped(None, None).is_none());
    for odd in [json!([1]), json!({ "_meta": 7 })] {
        assert_eq!(
            stamped(Some(&raw(&odd)), Some(&trace)).unwrap().get(),
            odd.to_string(),
            "it stays as it is"
        );
    }
}

#[test]
fn a_header_says_what_meta_leaves_open() {
    let trace = Trace {
        parent: Some(OTHER.to_owned()),
        state: Some("a=1".to_owned()),
        baggage: Some("b=1".to_owned()),
    };
    let filled = |params: Value| -> Value {
        serde_json::from_str(with_default(Some(&raw(&params)), &trace).unwrap().get()).unwrap()
    };
    let all = json!({ "traceparent": OTHER, "tracestate": "a=1", "baggage": "b=1" });
    assert_eq!(filled(json!({ "x": 1 })), json!({ "x": 1, "_meta": all }));
    let own = json!({ "_meta": { "traceparent": PARENT, "k": 1 } });
    assert_eq!(filled(own), json!({ "_meta": { "traceparent": PARENT, "k": 1, "baggage": "b=1" } }));
    let made: Value = serde_json::from_str(with_default(None, &trace).unwrap().get()).unwrap();
    assert_eq!(made, json!({ "_meta": all }));
}

proptest! {
    #[test]
    fn every_parent_comes_back(trace in 1u128.., span in 1u64.., flags in 0u8..4) {
        let text = format!("00-{trace:032x}-{span:016x}-{flags:02x}");
        let parent = TraceParent::parse(&text).unwrap();
        prop_assert_eq!(parent.to_string(), text);
    }

    #[test]
    fn no_text_makes_it_panic_and_what_it_lets_through_is_a_header(text in "[0-9a-f=,;@ \\-\\PC]{0,80}") {
        let parent = TraceParent::parse(&text).map(|parent| parent.to_string());
        prop_assert!(parent.is_none_or(|parent| TraceParent::parse(&parent).is_some()));
        if is_state(&text) || is_baggage(&text) {
            prop_assert!(text.bytes().all(|byte| (0x20..=0x7e).contains(&byte) || byte == b'\t'));
        }
    }

    #[test]
    fn all_else_of_the_params_stays(
        keys in prop::collection::btree_map("[a-z\"\\\\]{1,4}", -9i64..9, 0..4),
        meta in prop::option::of(prop::collection::btree_map("[a-z\"\\\\]{1,4}", ".{0,4}", 0..4)),
    ) {
        let mut params = json!(keys);
        if let Some(meta) = meta {
            params["_meta"] = json!(meta);
        }
        let trace = Trace { parent: Some(PARENT.to_owned()), ..Trace::default() };
        let mut said: Value = serde_json::from_str(stamped(Some(&raw(&params)), Some(&trace)).unwrap().get()).unwrap();
        let taken = said["_meta"].as_object_mut().unwrap().remove("traceparent");
        prop_assert_eq!(taken, Some(json!(PARENT)));
        if params.get("_meta").is_none() {
            said.as_object_mut().unwrap().remove("_meta");
        }
        prop_assert_eq!(said, params);
    }
}
