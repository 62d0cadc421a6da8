//! Answers that are wrong: under other ids, twice, odd, huge; and connections that are half there.

use std::time::Instant;

use futures_util::future::join_all;
use serde_json::json;

use crate::beside::Beside;
use crate::harness::{Case, Kind};
use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::{Manifest, mock};

const ODD: [&str; 5] = ["deep", "digits", "zeros", "nan", "surrogate"];

/// Fault: a plugin answers ids that nobody sent, ids that come next, and each call twice, while callers call it and
/// another. Expected: dropped and logged; every caller gets its own answer. (A plugin that answers one of its own calls
/// under the id of another that it runs cannot be told from an honest one: over HTTP the next id may be such a one.)
#[tokio::test]
async fn f34_answers_that_nobody_asked_for() {
    let mut case = Case::begin("F34", Kind::Process, "unknown ids, the next id, twice");
    let setup = Setup::new()
        .plugin("unknown", &mock().args(["--wrong-id=extra", "--answer-twice"]))
        .plugin("next", &mock().args(["--wrong-id=next", "--answer-twice"]))
        .plugin("bad", &mock_on_port("http").args(["--wrong-id=extra", "--answer-twice"]));
    let beside = Beside::start(&mut case, setup).await;
    let host = &beside.host;
    for id in ["unknown", "next", "bad"] {
        host.until_state(id, "ready").await;
    }
    let caller = async |plugin: &'static str| {
        for n in 0..100 {
            let message = format!("{plugin} {n}");
            let echo = host.call(plugin, "echo", json!({ "message": message })).await;
            assert_eq!(text_of(&echo), message, "each caller gets its own answer");
        }
    };
    join_all(["unknown", "next", "bad", "well"].map(caller)).await;
    case.figure("calls", 400);
    case.figure("wrong answers seen by callers", 0);
    for id in ["unknown", "next", "bad"] {
        let view = host.plugin(id).await;
        assert_eq!(view["restarts"], 0, "{view}");
        assert!(view["stray_answers"].as_u64() >= Some(100), "what is dropped is counted and told: {view}");
    }
    beside.is_well().await;
}

/// What must hold for each variant of F35: noticed without waiting for a deadline, and replaced.
async fn is_replaced(case: &mut Case, beside: &Beside, cause: &str) {
    let old = beside.host.pid_of("bad").await;
    let begun = Instant::now();
    let answer = beside.host.try_call("bad", "count", json!({})).await;
    case.figure("the call came to", answer.json()["code"].as_str().unwrap_or("an answer"));
    case.time("after", begun.elapsed());
    beside.host.until_back("bad", old).await;
    case.time("replaced after", begun.elapsed());
    let log = beside.host.plugin("bad").await;
    assert!(log["restarts"].as_u64().unwrap() >= 1, "{cause}: {log}");
    beside.is_well().await;
}

/// Fault: it closes its stdout and lives. Expected: noticed at once, the call has an unknown outcome, it is replaced.
#[tokio::test]
async fn f35_stdout_closed() {
    let mut case = Case::begin("F35", Kind::Process, "closes stdout and lives");
    let bad = mock().args(["--close-stdout-at-call", "1", "--ignore-stdin-close"]);
    let beside = Beside::with(&mut case, &stops_soon(bad)).await;
    is_replaced(&mut case, &beside, "link_lost").await;
}

/// Fault: its stdin is closed and it lives: what is written to it goes nowhere. Expected: noticed with the next write;
/// it is replaced.
#[tokio::test]
async fn f35_stdin_closed() {
    let mut case = Case::begin("F35", Kind::Process, "closes stdin and lives");
    // `sed` takes the handshake and the lists, six messages, then what else fits; after that nobody reads.
    let script = "exec 3<&0 0</dev/null; sed -u 6q <&3 3<&- | ${wharf} mock --ignore-stdin-close 3<&- & exec 3<&-; wait";
    let bad = Manifest::command("sh").arg("-c").arg(script).quick().set("era", "legacy");
    let beside = Beside::with(&mut case, &stops_soon(bad)).await;
    is_replaced(&mut case, &beside, "link_lost").await;
}

/// Fault: an HTTP server breaks its answer off in the middle. Expected: that call fails with an unknown outcome at once;
/// the next one works, in the same process.
#[tokio::test]
async fn f35_an_answer_that_breaks_off() {
    let mut case = Case::begin("F35", Kind::Process, "breaks an HTTP answer off");
    let beside = Beside::with(&mut case, &mock_on_port("http").args(["--close-stdout-at-call", "1"])).await;
    let pid = beside.host.pid_of("bad").await;
    let begun = Instant::now();
    let answer = beside.host.try_call("bad", "count", json!({})).await;
    case.figure("the call came to", answer.json()["code"].as_str().unwrap());
    assert_eq!(answer.status, 502, "{}", answer.text());
    case.time("after", begun.elapsed());
    beside.good_call(begun).await;
    assert_eq!(beside.host.pid_of("bad").await, pid, "a broken connection is no dead server");
    beside.is_well().await;
}

