//! The modern side over a real host: what a client of 2026-07-28 gets of plugins of both eras.

use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use wharf_core::catalog::Face;

use super::testkit::{Kit, answered, call, envelope, only, read};
use crate::mcp::AnswerKind;
use crate::mcp::exchange::SMALL;

fn nothing() -> Value {
    json!({"_meta": envelope(&json!({}))})
}

fn with(mut params: Value, more: &Value) -> Value {
    params.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    params
}

#[tokio::test]
async fn discover_says_what_every_face_is() {
    let kit = Kit::new().await;
    for (face, has_prompts) in [(Face::All, true), (only("old"), true), (only("new"), false)] {
        let (answer, kind) = kit.ask(face.clone(), "server/discover", &nothing()).await;
        let result = &answer["result"];
        assert_eq!(kind, AnswerKind::Handled);
        assert_eq!(
            (&result["resultType"], &result["supportedVersions"]),
            (&json!("complete"), &json!(["2026-07-28"]))
        );
        assert_eq!(result["capabilities"]["tools"]["listChanged"], true, "{face:?}");
        assert_eq!(result["capabilities"].get("prompts").is_some(), has_prompts, "{face:?}");
        assert_eq!((&result["ttlMs"], &result["cacheScope"]), (&json!(0), &json!("private")));
        assert_eq!(result["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "wharf");
        assert!(result["instructions"].as_str().unwrap().contains("Be kind."));
    }
}

#[tokio::test]
async fn a_legacy_plugin_says_more_for_a_request_that_wants_to_hear_it() {
    let kit = Kit::new().await;
    let levels = || kit.legacy.levels.lock().unwrap().clone();
    for (level, expected) in [("error", vec![]), ("info", vec![]), ("debug", vec!["debug"])] {
        let mut params = call("talk", &json!({}));
        params["_meta"]["io.modelcontextprotocol/logLevel"] = json!(level);
        kit.ask(only("old"), "tools/call", &params).await;
        assert_eq!(levels().first().map(String::as_str), expected.first().copied(), "{level}");
    }
}

#[tokio::test]
async fn a_method_that_is_not_there_is_told_as_such() {
    let kit = Kit::new().await;
    for method in ["initialize", "ping", "logging/setLevel", "resources/subscribe", "unknown/method"] {
        for face in [Face::All, only("old"), only("new")] {
            let (answer, kind) = kit.ask(face, method, &nothing()).await;
            assert_eq!(
                (answer["error"]["code"].as_i64(), kind),
                (Some(-32601), AnswerKind::UnknownMethod),
                "{method}"
            );
        }
    }
    // Not advertised by this plugin, whatever it would answer.
    for method in ["prompts/list", "resources/read", "completion/complete"] {
        assert_eq!(kit.ask(only("new"), method, &nothing()).await.1, AnswerKind::UnknownMethod, "{method}");
    }
    // A vendor's own method goes to the one plugin that can be meant.
    let (answer, _) = kit.ask(only("old"), "vendor/x", &nothing()).await;
    assert_eq!(answer["result"]["structuredContent"]["method"], "vendor/x");
}

#[tokio::test]
async fn lists_are_those_of_the_face_and_say_how_long_they_hold() {
    let kit = Kit::new().await;
    let (answer, _) = kit.ask(Face::All, "tools/list", &nothing()).await;
    let result = &answer["result"];
    let tools = result["tools"].as_array().unwrap();
    assert!(tools.iter().any(|tool| tool["name"] == "old__ask") && tools.len() == 12, "{tools:?}");
    assert_eq!((&result["resultType"], &result["ttlMs"]), (&json!("complete"), &json!(0)));
    let (answer, kind) = kit.ask(Face::All, "tools/list", &with(nothing(), &json!({"cursor": "odd"}))).await;
    assert_eq!((answer["error"]["code"].as_i64(), kind), (Some(-32602), AnswerKind::Handled));
}

#[tokio::test]
async fn a_call_leaves_the_clients_hop_behind_and_takes_its_capabilities_along() {
    let kit = Kit::new().await;
    let capabilities = json!({"sampling": {"x": 1}});
    let meta = with(envelope(&capabilities), &json!({"vendor/x": "t"}));
    for (face, name) in [(only("old"), "echo"), (only("new"), "echo"), (Face::All, "new__echo")] {
        let params = json!({"name": name, "arguments": {"b": 1}, "_meta": meta});
        let (answer, kind) = kit.ask(face, "tools/call", &params).await;
        let (result, seen) = (&answer["result"], &answer["result"]["structuredContent"]);
        assert_eq!((&result["resultType"], kind), (&json!("complete"), AnswerKind::Handled));
        assert_eq!(
            seen["params"],
            json!({"name": "echo", "arguments": {"b": 1}, "_meta": {"vendor/x": "t"}})
        );
        assert_eq!(seen["capabilities"], capabilities);
    }
    let (answer, _) = kit.ask(only("old"), "tools/call", &call("echo", &json!({}))).await;
    assert!(
        answer["result"]["structuredContent"]["params"].get("arguments").is_none(),
        "absent stays absent"
    );
    let (answer, kind) = kit.ask(Face::All, "tools/call", &call("nobody", &json!({}))).await;
    assert_eq!((answer["error"]["code"].as_i64(), kind), (Some(-32602), AnswerKind::Handled));
}

#[tokio::test]
async fn a_legacy_plugins_question_is_an_answer_and_its_retry_goes_on() {
    let kit = Kit::new().await;
    let first = call("ask", &json!({"elicitation": {}}));
    let (answer, _) = kit.ask(only("old"), "tools/call", &first).await;
    let asked = &answer["result"];
    assert_eq!(asked["resultType"], "input_required", "{answer}");
    let question =
        json!({"method": "elicitation/create", "params": {"message": "who?", "requestedSchema": {}}});
    assert_eq!(asked["inputRequests"], json!({ "1": question }));
    let state = asked["requestState"].as_str().unwrap();

    let tampered = with(first.clone(), &json!({"requestState": format!("{state}-TAMPERED")}));
    let (answer, _) = kit.ask(only("old"), "tools/call", &tampered).await;
    assert_eq!(answer["error"]["code"], -32602);

    // Without an answer it is asked again, under another token.
    let (answer, _) =
        kit.ask(only("old"), "tools/call", &with(first.clone(), &json!({"requestState": state}))).await;
    let again = answer["result"]["requestState"].as_str().unwrap();
    assert!(answer["result"]["inputRequests"]["1"].is_object() && again != state, "{answer}");

    let reply = json!({"action": "accept", "content": {"name": "x"}});
    let retry =
        with(first.clone(), &json!({"requestState": again, "inputResponses": {"1": reply, "odd": {}}}));
    let (answer, _) = kit.ask(only("old"), "tools/call", &retry).await;
    assert_eq!(answer["result"]["structuredContent"]["answer"], reply, "{answer}");
    assert_eq!(answer["result"]["resultType"], "complete");
    let (answer, _) = kit.ask(only("old"), "tools/call", &retry).await;
    assert_eq!(answer["error"]["code"], -32602, "a token is good once");
    assert_eq!(kit.legacy.cancelled.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn answers_that_come_with_the_first_request_are_used_or_asked_for_again() {
    let kit = Kit::new().await;
    let first = call("ask", &json!({"elicitation": {}}));
    for (answers, expected) in [
        (json!({"1": {"action": "decline"}}), "complete"),
        (json!({"1": 12345}), "input_required"),
        (json!({"wrong": {"action": "decline"}}), "input_required"),
        (json!(null), "input_required"),
    ] {
        let params = with(first.clone(), &json!({"inputResponses": answers}));
        let (answer, _) = kit.ask(only("old"), "tools/call", &params).await;
        assert_eq!(answer["result"]["resultType"], expected, "{answers} {answer}");
    }
    let (answer, _) = kit.ask(only("old"), "tools/call", &with(first, &json!({"inputResponses": []}))).await;
    assert_eq!(answer["error"]["code"], -32602);
    // What is between the client and us is not the plugin's.
    let echo = with(call("echo", &json!({})), &json!({"inputResponses": {"1": {}}}));
    let (answer, _) = kit.ask(only("old"), "tools/call", &echo).await;
    assert_eq!(answer["result"]["structuredContent"]["params"], json!({"name": "echo", "_meta": {}}));
}

#[tokio::test]
async fn a_modern_plugin_gets_answers_and_state_as_they_came() {
    let kit = Kit::new().await;
    let more = json!({"inputResponses": {"k": {"action": "accept"}}, "requestState": "w1.of-its-own"});
    let params = with(call("echo", &json!({"elicitation": {}})), &more);
    let (answer, _) = kit.ask(only("new"), "tools/call", &params).await;
    let seen = &answer["result"]["structuredContent"]["params"];
    assert_eq!(seen["inputResponses"], more["inputResponses"], "{answer}");
    assert_eq!(seen["requestState"], more["requestState"]);
}

#[tokio::test]
async fn a_modern_clients_word_of_a_task_does_not_reach_a_legacy_plugin() {
    let kit = Kit::new().await;
    let params = with(call("echo", &json!({})), &json!({"task": {"ttl": 1}, "arguments": {"task": 1}}));
    for (plugin, expected) in [("old", json!(null)), ("new", json!({"ttl": 1}))] {
        let (answer, _) = kit.ask(only(plugin), "tools/call", &params).await;
        let seen = &answer["result"]["structuredContent"]["params"];
        assert_eq!((&seen["task"], &seen["arguments"]), (&expected, &json!({"task": 1})), "{answer}");
    }
}

#[tokio::test]
async fn what_fails_for_want_of_a_capability_says_which() {
    let kit = Kit::new().await;
    let (answer, kind) = kit.ask(only("old"), "tools/call", &call("lack", &json!({}))).await;
    assert_eq!((answer["error"]["code"].as_i64(), kind), (Some(-32021), AnswerKind::MissingCapability));
    assert_eq!(answer["error"]["data"]["requiredCapabilities"], json!({"sampling": {}}));
}

#[tokio::test]
async fn what_is_kept_of_a_request_is_small() {
    let kit = Kit::new().await;
    let exchange = kit.exchange(only("old"), "tools/call", &call("hang", &json!({})));
    let size = size_of_val(&*exchange.answer);
    assert!(size <= SMALL, "{size}");
}

#[tokio::test]
async fn a_client_hears_progress_under_its_own_token_and_logs_if_it_named_a_level() {
    let kit = Kit::new().await;
    let meta = json!({"progressToken": "mine", "io.modelcontextprotocol/logLevel": "info"});
    for (face, meta, expected) in
        [(only("old"), json!({}), 0), (only("old"), meta.clone(), 2), (only("new"), meta, 2)]
    {
        let params = json!({"name": "talk", "_meta": with(envelope(&json!({})), &meta)});
        let mut exchange = kit.exchange(face, "tools/call", &params);
        let answer = (&mut exchange.answer).await;
        assert_eq!(answer.kind, AnswerKind::Handled);
        let mut heard = Vec::new();
        while let Ok(message) = exchange.events.try_recv() {
            heard.push(read(&message));
        }
        assert_eq!(heard.len(), expected, "{heard:?}");
        if let [progress, message] = heard.as_slice() {
            assert_eq!(progress["params"], json!({"progressToken": "mine", "progress": 1}));
            assert_eq!(message["params"]["data"], "hello");
        }
    }
}

#[tokio::test]
async fn the_headers_of_a_call_are_checked_where_there_are_headers() {
    let kit = Kit::new().await;
    let params = with(call("old__echo", &json!({})), &json!({"arguments": {"region": "here"}}));
    let headers = |value: &str| Some(vec![("region".to_owned(), value.to_owned())]);
    for (headers, expected) in [
        (headers("here"), AnswerKind::Handled),
        (headers("there"), AnswerKind::BadRequest),
        (Some(Vec::new()), AnswerKind::BadRequest),
        (None, AnswerKind::Handled),
    ] {
        let (answer, kind) = answered(kit.with_headers(Face::All, "tools/call", &params, headers)).await;
        assert_eq!(kind, expected);
        assert_eq!(answer["error"]["code"] == -32020, expected == AnswerKind::BadRequest, "{answer}");
    }
}

#[tokio::test]
async fn dropping_the_answer_cancels_the_call() {
    let kit = Kit::new().await;
    let mut exchange = kit.exchange(only("old"), "tools/call", &call("hang", &json!({})));
    tokio::select! {
        _ = &mut exchange.answer => panic!("it hangs"),
        () = kit.legacy.reached.notified() => {}
    }
    drop(exchange);
    assert_eq!(kit.legacy.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_resource_that_is_not_there_is_told_in_modern_words() {
    let kit = Kit::new().await;
    for (face, uri) in [(only("old"), "a://b"), (only("old"), "a://other")] {
        let params = with(nothing(), &json!({ "uri": uri }));
        let (answer, _) = kit.ask(face, "resources/read", &params).await;
        assert_eq!(
            (&answer["error"]["code"], &answer["error"]["data"]["uri"]),
            (&json!(-32602), &json!(uri))
        );
    }
}

#[tokio::test]
async fn a_task_goes_to_the_plugin_that_began_it() {
    let kit = Kit::new().await;
    let get = with(nothing(), &json!({"taskId": "task-1"}));
    let (answer, kind) = kit.ask(Face::All, "tasks/get", &get).await;
    assert_eq!((answer["error"]["code"].as_i64(), kind), (Some(-32602), AnswerKind::Handled));
    kit.ask(Face::All, "tools/call", &call("new__task", &json!({}))).await;
    for face in [Face::All, only("new")] {
        let (answer, _) = kit.ask(face, "tasks/get", &get).await;
        assert_eq!(answer["result"]["structuredContent"]["method"], "tasks/get", "{answer}");
    }
    let (_, kind) = kit.ask(only("old"), "tasks/get", &get).await;
    assert_eq!(kind, AnswerKind::UnknownMethod);
}

#[tokio::test]
async fn a_client_may_take_longer_than_a_call_to_answer() {
    let kit = Kit::new().await;
    tokio::time::pause();
    let first = call("ask", &json!({"elicitation": {}}));
    let (answer, _) = kit.ask(only("old"), "tools/call", &first).await;
    tokio::time::sleep(Duration::from_secs(5 * 60)).await;
    let state = &answer["result"]["requestState"];
    let retry = json!({"requestState": state, "inputResponses": {"1": {"action": "decline"}}});
    let (answer, _) = kit.ask(only("old"), "tools/call", &with(first, &retry)).await;
    assert_eq!(answer["result"]["structuredContent"]["answer"]["action"], "decline", "{answer}");
}
