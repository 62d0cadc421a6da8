//! The pipe on a host without plugins: what it says by itself. What goes through it is tested end to end.

use std::path::Path;

use serde_json::{Value, json};
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadHalf, WriteHalf};
use tokio::net::UnixStream;
use wharf_core::catalog::Face;

use super::peer::Peer;
use super::{DRAIN, LONGEST, STALL, serve};
use crate::Host;
use crate::held::STUCK;
use crate::host::Options;
use crate::mcp::modern::testkit::{Kit, call};
use crate::mcp::{Mcp, Visitor};
use crate::tasks::Tasks;

struct Client {
    input: WriteHalf<DuplexStream>,
    output: BufReader<ReadHalf<DuplexStream>>,
    tasks: Tasks,
    served: tokio::task::JoinHandle<()>,
}

async fn client(home: &Path) -> Client {
    let options = Options::new(home.join("plugins"), home.join("state"));
    std::fs::create_dir_all(options.plugins.as_ref().unwrap()).unwrap();
    let host = Host::begin(options).await.unwrap();
    client_of(Mcp::new(host))
}

/// A client of this MCP side.
fn client_of(mcp: Mcp) -> Client {
    let (near, far) = tokio::io::duplex(64 << 10);
    let (output, input) = tokio::io::split(near);
    let tasks = Tasks::default();
    let visitor = Visitor { principal: "test".into(), face: Face::All };
    let served = serve(mcp, visitor, tokio::io::split(far), Peer::unseen(), tasks.clone());
    let served = tasks.spawn(tracing::Span::none(), served);
    Client { input, output: BufReader::new(output), tasks, served }
}

impl Client {
    async fn write(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).await.unwrap();
    }

    /// `None` at the end.
    async fn next(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.output.read_line(&mut line).await.unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }

    async fn code(&mut self) -> i64 {
        self.next().await.unwrap()["error"]["code"].as_i64().unwrap()
    }
}

#[tokio::test]
async fn bad_lines_are_answered_and_good_ones_go_on() {
    let home = tempfile::tempdir().unwrap();
    let mut client = client(home.path()).await;
    client.write("nonsense\n\n  \r\n").await;
    assert_eq!(client.code().await, -32700);
    let flood = format!("{}\n", "x".repeat(LONGEST + 1));
    let (mut input, mut output) = (client.input, client.output);
    let (wrote, said) = tokio::join!(input.write_all(flood.as_bytes()), async {
        let mut line = String::new();
        output.read_line(&mut line).await.unwrap();
        line
    });
    wrote.unwrap();
    assert!(said.contains("-32700"), "{said}");
    let mut client = Client { input, output, ..client };
    client.write("{\"jsonrpc\":\"2.0\",\"id\":\"p\",\"method\":\"ping\"}\n").await;
    assert_eq!(client.next().await, Some(json!({ "jsonrpc": "2.0", "id": "p", "result": {} })));
    client.write("{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"tools/list\"}\n").await;
    assert_eq!(client.code().await, -32600);
    client.write("[{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ping\"}]\n").await;
    assert_eq!(client.code().await, -32600, "no session, no batch");
}

#[tokio::test]
async fn the_last_line_needs_no_end_and_the_output_ends_after_the_input() {
    let home = tempfile::tempdir().unwrap();
    let mut client = client(home.path()).await;
    client.write("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}").await;
    client.input.shutdown().await.unwrap();
    assert_eq!(client.next().await.unwrap()["id"], 1);
    assert_eq!(client.next().await, None);
    client.served.await.unwrap();
}

