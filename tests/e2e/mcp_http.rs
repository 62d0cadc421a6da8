//! Streamable HTTP, both eras on one path: what clients of every revision get, and what they get for a mistake.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::ledger;
use crate::support::mcp::{BOTH, LEGACY, MODERN, call, enveloped, hello, messages, refused, reply, request};
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, eventually, mock};

async fn host() -> TestHost {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    host
}

/// A host whose mock keeps a ledger.
async fn watched() -> (TestHost, std::path::PathBuf) {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    (host, ledger)
}

async fn until_begun(ledger: &std::path::Path, tool: &str, phase: &str) {
    eventually(&format!("{tool} to {phase}"), async || match ledger::count(ledger, tool, phase) {
        0 => Err("not yet".to_owned()),
        _ => Ok(()),
    })
    .await;
}

fn names(list: &Value) -> Vec<&str> {
    let tools = list["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools in {list}"));
    tools.iter().filter_map(|tool| tool["name"].as_str()).collect()
}

#[tokio::test]
async fn a_client_of_every_revision_lists_and_calls() {
    let host = host().await;
    for revision in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"] {
        let session = host.session("/mcp", revision).await;
        let list = session.ask("tools/list", json!({})).await;
        assert!(names(&list).contains(&"mock__echo"), "{revision}: {list}");
        let result = session.call("mock__echo", json!({ "message": revision })).await;
        assert_eq!(text_of(&result), revision);
        assert!(result.get("resultType").is_none(), "{revision} knows no such member: {result}");
    }
    let list = reply(&Answer::of(host.modern("/mcp", "tools/list", json!({}))).await, 200);
    assert!(names(&list).contains(&"mock__echo"), "{list}");
    let called = host.modern("/mcp", "tools/call", call("mock__echo", json!({ "message": "m" })));
    let result = reply(&Answer::of(called).await, 200)["result"].take();
    assert_eq!((text_of(&result), &result["resultType"]), ("m", &json!("complete")));
}

#[tokio::test]
async fn a_plugins_own_endpoint_has_its_own_names() {
    let host = host().await;
    let session = host.session("/plugins/mock/mcp", LEGACY).await;
    assert!(names(&session.ask("tools/list", json!({})).await).contains(&"echo"));
    assert_eq!(text_of(&session.call("echo", json!({ "message": "x" })).await), "x");
    let modern = host.modern("/plugins/mock/mcp", "tools/call", call("echo", json!({ "message": "y" })));
    assert_eq!(text_of(&reply(&Answer::of(modern).await, 200)["result"]), "y");
    for (path, code) in [("/plugins/nobody/mcp", "plugin_not_found"), ("/groups/none/mcp", "not_found")] {
        let hello = request(0, "initialize", hello(LEGACY));
        Answer::of(host.message(path, &hello)).await.problem(404, code);
        host.get(path).await.problem(404, code);
    }
    // A session belongs to the face that it was opened at.
    let elsewhere =
        host.message("/mcp", &request(1, "tools/list", json!({}))).header("mcp-session-id", &session.id);
    refused(&Answer::of(elsewhere).await, 404, -32001);
}

#[tokio::test]
async fn a_session_is_needed_and_ends() {
    let host = host().await;
    let session = host.session("/mcp", LEGACY).await;
    let list = request("l", "tools/list", json!({}));
    let none = refused(&Answer::of(host.message("/mcp", &list)).await, 400, -32000);
    assert_eq!(none["id"], "l");
    let unknown = host.message("/mcp", &list).header("mcp-session-id", "nobody");
    assert_eq!(refused(&Answer::of(unknown).await, 404, -32001)["id"], "l");
    assert_eq!(session.delete().await, 204);
    assert_eq!(refused(&Answer::of(session.send(&list)).await, 404, -32001)["id"], "l");
    assert_eq!(session.delete().await, 404);
    refused(&Answer::of(session.get().header("accept", BOTH)).await, 404, -32001);
}

