//! Calls as the API remembers them: what was tried, what came of it, and taking one back.

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::mcp::{LEGACY, call, reply};
use crate::support::{Answer, TestHost, eventually, ledger, mock};

async fn newest(host: &TestHost, query: &str) -> Vec<Value> {
    host.get(&format!("/api/v1/calls{query}")).await.expect(200)["calls"].as_array().unwrap().clone()
}

/// Waits for the call that runs.
async fn running(host: &TestHost) -> Value {
    eventually("a call that runs at its plugin", async || {
        let calls = newest(host, "?outcome=running").await;
        let call = calls.iter().find(|call| call["delivery"] == "unknown");
        call.cloned().ok_or_else(|| format!("{calls:?}"))
    })
    .await
}

#[tokio::test]
async fn a_call_is_remembered_with_what_was_tried() {
    let host = TestHost::with([("p", mock()), ("q", mock())]).await;
    host.until_state("p", "ready").await;
    let answer = host.try_call("p", "echo", json!({ "message": "hello" })).await.expect(200);
    let id = answer["call_id"].as_str().unwrap();
    let view = host.get(&format!("/api/v1/calls/{id}")).await.expect(200);
    let known = ["outcome", "delivery", "plugin", "tool", "method", "edge", "recovered", "tries", "durable"];
    let shown: Vec<&Value> = known.iter().map(|key| &view[key]).collect();
    let expected = json!(["answered", "answered", "p", "echo", "tools/call", "rest", false, 1, false]);
    assert_eq!(json!(shown), expected, "{view}");
    assert!(view["error"].is_null() && !view["principal"].as_str().unwrap().is_empty(), "{view}");
    assert!(view["bytes_in"].as_u64() > Some(10) && view["bytes_out"].as_u64() > Some(10), "{view}");
    let attempt = &view["attempts"][0];
    let times = ["begun_ms", "sent_ms", "ended_ms"].map(|key| attempt[key].as_f64().unwrap());
    assert!(times.is_sorted() && times[2] <= view["duration_ms"].as_f64().unwrap(), "{view}");
    assert_eq!(
        (&attempt["instance"], &attempt["generation"], &attempt["candidates"]),
        (&json!(0), &json!(1), &json!(1))
    );

    // By MCP of both eras, and one that its plugin refuses to know.
    Answer::of(host.modern("/mcp", "tools/call", call("p__echo", json!({ "message": "m" })))).await;
    host.session("/mcp", LEGACY).await.call("p__echo", json!({ "message": "l" })).await;
    let edges: Vec<Value> =
        newest(&host, "?plugin=p").await.iter().map(|call| call["edge"].clone()).collect();
    assert_eq!(edges, ["legacy", "modern", "rest"], "newest first");
    assert_eq!(newest(&host, "?limit=1").await.len(), 1);
    assert!(
        newest(&host, "?plugin=q").await.is_empty() && newest(&host, "?outcome=unknown").await.is_empty()
    );

    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let asked = host.request(Method::POST, "/api/v1/plugins/p/tools/echo/call").header("traceparent", parent);
    Answer::of(asked.json(&json!({ "arguments": { "message": "traced" } }))).await.expect(200);
    assert_eq!(newest(&host, "?limit=1").await[0]["trace_id"], "0af7651916cd43dd8448eb211c80319c");

    host.get("/api/v1/calls/c-00000000-1").await.problem(404, "call_not_found");
    host.get("/api/v1/calls/x").await.problem(404, "call_not_found");
    host.get("/api/v1/calls?outcome=odd").await.problem(400, "bad_request");
    host.get("/api/v1/calls?limit=-1").await.problem(400, "bad_request");
    host.post("/api/v1/calls/c-00000000-1/cancel", &json!({})).await.problem(404, "call_not_found");
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test has no host whose tasks it could join")]
async fn a_call_is_taken_back() {
    let setup = Setup::new();
    let runs = setup.scratch("ledger");
    let host = setup.plugin("p", &mock().arg("--ledger").path(&runs)).start().await;
    host.until_state("p", "ready").await;
    let asked = host.request(Method::POST, "/api/v1/plugins/p/tools/sleep/call");
    let calling = tokio::spawn(Answer::of(asked.json(&json!({ "arguments": { "ms": 60_000 } }))));
    let call = running(&host).await;
    let path = format!("/api/v1/calls/{}", call["call_id"].as_str().unwrap());
    host.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    let problem = calling.await.unwrap().problem(499, "cancelled");
    assert_eq!(
        (&problem["call_id"], &problem["delivery"]),
        (&call["call_id"], &json!("unknown")),
        "{problem}"
    );
    eventually("the plugin to hear of it", async || match ledger::count(&runs, "sleep", "cancelled") {
        1 => Ok(()),
        n => Err(format!("{n} cancelled")),
    })
    .await;
    let view = host.get(&path).await.expect(200);
    assert_eq!((&view["outcome"], &view["error"]), (&json!("cancelled"), &json!("cancelled")), "{view}");
    // Once it has ended it stays as it is.
    let again = host.post(&format!("{path}/cancel"), &json!({})).await.expect(202);
    assert_eq!(again["outcome"], "cancelled");
    assert_eq!(newest(&host, "?outcome=cancelled").await.len(), 1);
    host.call("p", "echo", json!({ "message": "on" })).await;
}

#[tokio::test]
async fn a_caller_that_leaves_has_cancelled() {
    let host = TestHost::with([("p", mock())]).await;
    host.until_state("p", "ready").await;
    let path = "/api/v1/plugins/p/tools/sleep/call";
    let asking = host.request(Method::POST, path).json(&json!({ "arguments": { "ms": 60_000 } })).send();
    let call = tokio::select! {
        call = running(&host) => call,
        _ = asking => panic!("it sleeps for a minute"),
    };
    eventually("its end", async || {
        let view =
            host.get(&format!("/api/v1/calls/{}", call["call_id"].as_str().unwrap())).await.expect(200);
        if view["outcome"] == "cancelled" { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
}

#[tokio::test]
async fn who_wants_a_durable_call_says_so() {
    let host = TestHost::with([("p", mock())]).await;
    host.until_state("p", "ready").await;
    let paths = ["/api/v1/plugins/p/tools/echo/call", "/tools/p/echo"];
    for (path, body) in
        paths.into_iter().zip([json!({ "arguments": { "message": "x" } }), json!({ "message": "x" })])
    {
        let marked = |value| host.request(Method::POST, path).header("wharf-durable", value).json(&body);
        Answer::of(marked("true")).await.expect(200);
        Answer::of(marked("yes")).await.problem(400, "bad_request");
    }
    let mut params = call("p__echo", json!({ "message": "x" }));
    params["_meta"]["wharf/durable"] = json!(true);
    let answer = Answer::of(host.modern("/mcp", "tools/call", params.clone())).await;
    assert!(reply(&answer, 200)["result"].is_object());
    params["_meta"]["wharf/durable"] = json!("yes");
    let answer = Answer::of(host.modern("/mcp", "tools/call", params)).await;
    assert!(answer.text().contains("wharf/durable"), "{}", answer.text());
    let calls = newest(&host, "").await;
    assert_eq!(calls.len(), 3, "what is refused is no call: {calls:?}");
    assert!(calls.iter().all(|call| call["durable"] == true), "{calls:?}");
}

/// The host is killed while calls are at their plugins, on pipes and over HTTP.
#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "a test has no host whose tasks it could join")]
async fn a_call_that_was_lost_with_the_host_is_unknown_to_the_next() {
    let mut host = TestHost::with([("p", mock()), ("h", mock_on_port("http"))]).await;
    let mut lost = Vec::new();
    for plugin in ["p", "h"] {
        host.until_state(plugin, "ready").await;
        host.call(plugin, "echo", json!({ "message": "before" })).await;
        let path = format!("/api/v1/plugins/{plugin}/tools/sleep/call");
        let asked = host.request(Method::POST, &path).json(&json!({ "arguments": { "ms": 60_000 } }));
        lost.push(tokio::spawn(asked.send()));
    }
    eventually("both calls to be handed over", async || {
        let calls = newest(&host, "?outcome=running").await;
        let handed = calls.iter().filter(|call| call["delivery"] == "unknown").count();
        if handed == 2 { Ok(()) } else { Err(format!("{calls:?}")) }
    })
    .await;
    let before = newest(&host, "").await;
    host.end(Signal::SIGKILL);
    for call in lost {
        assert!(call.await.unwrap().is_err(), "the host is gone");
    }
    host.again();
    for call in before {
        let view =
            host.get(&format!("/api/v1/calls/{}", call["call_id"].as_str().unwrap())).await.expect(200);
        let expected = if call["tool"] == "sleep" { "unknown" } else { "answered" };
        let shown = (&view["outcome"], &view["recovered"], &view["tool"], &view["plugin"]);
        assert_eq!(shown, (&json!(expected), &json!(true), &call["tool"], &call["plugin"]), "{view}");
    }
    assert_eq!(newest(&host, "?outcome=unknown").await.len(), 2);
    for plugin in ["p", "h"] {
        host.until_state(plugin, "ready").await;
    }
    let fresh = host.try_call("p", "echo", json!({ "message": "after" })).await.expect(200);
    assert_ne!(fresh["call_id"].as_str().unwrap()[..10], *"c-00000000");
}

#[tokio::test]
async fn arguments_are_shown_as_the_manifest_says() {
    let of = |how: &str| mock().set("audit.arguments", how);
    let host = TestHost::with([("p", mock()), ("off", of("off")), ("full", of("full"))]).await;
    let sent = "{\"message\" : \"x\"}";
    let body = format!("{{\"arguments\": {sent} }}");
    let shown = async |id: &str, body: &str| {
        host.until_state(id, "ready").await;
        let path = format!("/api/v1/plugins/{id}/tools/echo/call");
        let asked = host.request(Method::POST, &path).header("content-type", "application/json");
        let call = Answer::of(asked.body(body.to_owned())).await.expect(200)["call_id"].clone();
        let one = host.get(&format!("/api/v1/calls/{}", call.as_str().unwrap())).await.expect(200);
        assert_eq!(newest(&host, &format!("?plugin={id}&limit=1")).await[0]["arguments"], one["arguments"]);
        one["arguments"].clone()
    };
    let digest = json!({ "bytes": sent.len(), "sha256": "6a1909d31da8471e572c29eb14a2337f5afe93b5bff9c59eacbfb82db2256eaf" });
    assert_eq!(shown("p", &body).await, digest, "to the byte, as `sha256sum` tells it");
    assert_eq!(shown("off", &body).await, Value::Null);
    assert_eq!(shown("full", &body).await, json!({ "bytes": sent.len(), "value": { "message": "x" } }));
    let long = format!("{{\"arguments\": {{\"message\": \"{}\"}}}}", "x".repeat(20_000));
    let view = shown("full", &long).await;
    assert!(view["value"].is_null() && view["sha256"].as_str().is_some_and(|hex| hex.len() == 64), "{view}");

    // Over MCP the arguments lie within the params.
    host.session("/mcp", LEGACY).await.call("full__echo", json!({ "message": "l" })).await;
    let view = newest(&host, "?plugin=full&limit=1").await[0]["arguments"].take();
    assert_eq!(view["value"], json!({ "message": "l" }), "{view}");
    let params = call("p__echo", json!({ "message": "m" }));
    Answer::of(host.modern("/mcp", "tools/call", params)).await;
    assert!(newest(&host, "?plugin=p&limit=1").await[0]["arguments"]["sha256"].is_string());

    // A change takes effect in place.
    let pid = host.pid_of("p").await;
    host.put("p", &of("full"));
    eventually("the arguments to be shown", async || {
        let view = shown("p", &body).await;
        if view["value"].is_object() { Ok(()) } else { Err(view.to_string()) }
    })
    .await;
    assert_eq!(host.pid_of("p").await, pid);
}
