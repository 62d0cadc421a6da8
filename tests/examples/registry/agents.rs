//! The session of the seed: the agents are there, they register themselves, and the terminal agent finds them by MCP and
//! talks to them by A2A.

use std::path::PathBuf;
use std::process::Command;

use serde_json::json;

use super::outside::{TOKEN, server, told};
use super::plugin::value;
use super::running::Running;
use super::setup::{example, ids, packages, with};
use crate::agent::program::program;
use crate::support::host::Setup;
use crate::support::mockproc::free_port;
use crate::support::{PATIENCE, TestHost};

/// Starts one of the two agents, which registers itself at this endpoint.
async fn agent(script: &str, registry: &str, token: &str, log: PathBuf) -> Running {
    let port = free_port();
    let mut command = Command::new(packages().bin("python3"));
    command.arg(example().join("agents").join(script)).args(["--port", &port.to_string()]);
    command.args(["--registry", registry]).env("REGISTRY_TOKEN", token);
    Running::start(&mut command, log).on(port).await
}

/// What the terminal agent answers, as its mock model leads it.
async fn answer(server: &str, token: &str, prompt: &str) -> String {
    let mut command = tokio::process::Command::new(program().await);
    command
        .args(["--a2a", "--server-url", server, "--script"])
        .arg(example().join("agents/session.toml"))
        .arg(prompt);
    command.env("WHARF_TOKEN", token).env_remove("AI_PROVIDER").env_remove("WHARF_STATE").kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, command.output()).await.expect("it ends").expect("it starts");
    assert!(output.status.success(), "{prompt}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8").trim().to_owned()
}

/// Both agents register at this endpoint, and answer through it.
async fn a_session(registry: &str, token: &str, setup: &Setup) -> [Running; 2] {
    let scientist = agent("data_scientist.py", registry, token, setup.scratch("scientist.log")).await;
    let analyst = agent("financial_analyst.py", registry, token, setup.scratch("analyst.log")).await;
    for (prompt, expected) in [
        ("What agents are registered?", "I found 2 registered agents, the first is data-scientist-761966."),
        (
            "Ask agent data-scientist-761966 to describe 1 2 3 6",
            "The data scientist says: 4 numbers: mean 3, median 2.5, standard deviation 1.87083",
        ),
        (
            "Tell financial-analyst-001 to analyze my portfolio: ACME 600, BOND 400",
            "The analyst says: ACME 60%, BOND 40%; concentration 0.52 (1 is a single holding)",
        ),
    ] {
        assert_eq!(answer(registry, token, prompt).await, expected, "{registry}");
    }
    [scientist, analyst]
}

#[tokio::test]
async fn the_terminal_agent_finds_agents_in_a_registry_outside_and_talks_to_them() {
    let port = free_port();
    let setup = told(port, TOKEN);
    let _registry = server(port, setup.scratch("registry.db"), setup.scratch("server.log")).await;
    let _agents = a_session(&format!("http://127.0.0.1:{port}/sse"), TOKEN, &setup).await;
    // What they registered there is there for the callers of wharf as well.
    let host = setup.start().await;
    host.until_state("registry-outside", "ready").await;
    both_are_known(&host, "registry-outside").await;
}

#[tokio::test]
async fn the_terminal_agent_finds_agents_through_wharf_and_talks_to_them() {
    let host = with("registry").start().await;
    host.until_state("registry", "ready").await;
    let logs = Setup::new();
    for path in ["mcp", "sse"] {
        let endpoint = format!("{}/plugins/registry/{path}", host.base);
        let _agents = a_session(&endpoint, &host.token, &logs).await;
        both_are_known(&host, "registry").await;
    }
}

async fn both_are_known(host: &TestHost, id: &str) {
    let found = value(host, id, "search_agents", json!({ "q": "a" })).await;
    assert_eq!(ids(&found), ["data-scientist-761966", "financial-analyst-001"]);
}
