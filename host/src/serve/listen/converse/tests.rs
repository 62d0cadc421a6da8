use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;

use super::Shared;
use crate::held::Held;
use crate::mcp::modern::testkit::Kit;
use crate::serve::auth::{Auth, Via};
use crate::serve::body::DEADLINE;
use crate::serve::door::{Connection, Door};
use crate::serve::framing::{HEAD_DEADLINE, Verdict, Watched};
use crate::serve::guard::Guard;
use crate::serve::plain::Handed;
use crate::serve::rest;
use crate::tasks::Tasks;

const BOUND: Duration = Duration::from_secs(600);

/// What serves connections, with the routes that carry calls.
fn shared(kit: &Kit) -> Arc<Shared> {
    let (router, hot) = rest::routes(kit.host.clone(), kit.mcp.clone(), Tasks::default());
    Arc::new(Shared {
        drain: Arc::default(),
        door: Door::new(Guard::default(), Auth::Open, router, Some(hot)),
        held: Held::default(),
        connections: Default::default(),
        tasks: Tasks::default(),
        threads: Weak::default(),
    })
}

/// Serves one connection; the client's side of it.
fn connect(shared: &Arc<Shared>) -> DuplexStream {
    let (near, far) = tokio::io::duplex(256 << 10);
    let server = Arc::clone(shared);
    shared.tasks.spawn(tracing::Span::none(), async move {
        server.converse(Via::Tcp, far, Verdict::default(), false).await;
    });
    near
}

/// Likewise, by hyper from its first byte.
async fn by_hyper(shared: &Shared, far: DuplexStream) {
    let (verdict, taker, ends) = (Verdict::default(), shared.held.taker("connection"), AtomicBool::default());
    let came_by = Connection { verdict: &verdict, taker: &taker, is_spare: false };
    let stream = Watched::new(far, Arc::clone(&taker), verdict.clone());
    shared.by_hyper(Via::Tcp, came_by, Handed { stream, answer: None }, &ends).await.ok();
}

/// Sends pieces, and reads until the connection is closed.
async fn exchange(pieces: &[&[u8]], mut near: DuplexStream, serves: impl Future<Output = ()>) -> Vec<u8> {
    let mut answer = Vec::new();
    let client = async {
        for piece in pieces {
            // Refused where the connection is closed already.
            near.write_all(piece).await.ok();
            // It is read before more comes: time passes only then.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        near.read_to_end(&mut answer).await.ok();
    };
    tokio::time::timeout(BOUND, async { tokio::join!(client, serves) }).await.expect("it is never closed");
    answer
}

/// Without what no two answers have in common, and each head in one order.
fn plainly(answer: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answer);
    let blank = |text: &str| {
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let words = text.split_inclusive(|c| !is_word(c));
        let is_id = |word: &str| word.len() > 8 && word.bytes().any(|b| b.is_ascii_digit());
        words.map(|word| if is_id(word) { "ID" } else { word }).collect::<String>()
    };
    let of = |answer: &str| {
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((answer, ""));
        let mut lines: Vec<_> = head.lines().filter(|line| !line.starts_with("date: ")).collect();
        lines.sort_unstable();
        format!("{}\n\n{}", blank(&lines.join("\n")), blank(body))
    };
    text.split("HTTP/1.").map(of).collect()
}

/// Beside a length.
const ENCODED: &str = "Transfer-Encoding: chunked\r\n";

fn lines() -> impl Strategy<Value = Vec<&'static str>> {
    let plain =
        select(vec!["", "Accept: */*\r\n", "X-Else: 1\r\n", "connection: keep-alive\r\n", "X-Empty:\r\n"]);
    let other = select(vec![
        "Connection: close\r\n",
        "Expect: 100-continue\r\n",
        "x-request-id: mine\r\n",
        "X-Request-Id: a\r\nX-Request-Id: b\r\n",
        "accept: text/event-stream\r\n",
        "accept: application/json\r\naccept: text/event-stream\r\n",
        "accept: \u{e4}\r\n",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n",
        "Content-Length: 2\r\n",
        "content-length: +2\r\n",
        "content-length: 2, 2\r\n",
        "content-length:\r\n",
        ENCODED,
        "Host: evil.example\r\n",
        "Origin: http://evil.example\r\n",
        "Sec-Fetch-Site: cross-site\r\n",
        "TE: trailers\r\n",
        "Upgrade: websocket\r\n",
        " folded\r\n",
        "bad name: 1\r\n",
        "bad: \u{1}\r\n",
        "no colon\r\n",
        "lone: lf\n",
        "Wharf-Durable: perhaps\r\n",
        "Mcp-Param-Region: x\r\n",
        "Mcp-Param-That-Is-Long: x\r\n",
        "X-Attempt: 0\r\n",
        "content-type: text/plain\r\n",
        "authorization: Bearer \u{e4}\r\n",
    ]);
    vec(prop_oneof![3 => plain, 1 => other], 0..4)
}

