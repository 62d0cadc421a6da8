//! Calls over REST: what comes back, and every way in which nothing does.

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::fake::{Fake, OnCall};
use crate::support::ledger;
use crate::support::manifest::mock_on_port;
use crate::support::sse::Events;
use crate::support::{Manifest, TestHost, eventually, mock};

/// Odd on purpose: spaces, number forms, escapes, key order and members that MCP does not know.
const ODD: &str = r#"{ "z":1.50e+3,"content" : [ {"type":"text","text":"caf\u00e9 \/ \ud83d\ude00"} ] ,"big":123456789012345678901234567890, "isError":false,"a":[ ] }"#;

#[tokio::test]
async fn a_call_tells_who_answered_and_the_result_as_sent() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let said = host.try_call("mock", "echo", json!({ "message": "hello" })).await.expect(200);
    assert_eq!(said["plugin"], "mock");
    assert!(said["call_id"].is_string() && said["duration_ms"].is_number(), "{said}");
    assert_eq!(said["instance"], 0, "{said}");
    assert_eq!(text_of(&said["result"]), "hello");
}

#[tokio::test]
async fn a_result_passes_byte_for_byte() {
    let fake = Fake::start(OnCall::Result(ODD));
    let host = TestHost::with([("odd", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("odd", "ready").await;
    let answer = host.try_call("odd", "odd", json!({})).await;
    answer.expect(200);
    assert!(answer.text().contains(ODD), "{}", answer.text());
}

#[tokio::test]
async fn the_short_way_unwraps_the_result() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let short =
        async |tool: &str, arguments: Value| host.post(&format!("/tools/mock/{tool}"), &arguments).await;
    assert_eq!(short("echo", json!({ "message": "plain words" })).await.expect(200), "plain words");
    let parsed = short("echo", json!({ "message": "{\"x\":[1,2]}" })).await.expect(200);
    assert_eq!(parsed, json!({ "x": [1, 2] }), "a text that is JSON is parsed");
    assert_eq!(short("add", json!({ "a": 2, "b": 40 })).await.expect(200), json!({ "sum": 42 }));
    let failed = short("fail", json!({ "message": "no luck" })).await.problem(502, "tool_error");
    assert!(failed["detail"].as_str().unwrap().contains("no luck"), "{failed}");
    short("nothing", json!({})).await.problem(404, "tool_not_found");
    host.post("/tools/nobody/echo", &json!({})).await.problem(404, "plugin_not_found");
}

#[tokio::test]
async fn a_tool_that_asks_is_given_the_answer_and_finishes() {
    let setup = crate::support::host::Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let arguments = json!({ "method": "elicitation" });
    let asked = host.try_call("mock", "ask", arguments.clone()).await.expect(200);
    let result = &asked["result"];
    assert_eq!(result["resultType"], "input_required", "{asked}");
    let (key, question) = result["inputRequests"].as_object().and_then(|all| all.iter().next()).unwrap();
    assert_eq!(
        (&question["method"], &question["params"]["message"]),
        (&json!("elicitation/create"), &json!("Who are you?")),
        "{asked}"
    );
    assert_eq!(
        (ledger::count(&ledger, "ask", "begin"), ledger::count(&ledger, "ask", "end")),
        (1, 0),
        "the call waits"
    );
    let answer = json!({ "action": "accept", "content": { "name": "Ann" } });
    let again = json!({
        "arguments": arguments,
        "inputResponses": { key: answer },
        "requestState": result["requestState"],
    });
    let path = "/api/v1/plugins/mock/tools/ask/call";
    let done = host.post(path, &again).await.expect(200);
    assert_eq!(done["result"]["structuredContent"]["reply"]["result"], answer, "{done}");
    assert!(done["result"].get("inputRequests").is_none(), "{done}");
    assert_eq!(
        (ledger::count(&ledger, "ask", "begin"), ledger::count(&ledger, "ask", "end")),
        (1, 1),
        "the call went on, it was not made again"
    );
    host.post(path, &again).await.problem(400, "bad_request");
}

#[tokio::test]
async fn unknown_names_are_told() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let plugin = host.try_call("nobody", "echo", json!({})).await.problem(404, "plugin_not_found");
    assert_eq!(plugin["plugin"], "nobody");
    let tool = host.try_call("mock", "ekho", json!({})).await.problem(404, "tool_not_found");
    assert_eq!((&tool["plugin"], &tool["tool"]), (&json!("mock"), &json!("ekho")));
}

#[tokio::test]
async fn arguments_that_break_the_schema_never_reach_the_plugin() {
    let setup = crate::support::host::Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let problem =
        host.try_call("mock", "add", json!({ "a": "one", "b": 2 })).await.problem(422, "invalid_arguments");
    assert_eq!(problem["errors"][0]["pointer"], "/a", "{problem}");
    assert!(problem["errors"][0]["detail"].is_string(), "{problem}");
    let problem = host.try_call("mock", "add", json!({ "a": 1 })).await.problem(422, "invalid_arguments");
    assert!(problem["errors"][0]["detail"].as_str().unwrap().contains("\"b\""), "{problem}");
    assert_eq!(ledger::runs(&ledger, "add"), 0);
}

#[tokio::test]
async fn a_tools_own_error_is_an_answer() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let failed = host.call("mock", "fail", json!({ "message": "no luck" })).await;
    assert_eq!(failed["isError"], true);
    assert!(text_of(&failed).contains("no luck"), "{failed}");
}

