//! What `/metrics` says is so, under kills too, and bounded: a label has no value that a client could choose.

use std::io::Write as _;
use std::process::{Command, Stdio};

use reqwest::Method;
use serde_json::json;

use crate::support::mcp::{LEGACY, call};
use crate::support::metrics::Page;
use crate::support::procs::kill9;
use crate::support::{Answer, TestHost, eventually, mock};

#[tokio::test]
async fn calls_are_counted_by_how_they_ended() {
    let host = TestHost::with([("m", mock())]).await;
    host.until_state("m", "ready").await;
    for n in 0..3 {
        host.call("m", "echo", json!({ "message": n.to_string() })).await;
    }
    host.call("m", "fail", json!({})).await;
    host.try_call("m", "rpc_error", json!({ "code": -32000 })).await.problem(502, "protocol_error");
    host.try_call("m", "add", json!({ "a": "x" })).await.problem(422, "invalid_arguments");
    let session = host.session("/mcp", LEGACY).await;
    session.call("m__echo", json!({ "message": "x" })).await;
    let page = host.metrics().await;
    assert_eq!(page.ended("m", "echo", "ok"), 4.0);
    assert_eq!((page.ended("m", "fail", "tool_error"), page.ended("m", "fail", "ok")), (1.0, 0.0));
    assert_eq!(page.ended("m", "rpc_error", "rpc_error"), 1.0);
    assert_eq!(page.ended("m", "add", "invalid_arguments"), 1.0);
    let echo = [("tool", "echo"), ("le", "+Inf")];
    assert_eq!(page.sum("mcp_server_operation_duration_seconds_bucket", &echo), Some(4.0));
    let took = page.sum("mcp_server_operation_duration_seconds_sum", &[("tool", "echo")]).unwrap();
    assert!(took > 0.0 && took < 60.0, "{took}");
    assert_eq!(page.sum("host_sessions_open", &[]), Some(1.0));
}