fn request() -> impl Strategy<Value = String> {
    let line = select(vec![
        "POST /tools/old/echo HTTP/1.1",
        "POST /tools/old/echo HTTP/1.1",
        "POST /tools/old/echo HTTP/1.1",
        "POST /api/v1/plugins/old/tools/none/call HTTP/1.1",
        "POST /mcp HTTP/1.1",
        "POST /plugins/none/mcp HTTP/1.1",
        "GET /healthz HTTP/1.1",
        "POST /tools/old/echo HTTP/1.0",
        "POST /tools/old/echo?x=1 HTTP/1.1",
        "POST /tools/old/%65cho HTTP/1.1",
        "POST http://localhost/tools/old/echo HTTP/1.1",
        "post /tools/old/echo HTTP/1.1",
        "POST /tools/old/echo  HTTP/1.1",
        "POST /none HTTP/1.1",
        "\r\nPOST /tools/old/echo HTTP/1.1",
        "PRI * HTTP/2.0",
    ]);
    let body = select(vec!["{}", "{\"a\":[1]}", "{", "", "[]"]);
    let host = select(vec!["host: localhost\r\n", "Host: 127.0.0.1:7800\r\n", "Host: other.example\r\n", ""]);
    (line, prop_oneof![3 => Just("host: localhost\r\n"), 1 => host], lines(), body, prop_oneof![6 => Just(0), 1 => -3..4_isize]).prop_map(
        |(line, host, lines, body, off)| {
            let length = body.len().saturating_add_signed(off);
            let lines = lines.concat();
            format!("{line}\r\n{host}content-type: application/json\r\n{lines}content-length: {length}\r\n\r\n{body}")
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_comes_is_answered_as_hyper_alone_would(
        requests in vec(request(), 1..4),
        cuts in vec(any::<prop::sample::Index>(), 0..3),
    ) {
        let all = requests.concat().into_bytes();
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(all.len())).collect();
        at.extend([0, all.len()]);
        // Hyper alone refuses it with all that it read together with it: here it is read after what stands before it.
        at.extend((0..requests.len()).filter(|at| requests[*at].contains(ENCODED)).map(|at| requests[..at].concat().len()));
        at.sort_unstable();
        let pieces: Vec<&[u8]> = at.windows(2).map(|ends| &all[ends[0]..ends[1]]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (ours, hypers) = runtime.block_on(async {
            let kit = Kit::new().await;
            tokio::time::pause();
            let shared = shared(&kit);
            let (near, far) = tokio::io::duplex(256 << 10);
            let served = shared.converse(Via::Tcp, far, Verdict::default(), false);
            let ours = exchange(&pieces, near, served).await;
            let (near, far) = tokio::io::duplex(256 << 10);
            (ours, exchange(&pieces, near, by_hyper(&shared, far)).await)
        });
        prop_assert_eq!(plainly(&ours), plainly(&hypers), "{:?}", String::from_utf8_lossy(&all));
    }
}

fn posted(path: &str, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n{more}content-length: {length}\r\n\r\n{body}"
    )
}

const CALL: &str = "/api/v1/plugins/old/tools/hang/call";

/// Reads on until this has come.
async fn until(stream: &mut DuplexStream, seen: &mut Vec<u8>, end: &str) {
    let reads = async {
        while !String::from_utf8_lossy(seen).contains(end) {
            assert_ne!(stream.read_buf(seen).await.unwrap(), 0, "{end:?}: {}", String::from_utf8_lossy(seen));
        }
    };
    tokio::time::timeout(BOUND, reads).await.unwrap();
}

#[tokio::test]
async fn a_call_ends_with_its_client_and_another_that_waits_behind_it_is_answered() {
    let kit = Kit::new().await;
    let shared = shared(&kit);
    let mut stream = connect(&shared);
    stream.write_all(posted(CALL, "", "{}").as_bytes()).await.unwrap();
    kit.legacy.reached.notified().await;
    // Behind it, in two pieces.
    let next = posted("/tools/old/echo", "", r#"{"behind":1}"#);
    let (head, rest) = next.split_at(30);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(rest.as_bytes()).await.unwrap();
    kit.legacy.goes_on.notify_one();
    let mut seen = Vec::new();
    until(&mut stream, &mut seen, "behind").await;
    stream.write_all(posted(CALL, "", "{}").as_bytes()).await.unwrap();
    kit.legacy.reached.notified().await;
    drop(stream);
    let ends = async {
        while kit.legacy.cancelled.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(BOUND, ends).await.expect("the call goes on");
}

#[tokio::test]
async fn a_request_of_two_lengths_costs_the_call_before_it_nothing_and_ends_the_connection() {
    let shared = shared(&Kit::new().await);
    let all = [("", r#"{"first":1}"#), (ENCODED, "{}"), ("", "{}")];
    let all = all.map(|(more, body)| posted("/tools/old/echo", more, body)).concat();
    let (near, far) = tokio::io::duplex(256 << 10);
    let served = shared.converse(Via::Tcp, far, Verdict::default(), false);
    let answers = plainly(&exchange(&[all.as_bytes()], near, served).await);
    let [_, first, second] = &*answers else { panic!("{answers:?}") };
    assert!(first.starts_with("1 200") && first.contains("first"), "{first}");
    assert!(second.starts_with("1 400") && second.contains("connection: close"), "{second}");
}

#[tokio::test]
async fn an_answer_that_is_a_stream_comes_as_one_and_the_connection_goes_on() {
    let kit = Kit::new().await;
    let shared = shared(&kit);
    let mut stream = connect(&shared);
    let mut seen = Vec::new();
    let streamed = posted("/api/v1/plugins/old/tools/talk/call", "accept: text/event-stream\r\n", "{}");
    let behind = posted("/tools/old/echo", "", r#"{"behind":1}"#);
    stream.write_all(streamed.as_bytes()).await.unwrap();
    until(&mut stream, &mut seen, "\r\n0\r\n\r\n").await;
    let text = String::from_utf8_lossy(&seen).into_owned();
    assert!(text.contains("transfer-encoding: chunked") && text.contains("event: "), "{text}");
    assert_eq!(text.matches("HTTP/1.1 200").count(), 1, "{text}");
    stream.write_all(behind.as_bytes()).await.unwrap();
    until(&mut stream, &mut seen, "behind").await;
}

#[tokio::test]
async fn at_the_end_a_call_is_answered_and_its_connection_closed_and_so_are_idle_ones() {
    let kit = Kit::new().await;
    let shared = shared(&kit);
    let (mut busy, mut idle) = (connect(&shared), connect(&shared));
    idle.write_all(posted("/tools/old/echo", "", r#"{"first":1}"#).as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    until(&mut idle, &mut seen, "first").await;
    busy.write_all(posted(CALL, "", "{}").as_bytes()).await.unwrap();
    kit.legacy.reached.notified().await;
    let end = shared.drain.end(&shared.tasks, BOUND, || 0);
    let client = async {
        kit.legacy.goes_on.notify_one();
        let (mut answer, mut rest) = (String::new(), Vec::new());
        busy.read_to_string(&mut answer).await.unwrap();
        idle.read_to_end(&mut rest).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
        assert!(rest.is_empty(), "{rest:?}");
    };
    let (mut end, mut client) = (pin!(end), pin!(client));
    let both = async { tokio::join!(&mut end, &mut client).0 };
    assert_eq!(tokio::time::timeout(BOUND, both).await.unwrap(), 0, "a connection is left");
}

#[tokio::test]
async fn a_call_may_take_longer_than_a_head_does() {
    let kit = Kit::new().await;
    tokio::time::pause();
    let mut stream = connect(&shared(&kit));
    stream.write_all(posted(CALL, "", "{}").as_bytes()).await.unwrap();
    kit.legacy.reached.notified().await;
    tokio::time::sleep(3 * HEAD_DEADLINE / 2).await;
    kit.legacy.goes_on.notify_one();
    until(&mut stream, &mut Vec::new(), "HTTP/1.1 200").await;
}

#[tokio::test]
async fn a_refusal_waits_for_no_body_and_a_body_is_waited_for_as_long_as_ever() {
    let kit = Kit::new().await;
    tokio::time::pause();
    let call = posted("/tools/old/echo", "", "{}");
    let head = call.strip_suffix("{}").unwrap();
    let foreign = head.replace("localhost", "other.example");
    let nobodys = head.replace("/tools/old/echo", "/plugins/none/mcp");
    let unclear = head.replace("content-length", "X-Attempt: 0\r\ncontent-length");
    let soon = Duration::from_millis(100);
    for (head, answer, least, most) in [
        (&*foreign, "HTTP/1.1 403", Duration::ZERO, soon),
        (&*nobodys, "HTTP/1.1 404", Duration::ZERO, soon),
        (&*unclear, "HTTP/1.1 400", Duration::ZERO, soon),
        (head, "HTTP/1.1 400", DEADLINE, DEADLINE + Duration::from_secs(2)),
    ] {
        let mut stream = connect(&shared(&kit));
        let began = Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        until(&mut stream, &mut Vec::new(), answer).await;
        assert!(began.elapsed() >= least && began.elapsed() <= most, "{:?}", began.elapsed());
    }
}