#[tokio::test]
async fn a_json_rpc_error_of_the_plugin_is_a_protocol_error() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let answer = host.try_call("mock", "rpc_error", json!({ "code": -32050 })).await;
    let problem = answer.problem(502, "protocol_error");
    assert_eq!(problem["delivery"], "answered", "{problem}");
    assert_eq!(problem["rpc_error"]["code"], -32050, "{problem}");
}

#[tokio::test]
async fn a_crash_in_the_middle_runs_the_call_once_and_says_that_nobody_knows() {
    let setup = crate::support::host::Setup::new();
    let ledger = setup.scratch("ledger");
    let counter = setup.scratch("launches");
    let crashes = mock().args(["--crash-after-call", "1", "--fault-times", "1"]);
    let crashes = crashes.arg("--fault-counter").path(&counter).arg("--ledger").path(&ledger);
    let host = setup.plugin("mock", &crashes).start().await;
    let pid = host.pid_of("mock").await;
    let problem = host.try_call("mock", "count", json!({})).await.problem(502, "outcome_unknown");
    assert_eq!(problem["kind"], "connection", "{problem}");
    assert_eq!(problem["delivery"], "unknown", "{problem}");
    assert!(problem["call_id"].is_string(), "{problem}");
    host.until_back("mock", pid).await;
    assert_eq!(ledger::runs(&ledger, "count"), 1, "a call that may have run is not run again");
    host.call("mock", "count", json!({})).await;
    assert_eq!(ledger::runs(&ledger, "count"), 2);
}

#[tokio::test]
async fn a_deadline_ends_a_call_but_not_the_plugin() {
    let host = TestHost::with([("mock", mock().args(["--hang-at-call", "1"]))]).await;
    let pid = host.pid_of("mock").await;
    let body = json!({ "arguments": {}, "timeout_ms": 300 });
    let problem = host.post("/api/v1/plugins/mock/tools/count/call", &body).await.problem(504, "deadline");
    assert_eq!(problem["delivery"], "unknown", "{problem}");
    assert_eq!(problem["kind"], "timeout", "{problem}");
    host.call("mock", "echo", json!({ "message": "next" })).await;
    assert_eq!(host.pid_of("mock").await, pid);
    host.until("mock", "idle: the slot is free again", |view| view["instances"][0]["inflight"] == 0).await;
}

