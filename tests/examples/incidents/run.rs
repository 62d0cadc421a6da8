//! `examples/incidents/run`: the example agent on its scripted model, from the first look at the metrics to the resolution.

use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::*;
use crate::agent::program::program;

/// The tools that the scenario calls, in this order.
const SCENARIO: [&str; 12] = [
    "monitoring-analysis get_system_metrics",
    "monitoring-analysis verify_health",
    "monitoring-analysis analyze_logs",
    "log-analytics get_raw_logs",
    "log-analytics save_analysis_script",
    "log-analytics execute_analysis_script",
    "monitoring-analysis root_cause_analysis",
    "workflow-orchestration create_incident",
    "workflow-orchestration notify_team",
    "workflow-orchestration execute_remediation",
    "monitoring-analysis verify_health",
    "workflow-orchestration document_resolution",
];

#[tokio::test]
async fn the_scenario_ends_with_a_resolution_whatever_the_fault_is() {
    // Without a bound on the time: it may take minutes at first.
    program().await;
    for (seed, service, cause, action) in [
        ("3", "payments", "connection pool exhausted", "increase_pool_size"),
        ("4", "inventory", "memory leak", "restart_service"),
        ("5", "checkout", "faulty release 4.2.0", "rollback_release"),
    ] {
        let host = fleet_of(seed).await;
        let (base, state) = (host.base.clone(), host.state());
        let ran = tokio::task::spawn_blocking(move || run(&base, &state)).await.unwrap();
        let (said, shown) = (text(&ran.stdout), text(&ran.stderr));
        assert!(ran.status.success(), "{said}\n{shown}");
        for step in [
            "Healthy: false.",
            "1200 entries are too many to read.",
            &format!("{service} fails by itself."),
            &format!("It is this: {cause}."),
            "Healthy: true.",
            &format!("INC-0001 is resolved: {cause} of {service}; {action};"),
        ] {
            assert!(said.contains(step), "{step}: {said}\n{shown}");
        }
        let file = host.state().join(format!("data/{WORKFLOW}/incidents/INC-0001.json"));
        let kept: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        assert_eq!(
            (&kept["status"], &kept["remediations"][0]["action"]),
            (&"resolved".into(), &action.into())
        );
        the_audit_trail_is_whole(&host).await;
    }
}

/// Every call, in its order, with who made it, when, and how it ended; each can be looked at by itself.
async fn the_audit_trail_is_whole(host: &TestHost) {
    let calls = calls(host).await;
    let names: Vec<_> = calls
        .iter()
        .map(|call| format!("{} {}", call["plugin"].as_str().unwrap(), call["tool"].as_str().unwrap()))
        .collect();
    assert_eq!(names, SCENARIO);
    // `printf '{}' | sha256sum`
    let nothing = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a";
    assert_eq!(
        calls[0]["arguments"],
        json!({ "bytes": 2, "sha256": nothing }),
        "a digest, if nothing else is said"
    );
    let mut last = String::new();
    for call in calls {
        assert_eq!(call["arguments"]["sha256"].as_str().map(str::len), Some(64), "{call}");
        assert!(call["arguments"]["value"].is_null(), "{call}");
        assert_eq!((&call["outcome"], &call["principal"]), (&"answered".into(), &"token".into()), "{call}");
        let begun = call["begun_at"].as_str().unwrap().to_owned();
        assert!(begun >= last && call["bytes_out"].as_u64() > Some(0), "{call}");
        last = begun;
        let path = format!("/api/v1/calls/{}", call["call_id"].as_str().unwrap());
        let whole = host.get(&path).await.expect(200);
        assert_eq!(whole["attempts"].as_array().map(Vec::len), Some(1), "{whole}");
    }
}

fn run(base: &str, state: &std::path::Path) -> Output {
    let cargo = std::path::Path::new(env!("CARGO")).parent().unwrap().to_owned();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let path = std::env::join_paths([cargo].into_iter().chain(std::env::split_paths(&path))).unwrap();
    Command::new(examples().join("incidents/run"))
        .env("PATH", path)
        .envs([("WHARF_URL", base), ("WHARF_STATE", state.to_str().unwrap())])
        .env_remove("WHARF_TOKEN")
        .env_remove("WHARF_AGENT")
        .stdin(Stdio::null())
        .output()
        .expect("the script starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
