//! Calls that nobody waits for any more, and calls that never end.

mod leaving;

use std::time::{Duration, Instant};

use serde_json::json;
use tokio::task::JoinSet;

use self::leaving::{WAYS, at, leave, until};
use crate::harness::{Case, Kind};
use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::sse::Events;
use crate::support::{Manifest, eventually, mock};

const STUBBORN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/admission/stubborn.py");

/// Generous for a busy machine. A host that finds out by looking from time to time, or when it writes next, fails it.
const SOON: Duration = Duration::from_secs(2);

async fn is_told(title: &str, bad: Manifest) {
    let mut case = Case::begin("F43", Kind::Process, title);
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("bad", &bad.arg("--ledger").path(&ledger)).start().await;
    case.under(&host).await;
    host.until_state("bad", "ready").await;
    let mut all = Vec::new();
    for (n, way) in (0..).zip(WAYS) {
        let took = leave(&host, way, "bad", &ledger, 600_000 + n).await;
        assert!(took < SOON, "{way:?}: {took:?}");
        case.time(&format!("{way:?}"), took);
        all.push(took);
    }
    all.sort();
    case.time("median", all[all.len() / 2]);
    case.time("longest", all[all.len() - 1]);
    let free = |view: &serde_json::Value| {
        view["queue"]["running"] == 0
            && view["queue"]["waiting"] == 0
            && view["instances"][0]["inflight"] == 0
    };
    host.until("bad", "free again", free).await;
    let echo = host.call("bad", "echo", json!({ "message": "next" })).await;
    assert_eq!(text_of(&echo), "next");
}

/// Fault: the client of a call goes away, in each way in which clients do, or the call's time is over; the plugin speaks
/// stdio. Expected: the plugin is told within 100 ms (measured), the call's place is free.
#[tokio::test]
async fn f43_a_client_that_goes_away_from_a_pipe() {
    is_told("a client goes, stdio", mock()).await;
}

/// Fault: likewise, with a plugin that speaks HTTP and knows sessions. Expected: likewise, by a message.
#[tokio::test]
async fn f43_a_client_that_goes_away_from_http() {
    is_told("a client goes, http with sessions", mock_on_port("http")).await;
}

/// Fault: likewise, with a plugin that speaks HTTP+SSE. Expected: likewise.
#[tokio::test]
async fn f43_a_client_that_goes_away_from_old_http() {
    is_told("a client goes, http+sse", mock_on_port("sse")).await;
}

/// Fault: the client of a call that waits for its turn goes away. Expected: its place in the queue is free at once, and the
/// plugin never hears of it.
#[tokio::test]
async fn f43_a_client_that_goes_away_from_the_queue() {
    let mut case = Case::begin("F43", Kind::Process, "a client goes while it waits for its turn");
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let narrow = mock().set("limits.concurrency", 1).set("limits.queue", 4).set("limits.queue_wait", "60s");
    let host = setup.plugin("bad", &narrow.arg("--ledger").path(&ledger)).start().await;
    case.under(&host).await;
    host.until_state("bad", "ready").await;
    let path = "/api/v1/plugins/bad/tools/sleep/call";
    let calling = |ms: u64| {
        let post = host.request(reqwest::Method::POST, path).json(&json!({ "arguments": { "ms": ms } }));
        let mut calling = JoinSet::new();
        calling.spawn(async move { post.send().await?.bytes().await });
        calling
    };
    let first = calling(600_000);
    until(&ledger, 600_000, "begin").await;
    let second = calling(600_001);
    host.until("bad", "waited for", |view| view["queue"]["waiting"] == 1).await;
    drop(second);
    let gone = Instant::now();
    host.until("bad", "waited for no more", |view| view["queue"]["waiting"] == 0).await;
    case.time("off the queue, seen after", gone.elapsed());
    drop(first);
    until(&ledger, 600_000, "cancelled").await;
    let echo = host.call("bad", "echo", json!({ "message": "next" })).await;
    assert_eq!(text_of(&echo), "next");
    assert_eq!(at(&ledger, 600_001, "begin"), None, "it was never handed over");
}

/// Fault: a plugin does not listen to a cancellation and answers when it is done. Expected: its answer reaches nobody, is
/// counted, and the next call gets its own.
#[tokio::test]
async fn f43_an_answer_that_comes_too_late() {
    let mut case = Case::begin("F43", Kind::Process, "answers after its call was given up");
    let bad = Manifest::command("python3").arg(STUBBORN).quick().set("limits.concurrency", 1);
    let host = Setup::new().plugin("bad", &bad).start().await;
    case.under(&host).await;
    host.until_state("bad", "ready").await;
    let path = "/api/v1/plugins/bad/tools/late/call";
    for n in 0..5 {
        let arguments = json!({ "ms": 300, "text": format!("late {n}") });
        let answer = host.post(path, &json!({ "arguments": arguments, "timeout_ms": 50 })).await;
        answer.problem(504, "deadline");
        // There is one place, and it is free though the plugin works on.
        let text = format!("own {n}");
        let own = host.call("bad", "late", json!({ "ms": 400, "text": text })).await;
        assert_eq!(text_of(&own), text);
    }
    let view = host.until("bad", "late five times", |view| view["late_answers"] == 5).await;
    assert_eq!(view["stray_answers"], 0, "{view}");
    case.figure("late answers", 5);
    case.figure("seen by callers", 0);
}

/// Fault: a tool reports progress for ever. Expected: progress that its caller hears of gives it time again, and it ends
/// at `limits.max_timeout` all the same; who set a time of its own has that; who says nothing has `limits.call_timeout`.
#[tokio::test]
async fn f44_progress_for_ever() {
    let mut case = Case::begin("F44", Kind::Process, "progress for ever");
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let bad = mock().set("limits.call_timeout", "1s").set("limits.max_timeout", "4s");
    let host = setup.plugin("bad", &bad.arg("--ledger").path(&ledger)).start().await;
    case.under(&host).await;
    host.until_state("bad", "ready").await;
    let path = "/api/v1/plugins/bad/tools/progress/call";
    let streamed = async |body: serde_json::Value| {
        let begun = Instant::now();
        let post = host.request(reqwest::Method::POST, path).json(&body);
        let events = Events::open(post).await.all().await;
        let last = events.last().expect("an end").clone();
        assert_eq!((last.name.as_str(), &last.json()["code"]), ("error", &json!("deadline")), "{last:?}");
        (begun.elapsed(), events.iter().filter(|event| event.name == "progress").count())
    };
    let forever = json!({ "steps": 1_000_000, "interval_ms": 100 });
    let (longest, reports) = streamed(json!({ "arguments": forever })).await;
    assert!(longest >= Duration::from_secs(4), "{longest:?}");
    assert!(reports > 10, "{reports} reports");
    case.time("ended after", longest);
    case.figure("reports", reports);
    let (own, _) = streamed(json!({ "arguments": forever, "timeout_ms": 1500 })).await;
    assert!(own >= Duration::from_millis(1500) && own < Duration::from_millis(3500), "{own:?}");
    case.time("with a time of 1.5 s", own);
    let (silent, _) = streamed(json!({ "arguments": { "steps": 2, "interval_ms": 60_000 } })).await;
    assert!(silent >= Duration::from_secs(1) && silent < Duration::from_secs(3), "{silent:?}");
    case.time("without progress", silent);
    let cancelled = async || match crate::support::ledger::count(&ledger, "progress", "cancelled") {
        3 => Ok(()),
        other => Err(other.to_string()),
    };
    eventually("each to be cancelled at the plugin", cancelled).await;
}
