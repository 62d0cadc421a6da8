//! The trace that a caller names reaches the plugin, by every way in and over every way out, and none that is malformed or that
//! nobody named.

use std::fs;
use std::path::Path;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::mcp_sse::Old;
use crate::support::fake::{Fake, OnCall};
use crate::support::host::Setup;
use crate::support::mcp::{LEGACY, call, enveloped, hello, reply, request};
use crate::support::{Answer, Manifest, TestHost, mock};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn parent() -> String {
    format!("00-{TRACE}-{SPAN}-01")
}

/// The metadata of the last call that the mock began.
fn heard(ledger: &Path) -> Value {
    let text = fs::read_to_string(ledger).expect("a ledger");
    let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines.rev().find(|line| line["phase"] == "begin").expect("a call")["meta"].clone()
}

/// The trace goes on, and who asks in it is who asked: the host shows no spans of its own.
#[track_caller]
fn goes_on(said: Option<&str>) {
    assert_eq!(said, Some(parent().as_str()));
}

fn with_headers(request: RequestBuilder) -> RequestBuilder {
    request.header("traceparent", parent()).header("tracestate", "a=1").header("baggage", "user=me")
}

#[tokio::test]
async fn it_reaches_a_plugin_over_a_pipe_from_every_edge() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("m", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("m", "ready").await;
    let legacy = host.session("/mcp", LEGACY).await;
    let params = || call("m__echo", json!({ "message": "x" }));
    let rest = "/api/v1/plugins/m/tools/echo/call";
    let body = json!({ "arguments": { "message": "x" } });
    for traced in [
        host.request(Method::POST, rest).json(&body),
        host.request(Method::POST, "/tools/m/echo").json(&json!({ "message": "x" })),
        legacy.send(&request(5, "tools/call", params())),
        host.modern("/mcp", "tools/call", params()),
    ] {
        let plain = traced.try_clone().expect("it can be sent again");
        assert_eq!(Answer::of(with_headers(traced)).await.status, 200);
        let meta = heard(&ledger);
        goes_on(meta["traceparent"].as_str());
        assert_eq!((&meta["tracestate"], &meta["baggage"]), (&json!("a=1"), &json!("user=me")), "{meta}");
        assert_eq!(Answer::of(plain).await.status, 200);
        let meta = heard(&ledger);
        for key in ["traceparent", "tracestate", "baggage"] {
            assert!(meta.get(key).is_none(), "nobody named a trace: {meta}");
        }
    }
    // The old way in: it is the POST that says it, and the answer comes elsewhere.
    let mut old = Old::open(&host, "/sse").await;
    old.ask(1, "initialize", hello("2024-11-05")).await;
    for (id, params) in [(2, params()), (3, enveloped(params()))] {
        let message = request(id, "tools/call", params);
        let post = with_headers(host.request(Method::POST, &old.endpoint)).json(&message);
        assert_eq!(Answer::of(post).await.status, 202);
        assert!(old.until(id).await["result"].is_object());
        let meta = heard(&ledger);
        goes_on(meta["traceparent"].as_str());
        assert_eq!((&meta["tracestate"], &meta["baggage"]), (&json!("a=1"), &json!("user=me")), "{meta}");
    }
    old.ask(4, "tools/call", params()).await;
    assert!(heard(&ledger).get("traceparent").is_none(), "nobody named a trace");
}

#[tokio::test]
async fn what_the_body_says_goes_before_the_headers_and_what_is_malformed_goes_nowhere() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("m", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("m", "ready").await;
    let other = format!("00-{}-{SPAN}-00", "1".repeat(32));
    let legacy = host.session("/mcp", LEGACY).await;
    let body = |meta: Value| json!({ "arguments": { "message": "x" }, "meta": meta });
    let params = |meta: Value| {
        let mut params = call("m__echo", json!({ "message": "x" }));
        params["_meta"] = meta;
        params
    };
    let both = async |meta: Value, header: &str| -> [Value; 2] {
        let rest =
            host.request(Method::POST, "/api/v1/plugins/m/tools/echo/call").header("traceparent", header);
        assert_eq!(Answer::of(rest.json(&body(meta.clone()))).await.status, 200);
        let first = heard(&ledger);
        let message = request(6, "tools/call", params(meta));
        reply(&Answer::of(legacy.send(&message).header("traceparent", header)).await, 200);
        [first, heard(&ledger)]
    };
    for meta in both(json!({ "traceparent": parent(), "k": 1.5 }), &other).await {
        goes_on(meta["traceparent"].as_str());
        assert_eq!(meta["k"], 1.5);
    }
    for bad in [json!("00-bad"), json!(5), json!(parent().to_uppercase())] {
        for meta in both(json!({ "traceparent": bad, "tracestate": "a=1", "k": 1 }), "ff-no").await {
            assert!(meta.get("traceparent").is_none() && meta.get("tracestate").is_none(), "{bad}: {meta}");
            assert_eq!(meta["k"], 1);
        }
    }
}

#[tokio::test]
async fn a_plugin_that_speaks_http_has_it_in_headers_too_and_the_event_names_it() {
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let host = TestHost::with([("far", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("far", "ready").await;
    let mut events = host.events("/api/v1/events").await;
    let request = host.request(Method::POST, "/api/v1/plugins/far/tools/odd/call").json(&json!({}));
    let answer = Answer::of(with_headers(request)).await.expect(200);
    let shown =
        host.get(&format!("/api/v1/calls/{}", answer["call_id"].as_str().expect("an id"))).await.expect(200);
    assert_eq!(shown["trace_id"], TRACE, "{shown}");
    let (head, body) = fake.last_call();
    let in_header = head.get("traceparent").map(String::as_str);
    goes_on(in_header);
    assert_eq!((head["tracestate"].as_str(), head["baggage"].as_str()), ("a=1", "user=me"));
    assert_eq!(body["params"]["_meta"]["traceparent"].as_str(), in_header, "one span in both: {body}");
    let finished = events.until("the end of the call", |event| event.name == "call.finished").await.json();
    assert_eq!(finished["data"]["trace_id"], TRACE, "{finished}");
    host.call("far", "odd", json!({})).await;
    let (head, body) = fake.last_call();
    assert!(!head.contains_key("traceparent") && body["params"].get("_meta").is_none(), "{head:?} {body}");
}
