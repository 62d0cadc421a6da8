//! Servers that misbehave in every way: each ends in a named cause, and a healthy one beside it goes on.

use std::net::{Ipv4Addr, TcpListener};

use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::manifest::mock_on_port;
use crate::support::procs::peak_rss;
use crate::support::{Manifest, TestHost, mock};

/// Far below the gigabyte that is sent, and above what a debug build of the host needs.
const MEMORY_BOUND: u64 = 150 << 20;

async fn with_a_healthy_one(bad: Manifest) -> (TestHost, u32) {
    let host = TestHost::with([("well", mock()), ("bad", bad)]).await;
    let pid = host.pid_of("well").await;
    (host, pid)
}

/// Waits for the cause, then shows that the healthy plugin was not touched; the bad one's view.
async fn ends_in(bad: Manifest, causes: &[&str]) -> Value {
    let (host, pid) = with_a_healthy_one(bad).await;
    let view = host
        .until("bad", &format!("down for one of {causes:?}"), |view| {
            view["state"] != "ready"
                && view["cause"]["code"].as_str().is_some_and(|code| causes.contains(&code))
        })
        .await;
    for said in ["detail", "remedy"] {
        assert!(view["cause"][said].as_str().is_some_and(|text| !text.is_empty()), "no {said}: {view}");
    }
    host.try_call("bad", "echo", json!({ "message": "x" })).await.problem(503, "plugin_unavailable");
    is_well(&host, pid).await;
    view
}

async fn is_well(host: &TestHost, pid: u32) {
    assert_eq!(host.pid_of("well").await, pid, "the healthy plugin is not touched");
    let echo = host.call("well", "echo", json!({ "message": "well" })).await;
    assert_eq!(text_of(&echo), "well");
}

#[tokio::test]
async fn a_fixed_port_that_is_taken() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let view = ends_in(mock_on_port("http").set("port", i64::from(port)), &["port_in_use"]).await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains(&port.to_string()), "{view}");
}

#[tokio::test]
async fn a_server_that_never_listens() {
    let silent = mock_on_port("http").arg("--refuse-to-listen").set("health.start_timeout", "1s");
    ends_in(silent, &["start_timeout"]).await;
}

