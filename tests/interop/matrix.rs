//! Every client on every endpoint against every upstream. A cell is right if the client lists the upstream's tools, gets
//! the known answer of each call, sees all its progress, and is asked what the upstream asks.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::clients::{Client, Clients, Skill};
use crate::support::host::Setup;
use crate::support::servers::Servers;
use crate::support::{Manifest, TestHost, WHARF};
use crate::upstreams::{self, Call, Upstream};

/// How a client reaches the upstreams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Door {
    /// `/mcp`: all at once, tools called `<namespace>__<tool>`.
    Http,
    /// `/plugins/{id}/mcp`: one at a time, names unchanged.
    Plugin,
    /// `/sse`: like `/mcp`, in the dialect of 2024-11-05.
    Sse,
    /// `wharf stdio`: like `/mcp`, as a child process of the client.
    Stdio,
}

/// What was found wrong, by cell. An empty list is a cell that is right.
type Cells = BTreeMap<(String, &'static str), Vec<String>>;

#[tokio::test]
async fn every_client_works_with_every_upstream() {
    let clients = Clients::installed();
    let setup = Setup::new();
    let upstreams = upstreams::all(&setup.scratch("repo"));
    let host = a_host_with(setup, &upstreams).await;
    let mut cells = Cells::new();
    for client in clients.callers() {
        visit(&host, client, Door::Http, &upstreams, &mut cells).await;
    }
    for client in [&clients.python_v2, &clients.python_v1, &clients.typescript_v2] {
        visit(&host, client, Door::Plugin, &upstreams, &mut cells).await;
    }
    for client in [&clients.typescript_v1, &clients.python_v1, &clients.typescript_v2] {
        visit(&host, client, Door::Sse, &upstreams, &mut cells).await;
    }
    for client in [&clients.rust, &clients.typescript_v2, &clients.python_v2, &clients.typescript_v1] {
        visit(&host, client, Door::Stdio, &upstreams, &mut cells).await;
    }
    claude_connects(&host, &clients.claude, &upstreams, &mut cells).await;
    conclude(&cells);
}

/// The same clients and calls with nobody in between, in both eras: what fails here is no host's fault.
#[tokio::test]
async fn the_clients_work_without_a_host() {
    let clients = Clients::installed();
    let (node, python) = (Servers::node(), Servers::python());
    let everything = json!({ "command": [node.bin("mcp-server-everything"), "stdio"] });
    let time = json!({ "command": [python.bin("mcp-server-time"), "--local-timezone", "UTC"] });
    let servers =
        [("everything", everything, upstreams::of_everything()), ("time", time, upstreams::of_time())];
    let runs = clients.callers().map(async |client| {
        let mut cells = Cells::new();
        for (id, to, calls) in &servers {
            let calls = calls_of(client, calls);
            let report = in_era(client, *id == "time", client.run(&task(to, &calls, "")).await);
            cells.insert((client.name.to_owned(), *id), problems(client, &report, &calls, ""));
        }
        cells
    });
    conclude(&join_all(runs).await.into_iter().flatten().collect());
}

async fn a_host_with(setup: Setup, upstreams: &[Upstream]) -> TestHost {
    let patient = |manifest: &Manifest| manifest.clone().quick().set("health.start_timeout", "60s");
    let plugin = |setup: Setup, upstream: &Upstream| setup.plugin(upstream.id, &patient(&upstream.manifest));
    let host = upstreams.iter().fold(setup, plugin).start().await;
    for upstream in upstreams {
        host.until_state(upstream.id, "ready").await;
    }
    host
}

/// One client at one door. The runs are one after the other: a server that asks must find one caller only.
async fn visit(host: &TestHost, client: &Client, door: Door, upstreams: &[Upstream], cells: &mut Cells) {
    let row = format!("{} ({door:?})", client.name);
    let prefix = |id: &str| if door == Door::Plugin { String::new() } else { format!("{id}__") };
    if door == Door::Plugin {
        for upstream in upstreams {
            let calls = calls_of(client, &upstream.calls);
            let to = target(host, &format!("/plugins/{}/mcp", upstream.id));
            let report = in_era(client, true, client.run(&task(&to, &calls, "")).await);
            cells.insert((row.clone(), upstream.id), problems(client, &report, &calls, ""));
        }
        return;
    }
    let to = match door {
        Door::Http | Door::Plugin => target(host, "/mcp"),
        Door::Sse => json!({ "sse": format!("{}/sse", host.base), "headers": bearer(host) }),
        Door::Stdio => json!({ "command": [WHARF, "stdio", "--state", host.state()] }),
    };
    let mut all = json!({ "to": to, "calls": [] });
    for upstream in upstreams {
        let mut one = task(&to, &calls_of(client, &upstream.calls), &prefix(upstream.id));
        all["calls"].as_array_mut().unwrap().append(one["calls"].as_array_mut().unwrap());
    }
    let report = in_era(client, door != Door::Sse, client.run(&all).await);
    for upstream in upstreams {
        let found = problems(client, &report, &calls_of(client, &upstream.calls), &prefix(upstream.id));
        cells.insert((row.clone(), upstream.id), found);
    }
}

/// Claude Code tells of each server whether it could connect; it lists and calls only in a conversation.
async fn claude_connects(host: &TestHost, claude: &Client, upstreams: &[Upstream], cells: &mut Cells) {
    let mut servers = json!({ "all": target(host, "/mcp") });
    for upstream in upstreams {
        servers[upstream.id] = target(host, &format!("/plugins/{}/mcp", upstream.id));
    }
    let report = claude.run(&json!({ "servers": servers })).await;
    for id in std::iter::once("all").chain(upstreams.iter().map(|upstream| upstream.id)) {
        let found = match &report {
            Err(error) => vec![error.clone()],
            Ok(report) if report["connected"].as_array().is_some_and(|names| names.contains(&json!(id))) => {
                vec![]
            }
            Ok(report) => vec![format!("not connected: {}", report["said"])],
        };
        cells.insert((claude.name.to_owned(), id), found);
    }
}

// === tasks and reports ===

fn target(host: &TestHost, path: &str) -> Value {
    json!({ "url": format!("{}{path}", host.base), "headers": bearer(host) })
}

fn bearer(host: &TestHost) -> Value {
    json!({ "Authorization": format!("Bearer {}", host.token) })
}

/// What this client can be asked to do.
fn calls_of(client: &Client, calls: &[Call]) -> Vec<Call> {
    let plain = |call: &Call| Call { steps: 0, ..call.clone() };
    match client.skill {
        Skill::Whole | Skill::Hasty => calls.to_vec(),
        Skill::Plain => calls.iter().filter(|call| call.asks.is_none()).map(plain).collect(),
    }
}

fn task(to: &Value, calls: &[Call], prefix: &str) -> Value {
    let call = |call: &Call| json!({ "tool": format!("{prefix}{}", call.tool), "arguments": call.arguments });
    json!({ "to": to, "calls": calls.iter().map(call).collect::<Vec<_>>() })
}

/// Refuses the report of a client that could have spoken the modern era and fell back: all else would look right.
fn in_era(client: &Client, served: bool, report: Result<Value, String>) -> Result<Value, String> {
    match report {
        Ok(report) if client.modern && served && report["protocol"] != "2026-07-28" => {
            Err(format!("it speaks {} and not 2026-07-28", report["protocol"]))
        }
        other => other,
    }
}

/// What is wrong with a report as far as these calls go.
fn problems(client: &Client, report: &Result<Value, String>, calls: &[Call], prefix: &str) -> Vec<String> {
    let report = match report {
        Ok(report) => report,
        Err(error) => return vec![error.clone()],
    };
    let mut found = Vec::new();
    for call in calls {
        let name = format!("{prefix}{}", call.tool);
        if !report["listed"].as_array().is_some_and(|names| names.contains(&json!(name))) {
            found.push(format!("{name} is not listed"));
        }
        let done =
            report["calls"].as_array().and_then(|calls| calls.iter().find(|done| done["tool"] == name));
        match done {
            Some(done) => found.extend(amiss(client, call, done).map(|what| format!("{what}: {done}"))),
            None => found.push(format!("{name} was not called")),
        }
    }
    found
}

/// What is wrong with one call as it was reported.
fn amiss(client: &Client, call: &Call, done: &Value) -> Option<String> {
    if !done["text"].as_str().is_some_and(|text| text.contains(call.text)) {
        return Some(format!("the answer has no {:?}", call.text));
    }
    if done["failed"] != call.failed {
        return Some(format!("failed is not {}", call.failed));
    }
    // TypeScript 2 counts the rounds of questions as progress too, without a total.
    let told = done["progress"].as_array().into_iter().flatten().filter(|event| !event[1].is_null());
    let seen: Vec<_> = told.map(|event| event[0].as_f64()).collect();
    let all: Vec<_> = (1..=call.steps).map(|step| Some(f64::from(step))).collect();
    let hasty = client.skill == Skill::Hasty && !seen.is_empty() && all.starts_with(&seen);
    if seen != all && !hasty {
        return Some(format!("progress is not 1 to {}", call.steps));
    }
    // server-everything asks for the roots when it likes, and not as a part of a call.
    let asked = done["asked"].as_array().into_iter().flatten().filter(|what| *what != "roots/list");
    let asked: Vec<_> = asked.filter_map(Value::as_str).collect();
    (asked != call.asks.into_iter().collect::<Vec<_>>()).then(|| format!("asked is not {:?}", call.asks))
}

/// Prints the table and fails for each cell that is not right.
fn conclude(cells: &Cells) {
    let columns: BTreeSet<_> = cells.keys().map(|(_, column)| *column).collect();
    let rows: BTreeSet<_> = cells.keys().map(|(row, _)| row).collect();
    let mut table =
        format!("{:<28}{}\n", "", columns.iter().map(|column| format!("{column:<14}")).collect::<String>());
    for row in rows {
        let mark = |column: &&str| match cells.get(&(row.clone(), *column)) {
            Some(found) if found.is_empty() => "ok",
            Some(_) => "WRONG",
            None => "-",
        };
        let line: String = columns.iter().map(|column| format!("{:<14}", mark(column))).collect();
        table.push_str(&format!("{row:<28}{}\n", line.trim_end()));
    }
    eprintln!("{table}");
    // A client that failed as a whole did so in each of its cells: that is told once.
    let mut wrong: Vec<(&String, Vec<&str>, String)> = Vec::new();
    for ((row, column), found) in cells.iter().filter(|(_, found)| !found.is_empty()) {
        let why = found.join("\n  ");
        match wrong.last_mut() {
            Some((last, columns, same)) if *last == row && *same == why => columns.push(column),
            _ => wrong.push((row, vec![column], why)),
        }
    }
    let wrong: Vec<_> =
        wrong.iter().map(|(row, columns, why)| format!("{row} x {}:\n  {why}", columns.join(", "))).collect();
    assert!(wrong.is_empty(), "not every cell is right:\n{table}\n{}", wrong.join("\n"));
}
