//! A host that is asked to end: nothing new is let in, what is in flight is answered, at every edge.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::host::Setup;
use crate::support::ledger::runs;
use crate::support::mcp::{LEGACY, MODERN, call, enveloped, hello, reply, request};
use crate::support::pipe::Pipe;
use crate::support::procs::signal;
use crate::support::{Answer, TestHost, eventually, mock};

/// A connection that its client keeps.
struct Kept(TcpStream);

/// A status line, headers in lower case, and a body.
struct Said {
    head: String,
    body: String,
}

impl Kept {
    async fn open(host: &TestHost) -> Self {
        let address = host.base.strip_prefix("http://").unwrap();
        let mut kept = Self(TcpStream::connect(address).await.unwrap());
        assert!(kept.ask(host, "GET", "/healthz", None).await.head.starts_with("http/1.1 200"));
        kept
    }

    async fn ask(&mut self, host: &TestHost, method: &str, path: &str, body: Option<&Value>) -> Said {
        let body = body.map(Value::to_string).unwrap_or_default();
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             accept: application/json, text/event-stream\r\n{}content-length: {}\r\n\r\n{body}",
            host.token,
            if path == "/mcp" { head_of_a_call() } else { String::new() },
            body.len()
        );
        self.0.write_all(text.as_bytes()).await.unwrap();
        let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
        loop {
            let read = self.0.read(&mut chunk).await.unwrap();
            assert!(read > 0, "closed before the answer: {}", String::from_utf8_lossy(&all));
            all.extend_from_slice(&chunk[..read]);
            let text = String::from_utf8_lossy(&all).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let head = head.to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            if body.len() >= length.parse().unwrap() {
                return Said { head, body: body.to_owned() };
            }
        }
    }
}

fn head_of_a_call() -> String {
    format!("mcp-protocol-version: {MODERN}\r\nmcp-method: tools/call\r\nmcp-name: mock__echo\r\n")
}

#[tokio::test]
async fn calls_in_flight_are_answered_at_every_edge_and_new_ones_refused_in_order() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let mut host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let session = host.session("/mcp", LEGACY).await;
    let mut stream = session.get().header("accept", "text/event-stream").send().await.unwrap();
    let mut pipe = Pipe::on(&host, &[]);
    pipe.ask(0, "initialize", hello(LEGACY));
    let (mut looks, mut calls, mut speaks) =
        (Kept::open(&host).await, Kept::open(&host).await, Kept::open(&host).await);
    let slow = json!({ "ms": 3000 });
    let rest = host.try_call("mock", "sleep", slow.clone());
    let legacy = Answer::of(session.send(&request(1, "tools/call", call("mock__sleep", slow.clone()))));
    let modern = Answer::of(host.modern("/mcp", "tools/call", call("mock__sleep", slow.clone())));
    pipe.send(&request(2, "tools/call", call("mock__sleep", slow)));
    let meanwhile = async {
        eventually("all calls to run", async || {
            if runs(&ledger, "sleep") == 4 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        signal(host.pid(), Signal::SIGTERM);
        // The first answer after the signal says so, and closes its connection.
        let closed = loop {
            let said = looks.ask(&host, "GET", "/readyz", None).await;
            if !said.head.starts_with("http/1.1 200") {
                break said;
            }
        };
        let body = json!({ "arguments": { "message": "late" } });
        let refused = calls.ask(&host, "POST", "/api/v1/plugins/mock/tools/echo/call", Some(&body)).await;
        for said in [&closed, &refused] {
            assert!(said.head.starts_with("http/1.1 503"), "{}", said.head);
            assert!(
                said.head.contains("retry-after: 1") && said.head.contains("connection: close"),
                "{}",
                said.head
            );
            assert!(said.body.contains("\"overloaded\"") && said.body.contains("the host is ending"));
        }
        let late = request(9, "tools/call", enveloped(call("mock__echo", json!({ "message": "late" }))));
        let refused = speaks.ask(&host, "POST", "/mcp", Some(&late)).await;
        assert!(refused.body.contains("-32010"), "{} {}", refused.head, refused.body);
        let address = host.base.strip_prefix("http://").unwrap();
        TcpStream::connect(address).await.expect_err("nothing listens any more");
    };
    let (rest, legacy, modern, ()) = tokio::join!(rest, legacy, modern, meanwhile);
    rest.expect(200);
    for answer in [&legacy, &modern] {
        assert!(reply(answer, 200)["result"].is_object(), "{}", answer.text());
    }
    assert!(pipe.answer(2)["result"].is_object());
    // The stream of the session ends in order.
    while stream.chunk().await.expect("no broken stream").is_some() {}
    drop(session);
    assert!(host.wait().success());
    assert_eq!(runs(&ledger, "echo"), 0, "nothing was let in");
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let setup = Setup::new();
    let ledger = setup.scratch("ledger");
    let mut host = setup.plugin("mock", &mock().arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    let mut looks = Kept::open(&host).await;
    let slow = host.request(Method::POST, "/api/v1/plugins/mock/tools/sleep/call");
    let slow = slow.json(&json!({ "arguments": { "ms": 60_000 } })).send();
    let ending = async {
        eventually("the call to run", async || {
            if runs(&ledger, "sleep") == 1 { Ok(()) } else { Err("not yet".to_owned()) }
        })
        .await;
        signal(host.pid(), Signal::SIGTERM);
        while looks.ask(&host, "GET", "/readyz", None).await.head.starts_with("http/1.1 200") {}
        signal(host.pid(), Signal::SIGTERM);
        Instant::now()
    };
    let (cut_off, begun) = tokio::join!(slow, ending);
    assert!(cut_off.is_err() || cut_off.is_ok_and(|answer| answer.status() != 200));
    assert!(host.wait().success());
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}