#[tokio::test]
async fn a_session_is_its_principals_alone() {
    let host = host().await;
    let session = host.session("/mcp", LEGACY).await;
    let other =
        reqwest::Client::builder().no_proxy().unix_socket(host.state().join("wharf.sock")).build().unwrap();
    let stolen = other
        .post("http://localhost/mcp")
        .header("accept", BOTH)
        .header("mcp-session-id", &session.id)
        .json(&request(1, "tools/list", json!({})));
    refused(&Answer::of(stolen).await, 404, -32001);
    session.ask("tools/list", json!({})).await;
}

#[tokio::test]
async fn a_foreign_page_reaches_no_endpoint() {
    let host = host().await;
    let session = host.session("/mcp", LEGACY).await;
    let paths = ["/mcp", "/plugins/mock/mcp", "/sse", "/messages?sessionId=x", "/api/v1/pipe"];
    for path in paths {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            for (name, value) in [("host", "evil.example.com"), ("origin", "http://evil.example.com")] {
                let asked = host.request(method.clone(), path).header(name, value).header("accept", BOTH);
                let asked = asked.header("mcp-session-id", &session.id).json(&request(1, "ping", json!({})));
                assert_eq!(Answer::of(asked).await.status, 403, "{method} {path} {name}");
            }
        }
    }
    // The host's own pages may, as the address says it.
    let own = host.message("/mcp", &request(0, "initialize", hello(LEGACY))).header("origin", &host.base);
    assert_eq!(Answer::of(own).await.status, 200);
}

