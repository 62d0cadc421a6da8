//! Faults of some or all instances of a plugin: what their callers notice.

use std::time::{Duration, Instant, SystemTime};

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::harness::{Case, Kind};
use crate::support::fake::{Fake, OnCall};
use crate::support::procs::peak_rss;
use crate::support::{Manifest, TestHost};

const ANSWER: OnCall = OnCall::Result("{\"content\":[]}");

/// Two servers that run elsewhere, alike.
async fn twins(more: impl FnOnce(Manifest) -> Manifest) -> (TestHost, [Fake; 2]) {
    let fakes = [Fake::start(ANSWER), Fake::start(ANSWER)];
    let manifest = Manifest::targets([(fakes[0].url(), 1), (fakes[1].url(), 1)])
        .set("balance", "round_robin")
        .set("limits.call_timeout", "200ms")
        .set("health.timeout", "1s");
    let host = TestHost::with([("twins", more(manifest))]).await;
    let up = |view: &Value| view["instances"].as_array().unwrap().iter().all(|one| one["state"] == "ready");
    host.until("twins", "ready twice", up).await;
    (host, fakes)
}

fn breakers(view: &Value) -> Vec<&str> {
    let instances = view["instances"].as_array().unwrap();
    instances.iter().map(|one| one["breaker"]["state"].as_str().unwrap()).collect()
}

/// Fault: one of two replicas takes every call and answers none. Expected: after at most five calls none goes there any
/// more, callers notice nothing from then on, no more than 1.2 times the calls reach the replicas; and when it answers
/// again it is taken back.
#[tokio::test]
async fn f41_a_replica_that_swallows_calls() {
    let mut case = Case::begin("F41", Kind::Process, "one of two replicas answers nothing");
    let (host, [good, hole]) = twins(|manifest| manifest).await;
    case.under(&host).await;
    hole.falls_silent(true);
    let (mut lost, mut calls) = (0, 0);
    let begun = Instant::now();
    while !breakers(&host.plugin("twins").await).contains(&"open") {
        calls += 1;
        match host.try_call("twins", "odd", json!({})).await {
            answer if answer.status == 200 => {}
            answer => {
                assert_eq!(answer.problem(504, "deadline")["delivery"], "unknown");
                lost += 1;
            }
        }
        assert!(lost <= 5, "it goes on taking calls");
    }
    case.time("ejected after", begun.elapsed());
    case.figure("calls lost", lost);
    let mut times = Vec::new();
    for _ in 0..100 {
        let begun = Instant::now();
        host.call("twins", "odd", json!({})).await;
        times.push(begun.elapsed());
        calls += 1;
    }
    let reached = good.calls() + hole.calls();
    assert!(hole.calls() <= 5, "{} calls were swallowed", hole.calls());
    assert!(reached * 10 <= calls * 12, "{calls} calls, and {reached} reached a replica");
    times.sort();
    case.time("p99 after that", times[98]);
    hole.falls_silent(false);
    let before = hole.calls();
    crate::support::eventually("it to be taken back", async || {
        host.call("twins", "odd", json!({})).await;
        let view = host.plugin("twins").await;
        if breakers(&view) == ["closed", "closed"] { Ok(()) } else { Err(view["instances"].to_string()) }
    })
    .await;
    assert!(hole.calls() > before);
}

/// Fault: no replica answers, and 2000 calls come. Expected: each fails at once with 503 and the time at which the first
/// replica is tried again, none reaches a replica, and the memory of the host does not grow.
#[tokio::test]
async fn f42_no_replica_answers() {
    let mut case = Case::heavy("F42", Kind::Process, "no replica answers, 2000 calls").await;
    let long = |manifest: Manifest| manifest.set("breaker.open", "40s").set("health.interval", "1h");
    let (host, fakes) = twins(long).await;
    case.under(&host).await;
    fakes.iter().for_each(|fake| fake.falls_silent(true));
    while breakers(&host.plugin("twins").await) != ["open", "open"] {
        let status = host.try_call("twins", "odd", json!({})).await.status;
        assert_eq!(status, 504);
    }
    let reached = fakes.each_ref().map(Fake::calls);
    assert_eq!(reached, [5, 5]);
    let view = host.plugin("twins").await;
    let next =
        |one: &Value| humantime::parse_rfc3339(one["breaker"]["next_try_at"].as_str().unwrap()).unwrap();
    let first = view["instances"].as_array().unwrap().iter().map(next).min().unwrap();
    let (rss, begun, mut times) = (peak_rss(host.pid()), Instant::now(), Vec::new());
    for _ in 0..63 {
        let round = (0..32).map(async |_| {
            let begun = Instant::now();
            let answer = host.try_call("twins", "odd", json!({})).await;
            (begun.elapsed(), answer, SystemTime::now())
        });
        for (took, answer, at) in join_all(round).await {
            let problem = answer.problem(503, "plugin_unavailable");
            let said = Duration::from_millis(problem["retry_after_ms"].as_u64().unwrap());
            let left = first.duration_since(at).unwrap();
            // It was said while the call was under way.
            assert!(
                said + Duration::from_millis(2) >= left && said <= left + took + Duration::from_millis(2),
                "{said:?} of {left:?}"
            );
            let header: u64 = answer.header("retry-after").parse().unwrap();
            // Rounded up, from a time that is told in whole milliseconds beside it.
            let up = |ms: u128| u64::try_from(ms.div_ceil(1000)).unwrap();
            assert!(
                header == up(said.as_millis()) || header == up(said.as_millis() + 1),
                "{header} for {said:?}"
            );
            assert!(problem["detail"].as_str().unwrap().contains("breaker is open"), "{problem}");
            times.push(took);
        }
    }
    let grown = peak_rss(host.pid()).saturating_sub(rss);
    times.sort();
    case.time("p50 of a call, 32 at a time", times[times.len() / 2]);
    case.figure("calls per second", times.len() as u64 * 1000 / begun.elapsed().as_millis() as u64);
    case.size("memory grown by", grown);
    assert!(grown < 24 << 20, "{grown} bytes");
    assert_eq!(fakes.each_ref().map(Fake::calls), reached, "a call reached a replica");
    let begun = Instant::now();
    host.try_call("twins", "odd", json!({})).await.problem(503, "plugin_unavailable");
    case.time("one call alone", begun.elapsed());
}
