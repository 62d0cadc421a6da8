//! Callers: each calls, waits for its one answer, and writes down what came of it. Some leave before it comes.

use std::time::Duration;

use reqwest::{Client, Method};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::seed::Seed;
use crate::support::TestHost;
use crate::support::mcp::{BOTH, MODERN, call, enveloped, request};

/// What a caller was told of one call.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Told {
    /// The result, and it was its own.
    Answered,
    /// A failure; whether the host says that the call surely did not reach the plugin.
    Failed { code: String, undelivered: bool },
    /// It left before it was told.
    Left,
    /// The connection broke instead of an answer.
    Broken(String),
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) key: String,
    pub(super) told: Told,
}

/// Calls until `go` says no.
pub(super) async fn caller(
    host: &TestHost,
    ids: &[&str],
    n: usize,
    mut seed: Seed,
    go: watch::Receiver<bool>,
) -> Vec<Record> {
    // Connections of its own, which are closed at its end.
    let http = Client::builder().no_proxy().build().expect("a client");
    let mut records = Vec::new();
    while *go.borrow() {
        let key = format!("k{n}-{}", records.len());
        let plugin = *seed.pick(ids);
        let (tool, arguments) = what(&mut seed, &key);
        let told = match seed.below(10) {
            0 => leaves(&http, host, plugin, tool, &arguments, seed.below(60)).await,
            1 | 2 => over_mcp(&http, host, plugin, tool, &arguments).await,
            _ => over_rest(&http, host, plugin, tool, &arguments, 200 + seed.below(2500)).await,
        };
        if matches!(told, Told::Failed { .. }) {
            // As a caller who reads Retry-After would; otherwise one that is down takes all the calls.
            tokio::time::sleep(Duration::from_millis(20 + seed.below(60))).await;
        }
        records.push(Record { key, told });
    }
    records
}

fn what(seed: &mut Seed, key: &str) -> (&'static str, Value) {
    match seed.below(8) {
        0 => ("sleep", json!({ "ms": seed.below(400), "key": key })),
        1 => ("big", json!({ "bytes": seed.below(200_000), "key": key })),
        2 => ("progress", json!({ "steps": 20, "interval_ms": 2, "key": key })),
        3 => ("echo", json!({ "message": key, "key": key })),
        _ => ("count", json!({ "key": key })),
    }
}

fn rest(http: &Client, host: &TestHost, plugin: &str, tool: &str, body: &Value) -> reqwest::RequestBuilder {
    let path = format!("{}/api/v1/plugins/{plugin}/tools/{tool}/call", host.base);
    http.request(Method::POST, path).bearer_auth(&host.token).timeout(Duration::from_secs(60)).json(body)
}

async fn over_rest(
    http: &Client,
    host: &TestHost,
    plugin: &str,
    tool: &str,
    arguments: &Value,
    ms: u64,
) -> Told {
    let body = json!({ "arguments": arguments, "timeout_ms": ms });
    match read(rest(http, host, plugin, tool, &body)).await {
        Ok((200, answer)) => own(tool, arguments, &answer["result"]),
        Ok((_, answer)) => failed(&answer["code"], &answer["delivery"]),
        Err(error) => Told::Broken(error),
    }
}

async fn over_mcp(http: &Client, host: &TestHost, plugin: &str, tool: &str, arguments: &Value) -> Told {
    let params = enveloped(call(tool, arguments.clone()));
    let path = format!("{}/plugins/{plugin}/mcp", host.base);
    let asked = http.request(Method::POST, path).bearer_auth(&host.token).timeout(Duration::from_secs(90));
    let asked = asked.header("accept", BOTH).header("mcp-protocol-version", MODERN);
    let asked = asked.header("mcp-method", "tools/call").header("mcp-name", tool);
    match read(asked.json(&request(7, "tools/call", params))).await {
        Ok((_, answer)) if answer["result"].is_object() => own(tool, arguments, &answer["result"]),
        // A plugin that is not there has no endpoint: the refusal is none of MCP's.
        Ok((404, answer)) if answer["error"].is_null() => failed(&answer["code"], &answer["delivery"]),
        Ok((_, answer)) => failed(&answer["error"]["code"], &answer["error"]["data"]["delivery"]),
        Err(error) => Told::Broken(error),
    }
}

async fn leaves(
    http: &Client,
    host: &TestHost,
    plugin: &str,
    tool: &str,
    arguments: &Value,
    ms: u64,
) -> Told {
    let body = json!({ "arguments": arguments });
    let asking = read(rest(http, host, plugin, tool, &body));
    // Dropping the request closes its connection.
    match tokio::time::timeout(Duration::from_millis(ms), asking).await {
        Err(_) => Told::Left,
        Ok(Ok((200, answer))) => own(tool, arguments, &answer["result"]),
        Ok(Ok((_, answer))) => failed(&answer["code"], &answer["delivery"]),
        Ok(Err(error)) => Told::Broken(error),
    }
}

/// Status and body: a JSON document, or the last event of a stream.
async fn read(request: reqwest::RequestBuilder) -> Result<(u16, Value), String> {
    let response = request.send().await.map_err(|error| format!("{error:?}"))?;
    let status = response.status().as_u16();
    let text = response.text().await.map_err(|error| format!("{error:?}"))?;
    let last = text.lines().rev().find_map(|line| line.strip_prefix("data: ")).unwrap_or(&text);
    serde_json::from_str(last).map(|value| (status, value)).map_err(|error| format!("{error} in {text:?}"))
}

/// An answer must be the one to this call, where it tells.
fn own(tool: &str, arguments: &Value, result: &Value) -> Told {
    let text = result["content"][0]["text"].as_str().unwrap_or_default();
    let fits = match tool {
        "echo" => arguments["message"] == text,
        "sleep" => text == format!("slept {} ms", arguments["ms"]),
        "big" => arguments["bytes"] == text.len(),
        "progress" => text == "did 20 steps",
        _ => result["structuredContent"]["count"].is_u64(),
    };
    if fits {
        Told::Answered
    } else {
        Told::Broken(format!("not the answer to {tool} {arguments}: {result}"))
    }
}

fn failed(code: &Value, delivery: &Value) -> Told {
    // These say by themselves that nothing was handed over, over REST and over MCP.
    let early = ["plugin_unavailable", "queue_full", "plugin_not_found", "tool_not_found", "not_delivered"];
    let early = code.as_str().is_some_and(|code| early.contains(&code))
        || code.as_i64().is_some_and(|code| [-32010, -32012, -32013, -32602].contains(&code));
    let undelivered = early || matches!(delivery.as_str(), Some("queued" | "not_delivered"));
    Told::Failed { code: code.to_string().replace('"', ""), undelivered }
}
