//! A new version of a plugin under load: whatever it does, no call fails for it.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use reqwest::Method;
use serde_json::{Value, json};

use crate::beside::Beside;
use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::{Manifest, TestHost, eventually, mock};

/// Between two calls: 200 a second.
const PACE: Duration = Duration::from_millis(5);

/// What became of the calls of a load.
#[derive(Debug, Default)]
struct Tally {
    answered: usize,
    failed: Vec<String>,
    slowest: Duration,
}

/// Calls `echo` of the plugin `bad` at a steady pace, whether the last call is answered or not, until `work` is done.
async fn under_load<T>(host: &TestHost, work: impl Future<Output = T>) -> (T, Tally) {
    let call = |n: usize| {
        let request = host.request(Method::POST, "/api/v1/plugins/bad/tools/echo/call");
        let request = request.json(&json!({ "arguments": { "message": n.to_string() } }));
        async move {
            let begun = Instant::now();
            let fate = match request.send().await {
                Ok(answer) if answer.status() == 200 => {
                    let text = answer.text().await.unwrap_or_default();
                    if text.contains(&format!("\"{n}\"")) { Ok(()) } else { Err(text) }
                }
                Ok(answer) => Err(answer.text().await.unwrap_or_default()),
                Err(error) => Err(error.to_string()),
            };
            (fate, begun.elapsed())
        }
    };
    let (mut calls, mut tally, mut sent) = (FuturesUnordered::new(), Tally::default(), 0);
    let mut tick = tokio::time::interval(PACE);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut work = std::pin::pin!(work);
    let done = loop {
        tokio::select! {
            _ = tick.tick() => {
                calls.push(call(sent));
                sent += 1;
            }
            Some(ended) = calls.next() => tally.count(ended),
            done = &mut work => break done,
        }
    };
    while let Some(ended) = calls.next().await {
        tally.count(ended);
    }
    (done, tally)
}

impl Tally {
    fn count(&mut self, (fate, took): (Result<(), String>, Duration)) {
        self.slowest = self.slowest.max(took);
        match fate {
            Ok(()) => self.answered += 1,
            Err(why) => self.failed.push(why),
        }
    }

    fn note(&self, case: &mut Case) {
        case.figure("calls", self.answered + self.failed.len());
        case.figure("failed", self.failed.len());
        case.time("the slowest took", self.slowest);
    }
}

/// Waits until the API shows this step of the upgrade to this version.
async fn step(host: &TestHost, step: &str, to: u64) -> Value {
    let fits = |view: &Value| view["upgrade"]["state"] == step && view["upgrade"]["to"] == to;
    host.until("bad", step, fits).await
}

fn version(n: u32) -> Manifest {
    mock().set("env.VERSION", n.to_string()).set("upgrade.trial", "2s").set("health.start_timeout", "10s")
}

async fn version_of(host: &TestHost) -> Value {
    host.call("bad", "env", json!({ "name": "VERSION" })).await["structuredContent"]["value"].take()
}

/// Starts the first version, and brings the second one in under load; it must not come to anything.
async fn does_not_take_over(title: &str, second: &Manifest, cause: &str) {
    let mut case = Case::begin("F70", Kind::Process, title);
    let beside = Beside::with(&mut case, &version(1)).await;
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    let (took, tally) = under_load(host, async {
        let begun = Instant::now();
        host.put("bad", second);
        let view = step(host, "rolled_back", 2).await;
        assert_eq!(view["upgrade"]["cause"]["code"], cause, "{view}");
        begun.elapsed()
    })
    .await;
    case.time("rolled back after", took);
    tally.note(&mut case);
    assert_eq!(tally.failed, Vec::<String>::new());
    assert_eq!(host.pid_of("bad").await, old, "the old one never stopped");
    assert_eq!(version_of(host).await, "1");
    let view = host.until("bad", "alone", |view| view["instances"].as_array().unwrap().len() == 1).await;
    assert_eq!((&view["restarts"], &view["instances"][0]["revision"]), (&json!(0), &json!(1)), "{view}");
    beside.is_well().await;
}

