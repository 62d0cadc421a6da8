//! The roots of a client: a server that asks for them is told those of the client that called it.
//!
//! server-everything keeps the first list that it is given for as long as it runs, so each client has an instance of its own.

use serde_json::{Value, json};

use crate::clients::{Client, Clients};
use crate::support::servers::Servers;
use crate::support::{Manifest, TestHost, WHARF};

const TOOL: &str = "get-roots-list";

async fn host() -> TestHost {
    let everything = Manifest::command(Servers::node().bin("mcp-server-everything")).arg("stdio");
    let everything = everything.set("isolation", "session").set("health.start_timeout", "60s").quick();
    let host = TestHost::with([("everything", everything)]).await;
    host.until_state("everything", "ready").await;
    host
}

/// The tool tells the roots of this client, which are nowhere else to be had.
async fn asked(client: &Client, to: &Value, tool: &str) {
    let task = json!({ "to": to, "calls": [{ "tool": tool, "arguments": {} }] });
    let report = client.run(&task).await.unwrap_or_else(|error| panic!("{}: {error}", client.name));
    let call = &report["calls"][0];
    let text = call["text"].as_str().unwrap_or_else(|| panic!("{} at {to}: {report}", client.name));
    assert!(text.starts_with("Current MCP Roots (1 total):"), "{} at {to}: {text}", client.name);
    assert!(text.contains("1. interop\n   URI: file:///interop\n"), "{} at {to}: {text}", client.name);
}

#[tokio::test]
async fn a_server_is_told_the_roots_of_its_client() {
    let clients = Clients::installed();
    let host = host().await;
    let headers = json!({ "Authorization": format!("Bearer {}", host.token) });
    let own = json!({ "url": format!("{}/plugins/everything/mcp", host.base), "headers": headers });
    let all = json!({ "url": format!("{}/mcp", host.base), "headers": headers });
    let old = json!({ "sse": format!("{}/sse", host.base), "headers": headers });
    let pipe = json!({ "command": [WHARF, "stdio", "--state", host.state()] });
    let listed = format!("everything__{TOOL}");
    for client in [&clients.python_v1, &clients.typescript_v1] {
        asked(client, &own, TOOL).await;
        for to in [&all, &old, &pipe] {
            asked(client, to, &listed).await;
        }
    }
}

/// The same with nobody in between: what the expectation is worth.
#[tokio::test]
async fn a_server_is_told_the_roots_of_its_client_without_a_host() {
    let clients = Clients::installed();
    let everything = json!({ "command": [Servers::node().bin("mcp-server-everything"), "stdio"] });
    for client in [&clients.python_v1, &clients.typescript_v1] {
        asked(client, &everything, TOOL).await;
    }
}
