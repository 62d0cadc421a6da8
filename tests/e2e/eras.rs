//! Both eras of MCP side by side: what each server speaks is found out, shown, and spoken.

use std::fs;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::servers::Servers;
use crate::support::{Manifest, TestHost, mock};

fn time() -> Manifest {
    let time = Manifest::command(Servers::python().bin("mcp-server-time"));
    time.args(["--local-timezone", "UTC"]).set("health.start_timeout", "60s").quick()
}

#[tokio::test]
async fn each_server_is_spoken_to_in_its_own_era() {
    let host = TestHost::with([
        ("time", time()),
        ("time-legacy", time().set("era", "legacy")),
        ("old", mock()),
        ("old-http", mock_on_port("http")),
    ])
    .await;
    for (id, era, revision) in [
        ("time", "modern", "2026-07-28"),
        ("time-legacy", "legacy", "2025-11-25"),
        ("old", "legacy", "2025-11-25"),
        ("old-http", "legacy", "2025-11-25"),
    ] {
        let view = host.until_state(id, "ready").await;
        assert_eq!((&view["era"], &view["protocol_version"]), (&json!(era), &json!(revision)), "{view}");
    }
    for id in ["time", "time-legacy"] {
        let answer = host.call(id, "get_current_time", json!({ "timezone": "UTC" })).await;
        assert!(text_of(&answer).contains("UTC"), "{answer}");
    }
    assert_eq!(text_of(&host.call("old", "echo", json!({ "message": "hi" })).await), "hi");
}

/// A server that ends at the first thing it does not know is started once more, and that is no crash of it.
#[tokio::test]
async fn a_server_that_dies_of_the_question_is_started_again_and_not_asked_a_second_time() {
    let setup = Setup::new();
    let starts = setup.scratch("starts");
    let script = r#"
echo start >> "$1"
read -r line
case "$line" in *server/discover*) exit 3;; esac
{ printf '%s\n' "$line"; exec cat; } | "$2" mock
"#;
    let touchy =
        Manifest::command("/bin/sh").args(["-c", script, "sh"]).path(&starts).arg("${wharf}").quick();
    let host = setup.plugin("touchy", &touchy).start().await;
    let view = host.until_state("touchy", "ready").await;
    assert_eq!((&view["era"], &view["restarts"]), (&json!("legacy"), &json!(0)), "{view}");
    assert_eq!(fs::read_to_string(&starts).unwrap().lines().count(), 2);
    assert_eq!(text_of(&host.call("touchy", "echo", json!({ "message": "hi" })).await), "hi");
    let pid = host.pid_of("touchy").await;
    host.command("touchy", "restart").await;
    host.until_back("touchy", pid).await;
    assert_eq!(fs::read_to_string(&starts).unwrap().lines().count(), 3, "what it is has been remembered");
}