fn stops_soon(manifest: Manifest) -> Manifest {
    manifest.set("stop.grace", "200ms").set("stop.term", "300ms")
}

/// Fault: answers that no sane server sends, each to the first call: arrays 200,000 deep, a number of 400,000 digits,
/// 4 MiB of zeros, NaN, half of a surrogate pair. Expected: what is no JSON is an error of that call alone, what is may
/// pass as it is; the next call works in the same process. A line of stdio that is no JSON has no id that could be
/// believed: there the call ends with its deadline.
#[tokio::test]
async fn f36_odd_json() {
    let mut case = Case::begin("F36", Kind::Process, "deep, long and broken JSON");
    let odd =
        |dialect: Manifest, kind: &str| dialect.args(["--odd-answer", kind, "--odd-answer-at-call", "1"]);
    let mut setup = Setup::new();
    for kind in ODD {
        setup = setup.plugin(kind, &odd(mock(), kind).set("limits.call_timeout", "5s"));
        setup = setup.plugin(&format!("{kind}-http"), &odd(mock_on_port("http"), kind));
    }
    let beside = Beside::start(&mut case, setup).await;
    let host = &beside.host;
    for kind in ODD {
        for id in [kind.to_owned(), format!("{kind}-http")] {
            let pid = host.pid_of(&id).await;
            let answer = host.try_call(&id, "echo", json!({ "message": "x" })).await;
            case.figure(&id, answer.status);
            match answer.status {
                200 => assert!(answer.body.len() > 1000 || kind == "surrogate", "{id}: {}", answer.text()),
                504 => assert!(id == "nan", "{id}: {}", answer.text()),
                _ => drop(answer.problem(502, "protocol_error")),
            }
            assert!(kind != "nan" || answer.status != 200, "NaN is no JSON");
            let echo = host.call(&id, "echo", json!({ "message": "next" })).await;
            assert_eq!(text_of(&echo), "next");
            assert_eq!(host.pid_of(&id).await, pid, "an error to that call only");
        }
    }
    beside.is_flat(&mut case, 128 << 20);
    beside.is_well().await;
}

/// A result of 1 GiB. It must be given up at 16 MiB, and not when its call's time is over.
async fn a_huge_result(case: &mut Case, bad: Manifest) {
    let bad =
        bad.args(["--odd-answer", "huge", "--odd-answer-at-call", "1"]).set("limits.call_timeout", "85s");
    let beside = Beside::with(case, &bad).await;
    beside.host.until_state("bad", "ready").await;
    let begun = Instant::now();
    let answer = beside.host.try_call("bad", "echo", json!({ "message": "x" })).await;
    let problem = answer.problem(502, "protocol_error");
    assert!(problem["detail"].as_str().unwrap().contains("16777216"), "it names the bound: {problem}");
    case.time("refused after", begun.elapsed());
    beside.is_flat(case, 64 << 20);
    beside.good_call(begun).await;
    case.time("next good call after", begun.elapsed());
    beside.is_well().await;
}

/// Fault: a result of 1 GiB in one line. Expected: cut at 16 MiB, an error that names the bound, memory flat.
#[tokio::test]
async fn f37_a_huge_result() {
    let mut case = Case::heavy("F37", Kind::Process, "a result of 1 GiB, stdio").await;
    a_huge_result(&mut case, mock()).await;
}

/// Fault: the same over HTTP. Expected: the same; the connection is closed.
#[tokio::test]
async fn f37_a_huge_result_over_http() {
    let mut case = Case::heavy("F37", Kind::Process, "a result of 1 GiB, http").await;
    a_huge_result(&mut case, mock_on_port("http")).await;
}

/// A list that is out of bounds. The plugin is never ready, and says why.
async fn a_list(case: &mut Case, script: &str) {
    let beside = Beside::start(case, Setup::new()).await;
    let path = beside.host.scratch("script.toml");
    std::fs::write(&path, script).unwrap();
    let begun = Instant::now();
    beside.host.put("bad", &mock().arg("--script").path(&path));
    let view = beside.host.until_cause("bad", "list_failed").await;
    case.time("refused after", begun.elapsed());
    case.figure("cause", view["cause"]["detail"].as_str().unwrap());
    beside.is_flat(case, 64 << 20);
    beside.is_well().await;
}

/// Fault: a list of tools that never ends. Expected: given up after 100 pages.
#[tokio::test]
async fn f38_a_list_without_end() {
    let mut case = Case::begin("F38", Kind::Process, "tools/list never ends");
    a_list(&mut case, "name = \"x\"\nlist_forever = true\ngenerate_tools = 5\npage_size = 5\n").await;
}

/// Fault: 100,000 tools (a million is more than the debug mock can hold in a test's time). Expected: refused at 1000.
#[tokio::test]
async fn f38_a_list_that_is_too_long() {
    let mut case = Case::begin("F38", Kind::Process, "100,000 tools");
    a_list(&mut case, "name = \"x\"\ngenerate_tools = 100000\npage_size = 5000\n").await;
}
