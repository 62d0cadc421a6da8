//! Calls with a key: they run once however often they are sent, also over the end of the host.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::ledger::runs;
use crate::support::mcp::{LEGACY, reply};
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, mock};

async fn keyed(host: &TestHost, key: &str, tool: &str, arguments: &Value) -> Answer {
    let path = format!("/api/v1/plugins/mock/tools/{tool}/call");
    let asked = host.request(Method::POST, &path).header("idempotency-key", key);
    Answer::of(asked.json(&json!({ "arguments": arguments }))).await
}

#[tokio::test]
async fn a_call_with_a_key_runs_once_by_every_way_in() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let first = keyed(&host, "k", "count", &json!({})).await;
    assert_eq!(first.header("idempotency-replayed"), "");
    let again = keyed(&host, "k", "count", &json!({})).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    let (first, again) = (first.expect(200), again.expect(200));
    assert_eq!((&first["result"], &first["call_id"]), (&again["result"], &again["call_id"]));
    // The short way, which knows the same key.
    let short = host.request(Method::POST, "/tools/mock/count").header("idempotency-key", "k");
    let short = Answer::of(short.json(&json!({}))).await;
    assert_eq!(short.header("idempotency-replayed"), "true", "{}", short.text());
    assert_eq!(short.expect(200), first["result"]["structuredContent"]);
    // MCP, both eras: the key is in the metadata, and goes no further than the host.
    let params = json!({ "name": "count", "arguments": {}, "_meta": { "wharf/idempotencyKey": "k" } });
    let modern = Answer::of(host.modern("/plugins/mock/mcp", "tools/call", params.clone())).await;
    assert_eq!(reply(&modern, 200)["result"]["structuredContent"], first["result"]["structuredContent"]);
    let session = host.session("/plugins/mock/mcp", LEGACY).await;
    assert_eq!(session.ask("tools/call", params).await["result"], first["result"]);
    assert_eq!(runs(&ledger, "count"), 1);
    // Other arguments, and keys that are none.
    let other = keyed(&host, "k", "count", &json!({ "x": 1 })).await.problem(422, "idempotency_conflict");
    assert_eq!(other["errors"][0]["pointer"], "/arguments", "{other}");
    keyed(&host, "a b", "count", &json!({})).await.problem(400, "bad_request");
    let params = json!({ "name": "count", "arguments": {}, "_meta": { "wharf/idempotencyKey": 1 } });
    assert_eq!(session.ask("tools/call", params).await["error"]["code"], -32602);
    let params =
        json!({ "name": "count", "arguments": { "y": 1 }, "_meta": { "wharf/idempotencyKey": "k" } });
    let conflict = session.ask("tools/call", params).await;
    assert_eq!(conflict["error"]["code"], -32017, "{conflict}");
    assert_eq!(conflict["error"]["data"]["code"], "idempotency_conflict", "{conflict}");
    assert_eq!(runs(&ledger, "count"), 1);
}

/// What the calls of a tool that really ran had in their metadata.
fn metadata(ledger: &std::path::Path, tool: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let begun = entries.filter(|entry| entry["tool"] == tool && entry["phase"] == "begin");
    begun.map(|entry| entry["meta"].clone()).collect()
}

#[tokio::test]
async fn what_meta_says_to_the_host_is_as_good_as_a_header_and_goes_no_further() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let path = "/api/v1/plugins/mock/tools/count/call";
    let meta = json!({ "wharf/idempotencyKey": "k", "wharf/durable": true, "theirs": 1 });
    let first = host.post(path, &json!({ "arguments": {}, "meta": meta })).await.expect(200);
    let again = host.post(path, &json!({ "arguments": {}, "meta": meta })).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(200)["result"], first["result"]);
    assert_eq!(keyed(&host, "k", "count", &json!({})).await.header("idempotency-replayed"), "true");
    let view = host.get(&format!("/api/v1/calls/{}", first["call_id"].as_str().unwrap())).await.expect(200);
    assert_eq!(view["durable"], true, "{view}");
    let heard = metadata(&ledger, "count");
    assert_eq!(heard.len(), 1, "it ran once");
    assert_eq!(heard[0]["theirs"], 1);
    assert!(!heard[0].to_string().contains("wharf/"), "{heard:?}");
    // Both say the same, or one is wrong.
    let both = |key: &str| {
        let body = json!({ "arguments": {}, "meta": { "wharf/idempotencyKey": key } });
        host.request(Method::POST, path).header("idempotency-key", "k").json(&body)
    };
    assert_eq!(Answer::of(both("k")).await.header("idempotency-replayed"), "true");
    Answer::of(both("other")).await.problem(400, "bad_request");
    for wrong in [json!({ "wharf/idempotencyKey": "a b" }), json!({ "wharf/durable": "yes" })] {
        let refused = host.post(path, &json!({ "arguments": {}, "meta": wrong })).await;
        let problem = refused.problem(400, "bad_request");
        assert!(problem["detail"].as_str().unwrap().contains("wharf/"), "{problem}");
    }
    assert_eq!(runs(&ledger, "count"), 1);
}

#[tokio::test]
async fn a_stream_says_in_its_head_that_nothing_ran_for_it() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let path = "/api/v1/plugins/mock/tools/count/call";
    let asked = || {
        let asked = host.request(Method::POST, path).header("idempotency-key", "k");
        asked.header("accept", "text/event-stream").json(&json!({ "arguments": {} }))
    };
    let mut results = Vec::new();
    for replayed in [false, true] {
        let opened = asked().send().await.unwrap();
        assert_eq!(opened.headers().contains_key("idempotency-replayed"), replayed);
        let last = Events::of(opened).all().await.pop().unwrap();
        assert_eq!(last.name, "result", "{last:?}");
        results.push(last.json()["result"].clone());
    }
    assert_eq!(results[0], results[1]);
    assert_eq!(runs(&ledger, "count"), 1);
}

#[tokio::test]
async fn a_key_outlives_the_host_that_is_killed() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let mut host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let first = keyed(&host, "done", "count", &json!({})).await.expect(200);
    // One that is at the plugin when the host is killed, and is asked for meanwhile.
    let (base, token) = (host.base.clone(), host.token.clone());
    let path = format!("{base}/api/v1/plugins/mock/tools/sleep/call");
    let http = crate::support::host::client();
    let running = http.post(path).bearer_auth(token).header("idempotency-key", "lost");
    let running = running.json(&json!({ "arguments": { "ms": 60_000 } })).send();
    let killed = async {
        host.until("mock", "busy", |view| view["instances"][0]["inflight"] == 1).await;
        let early = keyed(&host, "lost", "sleep", &json!({ "ms": 60_000 })).await;
        early.problem(409, "idempotency_conflict");
        assert_ne!(early.header("retry-after"), "");
        host.end(Signal::SIGKILL);
    };
    let (running, ()) = tokio::join!(running, killed);
    running.unwrap_err();

    host.again();
    host.until_state("mock", "ready").await;
    let again = keyed(&host, "done", "count", &json!({})).await;
    assert_eq!(again.header("idempotency-replayed"), "true");
    assert_eq!(again.expect(200)["result"], first["result"]);
    let lost = keyed(&host, "lost", "sleep", &json!({ "ms": 60_000 })).await.problem(502, "outcome_unknown");
    assert_eq!(lost["delivery"], "unknown", "{lost}");
    assert_eq!((runs(&ledger, "count"), runs(&ledger, "sleep")), (1, 1));
}
