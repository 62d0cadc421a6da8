//! Plugins that say too much, or what is no message.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};

use crate::beside::{Beside, bytes_in};
use crate::harness::{Case, Kind};
use crate::support::answer::text_of;
use crate::support::manifest::mock_on_port;
use crate::support::sse::Events;
use crate::support::{Manifest, eventually, mock};

/// How much more memory a host may use for what is thrown at it. The table of faults says 32 MiB; a reader holds one
/// message of 16 MiB, and doubling its buffer a second one, so twice that shows that nothing is kept.
const FLAT: u64 = 64 << 20;

/// Fault: garbage on stdout, once: text, bytes that are no UTF-8, a byte order mark, half a message. Expected: it is
/// logged, the call is answered, nobody is restarted.
#[tokio::test]
async fn f28_some_garbage_on_stdout() {
    let mut case = Case::begin("F28", Kind::Process, "some garbage on stdout");
    let beside = Beside::with(&mut case, &mock().args(["--garbage", "--garbage-at-call", "1"])).await;
    let pid = beside.host.pid_of("bad").await;
    let echo = beside.host.call("bad", "echo", json!({ "message": "behind the garbage" })).await;
    assert_eq!(text_of(&echo), "behind the garbage");
    assert_eq!(beside.host.pid_of("bad").await, pid);
    eventually("the garbage in the log", async || {
        let log = beside.host.get("/api/v1/plugins/bad/logs").await.text();
        if log.contains("Starting server v1.2.3") { Ok(()) } else { Err(log) }
    })
    .await;
    case.figure("restarts", 0);
    beside.is_well().await;
}

/// Fault: three lines that are no UTF-8. Expected: the third strike restarts the plugin, with the cause
/// `protocol_garbage`; the host lives.
#[tokio::test]
async fn f28_garbage_without_end_on_stdout() {
    let mut case = Case::begin("F28", Kind::Process, "three unreadable lines on stdout");
    // Each sixth piece of garbage is no UTF-8.
    let garbage = mock().args(["--garbage=18", "--garbage-at-call", "1"]).set("restart.initial", "1s");
    let beside = Beside::with(&mut case, &garbage.set("restart.max", "1s")).await;
    let pid = beside.host.pid_of("bad").await;
    let begun = Instant::now();
    let (_, view) = tokio::join!(
        beside.host.try_call("bad", "echo", json!({ "message": "x" })),
        beside.host.until_cause("bad", "protocol_garbage")
    );
    assert!(view["cause"]["detail"].as_str().unwrap().contains('3'), "{view}");
    case.time("given up after", begun.elapsed());
    beside.host.until_back("bad", pid).await;
    case.time("ready again after (delay 1 s)", begun.elapsed());
    beside.is_well().await;
}

/// Fault: log lines on stdout, before each answer. Expected: they are skipped and logged; the protocol survives.
#[tokio::test]
async fn f29_log_lines_on_stdout() {
    let mut case = Case::begin("F29", Kind::Process, "log lines on stdout");
    let beside = Beside::with(&mut case, &mock().arg("--log-on-stdout")).await;
    beside.host.until_state("bad", "ready").await;
    for n in 0..100 {
        let message = format!("message {n}");
        let echo = beside.host.call("bad", "echo", json!({ "message": message })).await;
        assert_eq!(text_of(&echo), message);
    }
    let log = beside.host.get("/api/v1/plugins/bad/logs").await.text();
    assert!(log.contains("INFO  mock: answered"), "the lines are in the log: {log}");
    assert_eq!(beside.host.plugin("bad").await["restarts"], 0);
    case.figure("calls answered", 100);
    beside.is_well().await;
}

