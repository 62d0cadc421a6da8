//! Calls that are turned away: by status, code, header and body; and what works all the same.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::answer::text_of;
use crate::support::host::Setup;
use crate::support::mcp::{LEGACY, call, refused, reply, request};
use crate::support::{Answer, Manifest, TestHost, eventually, ledger, mock};

/// A host, and the ledger of its mock.
async fn host(manifest: Manifest, flags: &[&str]) -> (TestHost, PathBuf) {
    let setup = flags.iter().fold(Setup::new(), |setup, flag| setup.flag(*flag));
    let ledger = setup.scratch("ledger");
    let host = setup.plugin("mock", &manifest.arg("--ledger").path(&ledger)).start().await;
    host.until_state("mock", "ready").await;
    (host, ledger)
}

/// A call that ends when this is dropped.
async fn hanging(host: &TestHost, ledger: &Path) -> JoinSet<()> {
    let body = json!({ "arguments": { "ms": 600_000 } });
    let post = host.request(Method::POST, "/api/v1/plugins/mock/tools/sleep/call").json(&body);
    let mut calling = JoinSet::new();
    calling.spawn(async move {
        post.send().await.ok();
    });
    eventually("a call that hangs", async || match ledger::runs(ledger, "sleep") {
        0 => Err("not begun".to_owned()),
        _ => Ok(()),
    })
    .await;
    calling
}

fn retry_after(answer: &Answer) -> u64 {
    answer.header("retry-after").parse().unwrap_or_else(|_| panic!("no Retry-After: {answer:?}"))
}

#[tokio::test]
async fn a_caller_beyond_its_rate_is_told_when_to_come_back() {
    let (host, _) = host(mock().set("limits.rate", "2/h"), &[]).await;
    let echo = async || host.try_call("mock", "echo", json!({ "message": "x" })).await;
    for _ in 0..2 {
        echo().await.expect(200);
    }
    let answer = echo().await;
    let problem = answer.problem(429, "rate_limited");
    let exact = problem["retry_after_ms"].as_u64().unwrap();
    assert!((1_700_000..=1_800_000).contains(&exact), "{problem}");
    assert_eq!(retry_after(&answer), exact.div_ceil(1000));
    assert!(problem["detail"].as_str().unwrap().contains("limits.rate"), "{problem}");
    assert_eq!(problem["delivery"], "queued");
    // A session is no new caller.
    let session = host.session("/mcp", LEGACY).await;
    let error = session.ask("tools/call", call("mock__echo", json!({ "message": "x" }))).await;
    assert_eq!(
        (&error["error"]["code"], &error["error"]["data"]["code"]),
        (&json!(-32010), &json!("rate_limited"))
    );
    assert!(error["error"]["data"]["retry_after_ms"].as_u64() > Some(1_000_000), "{error}");
    let view = host.plugin("mock").await;
    assert_eq!(view["queue"]["turned_away"]["rate_limited"], 2, "{view}");
}

#[tokio::test]
async fn a_full_queue_names_its_bound_and_a_time() {
    let narrow = mock().set("limits.concurrency", 1).set("limits.queue", 0).set("limits.queue_wait", "3s");
    let (host, ledger) = host(narrow, &[]).await;
    let hanging = hanging(&host, &ledger).await;
    let answer = host.try_call("mock", "echo", json!({ "message": "x" })).await;
    let problem = answer.problem(503, "queue_full");
    assert!(problem["detail"].as_str().unwrap().contains("limits.queue"), "{problem}");
    assert_eq!(
        (&problem["retry_after_ms"], retry_after(&answer)),
        (&json!(3000), 3),
        "nothing better is known"
    );
    let view = host.plugin("mock").await;
    let queue = &view["queue"];
    assert_eq!((&queue["running"], &queue["waiting"], &queue["limit"]), (&json!(1), &json!(0), &json!(1)));
    assert_eq!(queue["turned_away"], json!({ "queue_full": 1, "waited": 0, "rate_limited": 0 }));
    drop(hanging);
    host.until("mock", "free", |view| view["queue"]["running"] == 0).await;
    host.call("mock", "sleep", json!({ "ms": 20 })).await;
}

#[tokio::test]
async fn a_call_that_waits_too_long_is_let_go() {
    let narrow = mock().set("limits.concurrency", 1).set("limits.queue", 4).set("limits.queue_wait", "200ms");
    let (host, ledger) = host(narrow, &[]).await;
    let _hanging = hanging(&host, &ledger).await;
    let problem = host.try_call("mock", "echo", json!({ "message": "x" })).await.problem(503, "queue_full");
    assert!(problem["detail"].as_str().unwrap().contains("limits.queue_wait"), "{problem}");
    let body = json!({ "arguments": { "message": "x" }, "timeout_ms": 50 });
    let late = host.post("/api/v1/plugins/mock/tools/echo/call", &body).await.problem(504, "deadline");
    assert_eq!(late["delivery"], "queued", "{late}");
    assert_eq!(ledger::runs(&ledger, "echo"), 0);
}