#[tokio::test]
async fn every_request_of_a_script_that_is_long_has_its_answer() {
    let kit = Kit::new().await;
    let mut client = client_of(kit.mcp.clone());
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": {} });
    let mut script = vec![json!({ "jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello })];
    for id in 1..=300 {
        let (method, params) = match id % 3 {
            0 => ("tools/call", json!({ "name": "old__echo" })),
            1 => ("tools/call", call("new__echo", &json!({}))),
            _ => ("ping", json!({})),
        };
        script.push(json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
    }
    let script: String = script.iter().map(|message| format!("{message}\n")).collect();
    client.write(&script).await;
    client.input.shutdown().await.unwrap();
    let mut ids = Vec::new();
    while let Some(message) = client.next().await {
        if let Some(id) = message.get("id") {
            assert!(message["result"].is_object(), "{message}");
            ids.push(id.as_u64().unwrap());
        }
    }
    ids.sort_unstable();
    assert_eq!(ids, (0..=300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_client_that_is_killed_cancels_what_it_asked_for_at_once() {
    let kit = Kit::new().await;
    let (mut near, far) = UnixStream::pair().unwrap();
    let (peer, tasks) = (Peer::of(&far), Tasks::default());
    let visitor = Visitor { principal: "test".into(), face: Face::All };
    let served = serve(kit.mcp.clone(), visitor, far.into_split(), peer, tasks.clone());
    let served = tasks.spawn(tracing::Span::none(), served);
    let params = call("old__hang", &json!({}));
    let hang = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params });
    near.write_all(format!("{hang}\n").as_bytes()).await.unwrap();
    kit.legacy.reached.notified().await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    drop(near);
    served.await.unwrap();
    assert!(began.elapsed() < DRAIN, "it was waited for");
    assert_eq!(kit.legacy.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn it_ends_with_the_host_and_with_its_client() {
    let home = tempfile::tempdir().unwrap();
    let mut one = client(home.path()).await;
    one.tasks.ending().cancel();
    assert_eq!(one.next().await, None);
    one.served.await.unwrap();
    let home = tempfile::tempdir().unwrap();
    let two = client(home.path()).await;
    drop((two.input, two.output));
    two.served.await.unwrap();
}

#[tokio::test]
async fn a_question_to_a_client_that_has_said_all_is_answered_for_it_at_once() {
    let kit = Kit::new().await;
    let mut client = client_of(kit.mcp.clone());
    let hello = json!({ "protocolVersion": "2025-11-25", "capabilities": { "elicitation": {} } });
    for (id, method, params) in [(0, "initialize", hello), (1, "tools/call", json!({ "name": "old__ask" }))] {
        let message = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        client.write(&format!("{message}\n")).await;
    }
    assert_eq!(client.next().await.unwrap()["id"], 0);
    assert_eq!(client.next().await.unwrap()["method"], "elicitation/create");
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    client.input.shutdown().await.unwrap();
    let answer = client.next().await.unwrap();
    assert_eq!((&answer["id"], &answer["result"]["isError"]), (&json!(1), &json!(true)), "{answer}");
    assert!(answer["result"]["why"].as_str().unwrap().contains("has left"), "{answer}");
    assert_eq!(client.next().await, None);
    client.served.await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
}

/// So many calls of a client that reads nothing; each is answered with what it brings.
async fn crowd(calls: u64, size: usize) -> (Kit, DuplexStream, tokio::task::JoinHandle<()>, Tasks) {
    let kit = Kit::new().await;
    let (mut near, far) = tokio::io::duplex(64 << 10);
    let tasks = Tasks::default();
    let visitor = Visitor { principal: "test".into(), face: Face::All };
    let served = serve(kit.mcp.clone(), visitor, tokio::io::split(far), Peer::unseen(), tasks.clone());
    let served = tasks.spawn(tracing::Span::none(), served);
    for id in 0..calls {
        let mut params = call("old__echo", &json!({}));
        params["arguments"] = json!({ "text": "x".repeat(size) });
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
        near.write_all(format!("{request}\n").as_bytes()).await.unwrap();
    }
    (kit, near, served, tasks)
}

#[tokio::test]
async fn who_reads_nothing_and_lets_too_much_wait_is_cut_off_and_nothing_of_it_stays() {
    let (kit, _near, served, _tasks) = crowd(14, 3 << 20).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    served.await.unwrap();
    assert!(began.elapsed() < STALL, "{:?}", began.elapsed());
    assert_eq!((kit.mcp.held().cut_off(), kit.mcp.held().bytes()), (1, 0));
}

#[tokio::test]
async fn who_reads_nothing_of_little_has_its_time() {
    let (kit, _near, served, _tasks) = crowd(3, 1 << 20).await;
    tokio::time::pause();
    let soon = tokio::time::timeout(STALL / 2, served).await;
    assert!(soon.is_err(), "a client that is stopped for a while goes on later");
    assert!(kit.mcp.held().bytes() > 2 << 20);
    assert_eq!(kit.mcp.held().cut_off(), 0);
}

#[tokio::test]
async fn a_host_that_ends_does_not_wait_for_who_takes_nothing() {
    let (kit, _near, served, tasks) = crowd(3, 1 << 20).await;
    tokio::time::pause();
    // The clock goes on only when all that can be done is done: then the answers are there and nobody takes them.
    tokio::time::sleep(Duration::from_millis(1)).await;
    let began = tokio::time::Instant::now();
    tasks.ending().cancel();
    served.await.unwrap();
    assert!(began.elapsed() < 2 * STUCK, "{:?}", began.elapsed());
    assert_eq!(kit.mcp.held().bytes(), 0);
}
