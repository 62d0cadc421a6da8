//! `wharf stdio`: both eras on one pipe, with a host that runs and without one.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::mcp::{LEGACY, call, enveloped, hello, request};
use crate::support::pipe::Pipe;
use crate::support::{TestHost, eventually, ledger, mock, procs};

fn ready(pipe: &mut Pipe) {
    let hello = pipe.ask("hello", "initialize", hello(LEGACY));
    assert_eq!(hello["result"]["protocolVersion"], LEGACY, "{hello}");
    pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
}

/// Calls until the plugin is there: a host of our own has only begun to start it.
async fn echo(pipe: &mut Pipe, tool: &str) -> String {
    let said = eventually("the tool", async || {
        let answer = pipe.ask(1, "tools/call", call(tool, json!({ "message": "hello" })));
        if answer["result"].is_object() { Ok(answer) } else { Err(answer.to_string()) }
    })
    .await;
    text_of(&said["result"]).to_owned()
}

fn modern(id: u64, method: &str, params: Value) -> Value {
    request(id, method, enveloped(params))
}

#[tokio::test]
async fn on_a_running_host_both_eras_share_the_pipe() {
    let host = TestHost::with([("mock", mock())]).await;
    host.until_state("mock", "ready").await;
    let mut pipe = Pipe::on(&host, &[]);
    pipe.send(&modern(1, "tools/list", json!({})));
    assert_eq!(pipe.answer(1)["result"]["resultType"], "complete");
    ready(&mut pipe);
    assert_eq!(echo(&mut pipe, "mock__echo").await, "hello");
    pipe.send(&modern(2, "tools/call", call("mock__echo", json!({ "message": "m" }))));
    assert_eq!(text_of(&pipe.answer(2)["result"]), "m");
    let (rest, code) = pipe.close();
    assert_eq!((rest.len(), code), (0, Some(0)), "{rest:?}");
    let mut own = Pipe::on(&host, &["--plugin", "mock"]);
    ready(&mut own);
    assert_eq!(echo(&mut own, "echo").await, "hello");
    drop(own);
    let (rest, code) = Pipe::on(&host, &["--plugin", "nobody"]).close();
    assert_eq!((rest.len(), code), (0, Some(4)), "no such plugin");
}

#[tokio::test]
async fn without_a_host_it_is_one_and_ends_with_its_input() {
    let setup = Setup::new().plugin("mock", &mock());
    let mut pipe = Pipe::alone(&setup, &[]);
    ready(&mut pipe);
    assert_eq!(echo(&mut pipe, "mock__echo").await, "hello");
    // A second client of the same folders finds the first one's host.
    let mut second = Pipe::alone(&setup, &["--plugin", "mock"]);
    ready(&mut second);
    assert_eq!(echo(&mut second, "echo").await, "hello");
    assert_eq!(second.close().1, Some(0));
    let (rest, code) = pipe.close();
    assert_eq!((rest.len(), code), (0, Some(0)), "{rest:?}");
    procs::assert_none_left(setup.mark(), &setup.scratch(""));
    // Both folders are free again.
    let (_, code) = Pipe::alone(&setup, &["--plugin", "nobody"]).close();
    assert_eq!(code, Some(4), "no such plugin");
}

#[tokio::test]
async fn two_that_start_at_once_share_one_host() {
    let setup = Setup::new().plugin("mock", &mock());
    let mut pipes: Vec<_> = (0..3).map(|_| Pipe::alone(&setup, &[])).collect();
    for pipe in &mut pipes {
        ready(pipe);
    }
    for pipe in &mut pipes {
        assert_eq!(echo(pipe, "mock__echo").await, "hello");
    }
    for pipe in pipes {
        drop(pipe);
    }
    procs::assert_none_left(setup.mark(), &setup.scratch(""));
}

#[tokio::test]
async fn what_is_no_message_is_answered() {
    let host = TestHost::with([("mock", mock())]).await;
    let mut pipe = Pipe::on(&host, &[]);
    let code = |pipe: &Pipe| pipe.next()["error"]["code"].as_i64();
    pipe.write("this is no JSON\n");
    assert_eq!(code(&pipe), Some(-32700));
    pipe.write("\n\r\n{\"jsonrpc\":\"2.0\"}\r\n");
    assert_eq!(code(&pipe), Some(-32600));
    pipe.write(&format!("{}\n", "x".repeat((4 << 20) + 1)));
    assert_eq!(code(&pipe), Some(-32700));
    assert_eq!(pipe.ask(1, "tools/list", json!({}))["error"]["code"], -32600, "no session yet");
    assert_eq!(pipe.ask(2, "ping", json!({}))["result"], json!({}));
    ready(&mut pipe);
    assert_eq!(pipe.ask(3, "initialize", hello(LEGACY))["error"]["code"], -32600, "one session each");
    assert_eq!(pipe.ask("4", "ping", json!({}))["result"], json!({}));
    // The last line needs no end.
    pipe.write(&request(5, "ping", json!({})).to_string());
    let (rest, code) = pipe.close();
    assert_eq!((rest.len(), code), (1, Some(0)), "{rest:?}");
    assert_eq!(rest[0]["id"], 5);
}

