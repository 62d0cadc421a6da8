//! Plugins that die, hang or will not die, and hosts that are asked to end.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};

use crate::beside::Beside;
use crate::harness::{Case, Kind, millis};
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::procs::{is_gone, kill9, signal};
use crate::support::{Answer, Manifest, eventually, mock};

/// The mock with the delays of every manifest that says nothing about them.
fn plain() -> Manifest {
    Manifest::command("${wharf}").arg("mock")
}

/// Kills the plugin's main process while a call runs; what must hold for each variant of F08.
async fn dies_and_comes_back(case: &mut Case, beside: &Beside) {
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    let cut_off = host.try_call("bad", "sleep", json!({ "ms": 60_000 }));
    let kill = async {
        host.until("bad", "busy", |view| view["instances"][0]["inflight"] == 1).await;
        let begun = Instant::now();
        kill9(old);
        begun
    };
    let all = async {
        let begun = kill.await;
        let (good, ready) = tokio::join!(beside.good_call(begun), async {
            host.until_back("bad", old).await;
            begun.elapsed()
        });
        (begun, good, ready)
    };
    let (answer, (begun, good, ready)) = tokio::join!(
        async {
            let answer = cut_off.await;
            (answer, Instant::now())
        },
        all
    );
    let (answer, answered) = answer;
    let problem = answer.problem(502, "outcome_unknown");
    assert_eq!(problem["delivery"], "unknown", "{problem}");
    case.time("kill to Ready", ready);
    case.time("to the next good call", good);
    case.time("the call in flight was told after", answered.saturating_duration_since(begun));
    let view = host.plugin("bad").await;
    assert_eq!(view["instances"][0]["last_exit"]["signal"], 9, "{view}");
    assert!(is_gone(old));
    beside.is_well().await;
}

/// Fault: `kill -9` of the main process, a moment after its start. Expected: the call in flight is answered with
/// `outcome_unknown`, a new process is ready in less than 2 s, and no other plugin is touched. The delay of the first
/// restart is 0.25 to 0.75 s then.
#[tokio::test]
async fn f08_a_killed_plugin() {
    let mut case = Case::begin("F08", Kind::Process, "kill -9 a moment after the start, stdio");
    let beside = Beside::with(&mut case, &plain()).await;
    dies_and_comes_back(&mut case, &beside).await;
}

/// The same once it had been ready for 10 s: it is restarted at once.
#[tokio::test]
async fn f08_a_killed_plugin_that_had_been_sound() {
    let mut case = Case::begin("F08", Kind::Process, "kill -9 after ten sound seconds, stdio");
    let beside = Beside::with(&mut case, &plain()).await;
    let ready = Instant::now();
    beside.host.until_state("bad", "ready").await;
    eventually("ten seconds of being ready", async || {
        if ready.elapsed() > Duration::from_millis(10_500) { Ok(()) } else { Err("not yet".to_owned()) }
    })
    .await;
    dies_and_comes_back(&mut case, &beside).await;
}

/// The same with a port instead of a pipe.
#[tokio::test]
async fn f08_a_killed_plugin_on_a_port() {
    let mut case = Case::begin("F08", Kind::Process, "kill -9 a moment after the start, http");
    let beside = Beside::with(&mut case, &mock_on_port("http").set("restart.initial", "150ms")).await;
    dies_and_comes_back(&mut case, &beside).await;
}

/// Fault: SIGSTOP of the main process. Expected: its probes are missed, it is degraded, then killed although it is
/// stopped, and a new one is ready. Probes come each 200 ms here instead of 10 s.
#[tokio::test]
async fn f09_a_stopped_process() {
    let mut case = Case::begin("F09", Kind::Process, "SIGSTOP");
    let quick = mock().set("health.interval", "200ms").set("health.timeout", "500ms");
    let quick = quick.set("stop.grace", "300ms").set("stop.term", "300ms");
    let beside = Beside::with(&mut case, &quick).await;
    let old = beside.host.pid_of("bad").await;
    signal(old, Signal::SIGSTOP);
    let begun = Instant::now();
    let degraded = beside.host.until("bad", "not ready", |view| view["state"] != "ready").await;
    case.time("noticed after", begun.elapsed());
    assert_eq!(degraded["state"], "degraded", "the first sign is no reason to kill: {degraded}");
    beside.host.until_back("bad", old).await;
    case.time("ready again after (probes each 0.2 s)", begun.elapsed());
    assert!(is_gone(old), "SIGKILL reaches a stopped process");
    let view = beside.host.plugin("bad").await;
    assert_eq!(view["restarts"], 1, "{view}");
    beside.is_well().await;
}

