//! The servers by themselves: what they list and answer, on which endpoints, and that they come back.

use std::net::TcpListener;

use serde_json::{Value, json};

use super::*;
use crate::support::PATIENCE;
use crate::support::mcp::{self, LEGACY};
use crate::support::procs::kill9;

#[tokio::test]
async fn all_three_list_their_tools_answer_on_every_endpoint_and_recover() {
    let host = fleet().await;
    for (id, _, tools) in SERVERS {
        it_lists(&host, id, tools).await;
    }
    let id = incident(&host).await;
    let mut pids = Vec::new();
    for (plugin, ..) in SERVERS {
        pids.push((plugin, host.pid_of(plugin).await));
    }
    for (plugin, pid) in pids {
        kill9(pid);
        host.until_back(plugin, pid).await;
    }
    let sent =
        ask(&host, &format!("{WORKFLOW}/notify_team"), json!({ "incident_id": id, "message": "hi" })).await;
    assert_eq!(sent["sent"], 1, "the incident outlives the server: {sent}");
    for (plugin, _, tools) in SERVERS {
        it_lists(&host, plugin, tools).await;
        host.command(plugin, "stop").await;
        host.until_state(plugin, "stopped").await;
    }
    for (plugin, ..) in SERVERS {
        host.try_call(plugin, "x", json!({})).await.problem(503, "plugin_unavailable");
    }
}

/// Over MCP, both at its own endpoint and among all; and one call over each.
async fn it_lists(host: &TestHost, id: &str, tools: &[&str]) {
    let own = host.session(&format!("/plugins/{id}/mcp"), LEGACY).await;
    let listed = own.ask("tools/list", json!({})).await["result"]["tools"].take();
    let mut names: Vec<_> =
        listed.as_array().unwrap().iter().map(|tool| tool["name"].as_str().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, tools);
    let (tool, arguments) = match id {
        MONITORING => ("verify_health", json!({})),
        WORKFLOW => ("create_incident", json!({ "title": "x", "service": "checkout" })),
        _ => ("get_raw_logs", json!({ "incident_id": "INC-0001", "timeframe": "1m" })),
    };
    let all = host.session("/mcp", LEGACY).await;
    for result in
        [own.call(tool, arguments.clone()).await, all.call(&format!("{id}__{tool}"), arguments).await]
    {
        assert_eq!(result["isError"], false, "{result}");
    }
}

#[tokio::test]
async fn one_process_serves_both_dialects_and_its_health() {
    let host = fleet().await;
    for id in [MONITORING, WORKFLOW] {
        let health = direct(&host, id, "/health").await.unwrap().expect(200);
        assert_eq!(health, json!({ "status": "healthy", "server": id }));
        let port = host.plugin(id).await["instances"][0]["port"].clone();
        let client = crate::support::host::client();
        let old = client.get(format!("http://127.0.0.1:{port}/sse")).timeout(PATIENCE).send();
        let first = old.await.unwrap().chunk().await.unwrap().expect("a first event");
        assert!(first.starts_with(b"event: endpoint"), "{first:?}");
        let hello = mcp::request(1, "initialize", mcp::hello(LEGACY));
        let new =
            client.post(format!("http://127.0.0.1:{port}/mcp")).header("accept", mcp::BOTH).json(&hello);
        let reply = mcp::reply(&Answer::of(new).await, 200);
        assert_eq!(reply["result"]["serverInfo"]["name"], id, "{reply}");
    }
    if networks_can_be_made() {
        assert!(
            direct(&host, LOGS, "/health").await.is_err(),
            "it runs what agents write: only the host reaches it"
        );
    }
}

#[tokio::test]
async fn a_port_in_use_is_told_and_taken_when_it_is_free() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port().to_string();
    let text = manifest(MONITORING, &port).replace("[health]", "[restart]\nmax = \"1s\"\n[health]");
    let host = setup().file("monitoring-analysis.toml", text).start().await;
    let view = host.until_cause(MONITORING, "port_in_use").await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains(&port), "{view}");
    drop(other);
    host.until_state(MONITORING, "ready").await;
    assert_eq!(host.plugin(MONITORING).await["instances"][0]["port"].to_string(), port);
}

