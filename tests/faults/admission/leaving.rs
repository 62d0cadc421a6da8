//! The ways in which a client leaves a call: each begins it, goes, and tells when it went.

use std::future::Future;
use std::io::Write as _;
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use reqwest::Method;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::support::mcp::{LEGACY, call, hello, request};
use crate::support::pipe::Pipe;
use crate::support::sse::Events;
use crate::support::{Answer, TestHost, eventually};

/// How a client leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// REST, the connection is closed.
    Rest,
    /// REST, the client says that it sends no more, as a program does that ends half way.
    HalfClosed,
    /// REST as a stream of events, the connection is closed.
    Stream,
    /// MCP without sessions, the connection is closed.
    Modern,
    /// A session's `notifications/cancelled`.
    Notified,
    /// A session that is ended.
    Deleted,
    /// HTTP+SSE: the stream is closed, and with it the session.
    OldStream,
    /// `notifications/cancelled` on the stdin of `wharf stdio`.
    Piped,
    /// Nobody leaves: the call's time is over.
    Deadline,
}

pub(crate) const WAYS: [Way; 9] = [
    Way::Rest,
    Way::HalfClosed,
    Way::Stream,
    Way::Modern,
    Way::Notified,
    Way::Deleted,
    Way::OldStream,
    Way::Piped,
    Way::Deadline,
];

/// The time that a call has whose client stays.
const TIME: u64 = 400;

/// Milliseconds since 1970, as the ledger has them.
pub(crate) fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later than 1970");
    u64::try_from(now.as_millis()).expect("and not that late")
}

/// When the ledger says that the call with this time to sleep came to this.
pub(crate) fn at(ledger: &Path, ms: u64, phase: &str) -> Option<u64> {
    let text = std::fs::read_to_string(ledger).unwrap_or_default();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut found = lines.filter(|entry| entry["arguments"]["ms"] == ms && entry["phase"] == phase);
    found.next().and_then(|entry| entry["at"].as_u64())
}

pub(crate) async fn until(ledger: &Path, ms: u64, phase: &str) -> u64 {
    eventually(&format!("the call of {ms} to be at {phase}"), async || {
        at(ledger, ms, phase).ok_or_else(|| "not yet".to_owned())
    })
    .await
}

/// Has a call of `sleep` begun at `plugin`, leaves it, and tells how long that took to reach the plugin.
pub(crate) async fn leave(host: &TestHost, way: Way, plugin: &str, ledger: &Path, ms: u64) -> Duration {
    let begun = until(ledger, ms, "begin");
    let gone = match way {
        Way::Rest | Way::HalfClosed => raw(host, way, plugin, ms, begun).await,
        Way::Stream | Way::Modern => dropped(host, way, plugin, ms, begun).await,
        Way::Notified | Way::Deleted => session(host, way, plugin, ms, begun).await,
        Way::OldStream => old_stream(host, plugin, ms, begun).await,
        Way::Piped => piped(host, plugin, ms, begun).await,
        Way::Deadline => {
            let path = format!("/api/v1/plugins/{plugin}/tools/sleep/call");
            let sent = now();
            let answer = host.post(&path, &json!({ "arguments": { "ms": ms }, "timeout_ms": TIME })).await;
            answer.problem(504, "deadline");
            sent + TIME
        }
    };
    let told = until(ledger, ms, "cancelled").await;
    Duration::from_millis(told.saturating_sub(gone))
}

/// A connection of its own, written by hand.
async fn raw(host: &TestHost, way: Way, plugin: &str, ms: u64, begun: impl Future<Output = u64>) -> u64 {
    let address = host.base.strip_prefix("http://").expect("a plain address");
    let mut stream = TcpStream::connect(address).expect("the host listens");
    let body = json!({ "arguments": { "ms": ms } }).to_string();
    write!(
        stream,
        "POST /api/v1/plugins/{plugin}/tools/sleep/call HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        host.token,
        body.len()
    )
    .expect("the host reads");
    begun.await;
    let gone = now();
    if way == Way::HalfClosed {
        stream.shutdown(std::net::Shutdown::Write).expect("it is open");
        // The rest of it lives until the plugin was told.
        tokio::task::spawn_blocking(move || std::io::Read::read(&mut stream, &mut [0; 64]));
    }
    gone
}

/// A request whose client drops it.
async fn dropped(host: &TestHost, way: Way, plugin: &str, ms: u64, begun: impl Future<Output = u64>) -> u64 {
    let arguments = json!({ "ms": ms });
    let sent = if way == Way::Modern {
        host.modern(&format!("/plugins/{plugin}/mcp"), "tools/call", call("sleep", arguments))
    } else {
        let path = format!("/api/v1/plugins/{plugin}/tools/sleep/call");
        let post = host.request(Method::POST, &path).json(&json!({ "arguments": arguments }));
        post.header("accept", "text/event-stream")
    };
    let response = async {
        // A stream has its head at once, and goes on.
        let response = sent.send().await.expect("the host answers");
        response.bytes().await
    };
    tokio::select! {
        early = response => panic!("{early:?}"),
        _ = begun => now(),
    }
}

async fn session(host: &TestHost, way: Way, plugin: &str, ms: u64, begun: impl Future<Output = u64>) -> u64 {
    let session = host.session(&format!("/plugins/{plugin}/mcp"), LEGACY).await;
    let calling = session.send(&request(5, "tools/call", call("sleep", json!({ "ms": ms }))));
    let mut waiting = JoinSet::new();
    waiting.spawn(async move { calling.send().await?.bytes().await });
    begun.await;
    let gone = now();
    if way == Way::Deleted {
        assert_eq!(session.delete().await, 204);
    } else {
        let cancel =
            json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } });
        assert_eq!(Answer::of(session.send(&cancel)).await.status, 202);
    }
    gone
}

async fn old_stream(host: &TestHost, plugin: &str, ms: u64, begun: impl Future<Output = u64>) -> u64 {
    let mut events = Events::open(host.request(Method::GET, &format!("/plugins/{plugin}/sse"))).await;
    let endpoint = events.next().await.expect("a first event").data;
    let ready = json!({ "jsonrpc": "2.0", "method": "notifications/initialized" });
    let calling = request(5, "tools/call", call("sleep", json!({ "ms": ms })));
    for message in [request(1, "initialize", hello("2024-11-05")), ready, calling] {
        let posted = Answer::of(host.request(Method::POST, &endpoint).json(&message)).await;
        assert_eq!(posted.status, 202, "{}", posted.text());
        if message["id"] == 1 {
            events.next().await.expect("the session is open");
        }
    }
    begun.await;
    drop(events);
    now()
}

async fn piped(host: &TestHost, plugin: &str, ms: u64, begun: impl Future<Output = u64>) -> u64 {
    let mut pipe = Pipe::on(host, &[]);
    pipe.ask(1, "initialize", hello(LEGACY));
    pipe.send(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
    pipe.send(&request(5, "tools/call", call(&format!("{plugin}__sleep"), json!({ "ms": ms }))));
    begun.await;
    let gone = now();
    pipe.send(
        &json!({ "jsonrpc": "2.0", "method": "notifications/cancelled", "params": { "requestId": 5 } }),
    );
    // It has told it before it ends.
    pipe.close();
    gone
}
