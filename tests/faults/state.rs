//! Faults of the host's own surroundings: its folders, its files, its threads, another host.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use wharf::host::{Host, Options};

use crate::beside::Beside;
use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::procs::is_gone;
use crate::support::{Manifest, TestHost, WHARF, eventually, mock};

/// Fault: the threads for blocking work, of which a host has many, expire. Expected: no plugin dies. (A death signal
/// that is set from such a thread fires when the thread ends, although the host lives.) The host runs inside of this
/// test, so that its threads may expire after 20 ms instead of 10 s.
#[test]
fn f17_idle_threads_that_expire() {
    const THREADS: usize = 1000;
    let mut case = Case::begin("F17", Kind::Process, "1000 idle blocking threads expire");
    wharf::process::use_executable(std::path::Path::new(WHARF)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let (plugins, state) = (home.path().join("plugins"), home.path().join("state"));
    fs::create_dir(&plugins).unwrap();
    for n in 0..4 {
        // Not `${wharf}`, which is this test.
        let manifest = Manifest::command(WHARF).arg("mock").quick();
        fs::write(plugins.join(format!("p{n}.toml")), manifest.text("f17")).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .max_blocking_threads(THREADS)
        .thread_keep_alive(Duration::from_millis(20))
        .build()
        .unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    runtime.block_on(async {
        let host = Host::start(Options::new(plugins, state)).await.unwrap();
        let pids = async || {
            let views = host.plugins().await;
            let all = serde_json::to_value(&views).unwrap();
            let of = |view: &Value| {
                let instance = &view["instances"][0];
                (view["state"] == "ready")
                    .then(|| (instance["pid"].as_u64().unwrap(), instance["generation"].clone()))
            };
            let found: Option<Vec<_>> = all.as_array().unwrap().iter().map(of).collect();
            found.filter(|found| found.len() == 4).ok_or_else(|| all.to_string())
        };
        let before = eventually("four ready plugins", &pids).await;
        let rest = threads();
        let gate = std::sync::Arc::new(std::sync::Barrier::new(THREADS));
        // All at once, so that each has a thread of its own.
        let work: Vec<_> = (0..THREADS)
            .map(|_| {
                let gate = std::sync::Arc::clone(&gate);
                tokio::task::spawn_blocking(move || gate.wait().is_leader())
            })
            .collect();
        for done in work {
            done.await.unwrap();
        }
        eventually("the threads to expire", async || match threads() {
            now if now <= rest => Ok(()),
            now => Err(format!("{now} threads")),
        })
        .await;
        assert_eq!(pids().await.unwrap(), before, "no plugin has died");
        case.figure("threads that expired", THREADS);
        case.figure("plugins that died", 0);
        assert_eq!(host.shutdown(Duration::from_secs(20)).await, 0);
        assert!(before.iter().all(|(pid, _)| is_gone(u32::try_from(*pid).unwrap())));
    });
}

/// Fault: a second host on the same state folder. Expected: it refuses, and says why; the first is not disturbed.
#[tokio::test]
async fn f18_a_second_host() {
    let mut case = Case::begin("F18", Kind::Process, "a second host on the same state folder");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let host = &beside.host;
    let begun = Instant::now();
    let output = Command::new(WHARF)
        .args(["up", "--listen", "127.0.0.1:0", "--plugins"])
        .arg(host.plugins())
        .arg("--state")
        .arg(host.state())
        .output()
        .unwrap();
    case.time("refused after", begun.elapsed());
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("another wharf uses") && said.contains("--state"), "cause and remedy: {said}");
    assert!(output.stdout.is_empty(), "it never listened");
    beside.is_well().await;
}

/// Fault: the files of the state folder and a manifest are torn: cut off, or garbage. Expected: the host starts, says so
/// loudly, serves what it can, and deletes nothing that it could not read. What an operator switched off before is on
/// again, which the log says: a torn file switches nobody off.
#[tokio::test]
async fn f67_torn_files_at_the_start() {
    let mut case = Case::begin("F67", Kind::Process, "torn state files and a torn manifest");
    let setup = Setup::new();
    let torn = [("switches.json", "{\"off\": fal"), ("eras.json", "[{\"server\":\"12")];
    for (name, text) in torn {
        fs::write(setup.state().join(name), text).unwrap();
    }
    let whole = mock().text(setup.mark());
    let setup = setup.plugin("off", &mock()).file("bad.toml", &whole[..whole.len() / 2]);
    let begun = Instant::now();
    let beside = Beside::start(&mut case, setup).await;
    case.time("started after", begun.elapsed());
    let host = &beside.host;
    host.until_state("off", "ready").await;
    let view = host.until_cause("bad", "invalid_manifest").await;
    assert_eq!(view["state"], "misconfigured", "{view}");
    let said = host.said();
    for name in ["switches.json", "eras.json", "bad.toml"] {
        assert!(said.contains(name), "{name} is not spoken of: {said}");
    }
    let aside = fs::read_to_string(host.state().join("switches.json.corrupt")).unwrap();
    assert_eq!(aside, torn[0].1, "it is kept as it was");
    assert!(fs::read_to_string(host.plugins().join("bad.toml")).unwrap().len() == whole.len() / 2);
    host.put_file("bad.toml", &whole);
    host.until_state("bad", "ready").await;
    case.figure("files told", 3);
    beside.is_well().await;
}

/// A token that is garbage, or cut off to nothing. The host must not run with it.
#[tokio::test]
async fn f67_a_torn_token() {
    let mut case = Case::begin("F67", Kind::Process, "a torn token");
    for torn in ["", "x", "\u{0}\u{0}\u{0}\u{0}"] {
        let setup = Setup::new();
        fs::write(setup.state().join("token"), torn).unwrap();
        let output = Command::new("timeout")
            .args(["20", WHARF, "up", "--listen", "127.0.0.1:0", "--plugins"])
            .arg(setup.plugins())
            .arg("--state")
            .arg(setup.state())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{torn:?}: {said}");
        assert!(said.contains("token"), "{torn:?}: {said}");
        assert_eq!(fs::read_to_string(setup.state().join("token")).unwrap(), torn, "nothing is deleted");
    }
    case.figure("refused", 3);
}

/// Fault: one manifest is written a hundred times a second, half of them invalid, for 5 s. Expected: each content is
/// taken as a whole or not at all, the last one counts, what is invalid is shown, and no other plugin is touched.
#[tokio::test]
async fn f71_a_storm_of_reloads() {
    const WRITES: u32 = 500;
    let mut case = Case::heavy("F71", Kind::Process, "100 manifests a second, half invalid").await;
    let setup = (0..5).fold(Setup::new(), |setup, n| setup.plugin(&format!("calm-{n}"), &mock()));
    let beside = Beside::start(&mut case, setup.plugin("bad", &mock())).await;
    let host: &TestHost = &beside.host;
    let mut calm = Vec::new();
    for n in 0..5 {
        calm.push(host.pid_of(&format!("calm-{n}")).await);
    }
    host.until_state("bad", "ready").await;
    let mut tick = tokio::time::interval(Duration::from_millis(10));
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    for n in 0..WRITES {
        tick.tick().await;
        let text = mock().set("env.COLOUR", format!("c{n}")).text(host.mark());
        // Replaced in one step, or in place and cut in the middle, as the worst of editors does.
        match n % 4 {
            0 | 2 => host.put_file("bad.toml", &text),
            1 => fs::write(host.plugins().join("bad.toml"), &text[..text.len() / 2]).unwrap(),
            _ => host.put_file("bad.toml", "command = 7\n"),
        }
        if n % 50 == 0 {
            let asked = Instant::now();
            host.call("calm-0", "echo", json!({ "message": "calm" })).await;
            slowest = slowest.max(asked.elapsed());
        }
    }
    case.figure("writes", WRITES);
    case.time("in", begun.elapsed());
    case.time("slowest call beside", slowest);
    let begun = Instant::now();
    host.put("bad", &mock().set("env.COLOUR", "last"));
    eventually("the last manifest to be in force", async || {
        let answer = host.try_call("bad", "env", json!({ "name": "COLOUR" })).await;
        let value = answer.json()["result"]["structuredContent"]["value"].clone();
        if value == "last" { Ok(()) } else { Err(answer.text()) }
    })
    .await;
    case.time("the last in force after", begun.elapsed());
    for (n, pid) in calm.iter().enumerate() {
        let view = host.plugin(&format!("calm-{n}")).await;
        assert_eq!(view["instances"][0]["pid"], *pid, "it was not to be touched: {view}");
        assert_eq!(view["restarts"], 0, "{view}");
    }
    let view = host.plugin("bad").await;
    case.figure("launches of the one", &view["instances"][0]["generation"]);
    assert_eq!(view["manifest"]["problems"], json!([]), "{view}");
    beside.is_well().await;
}