#[tokio::test]
async fn only_the_right_remediation_changes_what_verification_sees() {
    let host = fleet().await;
    let [metrics, cause, verify] = ["get_system_metrics", "root_cause_analysis", "verify_health"];
    let look = async |tool: &str| ask(&host, &format!("{MONITORING}/{tool}"), json!({})).await;
    let before = look(metrics).await["services"]["payments"].take();
    assert_eq!(
        (&before["status"], &before["connections_percent"]),
        (&json!("failing"), &json!(100)),
        "{before}"
    );
    let found = look(cause).await;
    assert_eq!(found["root_cause"], "connection pool exhausted", "{found}");
    assert_eq!(found["affected"], json!(["api-gateway", "checkout"]), "{found}");
    let id = incident(&host).await;
    let resolve = json!({ "incident_id": id, "root_cause": "the pool", "resolution": "a larger one" });
    for (action, heals) in [("restart_service", false), ("increase_pool_size", true)] {
        assert_eq!(look(verify).await["healthy"], false);
        let early = refused(&host, &format!("{WORKFLOW}/document_resolution"), resolve.clone()).await;
        assert!(early.contains("not healthy"), "{early}");
        let step = json!({ "incident_id": id, "action": action, "service": "payments" });
        ask(&host, &format!("{WORKFLOW}/execute_remediation"), step).await;
        assert_eq!(look(verify).await["healthy"], heals, "{action}");
    }
    assert_eq!(look(metrics).await["services"]["payments"]["status"], "healthy");
    assert_eq!(look(cause).await["root_cause"], Value::Null);
    let resolved = ask(&host, &format!("{WORKFLOW}/document_resolution"), resolve).await;
    assert_eq!(
        (&resolved["status"], resolved["remediations"].as_array().unwrap().len()),
        (&json!("resolved"), 2)
    );
    let file = host.state().join(format!("data/{WORKFLOW}/incidents/{id}.json"));
    assert_eq!(serde_json::from_slice::<Value>(&fs::read(file).unwrap()).unwrap(), resolved);
}

#[tokio::test]
async fn a_bad_argument_is_told_with_its_remedy() {
    let host = fleet().await;
    let id = incident(&host).await;
    for (tool, arguments, remedy) in [
        ("monitoring-analysis/verify_health", json!({ "service": "mail" }), "payments"),
        ("monitoring-analysis/analyze_logs", json!({ "timeframe": "soon" }), "'1h'"),
        ("workflow-orchestration/notify_team", json!({ "incident_id": "../x", "message": "" }), &*id),
        (
            "workflow-orchestration/execute_remediation",
            json!({ "incident_id": id, "action": "pray", "service": "payments" }),
            "rollback_release",
        ),
        ("log-analytics/get_raw_logs", json!({ "incident_id": "../x" }), "INC-0001"),
    ] {
        let said = refused(&host, tool, arguments).await;
        assert!(said.contains(remedy), "{tool}: {said}");
    }
}

#[tokio::test]
async fn the_logs_are_many_and_those_of_the_fleet_s_seed() {
    let logs = async |seed: &str| {
        let setup = setup().env("FLEET_SEED", seed).file("log-analytics.toml", manifest(LOGS, "\"auto\""));
        let host = setup.start().await;
        host.until_state(LOGS, "ready").await;
        ask(&host, &format!("{LOGS}/get_raw_logs"), json!({ "incident_id": "INC-0001" })).await["entries"]
            .take()
    };
    let [first, again, other] = [logs("3").await, logs("3").await, logs("4").await];
    assert_eq!(first.as_array().unwrap().len(), 1200);
    assert!(first == again && first != other, "the seed decides");
    let errors = |entries: &Value, text: &str| {
        entries.as_array().unwrap().iter().any(|e| e["message"].as_str().unwrap().contains(text))
    };
    assert!(errors(&first, "ConnectionPoolTimeout") && errors(&other, "OutOfMemoryError"));
}
