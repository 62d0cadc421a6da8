//! Commands against a real server with routes of the test's own: sockets, token, exit codes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use clap::Parser;
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use wharf_core::Code;

use crate::cli::client::Client;
use crate::cli::exit::{Complaint, Exit};
use crate::cli::{Cli, Command, Target};
use crate::held::Held;
use crate::serve::{Listening, Server, Settings};
use crate::tasks::Tasks;

struct Stub {
    state: tempfile::TempDir,
    server: Server,
    url: String,
    token: String,
    looks: Arc<AtomicUsize>,
}

fn problem(code: Code, status: u16) -> impl IntoResponse {
    let body = json!({"title": code.title(), "detail": "so", "code": code.as_str()}).to_string();
    (http::StatusCode::from_u16(status).unwrap(), body)
}

fn operation(status: &str) -> axum::Json<Value> {
    axum::Json(json!({"id": "op/1", "status": status, "detail": null}))
}

fn routes(looks: Arc<AtomicUsize>) -> Router {
    let definition = json!({"inputSchema": {"properties": {"n": {"type": "integer"}}}});
    let tool =
        json!({"plugin": "p", "name": "t", "available": true, "description": null, "definition": definition});
    let look = move || async move {
        let done = looks.fetch_add(1, Ordering::SeqCst) >= 1;
        operation(if done { "done" } else { "running" })
    };
    // Answers with the arguments that reached it.
    let echo = |body: String| async move {
        let body: Value = serde_json::from_str(&body).unwrap();
        let failed = body["arguments"]["n"] == 0;
        axum::Json(
            json!({"result": {"isError": failed, "content": [{"type": "text", "text": body.to_string()}]}}),
        )
    };
    Router::new()
        .route("/api/v1/plugins", get(|| async { axum::Json(json!({"plugins": [{"id": "p"}]})) }))
        .route("/api/v1/plugins/none", get(|| async { problem(Code::PluginNotFound, 404) }))
        .route("/api/v1/plugins/p/logs", get(|| async { "2026-01-01T00:00:00.000Z 0#1 stderr x\n" }))
        .route("/api/v1/plugins/p/stop", post(|| async { operation("running") }))
        .route("/api/v1/plugins/p/start", post(|| async { operation("failed") }))
        .route("/api/v1/operations/{id}", get(look))
        .route("/api/v1/plugins/p/tools/t", get(move || async move { axum::Json(tool) }))
        .route("/api/v1/plugins/p/tools/t/call", post(echo))
        .route("/api/v1/plugins/p/tools/slow/call", post(|| async { problem(Code::Deadline, 504) }))
}

async fn stub() -> Stub {
    let state = tempfile::tempdir().unwrap();
    let looks = Arc::new(AtomicUsize::new(0));
    let settings = Settings {
        listen: "127.0.0.1:0".parse().unwrap(),
        state: state.path().to_owned(),
        auth: true,
        allow_hosts: Vec::new(),
        allow_origins: Vec::new(),
        threads: 0,
    };
    let listening = Listening::bind(&settings).await.unwrap();
    let url = format!("http://{}", listening.address());
    let token = listening.token().unwrap().expose_secret().to_owned();
    let server =
        listening.serve_routes(Tasks::default(), Held::default(), routes(Arc::clone(&looks))).unwrap();
    Stub { state, server, url, token, looks }
}

fn by_socket(state: &Path) -> Target {
    Target { state: Some(state.to_owned()), url: None, token: None }
}

/// Runs a command line against the target and gives its exit code.
async fn exit(target: &Target, line: &[&str]) -> Exit {
    let cli = Cli::try_parse_from([&["wharf"], line].concat()).unwrap();
    let host = Client::new(target).unwrap();
    let Command::Ask(ask) = cli.command else { panic!("{line:?} asks no host") };
    let ended: Result<(), Complaint> = ask.run(&host).await;
    ended.map_or_else(|complaint| complaint.exit, |()| Exit::Ok)
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_and_a_url_needs_the_right_one() {
    let stub = stub().await;
    assert_eq!(exit(&by_socket(stub.state.path()), &["ps", "--json"]).await, Exit::Ok);
    let by_url = |token: Option<&str>| Target {
        state: None,
        url: Some(stub.url.clone()),
        token: token.map(str::to_owned),
    };
    assert_eq!(exit(&by_url(Some(&stub.token)), &["ps", "--json"]).await, Exit::Ok);
    assert_eq!(exit(&by_url(Some("wrong")), &["ps"]).await, Exit::NotAuthorised);
    assert_eq!(exit(&by_url(None), &["ps"]).await, Exit::NotAuthorised);
}

#[tokio::test]
async fn a_host_that_has_ended_is_not_running() {
    let stub = stub().await;
    assert_eq!(stub.server.stop(Duration::from_secs(10)).await, 0);
    assert!(!stub.state.path().join("wharf.sock").exists());
    assert_eq!(exit(&by_socket(stub.state.path()), &["ps"]).await, Exit::NotRunning);
    let by_url = Target { state: None, url: Some(stub.url), token: Some(stub.token) };
    assert_eq!(exit(&by_url, &["ps"]).await, Exit::NotRunning);
}

#[tokio::test]
async fn a_command_waits_for_its_operation() {
    let stub = stub().await;
    let target = by_socket(stub.state.path());
    assert_eq!(exit(&target, &["stop", "p", "--no-wait"]).await, Exit::Ok);
    assert_eq!(stub.looks.load(Ordering::SeqCst), 0);
    assert_eq!(exit(&target, &["stop", "p", "--timeout", "0s"]).await, Exit::Timeout);
    assert_eq!(exit(&target, &["stop", "p"]).await, Exit::Ok);
    assert_eq!(stub.looks.load(Ordering::SeqCst), 2);
    assert_eq!(exit(&target, &["start", "p"]).await, Exit::Failure);
}

#[tokio::test]
async fn answers_become_exit_codes() {
    let stub = stub().await;
    let target = by_socket(stub.state.path());
    assert_eq!(exit(&target, &["status", "none"]).await, Exit::NotFound);
    assert_eq!(exit(&target, &["status", "unrouted"]).await, Exit::NotFound);
    assert_eq!(exit(&target, &["describe", "p/t"]).await, Exit::Ok);
    assert_eq!(exit(&target, &["describe", "p"]).await, Exit::Usage);
    assert_eq!(exit(&target, &["logs"]).await, Exit::Ok);
    assert_eq!(exit(&target, &["logs", "-f", "p"]).await, Exit::Failure, "the host ended the log");
}

#[tokio::test]
async fn a_call_sends_typed_arguments_and_tells_how_it_ended() {
    let stub = stub().await;
    let target = by_socket(stub.state.path());
    assert_eq!(exit(&target, &["call", "p/t", "n=1"]).await, Exit::Ok);
    assert_eq!(exit(&target, &["call", "p/t", "n=0"]).await, Exit::ToolError, "0 must arrive as a number");
    assert_eq!(exit(&target, &["call", "p/t", "n=x"]).await, Exit::Usage);
    assert_eq!(exit(&target, &["call", "p/slow", "--timeout", "1s"]).await, Exit::Timeout);
}
