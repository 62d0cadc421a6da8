//! Started from the manifests in the folder, called over REST and MCP, killed, back, stopped, gone.

use serde_json::{Value, json};

use super::checkout::{mock_reply, started};
use crate::support::TestHost;
use crate::support::answer::text_of;
use crate::support::mcp::LEGACY;
use crate::support::procs::{assert_none_left, is_gone, kill9};

#[tokio::test]
async fn both_servers_live_under_wharf() {
    let (host, _) = started(&[("AI_PROVIDER", "mock")]).await;
    every_tool_answers_over_rest(&host).await;
    every_tool_answers_over_mcp(&host).await;
    let (a, b) = (host.pid_of("server-a").await, host.pid_of("server-b").await);
    kill9(b);
    host.until_back("server-b", b).await;
    let again = host.call("server-a", "send_message", json!({ "message": "again" })).await;
    assert_eq!(again["structuredContent"]["aiResponse"], mock_reply(1, "again"), "a new B counts anew");
    assert_eq!(host.pid_of("server-a").await, a, "the one is not touched by the death of the other");
    kill9(a);
    let a = host.until_back("server-a", a).await;
    host.call("server-a", "check_server_b_health", json!({})).await;
    without_b_a_says_what_it_tried(&host).await;
    host.command("server-a", "stop").await;
    host.until_state("server-a", "stopped").await;
    assert!(is_gone(a), "it is stopped");
    let mut host = host;
    let (mark, home) = (host.mark().to_owned(), host.home().to_owned());
    assert!(host.end(nix::sys::signal::Signal::SIGTERM).success());
    assert_none_left(&mark, &home);
}

async fn every_tool_answers_over_rest(host: &TestHost) {
    let sent = host.call("server-a", "send_message", json!({ "message": "one" })).await;
    let reply = &sent["structuredContent"];
    assert_eq!(reply["aiResponse"], mock_reply(1, "one"), "{sent}");
    assert_eq!((&reply["status"], &reply["provider"]), (&"success".into(), &"mock".into()), "{sent}");
    assert_eq!(reply["usage"]["estimatedCost"], Value::Null, "a model without a price costs null: {sent}");
    let streamed = host.call("server-a", "send_message_stream", json!({ "message": "two" })).await;
    assert_eq!(text_of(&streamed), super::checkout::mock_stream(2, "two"));
    let health = host.call("server-a", "check_server_b_health", json!({})).await;
    assert_eq!(health["structuredContent"]["status"], "healthy", "{health}");
    assert_eq!(health["structuredContent"]["messagesProcessed"], 2, "{health}");
    let models = host.call("server-a", "list_available_models", json!({})).await;
    assert_eq!(models["structuredContent"]["models"], json!(["mock-model"]));
    let processed = host.call("server-b", "process_message", json!({ "message": "three" })).await;
    assert_eq!(processed["structuredContent"]["aiResponse"], mock_reply(3, "three"));
    let health = host.call("server-b", "health_check", json!({})).await;
    assert_eq!(health["structuredContent"]["provider"], "mock");
    let info = host.call("server-b", "get_provider_info", json!({})).await;
    assert_eq!(info["structuredContent"]["defaultModel"], "mock-model");
    let empty = host.call("server-a", "send_message", json!({ "message": "" })).await;
    assert_eq!(empty["isError"], true, "{empty}");
    assert!(text_of(&empty).contains("at least 1 character"), "{empty}");
}

async fn every_tool_answers_over_mcp(host: &TestHost) {
    let all = host.session("/mcp", LEGACY).await;
    for (tool, arguments, told) in [
        ("server-a__send_message", json!({ "message": "x" }), "MOCK RESPONSE #4"),
        ("server-a__send_message_stream", json!({ "message": "x" }), "MOCK STREAM #5"),
        ("server-a__check_server_b_health", json!({}), "healthy"),
        ("server-a__list_available_models", json!({}), "mock-model"),
        ("server-b__process_message", json!({ "message": "x" }), "MOCK RESPONSE #6"),
        ("server-b__health_check", json!({}), "healthy"),
        ("server-b__get_provider_info", json!({}), "mock-model"),
    ] {
        let result = all.call(tool, arguments).await;
        assert!(text_of(&result).contains(told), "{tool}: {result}");
    }
    let tools = all.ask("tools/list", json!({})).await;
    assert_eq!(tools["result"]["tools"].as_array().unwrap().len(), 7, "{tools}");
    let one = host.session("/plugins/server-b/mcp", LEGACY).await;
    let health = one.call("health_check", json!({})).await;
    assert_eq!(health["structuredContent"]["messagesProcessed"], 6, "{health}");
}

async fn without_b_a_says_what_it_tried(host: &TestHost) {
    host.command("server-b", "stop").await;
    for tool in ["send_message", "send_message_stream"] {
        let failed = host.call("server-a", tool, json!({ "message": "nobody there" })).await;
        assert_eq!(failed["isError"], true, "{failed}");
        assert!(text_of(&failed).contains("SERVER_B_URL) does not answer"), "{failed}");
    }
    host.command("server-b", "start").await;
    host.until_state("server-b", "ready").await;
    let sent = host.call("server-a", "send_message", json!({ "message": "there again" })).await;
    assert_eq!(sent["structuredContent"]["aiResponse"], mock_reply(1, "there again"));
}
