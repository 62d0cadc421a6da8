//! What an operator asks of a plugin: start, stop, restart, drain, enable, disable; and more than one instance.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::support::procs::{self, is_gone, kill9};
use crate::support::{TestHost, mock};

#[tokio::test]
async fn stop_start_and_restart_do_what_they_say() {
    let host = TestHost::with([("actor", mock())]).await;
    let first = host.pid_of("actor").await;
    assert_eq!(host.command("actor", "stop").await["status"], "done");
    assert_eq!(host.plugin("actor").await["state"], "stopped");
    assert!(is_gone(first), "stopped means that no process is left");
    host.try_call("actor", "echo", json!({ "message": "x" })).await.problem(503, "plugin_unavailable");
    assert_eq!(host.command("actor", "start").await["status"], "done");
    let second = host.pid_of("actor").await;
    assert_eq!(host.command("actor", "restart").await["status"], "done");
    let third = host.until_back("actor", second).await;
    assert!(is_gone(second) && third != first);
    assert_eq!(host.plugin("actor").await["restarts"], 0, "what an operator asks for is no crash");
}

#[tokio::test]
async fn an_operation_on_an_unknown_plugin_is_refused() {
    let host = TestHost::with([]).await;
    for action in ["start", "stop", "restart", "drain", "enable", "disable"] {
        let answer = host.post(&format!("/api/v1/plugins/nobody/{action}"), &json!({})).await;
        assert_eq!(answer.problem(404, "plugin_not_found")["plugin"], "nobody");
    }
    host.get("/api/v1/operations/nothing").await.problem(404, "operation_not_found");
}

#[tokio::test]
async fn a_drained_plugin_finishes_its_call_and_takes_no_other() {
    let host = TestHost::with([("slow", mock())]).await;
    let pid = host.pid_of("slow").await;
    let call = host.try_call("slow", "sleep", json!({ "ms": 5000 }));
    let drain = async {
        host.until("slow", "busy", |view| view["instances"][0]["inflight"] == 1).await;
        let begun = host.post("/api/v1/plugins/slow/drain", &json!({})).await;
        begun.expect(202);
        host.until("slow", "draining", |view| view["state"] == "draining").await;
        host.try_call("slow", "echo", json!({ "message": "x" })).await.problem(503, "plugin_unavailable");
    };
    let (answer, ()) = tokio::join!(call, drain);
    answer.expect(200);
    host.until_state("slow", "stopped").await;
    assert!(is_gone(pid));
}

#[tokio::test]
async fn disable_survives_a_restart_of_the_host() {
    let mut host = TestHost::with([("switch", mock()), ("other", mock())]).await;
    let pid = host.pid_of("switch").await;
    assert_eq!(host.command("switch", "disable").await["status"], "done");
    assert_eq!(host.plugin("switch").await["state"], "disabled");
    assert!(is_gone(pid));
    host.reboot().await;
    host.pid_of("other").await;
    assert_eq!(host.plugin("switch").await["state"], "disabled", "an operator's word is remembered");
    let manifest = std::fs::read_to_string(host.plugins().join("switch.toml")).unwrap();
    assert!(!manifest.contains("enabled"), "the user's file is not written to: {manifest}");
    assert_eq!(host.command("switch", "enable").await["status"], "done");
    host.pid_of("switch").await;
    host.reboot().await;
    host.pid_of("switch").await;
}

#[tokio::test]
async fn a_manifest_can_switch_its_plugin_off() {
    let host = TestHost::with([("off", mock().set("enabled", false))]).await;
    assert_eq!(host.until_state("off", "disabled").await["tools"], 0);
    host.try_call("off", "echo", json!({ "message": "x" })).await.problem(503, "plugin_unavailable");
    host.put("off", &mock());
    host.pid_of("off").await;
}

#[tokio::test]
async fn two_replicas_share_the_calls_and_cover_for_each_other() {
    let twins = mock()
        .set("replicas", 2)
        .set("balance", "round_robin")
        .set("restart.initial", "5s")
        .set("restart.max", "5s");
    let host = TestHost::with([("twins", twins)]).await;
    let view = host.until("twins", "ready twice", |view| pids(view).len() == 2).await;
    let both = pids(&view);
    let mut seen = BTreeSet::new();
    for _ in 0..4 {
        let who = host.call("twins", "whoami", json!({})).await;
        seen.insert(procs::who(&who));
    }
    assert_eq!(seen, both, "each instance takes its turn");
    let (dead, alive) = (*both.first().unwrap(), *both.last().unwrap());
    kill9(dead);
    host.until("twins", "down to one", |view| pids(view) == BTreeSet::from([alive])).await;
    let who = host.call("twins", "whoami", json!({})).await;
    assert_eq!(procs::who(&who), alive, "{who}");
    let view = host.until("twins", "ready twice again", |view| pids(view).len() == 2).await;
    assert!(pids(&view).contains(&alive), "the healthy one is not touched: {view}");
}

/// The processes of the ready instances.
fn pids(view: &Value) -> BTreeSet<u32> {
    let instances = view["instances"].as_array().expect("a list of instances");
    let ready = instances.iter().filter(|instance| instance["state"] == "ready");
    ready.filter_map(|instance| u32::try_from(instance["pid"].as_u64()?).ok()).collect()
}