/// Fault: a flood on stderr, as fast as it goes, 512 MiB. Expected: the plugin is not blocked, the host's memory is flat,
/// and its files stay within their rotation (three of 10 MiB).
#[tokio::test]
async fn f30_a_flood_on_stderr() {
    let mut case = Case::heavy("F30", Kind::Process, "512 MiB on stderr").await;
    let beside = Beside::with(&mut case, &mock().args(["--flood-stderr", "512MiB"])).await;
    beside.host.until_state("bad", "ready").await;
    let begun = Instant::now();
    let (mut slowest, mut calls) = (Duration::ZERO, 0);
    // For as long as the flood's thread is there.
    let pid = beside.host.pid_of("bad").await;
    let floods = || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let name = |thread: std::fs::DirEntry| std::fs::read_to_string(thread.path().join("comm")).ok();
        threads.filter_map(name).any(|name| name.starts_with("mock-fault"))
    };
    while floods() {
        let asked = Instant::now();
        let echo = beside.host.call("bad", "echo", json!({ "message": "through the noise" })).await;
        assert_eq!(text_of(&echo), "through the noise");
        slowest = slowest.max(asked.elapsed());
        calls += 1;
    }
    case.time("the flood lasted", begun.elapsed());
    case.figure("calls meanwhile", calls);
    case.time("the slowest", slowest);
    let disk = bytes_in(&beside.host.state().join("logs"));
    case.size("log files", disk);
    assert!(disk <= 31 << 20, "{disk} bytes of log files");
    beside.is_flat(&mut case, FLAT);
    beside.is_well().await;
}

/// A line or an event of 1 GiB before the answer to the first call. It is dropped; the call behind it may be answered.
async fn a_gigabyte(case: &mut Case, bad: Manifest) {
    let bad = bad.args(["--huge-line", "1GiB", "--huge-line-at-call", "1"]).set("limits.call_timeout", "80s");
    let beside = Beside::with(case, &bad).await;
    beside.host.until_state("bad", "ready").await;
    let begun = Instant::now();
    let answer = beside.host.try_call("bad", "echo", json!({ "message": "behind it" })).await;
    case.figure("the call came to", answer.status);
    case.time("after", begun.elapsed());
    assert!(matches!(answer.status, 200 | 502), "{}", answer.text());
    beside.is_flat(case, FLAT);
    beside.good_call(Instant::now()).await;
    beside.is_well().await;
}

/// Fault: a line of 1 GiB. Expected: dropped at the bound; the host's memory is flat.
#[tokio::test]
async fn f31_a_line_without_end() {
    let mut case = Case::heavy("F31", Kind::Process, "a line of 1 GiB on stdout").await;
    a_gigabyte(&mut case, mock()).await;
}

/// Fault: an event of 1 GiB on the answer's stream. Expected: the same.
#[tokio::test]
async fn f32_an_event_without_end() {
    let mut case = Case::heavy("F32", Kind::Process, "an event of 1 GiB, streamable HTTP").await;
    a_gigabyte(&mut case, mock_on_port("http").args(["--http-answer", "sse"])).await;
}

/// Fault: an event of 1 GiB on the one stream of HTTP+SSE. Expected: the same.
#[tokio::test]
async fn f32_an_event_without_end_on_the_only_stream() {
    let mut case = Case::heavy("F32", Kind::Process, "an event of 1 GiB, HTTP+SSE").await;
    a_gigabyte(&mut case, mock_on_port("sse")).await;
}

/// Fault: 200,000 notifications of progress in one call (of a debug build; the table's million takes a minute there and
/// shows nothing more), to a caller who reads them. Expected: the call is answered, the caller got what it had room for,
/// and the host's memory is flat.
#[tokio::test]
async fn f33_progress_without_end() {
    let mut case = Case::heavy("F33", Kind::Process, "200,000 notifications of progress").await;
    let beside = Beside::with(&mut case, &mock().set("limits.call_timeout", "80s")).await;
    beside.host.until_state("bad", "ready").await;
    let begun = Instant::now();
    let request = beside.host.request(Method::POST, "/api/v1/plugins/bad/tools/progress/call");
    let request = request.json(&json!({ "arguments": { "steps": 200_000 } }));
    let mut events = Events::open(request).await;
    let mut heard = 0_u64;
    let last: Value = loop {
        let event = events.next().await.expect("the stream ends with a result");
        match event.name.as_str() {
            "progress" => heard += 1,
            "result" | "error" => break event.json(),
            _ => {}
        }
    };
    assert_eq!(last["result"]["content"][0]["text"], "did 200000 steps", "{last}");
    case.time("answered after", begun.elapsed());
    case.figure("passed on", heard);
    beside.is_flat(&mut case, FLAT);
    beside.is_well().await;
}
