//! The registry as a plugin: over SSE by `fastmcp run`, over stdio by `mcp run`.

use serde_json::{Value, json};

use super::setup::{TOOLS, agent, ids, with};
use crate::support::answer::text_of;
use crate::support::mcp::LEGACY;
use crate::support::procs::{assert_none_left, kill9};
use crate::support::{Answer, TestHost};

#[tokio::test]
async fn the_registry_works_over_sse_and_survives_being_killed() {
    let host = lives("registry").await;
    the_plugin_tells_its_health(&host).await;
    ends(&host, "registry").await;
}

#[tokio::test]
async fn the_registry_works_over_stdio_and_survives_being_killed() {
    let host = lives("registry-stdio").await;
    ends(&host, "registry-stdio").await;
}

/// Starts it, uses it, kills it, and sees that it is back and knows what it knew.
async fn lives(id: &str) -> TestHost {
    let host = with(id).start().await;
    host.until_state(id, "ready").await;
    assert_eq!(host.call(id, "health_check", json!({})).await["structuredContent"]["storage"], "sqlite");
    agents_come_and_go(&host, id).await;
    what_is_wrong_is_said(&host, id).await;
    works_over_mcp(&host, id).await;
    let pid = host.pid_of(id).await;
    kill9(pid);
    host.until_back(id, pid).await;
    assert_eq!(ids(&value(&host, id, "list_agents", json!({})).await), ["analyst", "scientist"]);
    host
}

async fn ends(host: &TestHost, id: &str) {
    host.command(id, "stop").await;
    host.until_state(id, "stopped").await;
    assert_none_left("no mark: the host itself has the test's", &host.home().join("examples"));
}

async fn the_plugin_tells_its_health(host: &TestHost) {
    let port = &host.until_state("registry", "ready").await["instances"][0]["port"];
    let health = reqwest::get(format!("http://127.0.0.1:{port}/health")).await.expect("it answers");
    assert_eq!(health.status().as_u16(), 200);
    let health: Value = health.json().await.expect("JSON");
    assert_eq!(health, json!({ "status": "healthy", "storage": "sqlite" }));
}

/// A tool's value over REST.
pub(super) async fn value(host: &TestHost, id: &str, tool: &str, arguments: Value) -> Value {
    host.post(&format!("/tools/{id}/{tool}"), &arguments).await.expect(200)
}

/// Leaves `analyst` and `scientist` behind.
pub(super) async fn agents_come_and_go(host: &TestHost, id: &str) {
    for (name, capabilities, tags) in [
        ("scientist", ["statistics", "plots"].as_slice(), ["demo"].as_slice()),
        ("analyst", ["portfolios"].as_slice(), ["demo", "money"].as_slice()),
        ("marketer", [].as_slice(), [].as_slice()),
    ] {
        let made = value(host, id, "register_agent", agent(name, capabilities, tags)).await;
        assert_eq!((&made["agent_id"], &made["alive"]), (&json!(name), &json!(true)), "{made}");
    }
    assert_eq!(ids(&value(host, id, "list_agents", json!({})).await), ["analyst", "marketer", "scientist"]);
    they_are_found(host, id).await;
    they_change(host, id).await;
    value(host, id, "deregister_agent", json!({ "agent_id": "marketer" })).await;
    assert_eq!(ids(&value(host, id, "list_agents", json!({})).await), ["analyst", "scientist"]);
}

async fn they_are_found(host: &TestHost, id: &str) {
    for (question, found) in [
        (json!({ "q": "PORTFOLIO" }), ["analyst"].as_slice()),
        (json!({ "q": "only sci" }), &["scientist"]),
        (json!({ "q": "only .*" }), &[]), // a text, not a pattern
        (json!({ "tags": ["demo"] }), &["analyst", "scientist"]),
        (json!({ "tags": ["money", "demo"], "capabilities": ["plots"] }), &[]),
    ] {
        let answer = value(host, id, "search_agents", question.clone()).await;
        assert_eq!(ids(&answer), found, "{question}");
    }
}

async fn they_change(host: &TestHost, id: &str) {
    let updated = value(host, id, "update_agent", json!({ "agent_id": "scientist", "alive": false })).await;
    assert_eq!(updated["capabilities"], json!(["statistics", "plots"]), "the rest stays: {updated}");
    let got = value(host, id, "get_agent", json!({ "agent_id": "scientist" })).await;
    assert_eq!(got, updated);
    let stats = value(host, id, "stats", json!({})).await;
    assert_eq!((&stats["total_agents"], &stats["alive_agents"]), (&json!(3), &json!(2)), "{stats}");
    assert_eq!(stats["tags"], json!({ "demo": 2, "money": 1 }), "{stats}");
}

async fn what_is_wrong_is_said(host: &TestHost, id: &str) {
    for tool in ["get_agent", "update_agent", "deregister_agent"] {
        let unknown = host.call(id, tool, json!({ "agent_id": "marketer" })).await;
        assert_eq!(unknown["isError"], true, "{tool}: {unknown}");
        assert!(text_of(&unknown).contains("no agent 'marketer' is registered"), "{tool}: {unknown}");
    }
    for odd in [json!({ "agent_id": "a b" }), json!({ "agent_id": "a", "agent_url": "ftp://a" })] {
        let answer = host.post(&format!("/tools/{id}/register_agent"), &odd).await;
        answer.problem(422, "invalid_arguments");
    }
}

async fn works_over_mcp(host: &TestHost, id: &str) {
    let all = host.session("/mcp", LEGACY).await;
    let listed = all.ask("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().expect("tools");
    let mut names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, TOOLS.map(|tool| format!("{id}__{tool}")));
    let found = all.call(&format!("{id}__search_agents"), json!({ "tags": ["money"] })).await;
    assert_eq!(ids(&found["structuredContent"]), ["analyst"]);

    let modern = host.modern(
        &format!("/plugins/{id}/mcp"),
        "tools/call",
        json!({ "name": "get_agent", "arguments": { "agent_id": "analyst" } }),
    );
    let answer = crate::support::mcp::reply(&Answer::of(modern).await, 200);
    assert_eq!(answer["result"]["structuredContent"]["agent_url"], "http://analyst.example.com", "{answer}");
}
