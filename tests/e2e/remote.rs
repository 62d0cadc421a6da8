//! Remote plugins: a server that the host did not start and does not own.

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::fake::{Fake, OnCall};
use crate::support::mockproc::{MockProcess, free_port};
use crate::support::{Manifest, TestHost, eventually, mock};

async fn goes_and_comes_back(dialect: &str, path: &str) {
    let port = free_port();
    let server = MockProcess::listening(dialect, port, &[]).await;
    let remote = Manifest::url(&format!("http://127.0.0.1:{port}{path}"))
        .set("dialect", dialect)
        .set("health.interval", "200ms")
        .set("health.timeout", "1s");
    let host = TestHost::with([("far", remote), ("near", mock())]).await;
    host.until_state("far", "ready").await;
    let near = host.pid_of("near").await;
    let view = host.plugin("far").await;
    assert_eq!((&view["kind"], &view["dialect"]), (&json!("remote"), &json!(dialect)), "{view}");
    assert_eq!(text_of(&host.call("far", "echo", json!({ "message": "over there" })).await), "over there");

    drop(server);
    let view = host.until("far", "not ready", |view| view["state"] != "ready").await;
    let view = if view["cause"]["code"] == "unreachable" {
        view
    } else {
        host.until_cause("far", "unreachable").await
    };
    assert!(view["cause"]["remedy"].is_string(), "{view}");
    let problem = host.try_call("far", "echo", json!({ "message": "x" })).await;
    assert!(matches!(problem.status, 502 | 503), "{}", problem.text());

    let _server = MockProcess::listening(dialect, port, &[]).await;
    host.until_state("far", "ready").await;
    assert_eq!(text_of(&host.call("far", "echo", json!({ "message": "again" })).await), "again");
    assert_eq!(host.pid_of("near").await, near);
}

#[tokio::test]
async fn a_streamable_http_server_goes_and_comes_back() {
    goes_and_comes_back("http", "/mcp").await;
}

#[tokio::test]
async fn an_http_and_sse_server_goes_and_comes_back() {
    goes_and_comes_back("sse", "/sse").await;
}

#[tokio::test]
async fn an_sse_post_server_goes_and_comes_back() {
    goes_and_comes_back("sse-post", "/sse").await;
}

#[tokio::test]
async fn the_dialect_of_a_url_is_detected() {
    let (http, sse) = (free_port(), free_port());
    let _http = MockProcess::listening("http", http, &[]).await;
    let _sse = MockProcess::listening("sse", sse, &[]).await;
    let host = TestHost::with([
        ("http", Manifest::url(&format!("http://127.0.0.1:{http}/mcp"))),
        ("sse", Manifest::url(&format!("http://127.0.0.1:{sse}/sse"))),
    ])
    .await;
    for id in ["http", "sse"] {
        assert_eq!(host.until_state(id, "ready").await["dialect"], id);
        host.call(id, "echo", json!({ "message": "x" })).await;
    }
}

#[tokio::test]
async fn a_remote_server_that_is_not_there_at_first_is_waited_for() {
    let port = free_port();
    let remote = Manifest::url(&format!("http://127.0.0.1:{port}/mcp")).set("dialect", "http");
    let host = TestHost::with([("far", remote)]).await;
    host.until_cause("far", "unreachable").await;
    let _server = MockProcess::listening("http", port, &[]).await;
    host.command("far", "start").await;
    host.until_state("far", "ready").await;
}

#[tokio::test]
async fn a_remote_plugin_is_not_ended_with_the_host() {
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let mut host = TestHost::with([("far", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("far", "ready").await;
    host.reboot().await;
    host.until_state("far", "ready").await;
    host.call("far", "odd", json!({})).await;
    assert_eq!(fake.calls(), 1);
}

#[tokio::test]
async fn a_session_is_ended_when_its_plugin_is_stopped() {
    let fake = Fake::start(OnCall::Result("{\"content\":[]}"));
    let host = TestHost::with([("far", Manifest::url(&fake.url()).set("dialect", "http"))]).await;
    host.until_state("far", "ready").await;
    assert_eq!(fake.closed(), 0);
    host.command("far", "stop").await;
    host.until_state("far", "stopped").await;
    eventually("the session's end to be told", async || {
        if fake.closed() == 1 { Ok(()) } else { Err(fake.closed().to_string()) }
    })
    .await;
}

#[tokio::test]
async fn a_remote_server_that_refuses_the_token_is_told_apart() {
    let fake = Fake::start(OnCall::NoEntry);
    let remote = Manifest::url(&fake.url()).set("dialect", "http").set("auth.bearer", "HUSH-HUSH");
    let host = TestHost::with([("far", remote)]).await;
    let view = host.until_cause("far", "unauthorized").await;
    assert!(view["cause"]["remedy"].as_str().unwrap().contains("auth"), "{view}");
    assert!(!view.to_string().contains("HUSH") && !host.said().contains("HUSH"), "the token is shown");
}
