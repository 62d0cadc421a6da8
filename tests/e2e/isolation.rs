//! `isolation = "session"`: a process for each client, which is nobody else's and ends with its client.

use serde_json::{Value, json};

use crate::support::host::Setup;
use crate::support::mcp::{LEGACY, Session, call, hello};
use crate::support::pipe::Pipe;
use crate::support::{Manifest, TestHost, eventually, mock, procs};

fn apart() -> Manifest {
    mock().set("isolation", "session")
}

async fn host() -> TestHost {
    let host = TestHost::with([("mock", apart())]).await;
    host.until_state("mock", "ready").await;
    host
}

async fn pid(session: &Session<'_>) -> u32 {
    procs::who(&session.call("mock__whoami", json!({})).await)
}

async fn count(session: &Session<'_>) -> Value {
    session.call("mock__count", json!({})).await["structuredContent"]["count"].take()
}

async fn until_gone(pid: u32) {
    eventually(&format!("the end of process {pid}"), async || {
        if procs::is_gone(pid) { Ok(()) } else { Err("it runs".to_owned()) }
    })
    .await;
}

/// Waits until the API shows of the plugin so many instances of sessions that run, beside those of all.
async fn until_instances(host: &TestHost, pids: &[u32]) {
    host.until("mock", &format!("with the processes {pids:?}"), |view| {
        let instances = view["instances"].as_array().cloned().unwrap_or_default();
        let shown: Vec<_> = instances.iter().filter_map(|one| one["pid"].as_u64()).collect();
        pids.iter().all(|pid| shown.contains(&u64::from(*pid)))
    })
    .await;
}

#[tokio::test]
async fn two_sessions_have_two_processes_and_each_ends_with_its_own() {
    let host = host().await;
    let (ann, bob) = (host.session("/mcp", LEGACY).await, host.session("/mcp", LEGACY).await);
    // At once, so that an answer could reach the wrong one.
    let (anns, bobs) = tokio::join!(pid(&ann), pid(&bob));
    assert_ne!(anns, bobs, "an instance each");
    assert!(!procs::is_gone(anns) && !procs::is_gone(bobs));
    assert_eq!((pid(&ann).await, pid(&bob).await), (anns, bobs), "and the same one for the next call");
    until_instances(&host, &[anns, bobs]).await;
    assert_eq!((count(&ann).await, count(&ann).await), (json!(1), json!(2)));
    assert_eq!(count(&bob).await, json!(1), "what one counts the other does not see");

    assert_eq!(ann.delete().await, 204);
    until_gone(anns).await;
    assert_eq!((pid(&bob).await, count(&bob).await), (bobs, json!(2)), "the other one is not touched");
    let next = host.session("/mcp", LEGACY).await;
    let nexts = pid(&next).await;
    assert!(nexts != bobs, "who comes next gets one of its own");
    assert_eq!(count(&next).await, json!(1));
}

#[tokio::test]
async fn a_call_at_the_plugins_own_endpoint_is_of_the_same_kind() {
    let host = host().await;
    let (ann, bob) =
        (host.session("/plugins/mock/mcp", LEGACY).await, host.session("/plugins/mock/mcp", LEGACY).await);
    let own = async |session: &Session<'_>| procs::who(&session.call("whoami", json!({})).await);
    assert_ne!(own(&ann).await, own(&bob).await);
}

#[tokio::test]
async fn a_pipe_that_is_killed_takes_its_process_along() {
    let host = host().await;
    let mut pipes = [Pipe::on(&host, &[]), Pipe::on(&host, &[])];
    let pids = pipes.each_mut().map(|pipe| {
        let hello = pipe.ask("hello", "initialize", hello(LEGACY));
        assert_eq!(hello["result"]["protocolVersion"], LEGACY, "{hello}");
        pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        procs::who(&pipe.ask(1, "tools/call", call("mock__whoami", json!({})))["result"])
    });
    assert_ne!(pids[0], pids[1]);
    procs::kill9(pipes[0].pid());
    until_gone(pids[0]).await;
    let [_killed, mut other] = pipes;
    assert_eq!(procs::who(&other.ask(2, "tools/call", call("mock__whoami", json!({})))["result"]), pids[1]);
    assert_eq!(other.close().1, Some(0));
    until_gone(pids[1]).await;
}

#[tokio::test]
async fn a_process_that_crashes_is_its_clients_trouble_alone() {
    let setup = Setup::new().plugin("mock", &apart());
    let host = setup.start().await;
    host.until_state("mock", "ready").await;
    let (ann, bob) = (host.session("/mcp", LEGACY).await, host.session("/mcp", LEGACY).await);
    let (anns, bobs) = (pid(&ann).await, pid(&bob).await);
    procs::kill9(anns);
    let again = eventually("a new process", async || {
        let answer = ann.ask("tools/call", call("mock__whoami", json!({}))).await;
        if answer["result"].is_object() { Ok(procs::who(&answer["result"])) } else { Err(answer.to_string()) }
    })
    .await;
    assert_ne!(again, anns);
    assert_eq!(pid(&bob).await, bobs);
}
