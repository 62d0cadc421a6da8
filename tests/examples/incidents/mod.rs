//! `examples/incidents`: three FastMCP servers over one simulated fleet.

mod model;
mod run;
mod sandbox;
mod sdk;
mod servers;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use reqwest::Method;
use serde_json::{Value, json};

use crate::skipped;
use crate::support::host::Setup;
use crate::support::servers::Servers;
use crate::support::{Answer, TestHost};

const MONITORING: &str = "monitoring-analysis";
const WORKFLOW: &str = "workflow-orchestration";
const LOGS: &str = "log-analytics";
/// Each with its port of the seed and the tools that the seed names, in alphabetical order.
const SERVERS: [(&str, u16, &[&str]); 3] = [
    (MONITORING, 9001, &["analyze_logs", "get_system_metrics", "root_cause_analysis", "verify_health"]),
    (WORKFLOW, 9002, &["create_incident", "document_resolution", "execute_remediation", "notify_team"]),
    (LOGS, 9003, &["execute_analysis_script", "get_raw_logs", "save_analysis_script"]),
];
const NETWORK: &str = "net = \"loopback\"";

/// The project's folder `examples`.
fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples").canonicalize().expect("the examples")
}

/// A host that has none of the three yet.
fn setup() -> Setup {
    let setup = Setup::new();
    let fleet = setup.scratch("fleet");
    fs::create_dir(&fleet).unwrap();
    setup.env("FLEET_DIR", fleet.to_str().unwrap())
}

/// The manifest of the example's folder as a user has it in `plugins/`, but for where the project and the Python
/// environment are, and for the port: tests of several worktrees run at a time.
fn manifest(id: &str, port: &str) -> String {
    let python = Servers::venv("incidents", "../../examples/incidents/requirements.txt").bin("python3");
    let text = fs::read_to_string(examples().join(format!("incidents/{id}.toml"))).unwrap();
    let (_, fixed, _) = SERVERS.iter().find(|(name, ..)| *name == id).expect("one of the three");
    assert!(text.contains(&format!("port = {fixed} ")), "the seed's port: {text}");
    let mut text = text
        .replace("../examples/incidents/.venv/bin/python3", python.to_str().unwrap())
        .replace("../examples", examples().to_str().unwrap())
        .replace(&format!("port = {fixed} "), &format!("port = {port} "));
    if text.contains(NETWORK) && !networks_can_be_made() {
        text = text.replace(NETWORK, "");
    }
    text
}

/// As root, or as the root of a user namespace, which is how the host does it for an ordinary user.
fn networks_can_be_made() -> bool {
    const WAYS: [&[&str]; 2] = [&["--net", "true"], &["--user", "--map-root-user", "--net", "true"]];
    static MADE: LazyLock<bool> = LazyLock::new(|| {
        let made = WAYS.into_iter().any(|args| {
            let mut probe = Command::new("unshare");
            probe.args(args).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
        });
        if !made {
            skipped("this machine allows no network namespace, so analysis scripts are tested without");
        }
        made
    });
    *MADE
}

/// A host with the three of them, ready.
async fn fleet() -> TestHost {
    fleet_of("3").await
}

/// One whose fault is that of this seed.
async fn fleet_of(seed: &str) -> TestHost {
    let setup = SERVERS.iter().fold(setup().env("FLEET_SEED", seed), |setup, (id, ..)| {
        setup.file(&format!("{id}.toml"), manifest(id, "\"auto\""))
    });
    let host = setup.start().await;
    for (id, ..) in SERVERS {
        host.until_state(id, "ready").await;
    }
    host
}

/// Calls a tool over REST: what it answered, which must not be an error.
async fn ask(host: &TestHost, tool: &str, arguments: Value) -> Value {
    host.post(&format!("/tools/{tool}"), &arguments).await.expect(200)
}

/// Calls a tool over REST that must answer with an error: its text.
async fn refused(host: &TestHost, tool: &str, arguments: Value) -> String {
    host.post(&format!("/tools/{tool}"), &arguments).await.problem(502, "tool_error").to_string()
}

/// A GET at a plugin's own port, without the host in between.
async fn direct(host: &TestHost, id: &str, path: &str) -> reqwest::Result<Answer> {
    let port = host.plugin(id).await["instances"][0]["port"].as_u64().expect("it listens");
    let response =
        crate::support::host::client().get(format!("http://127.0.0.1:{port}{path}")).send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Ok(Answer { status, headers, body: response.bytes().await?.to_vec() })
}

/// The calls that the host tells of, oldest first, as `plugin/tool`.
async fn calls(host: &TestHost) -> Vec<Value> {
    let answer = Answer::of(host.request(Method::GET, "/api/v1/calls?limit=1000")).await.expect(200);
    answer["calls"].as_array().unwrap().iter().rev().cloned().collect()
}

/// An incident about the payments; its id.
async fn incident(host: &TestHost) -> String {
    let arguments = json!({ "title": "Customers cannot pay", "service": "payments" });
    let made = ask(host, &format!("{WORKFLOW}/create_incident"), arguments).await;
    made["id"].as_str().expect("an id").to_owned()
}
