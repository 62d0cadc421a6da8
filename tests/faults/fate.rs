//! What becomes of the calls whose plugin dies while it works on them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::ledger::runs;
use crate::support::mcp::reply;
use crate::support::{Answer, eventually, mock};

/// Each process of the mock dies with this call, after it ran and before it is answered.
const FATAL: &str = "4";

/// Fault: a plugin that dies in the middle of every fourth call of a tool that counts, that is, of one that must not run
/// twice. Expected: each call runs at most once; who is answered is answered by what ran, and who is not is told
/// `outcome_unknown` with the call's id, over REST and over MCP alike.
#[tokio::test]
async fn f39_dies_at_a_call_that_must_not_run_twice() {
    let mut case = Case::begin("F39", Kind::Process, "dies at a call that must not run twice");
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    // Trusted or not: the tool says that it is none to be repeated.
    let dying = mock().args(["--crash-after-call", FATAL, "--ledger"]).path(&ledger);
    let dying = dying.set("retry.trust_hints", true).set("restart.quarantine_crashes", 1000);
    let host = setup.plugin("bad", &dying).start().await;
    case.under(&host).await;
    let (mut answered, mut unknown) = (0, 0);
    for n in 0..24 {
        host.until_state("bad", "ready").await;
        let arguments = json!({ "key": n });
        let (ok, problem) = if n % 2 == 0 {
            let answer = host.try_call("bad", "count", arguments).await;
            (answer.status == 200, answer.json())
        } else {
            let params = json!({ "name": "count", "arguments": arguments });
            let asked = Answer::of(host.modern("/plugins/bad/mcp", "tools/call", params)).await;
            let said = reply(&asked, asked.status);
            if said["error"].is_object() {
                assert_eq!(said["error"]["code"], -32011, "{said}");
            }
            (said["result"].is_object(), said["error"]["data"].clone())
        };
        if ok {
            answered += 1;
            continue;
        }
        unknown += 1;
        assert_eq!(problem["code"], "outcome_unknown", "{problem}");
        assert_eq!(problem["delivery"], "unknown", "{problem}");
        assert!(problem["call_id"].as_str().is_some_and(|id| id.starts_with("c-")), "{problem}");
    }
    case.figure("answered", answered);
    case.figure("told outcome_unknown", unknown);
    case.figure("runs", runs(&ledger, "count"));
    assert!(answered > 0 && unknown > 0, "{answered} answered, {unknown} unknown");
    assert_eq!(runs(&ledger, "count"), answered + unknown, "each ran once: those that died had begun");
}

/// Fault: the same of a tool that only reads, of a plugin that is trusted and has two replicas. Expected: every call is
/// answered, by the other replica where one dies, within its deadline; and what ran more often than it was asked for is
/// what the deaths took.
#[tokio::test]
async fn f40_dies_at_a_call_that_another_replica_answers() {
    let mut case = Case::begin("F40", Kind::Process, "dies at a call that another replica answers");
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let dying = mock().args(["--crash-after-call", FATAL, "--ledger"]).path(&ledger);
    let dying =
        dying.set("retry.trust_hints", true).set("replicas", 2).set("restart.quarantine_crashes", 1000);
    let host = setup.plugin("bad", &dying).start().await;
    case.under(&host).await;
    let both_ready = async || {
        host.until("bad", "ready twice", |view| {
            let instances = view["instances"].as_array();
            instances.is_some_and(|all| all.len() == 2 && all.iter().all(|one| one["state"] == "ready"))
        })
        .await
    };
    let (mut calls, mut longest) = (0, Duration::ZERO);
    let more = loop {
        both_ready().await;
        let begun = Instant::now();
        let body = json!({ "arguments": { "message": "hello", "key": calls }, "timeout_ms": 10_000 });
        let answer = host.post("/api/v1/plugins/bad/tools/echo/call", &body).await.expect(200);
        longest = longest.max(begun.elapsed());
        assert_eq!(answer["result"]["content"][0]["text"], "hello", "{answer}");
        calls += 1;
        let more = runs(&ledger, "echo") - calls;
        if more >= 4 {
            break more;
        }
        assert!(calls < 100, "nothing died");
    };
    assert!(longest < Duration::from_secs(10), "{longest:?}");
    case.figure("calls", calls);
    case.figure("tried again", more);
    case.time("longest", longest);

    // A caller that tries again by itself is not helped.
    let mut told = 0;
    eventually("a caller with a try of its own to be told", async || {
        both_ready().await;
        let path = "/api/v1/plugins/bad/tools/echo/call";
        let asked = host.request(reqwest::Method::POST, path).header("x-attempt", "2");
        let answer = Answer::of(asked.json(&json!({ "arguments": { "message": "hello" } }))).await;
        told += 1;
        if answer.status == 200 {
            return Err(answer.text());
        }
        answer.problem(502, "outcome_unknown");
        Ok(())
    })
    .await;
    assert!(told < 20);
}