/// Fault: plugins that ignore SIGTERM and the end of their input. Expected: each is killed after 2 + 5 s (the defaults);
/// twenty of them end side by side with the host, within its 30 s.
#[tokio::test]
async fn f10_plugins_that_ignore_sigterm() {
    let mut case = Case::heavy("F10", Kind::Process, "21 plugins that ignore SIGTERM").await;
    let stubborn = plain().args(["--ignore-sigterm", "--ignore-stdin-close"]);
    let ids: Vec<_> = (0..20).map(|n| format!("stubborn-{n}")).collect();
    let setup = ids.iter().fold(Setup::new(), |setup, id| setup.plugin(id, &stubborn));
    let mut beside = Beside::start(&mut case, setup.plugin("bad", &stubborn)).await;
    for id in &ids {
        beside.host.until_state(id, "ready").await;
    }
    let pid = beside.host.pid_of("bad").await;
    let begun = Instant::now();
    assert_eq!(beside.host.command("bad", "stop").await["status"], "done");
    assert!(is_gone(pid));
    case.time("one is stopped after", begun.elapsed());
    assert!(begun.elapsed() >= Duration::from_secs(7), "it had 2 s for its input and 5 s for SIGTERM");
    beside.is_well().await;
    let begun = Instant::now();
    assert!(beside.host.end(Signal::SIGTERM).success());
    case.time("a host with 20 ends after", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(30), "ended in {}", millis(begun.elapsed()));
}

/// Fault: a server of one thread is busy inside a call and answers no probe; 5 s here instead of 30, with probes each
/// 200 ms, so that more than ten are missed. Expected: it is not killed, the call completes, it is degraded, then ready.
#[tokio::test]
async fn f11_a_busy_server_is_not_a_dead_one() {
    let mut case = Case::begin("F11", Kind::Process, "busy inside a legal call");
    let busy = mock().arg("--one-at-a-time").set("health.interval", "200ms").set("health.timeout", "200ms");
    let beside = Beside::with(&mut case, &busy).await;
    let host = &beside.host;
    let pid = host.pid_of("bad").await;
    let begun = Instant::now();
    let (answer, degraded) = tokio::join!(
        host.try_call("bad", "sleep", json!({ "ms": 5000 })),
        host.until_state("bad", "degraded")
    );
    answer.expect(200);
    case.time("the call took", begun.elapsed());
    drop(degraded);
    host.until_state("bad", "ready").await;
    case.time("ready again after", begun.elapsed());
    assert_eq!(host.pid_of("bad").await, pid, "it was not killed");
    assert_eq!(host.plugin("bad").await["restarts"], 0);
    beside.is_well().await;
}

/// What became of one call of a load.
#[derive(Debug, PartialEq)]
enum Fate {
    Answered,
    /// With a status: refused in order.
    Refused(u16),
    /// The host listens no more.
    Closed,
}

