//! Many connections at once: other threads than the host's own serve a part of them, and no caller can tell.

use std::fs;

use nix::sys::signal::Signal;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::drain::terminate;
use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::mcp::{LEGACY, Session, call, reply, request};
use crate::support::{Answer, TestHost, mock, procs};

/// Connections at once: some more than the host's own thread serves alone, and fewer than a plugin's calls at a time.
const CALLERS: usize = 48;

/// Calls under way, each with its caller.
type Calls = JoinSet<(usize, Answer)>;

async fn two_threads() -> TestHost {
    let setup = Setup::new().plugin("mock", &mock()).plugin("web", &mock_on_port("http"));
    setup.flag("--threads=2").start().await
}

/// The host's threads that serve connections beside its own.
fn beside(host: &TestHost) -> usize {
    let threads = fs::read_dir(format!("/proc/{}/task", host.pid())).expect("it runs").flatten();
    let names = threads.filter_map(|thread| fs::read_to_string(thread.path().join("comm")).ok());
    names.filter(|name| name.starts_with("serve-")).count()
}

/// A call by one of three ways, as the caller's number has it.
fn asked(session: &Session<'_>, caller: usize, plugin: &str, tool: &str, arguments: Value) -> RequestBuilder {
    let (host, name) = (session.host, format!("{plugin}__{tool}"));
    match caller % 3 {
        0 => {
            let path = format!("/api/v1/plugins/{plugin}/tools/{tool}/call");
            host.request(Method::POST, &path).json(&json!({ "arguments": arguments }))
        }
        1 => host.modern("/mcp", "tools/call", call(&name, arguments)),
        _ => session.send(&request(caller.to_string(), "tools/call", call(&name, arguments))),
    }
}

/// All callers call, each by a connection of its own, and all calls are in flight: the plugin stands still until the end of
/// `meanwhile`.
async fn at_once(host: &TestHost, plugin: &str, meanwhile: impl AsyncFnOnce()) -> Calls {
    let session = host.session("/mcp", LEGACY).await;
    let pid = host.pid_of(plugin).await;
    procs::signal(pid, Signal::SIGSTOP);
    let mut calls = Calls::new();
    for caller in 0..CALLERS {
        let asked = asked(&session, caller, plugin, "echo", json!({ "message": format!("of {caller}") }));
        calls.spawn(async move { (caller, Answer::of(asked).await) });
    }
    in_flight(host, plugin, CALLERS).await;
    meanwhile().await;
    procs::signal(pid, Signal::SIGCONT);
    calls
}

async fn in_flight(host: &TestHost, plugin: &str, calls: usize) {
    host.until(plugin, "in so many calls", |view| view["instances"][0]["inflight"] == calls).await;
}

/// Each gets the answer to what it asked.
async fn all_are_answered(mut calls: Calls) {
    while let Some(ended) = calls.join_next().await {
        let (caller, answer) = ended.expect("no test panics there");
        let reply = reply(&answer, 200);
        assert_eq!(text_of(&reply["result"]), format!("of {caller}"), "{reply}");
    }
}

/// Calls over HTTP by all connections, often enough for each to be served by the thread that is best.
async fn spread(host: &TestHost) {
    for _ in 0..8 {
        all_are_answered(at_once(host, "web", async || {}).await).await;
    }
    assert!(beside(host) > 0, "all connections are served by the host's own thread");
}

#[tokio::test]
async fn many_callers_are_answered_and_drained_whichever_thread_serves_them() {
    let mut host = two_threads().await;
    for plugin in ["mock", "web"] {
        host.until_state(plugin, "ready").await;
    }
    for _ in 0..6 {
        all_are_answered(at_once(&host, "mock", async || {}).await).await;
    }
    assert_eq!(beside(&host), 0, "calls that go to a pipe stay where it is");
    spread(&host).await;
    all_are_answered(at_once(&host, "mock", async || {}).await).await;
    let calls = at_once(&host, "web", async || drop(terminate(&host).await)).await;
    all_are_answered(calls).await;
    assert!(host.wait().success(), "it exits with 0");
}

#[tokio::test]
async fn who_leaves_is_noticed_whichever_thread_serves_it() {
    let host = two_threads().await;
    for plugin in ["mock", "web"] {
        host.until_state(plugin, "ready").await;
    }
    for plugin in ["mock", "web"] {
        // Those that leave take their connections with them.
        spread(&host).await;
        let session = host.session("/mcp", LEGACY).await;
        let mut calls = Calls::new();
        for caller in 0..CALLERS {
            // A legacy client that leaves may come back for its answer.
            let caller = if caller % 3 == 2 { caller - 1 } else { caller };
            let asked = asked(&session, caller, plugin, "sleep", json!({ "ms": 600_000 }));
            calls.spawn(async move { (caller, Answer::of(asked).await) });
        }
        in_flight(&host, plugin, CALLERS).await;
        drop(calls);
        in_flight(&host, plugin, 0).await;
    }
}