#[tokio::test]
async fn an_answer_that_is_not_mcp_is_told_apart() {
    let fake = Fake::start(OnCall::Page);
    let host = TestHost::with([("odd", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("odd", "ready").await;
    let problem = host.try_call("odd", "odd", json!({})).await.problem(502, "protocol_error");
    assert_eq!(problem["kind"], "protocol", "{problem}");
    assert_eq!(fake.calls(), 1, "what was answered is not tried again");
}

#[tokio::test]
async fn a_session_that_cannot_be_restored_is_told_apart() {
    let fake = Fake::start(OnCall::NoSession);
    let host = TestHost::with([("odd", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("odd", "ready").await;
    let problem = host.try_call("odd", "odd", json!({})).await.problem(502, "session_lost");
    assert_eq!(problem["kind"], "session", "{problem}");
    assert!((1..=4).contains(&fake.calls()), "attempts are bounded: {}", fake.calls());
}

#[tokio::test]
async fn a_lost_session_is_restored_without_the_caller_noticing() {
    for dialect in ["http", "sse-post"] {
        let forgets = mock_on_port(dialect).args(["--lose-sessions-after", "1"]);
        let host = TestHost::with([("forgets", forgets)]).await;
        let pid = host.pid_of("forgets").await;
        for n in 0..3 {
            let message = format!("{dialect} {n}");
            let echo = host.call("forgets", "echo", json!({ "message": message })).await;
            assert_eq!(text_of(&echo), message);
        }
        assert_eq!(host.pid_of("forgets").await, pid);
    }
}

#[tokio::test]
async fn progress_streams_in_every_dialect_that_has_it() {
    let host = TestHost::with([
        ("stdio", mock()),
        ("http", mock_on_port("http").args(["--http-answer", "sse"])),
        ("sse", mock_on_port("sse")),
    ])
    .await;
    for id in ["stdio", "http", "sse"] {
        host.until_state(id, "ready").await;
        let body = json!({ "arguments": { "steps": 3, "interval_ms": 1 } });
        let request =
            host.request(reqwest::Method::POST, &format!("/api/v1/plugins/{id}/tools/progress/call"));
        let events = Events::open(request.json(&body)).await.all().await;
        let names: Vec<&str> = events.iter().map(|event| event.name.as_str()).collect();
        assert_eq!(names, ["accepted", "progress", "progress", "progress", "result"], "{id}: {events:#?}");
    }
}

#[tokio::test]
async fn a_streamed_call_that_fails_ends_with_its_error() {
    let host = TestHost::with([("mock", mock().args(["--crash-at-call", "1"]))]).await;
    host.until_state("mock", "ready").await;
    let request = host.request(reqwest::Method::POST, "/api/v1/plugins/mock/tools/count/call");
    let events = Events::open(request.json(&json!({ "arguments": {} }))).await.all().await;
    let last = events.last().expect("it ends with an event");
    assert_eq!((last.name.as_str(), &last.json()["code"]), ("error", &json!("outcome_unknown")));
}

/// Calls a tool that does not come to its end, as JSON or as a stream, and goes away.
async fn goes_away(dialect: &str, accept: &str) {
    let setup = crate::support::host::Setup::new();
    let ledger = setup.scratch("ledger");
    let mock = if dialect == "stdio" { mock() } else { mock_on_port(dialect) };
    let host = setup.plugin("mock", &mock.arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let request = host.request(reqwest::Method::POST, "/api/v1/plugins/mock/tools/sleep/call");
    let request = request.header("accept", accept).json(&json!({ "arguments": { "ms": 60_000 } }));
    // Held until it is dropped: a stream answers at once.
    let client = async {
        let answer = request.send().await;
        std::future::pending::<()>().await;
        drop(answer);
    };
    let until = async |phase: &str| {
        eventually(&format!("{dialect} {accept}: {phase}"), async || {
            if ledger::count(&ledger, "sleep", phase) == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
    };
    tokio::select! {
        () = client => {}
        () = until("begin") => {}
    }
    until("cancelled").await;
    host.until("mock", "idle: the slot is free again", |view| view["instances"][0]["inflight"] == 0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_its_call() {
    for dialect in ["stdio", "http", "sse"] {
        goes_away(dialect, "application/json").await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_stream_cancels_its_call() {
    goes_away("stdio", "text/event-stream").await;
}