/// Sends a request and gives the line that answers it; every line on the way must be a message.
fn line(pipe: &mut Pipe, id: u64, method: &str, params: Value) -> String {
    pipe.send(&request(id, method, params));
    loop {
        let line = pipe.line();
        let message: Value =
            serde_json::from_str(&line).unwrap_or_else(|e| panic!("no message ({e}): {line:?}"));
        if message["id"] == id && message.get("method").is_none() {
            return line;
        }
    }
}

#[tokio::test]
async fn what_a_plugin_prints_over_several_lines_is_one_line() {
    let pretty = || mock_on_port("http").arg("--pretty");
    let host =
        TestHost::with([("json", pretty()), ("events", pretty().args(["--http-answer", "sse"]))]).await;
    for id in ["json", "events"] {
        host.until_state(id, "ready").await;
        let mut pipe = Pipe::on(&host, &["--plugin", id]);
        ready(&mut pipe);
        let echo = || call("echo", json!({ "message": "two\nlines" }));
        for (n, params) in [(1, echo()), (2, enveloped(echo()))] {
            let line = line(&mut pipe, n, "tools/call", params);
            // What were breaks and indents between tokens are blanks; what is in a string stays.
            assert!(line.contains(r#"{   "content": [     {       ""#), "it is not pretty: {line:?}");
            let answer: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(text_of(&answer["result"]), "two\nlines", "{line}");
        }
        for (n, params) in [(3, json!({})), (4, enveloped(json!({})))] {
            let list: Value = serde_json::from_str(&line(&mut pipe, n, "tools/list", params)).unwrap();
            assert!(list["result"]["tools"].as_array().is_some_and(|tools| tools.len() > 5), "{list}");
        }
        let refused = call("rpc_error", json!({ "code": -5 }));
        for (n, params) in [(5, refused.clone()), (6, enveloped(refused))] {
            let error: Value = serde_json::from_str(&line(&mut pipe, n, "tools/call", params)).unwrap();
            assert_eq!(error["error"]["code"], -5, "{error}");
        }
        let (rest, code) = pipe.close();
        assert_eq!((rest.len(), code), (0, Some(0)), "{rest:?}");
    }
}

#[tokio::test]
async fn calls_end_before_the_pipe_does_and_a_cancelled_one_at_once() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let mut pipe = Pipe::on(&host, &[]);
    pipe.send(&modern(1, "tools/call", call("mock__sleep", json!({ "ms": 600_000 }))));
    until_begun(&ledger).await;
    let cancelled =
        json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 1 } });
    pipe.send(&cancelled);
    eventually("its end", async || match ledger::count(&ledger, "sleep", "cancelled") {
        0 => Err(String::new()),
        _ => Ok(()),
    })
    .await;
    pipe.send(&modern(2, "tools/call", call("mock__progress", json!({ "steps": 5, "interval_ms": 50 }))));
    let (rest, code) = pipe.close();
    assert_eq!((rest.len(), code), (1, Some(0)), "one answer, and none to what was cancelled: {rest:?}");
    assert_eq!((&rest[0]["id"], text_of(&rest[0]["result"])), (&json!(2), "did 5 steps"));
}

async fn until_begun(ledger: &std::path::Path) {
    eventually(
        "the call",
        async || if ledger::runs(ledger, "sleep") > 0 { Ok(()) } else { Err(String::new()) },
    )
    .await;
}

#[tokio::test]
async fn a_signal_ends_a_host_of_our_own_after_its_answers() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let setup = setup.plugin("mock", &mock().arg("--ledger").path(&ledger));
    let mut pipe = Pipe::alone(&setup, &[]);
    ready(&mut pipe);
    assert_eq!(echo(&mut pipe, "mock__echo").await, "hello");
    pipe.send(&modern(2, "tools/call", call("mock__sleep", json!({ "ms": 1500 }))));
    until_begun(&ledger).await;
    procs::signal(pipe.pid(), Signal::SIGTERM);
    let answer = pipe.answer(2);
    assert!(answer["result"].is_object(), "{answer}");
    assert_eq!(pipe.close().1, Some(0));
    procs::assert_none_left(setup.mark(), &setup.scratch(""));
}

#[tokio::test]
async fn the_calls_of_a_client_that_is_killed_are_cancelled() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let mut pipe = Pipe::on(&host, &[]);
    // Less than what a client that has only closed its input is waited for.
    pipe.send(&modern(1, "tools/call", call("mock__sleep", json!({ "ms": 20_000 }))));
    until_begun(&ledger).await;
    procs::kill9(pipe.pid());
    eventually("its end", async || {
        match ledger::count(&ledger, "sleep", "cancelled") + ledger::count(&ledger, "sleep", "end") {
            0 => Err(String::new()),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(ledger::count(&ledger, "sleep", "cancelled"), 1);
}

#[tokio::test]
async fn a_client_that_is_killed_leaves_nothing() {
    let setup = Setup::new().plugin("mock", &mock());
    let mut pipe = Pipe::alone(&setup, &[]);
    ready(&mut pipe);
    assert_eq!(echo(&mut pipe, "mock__echo").await, "hello");
    procs::kill9(pipe.pid());
    procs::assert_none_left(setup.mark(), &setup.scratch(""));
    // The next one finds the folders as if nothing had been.
    let mut next = Pipe::alone(&setup, &[]);
    ready(&mut next);
    assert_eq!(next.close().1, Some(0));
}