/// No fault: a version that works, of two replicas. Expected: it takes over, no call fails, the memory of both is shown while
/// both run, and the old one ends after its trial.
#[tokio::test]
async fn f70_a_version_that_works() {
    let mut case = Case::begin("F70", Kind::Process, "upgrade at 200 calls/s: it works");
    let beside = Beside::with(&mut case, &version(1).set("replicas", 2)).await;
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    let ((switched, both), tally) = under_load(host, async {
        let begun = Instant::now();
        host.put("bad", &version(2).set("replicas", 2));
        let view = step(host, "trial", 2).await;
        let switched = begun.elapsed();
        assert_eq!(version_of(host).await, "2");
        step(host, "done", 2).await;
        (switched, view)
    })
    .await;
    case.time("switched after", switched);
    tally.note(&mut case);
    let instances = both["instances"].as_array().unwrap();
    let revisions: Vec<_> = instances.iter().map(|one| one["revision"].as_u64().unwrap()).collect();
    assert_eq!(revisions, [2, 2, 1, 1], "{both}");
    let bytes: u64 = instances.iter().map(|one| one["rss_bytes"].as_u64().unwrap()).sum();
    case.size("both versions held", bytes);
    assert_eq!(tally.failed, Vec::<String>::new());
    assert_ne!(host.pid_of("bad").await, old);
    let view = host.until("bad", "alone", |view| view["instances"].as_array().unwrap().len() == 2).await;
    assert_eq!(view["restarts"], 0, "{view}");
    beside.is_well().await;
}

/// Fault: the new version exits at each start. Expected: it is given up, no call fails, the old one never stopped.
#[tokio::test]
async fn f70_a_version_that_crashes_at_its_start() {
    let second = version(2).args(["--crash-at-start", "3"]);
    does_not_take_over("upgrade at 200 calls/s: it crashes at the start", &second, "exited").await;
}

/// Fault: the new version starts, and never answers; 2 s here instead of 30. Expected: likewise.
#[tokio::test]
async fn f70_a_version_that_is_never_ready() {
    let second = version(2).arg("--hang-at-start").set("health.start_timeout", "2s");
    let title = "upgrade at 200 calls/s: it is never ready (2 s)";
    does_not_take_over(title, &second, "start_timeout").await;
}

/// Fault: the new version offers other tools, where the manifest wants all of the old ones (`upgrade.lists`). Expected:
/// likewise, and the difference is told.
#[tokio::test]
async fn f70_a_version_with_other_tools() {
    let mut case = Case::begin("F70", Kind::Process, "upgrade at 200 calls/s: other tools");
    let setup = Setup::new();
    let script = setup.scratch("other.json");
    std::fs::write(&script, r#"{"tools": [{"name": "other"}]}"#).unwrap();
    let first = version(1).set("upgrade.lists", "more");
    let beside = Beside::start(&mut case, setup.plugin("bad", &first)).await;
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    let (took, tally) = under_load(host, async {
        let begun = Instant::now();
        host.put("bad", &version(2).set("upgrade.lists", "more").arg("--script").path(&script));
        let view = step(host, "rolled_back", 2).await;
        assert_eq!(view["upgrade"]["cause"]["code"], "other_lists", "{view}");
        let text = view["upgrade"]["difference"]["text"].as_str().unwrap();
        assert!(text.contains("+other") && text.contains("-echo"), "{text}");
        begun.elapsed()
    })
    .await;
    case.time("rolled back after", took);
    tally.note(&mut case);
    assert_eq!(tally.failed, Vec::<String>::new());
    assert_eq!(host.pid_of("bad").await, old);
    // Whoever means it says so.
    assert_eq!(host.command("bad", "restart").await["status"], "done");
    host.call("bad", "other", json!({})).await;
    host.try_call("bad", "echo", json!({ "message": "x" })).await.problem(404, "tool_not_found");
    beside.is_well().await;
}

/// Fault: the new version works, takes over, and dies at its 100th call. Expected: the old one, which is warm, takes the
/// calls again at once. What was handed over to the one that died is told as `outcome_unknown`; nothing else fails.
#[tokio::test]
async fn f70_a_version_that_crashes_in_its_trial() {
    let mut case = Case::begin("F70", Kind::Process, "upgrade at 200 calls/s: it crashes in the trial");
    let beside = Beside::with(&mut case, &version(1)).await;
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    let second = version(2).args(["--crash-at-call", "100"]).set("upgrade.trial", "60s");
    let ((), tally) = under_load(host, async {
        host.put("bad", &second);
        step(host, "trial", 2).await;
        let view = step(host, "rolled_back", 2).await;
        assert_eq!(view["upgrade"]["cause"]["code"], "exited", "{view}");
        eventually("some more calls", async || {
            let now = host.plugin("bad").await;
            if now["instances"].as_array().unwrap().len() == 1 { Ok(()) } else { Err(now.to_string()) }
        })
        .await;
    })
    .await;
    tally.note(&mut case);
    let unknown = |why: &String| why.contains("\"outcome_unknown\"");
    assert!(tally.failed.iter().all(unknown), "{:?}", tally.failed);
    assert!((1..=16).contains(&tally.failed.len()), "only what was in flight: {:?}", tally.failed);
    assert_eq!(host.pid_of("bad").await, old, "it was warm");
    assert_eq!(version_of(host).await, "1");
    beside.is_well().await;
}