/// Fault: SIGTERM to a host under load. Expected: nothing new is let in, what runs is finished, it exits with 0 and
/// leaves nothing. What ran is known from the plugin's ledger: each call that began there was answered.
#[tokio::test]
async fn f19_a_host_that_ends_under_load() {
    let mut case = Case::heavy("F19", Kind::Process, "SIGTERM to the host under load").await;
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let bad = mock().arg("--ledger").path(&ledger);
    let mut beside = Beside::start(&mut case, setup.plugin("bad", &bad)).await;
    beside.host.until_state("bad", "ready").await;
    let (host, stop) = (&beside.host, tokio::sync::Notify::new());
    let caller = async |caller: usize| {
        let mut fates = Vec::new();
        for n in 0.. {
            let arguments = json!({ "ms": 200 + 20 * caller, "key": format!("{caller}-{n}") });
            let request = host.request(Method::POST, "/api/v1/plugins/bad/tools/sleep/call");
            let sent = request.json(&json!({ "arguments": arguments })).send().await;
            let fate = match sent {
                Ok(response) if response.status() == 200 => match response.bytes().await {
                    Ok(_) => Fate::Answered,
                    Err(error) => panic!("an answer was cut off: {error}"),
                },
                Ok(response) => Fate::Refused(response.status().as_u16()),
                Err(_) => Fate::Closed,
            };
            if n == 2 {
                stop.notify_one();
            }
            let last = fate != Fate::Answered;
            fates.push((format!("{caller}-{n}"), fate));
            if last {
                break;
            }
        }
        fates
    };
    let begun = async {
        stop.notified().await;
        signal(host.pid(), Signal::SIGTERM);
        Instant::now()
    };
    let (fates, begun) = tokio::join!(join_all((0..32).map(caller)), begun);
    let fates: Vec<_> = fates.into_iter().flatten().collect();
    assert!(beside.host.wait().success(), "a host that is asked to end exits with 0");
    case.time("ended after", begun.elapsed());
    let text = std::fs::read_to_string(&ledger).unwrap();
    let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let ran: Vec<String> = entries
        .filter(|entry| entry["phase"] == "begin")
        .map(|entry| entry["arguments"]["key"].as_str().unwrap().to_owned())
        .collect();
    for (key, fate) in &fates {
        assert_eq!(*fate == Fate::Answered, ran.contains(key), "{key} came to {fate:?}");
    }
    let count = |fits: fn(&Fate) -> bool| fates.iter().filter(|(_, fate)| fits(fate)).count();
    case.figure("calls answered", count(|fate| *fate == Fate::Answered));
    case.figure("refused in order", count(|fate| matches!(fate, Fate::Refused(503))));
    case.figure("not connected", count(|fate| *fate == Fate::Closed));
    assert_eq!(count(|fate| matches!(fate, Fate::Refused(status) if *status != 503)), 0, "{fates:?}");
}

/// Fault: fifty plugins die at once. Expected: all are ready again within 60 s (ten restarts in ten seconds are let
/// through, so that is 40 s by design), and the API answers all the while. The
/// median and the 99th percentile of an API request are noted, not judged: fifty launches of a debug build fill two cores.
#[tokio::test]
async fn f69_fifty_plugins_die_at_once() {
    let mut case = Case::begin("F69", Kind::Process, "50 plugins are killed at once");
    let ids: Vec<_> = (0..50).map(|n| format!("p{n}")).collect();
    let setup = ids.iter().fold(Setup::new(), |setup, id| setup.plugin(id, &plain()));
    let beside = Beside::start(&mut case, setup).await;
    let host = &beside.host;
    let mut pids = Vec::new();
    for id in &ids {
        pids.push(host.pid_of(id).await);
    }
    let begun = Instant::now();
    pids.iter().copied().for_each(kill9);
    let (mut took, mut starting) = (Vec::new(), 0);
    loop {
        let asked = Instant::now();
        let all = Answer::of(host.request(Method::GET, "/api/v1/plugins")).await.expect(200);
        took.push(asked.elapsed());
        let views = all["plugins"].as_array().unwrap();
        starting = starting.max(views.iter().filter(|view| view["state"] == "starting").count());
        let back = |(id, pid): (&String, &u32)| {
            let view = views.iter().find(|view| view["id"] == **id).unwrap();
            view["state"] == "ready" && view["instances"][0]["pid"].as_u64() != Some(u64::from(*pid))
        };
        if ids.iter().zip(&pids).all(back) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "not all are back: {all}");
    }
    case.time("all ready after", begun.elapsed());
    case.figure("started at once at most", starting);
    took.sort();
    case.time("API median", took[took.len() / 2]);
    case.time("p99", took[(took.len() * 99) / 100]);
    assert!(starting <= 32, "{starting} starts at once");
    beside.is_well().await;
}
