//! No process outlives what it belongs to: its plugin, or the host.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::host::Setup;
use crate::support::procs::{assert_none_left, is_gone, kill9, left, signal};
use crate::support::{Answer, Manifest, TestHost, eventually, mock};

/// A mock that does all it can to stay, with a grandchild in a session of its own.
fn clinging() -> Manifest {
    mock()
        .args(["--ignore-sigterm", "--ignore-stdin-close", "--fork-grandchild"])
        .set("stop.grace", "200ms")
        .set("stop.term", "300ms")
}

#[tokio::test]
async fn a_killed_host_takes_everything_with_it() {
    let launcher =
        Manifest::command("sh").arg("-c").arg("sleep 600 & setsid sleep 600 & ${wharf} mock; true");
    let mut host = TestHost::with([("clings", clinging()), ("launcher", launcher), ("plain", mock())]).await;
    for id in ["clings", "launcher", "plain"] {
        host.until_state(id, "ready").await;
    }
    let (mark, home) = (host.mark().to_owned(), host.home().to_owned());
    assert!(left(&mark, &home).len() >= 8, "the search sees the host, its plugins and their children");
    host.end(Signal::SIGKILL);
    assert_none_left(&mark, &home);
}

#[tokio::test]
async fn a_stop_ends_the_whole_tree() {
    let host = TestHost::with([("clings", clinging())]).await;
    let pid = host.pid_of("clings").await;
    assert!(
        left(host.mark(), host.home()).iter().any(|process| process.contains("sleep")),
        "the grandchild runs"
    );
    assert_eq!(host.command("clings", "stop").await["status"], "done");
    assert!(is_gone(pid));
    let sleeps: Vec<_> =
        left(host.mark(), host.home()).into_iter().filter(|line| line.contains("sleep")).collect();
    assert!(sleeps.is_empty(), "stopped means that no descendant is left: {sleeps:?}");
}

#[tokio::test]
async fn a_crash_takes_the_grandchildren_along_before_the_next_launch() {
    let host = TestHost::with([("clings", clinging())]).await;
    let pid = host.pid_of("clings").await;
    kill9(pid);
    host.until_back("clings", pid).await;
    let sleeps = || left(host.mark(), host.home()).into_iter().filter(|line| line.contains("sleep")).count();
    eventually("one grandchild, of the new launch", async || match sleeps() {
        1 => Ok(()),
        many => Err(format!("{many} grandchildren")),
    })
    .await;
}

/// What it started holds its stdout. No call waits for that one's end, and nobody takes the plugin for ready.
#[tokio::test]
async fn a_call_is_told_how_the_plugin_died_though_a_grandchild_holds_its_pipe() {
    let clings = mock().arg("--fork-grandchild").set("stop.grace", "4s");
    let host = TestHost::with([("clings", clings)]).await;
    let pid = host.pid_of("clings").await;
    let kill = async {
        host.until("clings", "busy", |view| view["instances"][0]["inflight"] == 1).await;
        signal(pid, Signal::SIGABRT);
        Instant::now()
    };
    let (answer, killed) = tokio::join!(host.try_call("clings", "sleep", json!({ "ms": 60_000 })), kill);
    let waited = killed.elapsed();
    let problem = answer.problem(502, "outcome_unknown");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.starts_with("the plugin ended: ended by signal 6 (SIGABRT)"), "{problem}");
    assert_eq!(problem["delivery"], "unknown", "{problem}");
    let view = host.plugin("clings").await;
    assert_ne!(view["state"], "ready", "{view}");
    assert_eq!(view["cause"]["code"], "signalled", "{view}");
    assert!(waited < Duration::from_secs(2), "{waited:?}");
    host.until_back("clings", pid).await;
}

#[tokio::test]
async fn stubborn_plugins_are_stopped_side_by_side() {
    let stubborn = mock().args(["--ignore-sigterm", "--ignore-stdin-close"]);
    let stubborn = stubborn.set("stop.grace", "2s").set("stop.term", "4s");
    let setup = (0..5).fold(Setup::new(), |setup, n| setup.plugin(&format!("stubborn-{n}"), &stubborn));
    let mut host = setup.start().await;
    for n in 0..5 {
        host.until_state(&format!("stubborn-{n}"), "ready").await;
    }
    let begun = Instant::now();
    assert!(host.end(Signal::SIGTERM).success());
    // One after the other they would need five times six seconds.
    assert!(begun.elapsed() < Duration::from_secs(20), "stopped in {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_host_that_is_asked_to_end_lets_calls_finish() {
    let mut host = TestHost::with([("slow", mock())]).await;
    host.until_state("slow", "ready").await;
    let request = host.request(reqwest::Method::POST, "/api/v1/plugins/slow/tools/sleep/call");
    let request = request.json(&json!({ "arguments": { "ms": 5000 } }));
    let end = async {
        host.until("slow", "busy", |view| view["instances"][0]["inflight"] == 1).await;
        signal(host.pid(), Signal::SIGTERM);
    };
    let (answer, ()) = tokio::join!(Answer::of(request), end);
    answer.expect(200);
    assert!(host.wait().success(), "a host that is asked to end exits 0");
}