/// Sends the head of a request whose body never comes, and reads the head of the answer.
async fn head_only(host: &TestHost, path: &str, headers: &str) -> String {
    let address = host.base.strip_prefix("http://").unwrap().to_owned();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
         content-length: 1000\r\n{headers}\r\n",
        host.token
    );
    let exchange = move || {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(crate::support::PATIENCE)).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut part = [0; 4096];
        while !answer.ends_with(b"}") {
            let read = stream.read(&mut part).unwrap();
            assert!(read > 0, "{}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&part[..read]);
        }
        String::from_utf8(answer).unwrap()
    };
    tokio::task::spawn_blocking(exchange).await.unwrap()
}

#[tokio::test]
async fn a_saturated_host_takes_no_call_and_everything_else() {
    let (host, ledger) = host(mock(), &["--max-calls=1"]).await;
    let session = host.session("/mcp", LEGACY).await;
    let busy = hanging(&host, &ledger).await;
    // Before a byte of the body is there.
    for path in ["/api/v1/plugins/mock/tools/echo/call", "/tools/mock/echo"] {
        let answer = head_only(&host, path, "").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nretry-after: "), "{answer}");
        assert!(answer.contains("\"code\":\"overloaded\"") && answer.contains("--max-calls"), "{answer}");
    }
    let modern = "accept: application/json, text/event-stream\r\nmcp-protocol-version: 2026-07-28\r\n\
                  mcp-method: tools/call\r\nmcp-name: mock__echo\r\n";
    let answer = head_only(&host, "/mcp", modern).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("\r\nretry-after: "), "{answer}");
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!((&body["error"]["code"], &body["id"]), (&json!(-32010), &Value::Null), "{body}");
    assert_eq!(body["error"]["data"]["code"], "overloaded");
    // A session's call is known when it is read.
    let calling = session.send(&request("c", "tools/call", call("mock__echo", json!({ "message": "x" }))));
    let answer = Answer::of(calling).await;
    assert_eq!(refused(&answer, 503, -32010)["id"], "c");
    assert!(retry_after(&answer) >= 1);
    // What is no call.
    reply(&Answer::of(session.send(&request(1, "ping", json!({})))).await, 200);
    reply(&Answer::of(session.send(&request(2, "tools/list", json!({})))).await, 200);
    for path in ["/healthz", "/readyz", "/api/v1/plugins", "/api/v1/tools"] {
        assert_eq!(host.get(path).await.status, 200, "{path}");
    }
    let info = host.get("/api/v1/info").await.expect(200);
    assert_eq!(info["calls"], json!({ "in_flight": 1, "limit": 1, "overloaded": 4 }), "{info}");
    assert_eq!(ledger::runs(&ledger, "echo"), 0);
    drop(busy);
    eventually("room", async || match host.try_call("mock", "echo", json!({ "message": "in" })).await {
        answer if answer.status == 200 => {
            assert_eq!(text_of(&answer.json()["result"]), "in");
            Ok(())
        }
        answer => Err(answer.text()),
    })
    .await;
}

#[tokio::test]
async fn an_operator_is_served_when_every_connection_is_taken() {
    let (host, _) = host(mock(), &[]).await;
    let address = host.base.strip_prefix("http://").unwrap();
    // As many as there are, those of the test's own client among them.
    let crowd: Vec<_> = (0..1024).map(|_| TcpStream::connect(address).unwrap()).collect();
    let fresh = crate::support::host::client();
    let ask = |method: Method, path: &str| {
        fresh.request(method, format!("{}{path}", host.base)).bearer_auth(&host.token)
    };
    for path in ["/healthz", "/readyz", "/api/v1/plugins"] {
        let answer = Answer::of(ask(Method::GET, path)).await;
        assert_eq!((answer.status, answer.header("connection")), (200, "close"), "{path}");
    }
    let echo = ask(Method::POST, "/tools/mock/echo").json(&json!({ "message": "x" }));
    let refused = Answer::of(echo).await;
    refused.problem(503, "overloaded");
    assert!(retry_after(&refused) >= 1);
    // It can be seen, and is told once.
    let page = Answer::of(ask(Method::GET, "/metrics")).await.text();
    assert!(page.contains("host_connections_full_total{socket=\"tcp\"} 1\n"), "{page}");
    let open = page.lines().find_map(|line| line.strip_prefix("host_connections_open{socket=\"tcp\"} "));
    assert!(open.and_then(|open| open.parse::<f64>().ok()).is_some_and(|open| open >= 1024.0), "{open:?}");
    let said = host.said();
    assert_eq!(said.matches("all connections are in use").count(), 1, "{said}");
    drop(crowd);
    eventually("room again", async || {
        let echo = ask(Method::POST, "/tools/mock/echo").json(&json!({ "message": "x" }));
        match Answer::of(echo).await {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.text()),
        }
    })
    .await;
}

#[tokio::test]
async fn a_host_that_takes_no_call_is_a_mistake() {
    let refused = crate::support::command::wharf(&["up", "--max-calls", "0"], &[]).await.expect(2);
    assert!(refused.stderr.contains("--max-calls") && refused.stderr.contains("at least 1"), "{refused:?}");
}
