//! The Claude Agent SDK, the real one with the `claude` program that it brings along, on a fake model.

use std::process::Stdio;

use serde_json::{Value, json};
use tokio::process::Command;

use super::model::{DONE, Model};
use super::*;
use crate::support::PATIENCE;

const ANALYSIS: &str = "import collections, json, sys
errors = [e for e in json.load(open(sys.argv[1])) if e['level'] == 'ERROR']
print(json.dumps(collections.Counter(e['message'] for e in errors)))";

/// What the model asks for: the seed's scenario, with the skill first.
fn turns() -> Vec<(&'static str, Value)> {
    let (id, logs) = ("INC-0001", "INC-0001-logs.json");
    vec![
        ("Skill", json!({ "skill": "log-analytics" })),
        ("mcp__monitoring-analysis__get_system_metrics", json!({})),
        (
            "mcp__workflow-orchestration__create_incident",
            json!({ "title": "Customers cannot pay", "service": "payments" }),
        ),
        ("mcp__log-analytics__get_raw_logs", json!({ "incident_id": id })),
        ("mcp__log-analytics__save_analysis_script", json!({ "file_name": "errors.py", "code": ANALYSIS })),
        (
            "mcp__log-analytics__execute_analysis_script",
            json!({ "script_path": "errors.py", "log_data_path": logs }),
        ),
        ("mcp__monitoring-analysis__root_cause_analysis", json!({})),
        (
            "mcp__workflow-orchestration__execute_remediation",
            json!({ "incident_id": id, "action": "increase_pool_size", "service": "payments" }),
        ),
        ("mcp__monitoring-analysis__verify_health", json!({})),
        (
            "mcp__workflow-orchestration__document_resolution",
            json!({ "incident_id": id, "root_cause": "the pool", "resolution": "a larger one" }),
        ),
    ]
}

/// The SDK's Python, unless its `claude` does not run here.
fn python() -> Option<PathBuf> {
    let sdk =
        Servers::venv("incidents-sdk", "../../examples/incidents/demos/requirements.txt").bin("python3");
    let find = "import claude_agent_sdk, pathlib; \
                print(pathlib.Path(claude_agent_sdk.__file__).parent / '_bundled/claude', end='')";
    let found = std::process::Command::new(&sdk).args(["-c", find]).output().unwrap();
    let claude = String::from_utf8(found.stdout).unwrap();
    let runs = std::process::Command::new(&claude).arg("--version").output();
    if runs.is_ok_and(|output| output.status.success()) {
        return Some(sdk);
    }
    skipped(&format!("the claude program of the Claude Agent SDK does not run here ({claude:?})"));
    None
}

#[tokio::test]
async fn the_seed_s_agent_works_an_incident_over_sse_and_over_http() {
    let Some(python) = python() else { return };
    for dialect in ["sse", "http"] {
        let host = fleet().await;
        let model = Model::start(turns()).await;
        let said = agent(&host, &model, &python, dialect).await;
        for (tool, _) in turns() {
            assert!(said.contains(&format!("-> {tool} ")), "{tool} is not shown: {said}");
        }
        assert!(said.ends_with(&format!("{DONE}\n")), "{said}");
        it_was_offered_every_tool(&model);
        the_model_was_told(&model);
        assert_eq!(asked(&host).await, wanted(), "{dialect}");
    }
}

fn it_was_offered_every_tool(model: &Model) {
    let mut wanted = vec!["Read".to_owned(), "Skill".to_owned()];
    for (id, _, tools) in SERVERS {
        wanted.extend(tools.iter().map(|tool| format!("mcp__{id}__{tool}")));
    }
    let mut offered = model.offered();
    offered.sort();
    wanted.sort();
    assert_eq!(offered, wanted);
}

fn the_model_was_told(model: &Model) {
    let told = model.told();
    let expected = [
        "Launching skill: log-analytics",
        "connections_percent",
        "INC-0001",
        "exceeds maximum allowed tokens", // what it does with 1,200 entries; they are in the analysis folder
        "errors.py",
        "ConnectionPoolTimeout",
        "connection pool exhausted",
        "mitigating",
        r#"\"healthy\": true"#,
        "resolved",
    ];
    assert_eq!(told.len(), expected.len(), "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.replace("\\\\", "\\").contains(expected), "{expected}: {told}");
    }
}

/// The calls that the host saw, as `plugin tool outcome`.
async fn asked(host: &TestHost) -> Vec<String> {
    let calls = calls(host).await.into_iter().filter(|call| call["tool"].is_string());
    calls
        .map(|call| {
            [&call["plugin"], &call["tool"], &call["outcome"]]
                .map(|v| v.as_str().unwrap().to_owned())
                .join(" ")
        })
        .collect()
}

fn wanted() -> Vec<String> {
    let names = turns().into_iter().filter_map(|(tool, _)| tool.strip_prefix("mcp__"));
    names.map(|name| format!("{} answered", name.replace("__", " "))).collect()
}

async fn agent(host: &TestHost, model: &Model, python: &std::path::Path, dialect: &str) -> String {
    let home = host.scratch("home");
    fs::create_dir(&home).unwrap();
    let run = Command::new(python)
        .arg(examples().join("incidents/demos/run_scenario.py"))
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .envs([("HOME", &home), ("CLAUDE_CONFIG_DIR", &home.join("config"))])
        .envs([("WHARF_URL", &host.base), ("WHARF_TOKEN", &host.token), ("ANTHROPIC_BASE_URL", &model.base)])
        .envs([
            ("MCP_TYPE", dialect),
            ("ANTHROPIC_API_KEY", "none"),
            ("ENABLE_TOOL_SEARCH", "false"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("IS_SANDBOX", "1"), // as root it bypasses permissions only where it is told so
        ])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(PATIENCE, run).await.expect("the agent ends").unwrap();
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{errors}");
    said.into_owned()
}
