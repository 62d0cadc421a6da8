//! `wharf doctor` against real hosts: what it finds, what it calls, and what it leaves alone.

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::command::{Outcome, on, wharf};
use crate::support::host::Setup;
use crate::support::ledger::runs;
use crate::support::mockproc::{MockProcess, free_port};
use crate::support::{Manifest, TestHost, mock};

/// The result of a check, `none` if it was not made.
fn result(outcome: &Outcome, check: &str, subject: &str) -> String {
    let found = outcome.json()["checks"].as_array().unwrap().iter().find_map(|finding| {
        let is_it = finding["check"] == check && finding["subject"] == subject;
        is_it.then(|| finding["result"].as_str().unwrap().to_owned())
    });
    found.unwrap_or_else(|| "none".to_owned())
}

fn detail(outcome: &Outcome, check: &str, subject: &str) -> String {
    let all = outcome.json();
    let found =
        all["checks"].as_array().unwrap().iter().find(|f| f["check"] == check && f["subject"] == subject);
    found.unwrap_or_else(|| panic!("no {check} of {subject}: {all}"))["detail"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn without_a_host_the_machine_and_the_folders_are_looked_at() {
    let setup = Setup::new()
        .file("good.toml", "command = \"sh\"\n")
        .file("gone.toml", "command = \"no-such-program-anywhere\"\n")
        .file("wrong.toml", "comand = \"sh\"\n");
    let (plugins, state) = (setup.plugins(), setup.state());
    let port = free_port();
    let listen = format!("127.0.0.1:{port}");
    let args = [
        "doctor",
        "--json",
        "--plugins",
        plugins.to_str().unwrap(),
        "--state",
        state.to_str().unwrap(),
        "--listen",
        &listen,
    ];
    let outcome = wharf(&args, &[]).await.expect(1);
    assert_eq!(outcome.json()["ok"], json!(false));
    for (check, subject, expected) in [
        ("host", "-", "skipped"),
        ("state", state.to_str().unwrap(), "ok"),
        ("listen", &*listen, "ok"),
        ("manifest", "good", "ok"),
        ("program", "good", "ok"),
        ("program", "gone", "failed"),
        ("manifest", "wrong", "failed"),
    ] {
        assert_eq!(result(&outcome, check, subject), expected, "{check} {subject}: {outcome:#?}");
    }
    assert_ne!(result(&outcome, "containment", "-"), "none");
    let deep = wharf(&["doctor", "--deep", "--state", state.to_str().unwrap()], &[]).await;
    deep.expect(3);
    std::fs::remove_file(plugins.join("gone.toml")).unwrap();
    std::fs::remove_file(plugins.join("wrong.toml")).unwrap();
    let outcome = wharf(&args, &[]).await.expect(0);
    assert_eq!(outcome.json()["ok"], json!(true), "{outcome:#?}");
}

#[tokio::test]
async fn every_plugin_is_looked_at_and_only_what_reads_is_called() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let counted = mock().args(["--ledger", ledger.to_str().unwrap()]);
    let host = setup.plugin("p", &counted).plugin("twins", &mock().set("replicas", 2)).start().await;
    host.until_state("p", "ready").await;
    host.until("twins", "ready twice", |view| {
        let all = view["instances"].as_array().unwrap();
        all.len() == 2 && all.iter().all(|one| one["state"] == "ready")
    })
    .await;
    let before = host.pid_of("p").await;
    let outcome = on(&host, &["doctor", "--deep", "--json"]).await.expect(0);
    for (check, subject, expected) in [
        ("host", "-", "ok"),
        ("journal", "-", "ok"),
        ("connection", "p", "ok"),
        ("tool", "p/echo", "ok"),
        ("tool", "p/add", "ok"),
        ("tool", "p/fail", "warning"),
        ("tool", "p/count", "skipped"),
        ("instance", "twins#1", "ok"),
        ("balance", "twins", "ok"),
        ("drill", "balance", "ok"),
        ("drill", "failover", "ok"),
    ] {
        assert_eq!(result(&outcome, check, subject), expected, "{check} {subject}: {outcome:#?}");
    }
    assert_eq!(
        (runs(&ledger, "echo"), runs(&ledger, "count")),
        (1, 0),
        "what changes something is not called"
    );
    assert!(detail(&outcome, "tool", "p/count").contains("readOnlyHint"));
    assert!(
        detail(&outcome, "balance", "twins").contains("#0: 4, #1: 4"),
        "{}",
        detail(&outcome, "balance", "twins")
    );
    assert_eq!(host.pid_of("p").await, before, "nothing of the host was ended");
    let text = on(&host, &["doctor", "--deep"]).await.expect(0);
    assert!(text.stdout.starts_with("CHECK") && text.stdout.contains("p/echo"), "{text:#?}");
}

#[tokio::test]
async fn what_does_not_work_fails_and_the_canary_of_a_manifest_is_called() {
    let setup = Setup::new();
    let (ledger, script) = (setup.scratch("ledger"), setup.scratch("script.json"));
    let odd = json!({ "tools": [{ "name": "odd", "inputSchema": { "type": "object", "properties": { "a": { "type": "nonsense" } } } }] });
    std::fs::write(&script, odd.to_string()).unwrap();
    let with_canary = mock().args(["--ledger", ledger.to_str().unwrap()]).set("health.canary.tool", "count");
    let host = setup
        .plugin("c", &with_canary)
        .plugin("odd", &mock().args(["--script", script.to_str().unwrap()]))
        .plugin("broken", &Manifest::command("no-such-program-anywhere"))
        .plugin("off", &mock().set("enabled", false))
        .start()
        .await;
    host.until_state("c", "ready").await;
    host.until_state("odd", "ready").await;
    host.until_cause("broken", "not_found").await;
    let at_start = runs(&ledger, "count");
    let outcome = on(&host, &["doctor", "--deep", "--json"]).await.expect(1);
    for (check, subject, expected) in [
        ("connection", "broken", "failed"),
        ("connection", "off", "skipped"),
        ("tool", "odd/odd", "failed"),
        ("tool", "c/count", "ok"),
        ("drill", "failover", "ok"),
    ] {
        assert_eq!(result(&outcome, check, subject), expected, "{check} {subject}: {outcome:#?}");
    }
    assert_eq!(runs(&ledger, "count"), at_start + 1, "the manifest says that it may be called");
}

#[tokio::test]
async fn a_target_that_would_not_take_over_fails() {
    let ports = [free_port(), free_port()];
    let first = MockProcess::listening("http", ports[0], &[]).await;
    let second = MockProcess::listening("http", ports[1], &[]).await;
    let url = |port: u16| format!("http://127.0.0.1:{port}/mcp");
    let manifest = Manifest::targets([(url(ports[0]), 1), (url(ports[1]), 2)])
        .set("health.interval", "100ms")
        .set("health.failures", 1);
    let host = TestHost::with([("far", manifest)]).await;
    let ready = |wanted: usize| {
        move |view: &Value| {
            let all = view["instances"].as_array().unwrap();
            all.iter().filter(|one| one["state"] == "ready").count() == wanted
        }
    };
    host.until("far", "ready at both targets", ready(2)).await;
    let outcome = on(&host, &["doctor", "--deep", "--json"]).await.expect(0);
    assert_eq!(result(&outcome, "balance", "far"), "ok", "{outcome:#?}");
    drop(second);
    host.until("far", "ready at one target", ready(1)).await;
    let outcome = on(&host, &["doctor", "--deep", "--json"]).await.expect(1);
    assert_eq!(result(&outcome, "instance", "far#1"), "failed", "{outcome:#?}");
    assert_eq!(text_of(&host.call("far", "echo", json!({ "message": "x" })).await), "x");
    drop(first);
}