#[tokio::test]
async fn a_plugin_is_shown_as_it_is_and_not_at_all_once_it_is_gone() {
    let host = TestHost::with([("m", mock()), ("late", mock())]).await;
    for id in ["m", "late"] {
        host.until_state(id, "ready").await;
        host.call(id, "echo", json!({ "message": "x" })).await;
    }
    let page = host.metrics().await;
    let states: Vec<_> = page.all("host_plugin_state", &[("plugin", "m")]).collect();
    assert_eq!(states.len(), 12);
    assert_eq!(states.iter().map(|(_, value)| value).sum::<f64>(), 1.0);
    assert_eq!(page.sum("host_plugin_state", &[("plugin", "m"), ("state", "ready")]), Some(1.0));
    assert_eq!(page.sum("host_plugin_up", &[("plugin", "m")]), Some(1.0));
    assert_eq!(page.sum("host_plugin_start_duration_seconds_count", &[("plugin", "m")]), Some(1.0));
    let instance = [("plugin", "m"), ("instance", "0")];
    assert_eq!(page.sum("host_instance_inflight", &instance), Some(0.0));
    let closed = [("plugin", "m"), ("instance", "0"), ("state", "closed")];
    assert_eq!(page.sum("host_breaker_state", &closed), Some(1.0));
    assert_eq!(page.sum("host_journal_state", &[("state", "ok")]), Some(1.0));
    assert!(page.sum("host_process_resident_memory_bytes", &instance).unwrap() > 1e6);
    assert!(page.sum("host_process_cpu_seconds_total", &instance).is_some());
    assert!(page.sum("process_resident_memory_bytes", &[]).unwrap() > 1e6);
    assert!(page.sum("host_config_reloads_total", &[("result", "ok")]) >= Some(1.0));
    assert_eq!(page.sum("host_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), Some(1.0));

    host.command("m", "stop").await;
    let page = host.metrics().await;
    assert_eq!(page.sum("host_plugin_up", &[("plugin", "m")]), Some(0.0));
    assert_eq!(
        page.sum("host_process_resident_memory_bytes", &[("plugin", "m")]),
        None,
        "nothing of it runs"
    );
    assert_eq!(page.ended("m", "echo", "ok"), 1.0, "what was counted stays");

    assert!(page.of_plugin("late") > 0);
    host.remove("late");
    eventually("the plugin to be gone", async || {
        let answer = host.get("/api/v1/plugins/late").await;
        if answer.status == 404 { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    let page = host.metrics().await;
    assert_eq!(page.of_plugin("late"), 0, "{page:?}");
    host.put_file("bad.toml", "command = 5");
    host.post("/api/v1/reload", &json!({})).await.expect(200);
    assert!(host.metrics().await.sum("host_config_reloads_total", &[("result", "invalid")]) >= Some(1.0));
}

#[tokio::test]
async fn a_kill_is_counted_once_with_its_cause_and_so_is_the_call_that_it_took() {
    let host = TestHost::with([("m", mock())]).await;
    let pid = host.pid_of("m").await;
    assert_eq!(host.metrics().await.sum("host_plugin_restarts_total", &[]), None);
    let killed = async {
        host.until("m", "in a call", |view| view["instances"][0]["inflight"] == 1).await;
        let page = host.metrics().await;
        assert_eq!(page.sum("host_instance_inflight", &[("plugin", "m")]), Some(1.0));
        kill9(pid);
    };
    let (answer, ()) = tokio::join!(host.try_call("m", "sleep", json!({ "ms": 60_000 })), killed);
    answer.problem(502, "outcome_unknown");
    host.until_back("m", pid).await;
    let view = host.plugin("m").await;
    let cause = view["instances"][0]["last_exit"]["cause"].as_str().unwrap().to_owned();
    let page = host.metrics().await;
    let restarts: Vec<_> = page.all("host_plugin_restarts_total", &[("plugin", "m")]).collect();
    assert_eq!(restarts.len(), 1, "{restarts:?}");
    assert_eq!((restarts[0].0["reason"].as_str(), restarts[0].1), (cause.as_str(), 1.0), "{view}");
    assert_eq!(page.ended("m", "sleep", "outcome_unknown"), 1.0);
    assert_eq!(page.sum("host_plugin_start_duration_seconds_count", &[("plugin", "m")]), Some(2.0));
    assert_eq!(page.sum("host_instance_inflight", &[("plugin", "m")]), Some(0.0));
}

#[tokio::test]
async fn a_client_that_leaves_is_counted_as_cancelled() {
    let host = TestHost::with([("m", mock())]).await;
    host.until_state("m", "ready").await;
    {
        let call = host.try_call("m", "sleep", json!({ "ms": 60_000 }));
        let inside = host.until("m", "in a call", |view| view["instances"][0]["inflight"] == 1);
        tokio::select! {
            answer = call => panic!("it sleeps: {}", answer.text()),
            _ = inside => {}
        }
    }
    eventually("the call to be counted", async || {
        let page = host.metrics().await;
        if page.ended("m", "sleep", "cancelled") == 1.0 { Ok(()) } else { Err(format!("{page:?}")) }
    })
    .await;
}

#[tokio::test]
async fn a_call_that_is_turned_away_is_counted_with_the_reason() {
    let host = TestHost::with([("m", mock().set("limits.concurrency", 1).set("limits.queue", 0))]).await;
    host.until_state("m", "ready").await;
    let full = async {
        host.until("m", "in a call", |view| view["instances"][0]["inflight"] == 1).await;
        host.try_call("m", "echo", json!({ "message": "x" })).await.problem(503, "queue_full");
    };
    tokio::select! {
        answer = host.try_call("m", "sleep", json!({ "ms": 60_000 })) => panic!("it sleeps: {}", answer.text()),
        () = full => {}
    }
    host.command("m", "stop").await;
    host.try_call("m", "echo", json!({ "message": "x" })).await.problem(503, "plugin_unavailable");
    let page = host.metrics().await;
    let rejected = |reason| page.sum("host_calls_rejected_total", &[("plugin", "m"), ("reason", reason)]);
    assert_eq!((rejected("queue_full"), rejected("rate_limited")), (Some(1.0), Some(0.0)));
    assert_eq!(rejected("plugin_unavailable"), Some(1.0));
    assert_eq!(page.ended("m", "echo", "queue_full"), 1.0);
}

#[tokio::test]
async fn no_client_chooses_a_label() {
    let host = TestHost::with([("m", mock())]).await;
    host.until_state("m", "ready").await;
    let session = host.session("/mcp", LEGACY).await;
    let own = host.session("/plugins/m/mcp", LEGACY).await;
    for n in 0..20 {
        let name = format!("no-such-{n}");
        host.try_call("m", &name, json!({})).await.problem(404, "tool_not_found");
        host.try_call(&name, "echo", json!({})).await.problem(404, "plugin_not_found");
        for session in [&session, &own] {
            session.ask("tools/call", call(&name, json!({}))).await;
        }
        own.ask(&format!("vendor/{name}"), json!({})).await;
    }
    let page = host.metrics().await;
    assert_eq!(page.ended("m", "_other", "tool_not_found"), 40.0);
    assert_eq!(
        (
            page.ended("_other", "_other", "plugin_not_found"),
            page.ended("_other", "_other", "tool_not_found")
        ),
        (20.0, 20.0)
    );
    let count = "mcp_server_operation_duration_seconds_count";
    assert_eq!(page.sum(count, &[("method", "_other"), ("plugin", "m")]), Some(20.0));
    assert_eq!(page.all(count, &[]).count(), 4, "{page:?}");
}

#[tokio::test]
async fn monitors_of_both_kinds_can_read_it_and_nobody_without_a_token() {
    let host = TestHost::with([("m", mock())]).await;
    host.until_state("m", "ready").await;
    host.call("m", "echo", json!({ "message": "x" })).await;
    Answer::of(host.bare(Method::GET, "/metrics")).await.problem(401, "unauthorized");
    let open = host
        .request(Method::GET, "/metrics")
        .header("accept", "application/openmetrics-text;version=1.0.0,*/*;q=0.1");
    let open = Answer::of(open).await;
    assert!(
        open.header("content-type").starts_with("application/openmetrics-text"),
        "{:?}",
        open.header("content-type")
    );
    assert!(open.text().ends_with("# EOF\n"));
    let plain = host.get("/metrics").await;
    assert!(plain.header("content-type").starts_with("text/plain; version=0.0.4"));
    let page = Page::parse(&plain.text());
    for (name, kind) in &page.types {
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name} {kind}");
    }
    promtool(&plain.text());
}

/// What Prometheus itself says of the page, where it is there to be asked.
fn promtool(page: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else { return };
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let said = child.wait_with_output().unwrap();
    assert!(
        said.status.success(),
        "{}{}",
        String::from_utf8_lossy(&said.stdout),
        String::from_utf8_lossy(&said.stderr)
    );
}
