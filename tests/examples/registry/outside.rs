//! The registry as a server outside, started as its container starts it, and wharf as its client.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::plugin::value;
use super::running::Running;
use super::setup::{agent, example, ids, packages, with};
use crate::support::Answer;
use crate::support::host::{Setup, client};
use crate::support::mockproc::free_port;

pub(super) const TOKEN: &str = "HUSH-HUSH-REGISTRY";

/// The command of `deploy/Dockerfile.server` on a port of ours.
pub(super) async fn server(port: u16, database: PathBuf, log: PathBuf) -> Running {
    let file = fs::read_to_string(example().join("deploy/Dockerfile.server")).expect("the container file");
    let (_, line) = file.rsplit_once("\nCMD ").expect("a command");
    let words: Vec<String> = serde_json::from_str(line).expect("a list of words");
    let [python, rest @ .., given] = words.as_slice() else { panic!("an odd command: {words:?}") };
    assert_eq!((python.as_str(), given.as_str()), ("python", "8080"), "{words:?}");
    let mut command = Command::new(packages().bin("python3"));
    command.args(rest).arg(port.to_string()).current_dir(example());
    command.env("REGISTRY_TOKEN", TOKEN).env("REGISTRY_DB", database).env_remove("ATLAS_URL");
    Running::start(&mut command, log).on(port).await
}

/// A host that is told of the server on this port.
pub(super) fn told(port: u16, token: &str) -> Setup {
    with("registry-outside")
        .env("REGISTRY_URL", &format!("http://127.0.0.1:{port}/sse"))
        .env("REGISTRY_TOKEN", token)
}

#[tokio::test]
async fn the_registry_outside_is_used_with_its_token_and_comes_back() {
    let (id, port) = ("registry-outside", free_port());
    let setup = told(port, TOKEN);
    let (database, log) = (setup.scratch("registry.db"), setup.scratch("server.log"));
    let running = server(port, database.clone(), log.clone()).await;
    let host = setup.start().await;
    let view = host.until_state(id, "ready").await;
    assert_eq!((&view["kind"], &view["dialect"]), (&json!("remote"), &json!("sse")), "{view}");
    value(&host, id, "register_agent", agent("analyst", &[], &[])).await;

    drop(running);
    host.until_cause(id, "unreachable").await;
    let _running = server(port, database, log).await;
    host.command(id, "start").await;
    host.until_state(id, "ready").await;
    assert_eq!(ids(&value(&host, id, "list_agents", json!({})).await), ["analyst"]);
    assert!(
        !host.plugin(id).await.to_string().contains(TOKEN) && !host.said().contains(TOKEN),
        "it is shown"
    );
}

#[tokio::test]
async fn the_registry_outside_lets_nobody_in_without_its_token() {
    let port = free_port();
    let setup = told(port, "a guess");
    let _running = server(port, setup.scratch("registry.db"), setup.scratch("server.log")).await;
    for (path, status) in [("sse", 401), ("messages/?session_id=0", 401), ("health", 200)] {
        let url = format!("http://127.0.0.1:{port}/{path}");
        let request = if path.starts_with("messages") { client().post(url) } else { client().get(url) };
        let answer = Answer::of(request).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
    }
    let host = setup.start().await;
    let view = host.until_cause("registry-outside", "unauthorized").await;
    assert!(view["cause"]["remedy"].as_str().unwrap().contains("auth"), "{view}");
}
