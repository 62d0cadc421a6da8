//! Plugins that run only while they are used: listed all the time, started by a call, stopped when nobody uses them.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::procs::is_gone;
use crate::support::{Manifest, TestHost, eventually, mock};

/// A lazy mock that notes each of its launches in `counter`.
fn lazy(counter: &Path) -> Manifest {
    mock()
        .set("start", "lazy")
        .set("idle_stop", "1s")
        .args(["--crash-at-start", "1", "--fault-times", "0", "--fault-counter"])
        .path(counter)
}

fn launches(counter: &Path) -> usize {
    fs::read(counter).map_or(0, |bytes| bytes.len())
}

async fn asleep(host: &TestHost, id: &str) -> Value {
    let view = host.until(id, "asleep", |view| view["state"] == "stopped").await;
    assert_eq!((&view["cause"]["code"], &view["start"]), (&json!("lazy"), &json!("lazy")), "{view}");
    view
}

async fn tools(host: &TestHost) -> usize {
    host.get("/api/v1/tools").await.expect(200)["tools"].as_array().map_or(0, Vec::len)
}

async fn echo(host: &TestHost, id: &str) {
    assert_eq!(text_of(&host.call(id, "echo", json!({ "message": "here" })).await), "here");
}

#[tokio::test]
async fn it_is_started_by_a_call_and_stopped_when_nobody_uses_it() {
    let setup = Setup::new();
    let counter = setup.scratch("launches");
    let host = setup.plugin("lazy", &lazy(&counter).set("required", true)).start().await;
    // Once, to learn what it offers.
    let view = asleep(&host, "lazy").await;
    assert!(view["tools"].as_u64().is_some_and(|tools| tools > 0), "{view}");
    assert_eq!((launches(&counter), host.get("/readyz").await.status), (1, 200));
    let all = tools(&host).await;
    assert!(all > 0);
    // What it offers is not there now, but a call gets it.
    let tool = host.get("/api/v1/tools").await.expect(200)["tools"][0].clone();
    assert_eq!((&tool["available"], &tool["on_call"]), (&json!(false), &json!(true)), "{tool}");
    echo(&host, "lazy").await;
    let pid = host.pid_of("lazy").await;
    asleep(&host, "lazy").await;
    assert!(is_gone(pid), "asleep means that nothing runs");
    assert_eq!((launches(&counter), tools(&host).await), (2, all));
    // All at once, while it sleeps: one start for all.
    let calls = (0..20).map(|_| echo(&host, "lazy"));
    futures_util::future::join_all(calls).await;
    assert_eq!((launches(&counter), host.plugin("lazy").await["restarts"].as_u64()), (3, Some(0)));
}

#[tokio::test]
async fn calls_around_the_moment_of_the_stop_all_succeed() {
    let setup = Setup::new();
    let counter = setup.scratch("launches");
    let host = setup.plugin("lazy", &lazy(&counter)).start().await;
    for round in 0..8u64 {
        echo(&host, "lazy").await;
        let mut tick = tokio::time::interval(std::time::Duration::from_millis(985 + 8 * round));
        tick.tick().await;
        tick.tick().await;
        echo(&host, "lazy").await;
    }
    assert!(launches(&counter) >= 2, "it never slept");
}

#[tokio::test]
async fn what_it_offers_is_remembered_over_the_hosts_end() {
    let setup = Setup::new();
    let counter = setup.scratch("launches");
    let mut host = setup.plugin("lazy", &lazy(&counter)).start().await;
    asleep(&host, "lazy").await;
    let all = tools(&host).await;
    host.reboot().await;
    asleep(&host, "lazy").await;
    assert_eq!((launches(&counter), tools(&host).await), (1, all), "it was not started");
    echo(&host, "lazy").await;
    assert_eq!(launches(&counter), 2);
    // Something else is launched: what it offers has to be learned.
    host.put("lazy", &lazy(&counter).arg("--pretty"));
    eventually(
        "the third launch",
        async || if launches(&counter) == 3 { Ok(()) } else { Err(String::new()) },
    )
    .await;
    asleep(&host, "lazy").await;
    // A torn file costs a start, and is kept.
    let kept = host.state().join("catalogs/lazy.json");
    eventually("the memory", async || if kept.exists() { Ok(()) } else { Err(String::new()) }).await;
    fs::write(&kept, b"{\"version\":1,\"tools\":[").unwrap();
    host.reboot().await;
    asleep(&host, "lazy").await;
    assert_eq!((launches(&counter), tools(&host).await), (4, all));
    assert!(kept.with_extension("json.corrupt").exists() && kept.exists());
}