#[tokio::test]
async fn a_server_that_listens_late_is_waited_for() {
    let late = mock_on_port("http").args(["--listen-after", "1500"]);
    let (host, pid) = with_a_healthy_one(late).await;
    host.until_state("bad", "ready").await;
    assert_eq!(host.plugin("bad").await["restarts"], 0, "late is not dead");
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_server_that_never_answers() {
    for bad in [mock(), mock_on_port("http"), mock_on_port("sse"), mock_on_port("sse-post")] {
        let silent = bad.arg("--hang-at-start").set("health.start_timeout", "1s");
        ends_in(silent, &["start_timeout"]).await;
    }
}

#[tokio::test]
async fn a_program_that_is_no_mcp_server() {
    let chatter = Manifest::command("yes").arg("hello, I am no MCP server").quick();
    ends_in(chatter.set("health.start_timeout", "10s"), &["protocol_garbage"]).await;
}

#[tokio::test]
async fn some_garbage_among_messages_is_survived_and_shown() {
    let (host, pid) = with_a_healthy_one(mock().arg("--garbage=2")).await;
    host.until_state("bad", "ready").await;
    let log = host.get("/api/v1/plugins/bad/logs?tail=100").await.text();
    assert!(log.contains("Starting server v1.2.3"), "nothing is silently dropped: {log}");
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_server_that_ends_at_once_without_an_error() {
    let view = ends_in(mock().arg("--exit-at-start"), &["exited"]).await;
    assert_eq!(view["instances"][0]["last_exit"]["code"], 0, "{view}");
}

#[tokio::test]
async fn a_server_that_says_its_configuration_is_wrong_is_left_alone() {
    let view = ends_in(mock().args(["--crash-at-start", "78"]), &["exited_for_good"]).await;
    assert_eq!(view["state"], "fatal", "{view}");
    assert_eq!(view["instances"][0]["generation"], 1, "it is not tried again: {view}");
}

#[tokio::test]
async fn the_last_words_of_a_dead_server_are_shown() {
    let speaks =
        Manifest::command("sh").arg("-c").arg("echo first >&2; echo the licence has expired >&2; exit 1");
    let view = ends_in(speaks.quick(), &["exited"]).await;
    let tail = view["instances"][0]["last_exit"]["stderr_tail"].as_array().unwrap();
    assert_eq!(tail.last().and_then(Value::as_str), Some("the licence has expired"), "{view}");
}

#[tokio::test]
async fn a_server_that_logs_on_stdout_works() {
    let (host, pid) = with_a_healthy_one(mock().arg("--log-on-stdout")).await;
    host.until_state("bad", "ready").await;
    for n in 0..20 {
        let message = format!("message {n}");
        let echo = host.call("bad", "echo", json!({ "message": message })).await;
        assert_eq!(text_of(&echo), message);
    }
    assert_eq!(host.plugin("bad").await["restarts"], 0, "a common fault is survived");
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_line_of_a_gigabyte_does_not_fill_the_hosts_memory() {
    let huge = mock().args(["--huge-line", "1GiB"]).set("health.start_timeout", "80s");
    let (host, pid) = with_a_healthy_one(huge).await;
    host.until_state("bad", "ready").await;
    let echo = host.call("bad", "echo", json!({ "message": "after the line" })).await;
    assert_eq!(text_of(&echo), "after the line");
    assert_eq!(host.plugin("bad").await["restarts"], 0, "the line is skipped, and what follows it is read");
    let peak = peak_rss(host.pid());
    assert!(peak < MEMORY_BOUND, "the host used {} MiB at its peak", peak >> 20);
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_line_of_a_gigabyte_before_an_answer_holds_up_its_call_only() {
    let huge = mock().args(["--huge-line", "1GiB", "--huge-line-at-call", "1"]);
    let huge = huge.set("limits.call_timeout", "80s");
    let (host, pid) = with_a_healthy_one(huge).await;
    host.until_state("bad", "ready").await;
    let call = host.try_call("bad", "echo", json!({ "message": "behind the line" }));
    let other = async {
        for _ in 0..20 {
            is_well(&host, pid).await;
        }
    };
    let (answer, ()) = tokio::join!(call, other);
    assert_eq!(text_of(&answer.expect(200)["result"]), "behind the line");
    let peak = peak_rss(host.pid());
    assert!(peak < MEMORY_BOUND, "the host used {} MiB at its peak", peak >> 20);
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_result_over_the_limit_is_an_error_with_a_name() {
    let limited = mock().set("limits.result", "64KiB").set("limits.max_timeout", "1h");
    let (host, pid) = with_a_healthy_one(limited).await;
    let bad = host.pid_of("bad").await;
    host.call("bad", "big", json!({ "bytes": 1000 })).await;
    // The request gives up long before this deadline: who answers is who saw the size.
    let body = json!({ "arguments": { "bytes": 1_000_000 }, "timeout_ms": 3_600_000 });
    let problem = host.post("/api/v1/plugins/bad/tools/big/call", &body).await.problem(502, "protocol_error");
    assert!(problem["detail"].as_str().unwrap().contains("65536"), "it names the bound: {problem}");
    host.call("bad", "echo", json!({ "message": "next" })).await;
    assert_eq!(host.pid_of("bad").await, bad, "the plugin is not restarted for it");
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_flood_on_stderr_blocks_nobody() {
    let (host, pid) = with_a_healthy_one(mock().args(["--flood-stderr", "200MiB"])).await;
    host.until_state("bad", "ready").await;
    let echo = host.call("bad", "echo", json!({ "message": "through the noise" })).await;
    assert_eq!(text_of(&echo), "through the noise");
    assert!(peak_rss(host.pid()) < MEMORY_BOUND);
    is_well(&host, pid).await;
}

#[tokio::test]
async fn answers_that_nobody_asked_for_reach_nobody() {
    let (host, pid) = with_a_healthy_one(mock().args(["--wrong-id=extra", "--answer-twice"])).await;
    host.until_state("bad", "ready").await;
    for n in 0..10 {
        let message = format!("message {n}");
        let echo = host.call("bad", "echo", json!({ "message": message })).await;
        assert_eq!(text_of(&echo), message, "each caller gets its own answer");
    }
    is_well(&host, pid).await;
}

#[tokio::test]
async fn a_server_that_closes_stdout_but_lives_is_replaced() {
    let (host, pid) =
        with_a_healthy_one(mock().args(["--close-stdout-at-call", "1", "--ignore-stdin-close"])).await;
    let old = host.pid_of("bad").await;
    host.try_call("bad", "count", json!({})).await.problem(502, "outcome_unknown");
    host.until_back("bad", old).await;
    is_well(&host, pid).await;
}