#[tokio::test]
async fn mistakes_are_told_by_status_and_code() {
    let host = host().await;
    let session = host.session("/mcp", LEGACY).await;
    let list = request(1, "tools/list", json!({}));
    let raw = |body: &str| {
        let post = host.request(Method::POST, "/mcp").header("accept", BOTH);
        post.header("content-type", "application/json").body(body.to_owned())
    };
    refused(&Answer::of(raw("{nonsense")).await, 400, -32700);
    refused(&Answer::of(raw("")).await, 400, -32700);
    refused(&Answer::of(raw(r#"{"jsonrpc":"1.0","id":1,"method":"x"}"#)).await, 400, -32600);
    let huge = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"x\",\"params\":{{\"a\":\"{}\"}}}}",
        "x".repeat(4 << 20)
    );
    Answer::of(raw(&huge)).await.problem(413, "too_large");
    let text = host.request(Method::POST, "/mcp").header("content-type", "text/plain").body("{}");
    Answer::of(text).await.problem(415, "unsupported_media_type");
    let json_only = host.request(Method::POST, "/mcp").header("accept", "application/json").json(&list);
    refused(&Answer::of(json_only.header("mcp-session-id", &session.id)).await, 406, -32000);
    let json_only = session.get().header("accept", "application/json");
    refused(&Answer::of(json_only).await, 406, -32000);
    let odd = host
        .message("/mcp", &list)
        .header("mcp-session-id", &session.id)
        .header("mcp-protocol-version", "1999-01-01");
    refused(&Answer::of(odd).await, 400, -32000);
    let twice = host.message("/mcp", &list).header("mcp-method", "a").header("mcp-method", "a");
    refused(&Answer::of(twice).await, 400, -32020);
    for method in [Method::PUT, Method::PATCH] {
        Answer::of(host.request(method, "/mcp")).await.problem(405, "method_not_allowed");
    }
}

#[tokio::test]
async fn modern_mistakes_have_the_statuses_of_the_specification() {
    let host = host().await;
    let ask = async |method: &str, params: Value| Answer::of(host.modern("/mcp", method, params)).await;
    for gone in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown/method"] {
        assert_eq!(refused(&ask(gone, json!({})).await, 404, -32601)["id"], 7);
    }
    let bare = host.message("/mcp", &request(9, "server/discover", json!({})));
    let bare = bare.header("mcp-protocol-version", MODERN).header("mcp-method", "server/discover");
    assert_eq!(refused(&Answer::of(bare).await, 400, -32602)["id"], 9);
    let named = host.message("/mcp", &request(9, "tools/list", enveloped(json!({}))));
    refused(&Answer::of(named.header("mcp-protocol-version", MODERN)).await, 400, -32020);
    let mut params = enveloped(json!({}));
    params["_meta"]["io.modelcontextprotocol/protocolVersion"] = "2099-01-01".into();
    let unknown = host.message("/mcp", &request(9, "server/discover", params));
    let unknown =
        unknown.header("mcp-protocol-version", "2099-01-01").header("mcp-method", "server/discover");
    let unknown = refused(&Answer::of(unknown).await, 400, -32022);
    assert_eq!(unknown["error"]["data"]["requested"], "2099-01-01", "{unknown}");
    assert_eq!(refused(&ask("tools/call", call("mock__nothing", json!({}))).await, 200, -32602)["id"], 7);
    let notification = host.message("/mcp", &json!({ "jsonrpc": "2.0", "method": "notifications/x" }));
    assert_eq!(Answer::of(notification.header("mcp-protocol-version", MODERN)).await.status, 202);
}

#[tokio::test]
async fn a_modern_call_that_reports_is_a_stream() {
    let host = host().await;
    let mut params = call("mock__progress", json!({ "steps": 3 }));
    params["_meta"]["progressToken"] = "p".into();
    let answer = Answer::of(host.modern("/mcp", "tools/call", params)).await;
    assert_eq!(answer.header("x-accel-buffering"), "no");
    let all = messages(&answer);
    assert_eq!(all.len(), 4, "{}", answer.text());
    for (n, event) in all.iter().take(3).enumerate() {
        assert_eq!(event["method"], "notifications/progress", "{event}");
        assert_eq!(
            (&event["params"]["progressToken"], &event["params"]["progress"]),
            (&json!("p"), &json!(n + 1))
        );
    }
    assert_eq!(all[3]["id"], 7);
    assert_eq!(text_of(&all[3]["result"]), "did 3 steps");
    assert!(!answer.text().contains("id: "), "a modern stream cannot be joined again: {}", answer.text());
}

#[tokio::test]
async fn a_stream_that_breaks_off_is_joined_again_where_it_was() {
    let (host, ledger) = watched().await;
    let session = host.session("/mcp", LEGACY).await;
    let mut params = call("mock__progress", json!({ "steps": 40, "interval_ms": 25 }));
    params["_meta"]["progressToken"] = 5.into();
    let mut events = Events::open(session.send(&request("c", "tools/call", params))).await;
    let first = events.until("a report", |event| event.data.contains("progress")).await;
    assert!(first.id.ends_with("-1"), "{first:?}");
    drop(events);
    let rest = session.resume(&first.id).await.all().await;
    let seen: Vec<_> = rest.iter().filter(|event| !event.data.is_empty()).map(|event| event.json()).collect();
    let steps: Vec<_> = seen.iter().filter_map(|message| message["params"]["progress"].as_u64()).collect();
    assert_eq!(steps, (2..=40).collect::<Vec<_>>(), "each report once, in order, from where it broke off");
    let answer = seen.last().unwrap();
    assert_eq!((&answer["id"], text_of(&answer["result"])), (&json!("c"), "did 40 steps"));
    assert_eq!(
        (ledger::count(&ledger, "progress", "end"), ledger::count(&ledger, "progress", "cancelled")),
        (1, 0)
    );
    // It is kept after its end, and another's id is none.
    let last = rest.last().unwrap();
    assert!(session.resume(&last.id).await.all().await.iter().all(|event| event.data.is_empty()));
    for unknown in ["99-1", "1-9999", "x", "0-77", "-"] {
        let gone = session.get().header("accept", BOTH).header("last-event-id", unknown);
        refused(&Answer::of(gone).await, 400, -32000);
    }
}

#[tokio::test]
async fn a_request_that_streams_is_told_that_its_session_has_ended() {
    let (host, ledger) = watched().await;
    let session = host.session("/mcp", LEGACY).await;
    let mut params = call("mock__progress", json!({ "steps": 2, "interval_ms": 600_000 }));
    params["_meta"]["progressToken"] = 5.into();
    // It streams once it has waited for a while: nothing is reported before.
    let mut events = Events::open(session.send(&request("c", "tools/call", params))).await;
    until_begun(&ledger, "progress", "begin").await;
    assert_eq!(session.delete().await, 204);
    let last = events.until("its last message", |event| event.data.contains("\"error\"")).await.json();
    assert_eq!((&last["id"], &last["error"]["code"]), (&json!("c"), &json!(-32600)), "{last}");
    assert!(last["error"]["message"].as_str().is_some_and(|text| text.contains("session")), "{last}");
    assert!(events.all().await.iter().all(|event| event.data.is_empty()), "nothing comes after it");
    until_begun(&ledger, "progress", "cancelled").await;
}

#[tokio::test]
async fn a_legacy_client_that_leaves_cancels_nothing_and_a_modern_one_does() {
    let (host, ledger) = watched().await;
    let session = host.session("/mcp", LEGACY).await;
    let slow = session.send(&request(1, "tools/call", call("mock__sleep", json!({ "ms": 1500 }))));
    let begun = tokio::select! {
        _ = slow.send() => false,
        () = until_begun(&ledger, "sleep", "begin") => true,
    };
    assert!(begun, "the client leaves in the middle");
    until_begun(&ledger, "sleep", "end").await;
    assert_eq!(ledger::count(&ledger, "sleep", "cancelled"), 0);

    let modern = host.modern(
        "/mcp",
        "tools/call",
        call("mock__progress", json!({ "steps": 1, "interval_ms": 600_000 })),
    );
    let begun = tokio::select! {
        _ = modern.send() => false,
        () = until_begun(&ledger, "progress", "begin") => true,
    };
    assert!(begun, "the client leaves in the middle");
    until_begun(&ledger, "progress", "cancelled").await;
}

#[tokio::test]
async fn only_the_revision_of_batches_has_batches() {
    let host = host().await;
    let batch = json!([
        request(1, "tools/call", call("mock__echo", json!({ "message": "a" }))),
        { "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 99 } },
        request("2", "tools/call", call("mock__echo", json!({ "message": "b" }))),
    ]);
    let old = host.session("/mcp", "2025-03-26").await;
    let answer = Answer::of(old.send(&batch)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = messages(&answer);
    let mut said: Vec<_> =
        all.iter().map(|m| (m["id"].to_string(), text_of(&m["result"]).to_owned())).collect();
    said.sort();
    assert_eq!(said, [("\"2\"".to_owned(), "b".to_owned()), ("1".to_owned(), "a".to_owned())]);
    let quiet = json!([{ "jsonrpc": "2.0", "method": "notifications/x" }]);
    assert_eq!(Answer::of(old.send(&quiet)).await.status, 202);
    refused(&Answer::of(old.send(&json!([]))).await, 400, -32600);
    refused(&Answer::of(old.send(&json!([request(1, "initialize", hello(LEGACY))]))).await, 400, -32600);
    let new = host.session("/mcp", LEGACY).await;
    refused(&Answer::of(new.send(&batch)).await, 400, -32600);
}

#[tokio::test]
async fn a_session_is_told_what_changes_and_has_one_listener() {
    let host = host().await;
    let session = host.session("/mcp", LEGACY).await;
    let mut first = Events::open(session.get()).await;
    let primed = first.next().await.expect("a first event");
    assert!(primed.data.is_empty() && primed.id.starts_with("0-"), "{primed:?}");
    host.put("late", &mock());
    let changed = first.until("a changed list", |event| event.data.contains("tools/list_changed")).await;
    assert!(changed.id.starts_with("0-"), "{changed:?}");
    let _second = Events::open(session.get()).await;
    first.all().await;
    // What was on its way when the connection broke is sent again.
    let mut again = session.resume(&primed.id).await;
    assert_eq!(again.until("it once more", |event| event.id == changed.id).await, changed);
}
