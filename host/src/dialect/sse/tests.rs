use std::sync::Arc;

use http::Method;
use serde_json::{Value, json};
use tokio::sync::{Mutex, mpsc};
use wharf_plugin_api::{CallErrorKind, Cause, CauseKind, Delivery, Link, Scope};

use super::{connect, target};
use crate::dialect::testkit::fake::{Fake, Seen, dial_to, endpoint, event, handler, status, stream};
use crate::dialect::testkit::{Call, Ear, options, request, result, spawn_call, within};
use crate::dialect::{Connected, Lost, Options};

type Stream = Arc<Mutex<Option<mpsc::Sender<String>>>>;

/// A server that names `endpoint` and answers `initialize`, after a notification; the rest is the test's.
async fn server(named: &'static str) -> (Fake, Stream) {
    let streams = Stream::default();
    let kept = Arc::clone(&streams);
    let fake = Fake::start(handler(move |seen: Seen| {
        let kept = Arc::clone(&kept);
        async move {
            if seen.method == Method::GET {
                let (tx, response) = stream();
                tx.send(format!(": hello\n\nevent: endpoint\ndata: {named}\n\n")).await.expect("open");
                *kept.lock().await = Some(tx);
                return response;
            }
            if seen.rpc() == "initialize" {
                say(&kept, json!({"jsonrpc": "2.0", "method": "notifications/message"})).await;
                say(&kept, json!({"jsonrpc": "2.0", "id": seen.body["id"], "result": {"protocolVersion": "2024-11-05"}})).await;
            }
            status(202, "Accepted")
        }
    }))
    .await;
    (fake, streams)
}

async fn say(stream: &Stream, message: Value) {
    let tx = stream.lock().await.clone().expect("a stream");
    tx.send(event(&message)).await.expect("open");
}

async fn linked(fake: &Fake, ear: &Ear) -> (Arc<dyn Link>, Lost) {
    let connected = within(connect(fake.endpoint("/sse"), Arc::new(ear.clone()), options())).await;
    let Connected { link, lost, .. } = connected.expect("connected");
    (link, lost)
}

async fn refused(fake: &Fake) -> Cause {
    within(connect(fake.endpoint("/sse"), Arc::new(Ear::default()), options())).await.err().expect("refused")
}

#[tokio::test]
async fn an_answer_over_the_bound_fails_its_call_at_once_and_no_other() {
    let (fake, stream) = server("/messages?sessionId=7").await;
    let small = Options { max_message: 1000, ..options() };
    let connected = within(connect(fake.endpoint("/sse"), Arc::new(Ear::default()), small)).await;
    let Connected { link, lost: _lost, .. } = connected.expect("connected");
    let calls = ["big", "small"]
        .map(|n| spawn_call(&link, &Call::new(false), request("tools/call", &json!({"n": n}).to_string())));
    for (n, answer) in [("big", "y".repeat(5000)), ("small", "fits".to_owned())] {
        let sent = fake.first(|seen| seen.body["params"]["n"] == n).await;
        // The keys in the order of every server that was seen: the id before the result.
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{},"result":"{answer}"}}"#, sent.body["id"]);
        let tx = stream.lock().await.clone().expect("a stream");
        tx.send(format!("event: message\ndata: {raw}\n\n")).await.expect("open");
    }
    let [big, small] = calls;
    let error = within(big).await.expect("joined").unwrap_err();
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Protocol, Delivery::Unknown));
    assert_eq!(result(within(small).await.expect("joined")), "fits");
}

#[tokio::test]
async fn answers_come_on_the_stream_in_any_order() {
    let (fake, stream) = server("/messages?sessionId=7").await;
    let ear = Ear::default();
    let (link, _lost) = linked(&fake, &ear).await;
    assert_eq!((link.hello().dialect, link.hello().revision.as_str()), ("sse", "2024-11-05"));
    assert_eq!(ear.heard.at_least(1).await[0].0, "notifications/message");
    let calls = ["a", "b"]
        .map(|n| spawn_call(&link, &Call::new(false), request("tools/call", &json!({"n": n}).to_string())));
    let mut ids = Vec::new();
    for n in ["b", "a"] {
        let sent = fake.first(|seen| seen.body["params"]["n"] == n).await;
        assert_eq!((sent.path.as_str(), sent.header("x-key")), ("/messages?sessionId=7", "k"));
        say(&stream, json!({"jsonrpc": "2.0", "id": sent.body["id"], "result": n})).await;
        ids.push(sent.body["id"].clone());
    }
    for (call, n) in calls.into_iter().zip(["a", "b"]) {
        assert_eq!(result(within(call).await.expect("joined")), n);
    }
    let given_up = spawn_call(&link, &Call::new(false), request("tools/call", r#"{"n":"c"}"#));
    let sent = fake.first(|seen| seen.body["params"]["n"] == "c").await;
    given_up.abort();
    let cancelled = fake.first(|seen| seen.rpc() == "notifications/cancelled").await;
    assert_eq!(cancelled.body["params"]["requestId"], sent.body["id"]);
    assert!(fake.count(&Method::POST, "notifications/initialized") == 1);
}

#[tokio::test]
async fn the_end_of_the_stream_is_the_end_of_the_connection() {
    let (fake, stream) = server("messages").await;
    let (link, lost) = linked(&fake, &Ear::default()).await;
    let waiting = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    fake.first(|seen| seen.rpc() == "tools/call" && seen.path == "/messages").await;
    stream.lock().await.take();
    assert_eq!(within(lost).await.kind, CauseKind::LinkLost);
    let error = within(waiting).await.expect("joined").expect_err("lost");
    assert_eq!((error.kind, error.delivery), (CallErrorKind::Connection, Delivery::Unknown));
    let later = within(link.request(request("tools/call", "{}"), Call::new(false) as Arc<dyn Scope>)).await;
    assert_eq!(later.expect_err("lost").delivery, Delivery::NotDelivered);
}

#[tokio::test]
async fn an_event_that_cannot_be_read_is_dropped_and_the_third_ends_the_connection() {
    let (fake, stream) = server("/m").await;
    let (link, lost) = linked(&fake, &Ear::default()).await;
    let waiting = spawn_call(&link, &Call::new(false), request("tools/call", "{}"));
    let sent = fake.first(|seen| seen.rpc() == "tools/call").await;
    let tx = stream.lock().await.clone().expect("a stream");
    tx.send(format!("data: {}\n\n", "x".repeat(5 << 20))).await.expect("open");
    tx.send("data: no message\n\n".to_owned()).await.expect("open");
    say(&stream, json!({"jsonrpc": "2.0", "id": sent.body["id"], "result": "after"})).await;
    assert_eq!(result(within(waiting).await.expect("joined")), "after");
    tx.send("data: [1]\n\n".to_owned()).await.expect("open");
    assert_eq!(within(lost).await.kind, CauseKind::ProtocolGarbage);
}

#[tokio::test]
async fn close_drops_the_stream() {
    let (fake, stream) = server("/m").await;
    let (link, lost) = linked(&fake, &Ear::default()).await;
    within(link.close()).await;
    assert_eq!(within(lost).await.kind, CauseKind::Requested);
    let tx = stream.lock().await.clone().expect("a stream");
    within(tx.closed()).await;
}

#[tokio::test]
async fn an_endpoint_of_another_origin_is_refused() {
    for named in [
        "http://evil.example/messages",
        "//evil.example/messages",
        "https://127.0.0.1/m",
        "file:///etc/passwd",
    ] {
        let (fake, _stream) = server(named).await;
        let cause = refused(&fake).await;
        assert_eq!(cause.kind, CauseKind::HandshakeRefused, "{named}");
        assert!(cause.detail.contains("origin"), "{}", cause.detail);
        assert_eq!(fake.seen().len(), 1, "nothing is posted anywhere");
    }
}

#[test]
fn an_endpoint_may_be_relative_or_absolute() {
    let base = endpoint("http://127.0.0.1:9/a/sse?x=1");
    for (named, expected) in [
        ("/m?s=1", "http://127.0.0.1:9/m?s=1"),
        ("m", "http://127.0.0.1:9/a/m"),
        ("?s=1", "http://127.0.0.1:9/a/sse?s=1"),
        ("http://127.0.0.1:9/m", "http://127.0.0.1:9/m"),
    ] {
        assert_eq!(target(&base, named).expect(named).to_string(), expected);
    }
    assert!(target(&base, "http://127.0.0.1:10/m").is_none());
}

#[test]
fn a_server_may_go_by_its_name_and_by_its_place() {
    let mut base = endpoint("http://plugin.test:9/sse");
    assert!(target(&base, "http://127.0.0.1:9/m").is_none());
    let at = "127.0.0.1:9".parse().expect("an address");
    base.connect_by(at, dial_to(at));
    for named in ["http://plugin.test:9/m", "http://127.0.0.1:9/m"] {
        assert_eq!(target(&base, named).expect(named).to_string(), named);
    }
    assert!(target(&base, "http://127.0.0.1:10/m").is_none());
    assert!(target(&base, "http://other.test:9/m").is_none());
}

#[tokio::test]
async fn where_a_connection_goes_does_not_change_what_the_server_is_called() {
    let (fake, _stream) = server("http://plugin.test:9/m").await;
    // Nobody can resolve this name.
    let mut endpoint = endpoint("http://plugin.test:9/sse");
    let at = fake.base.strip_prefix("http://").expect("a base").parse().expect("an address");
    endpoint.connect_by(at, dial_to(at));
    let connected = within(connect(endpoint, Arc::new(Ear::default()), options())).await;
    let _connected = connected.expect("connected");
    let seen = fake.seen();
    assert_eq!(fake.count(&Method::POST, "initialize"), 1);
    for seen in &seen {
        assert_eq!((seen.header("host"), seen.header("x-key")), ("plugin.test:9", "k"));
    }
}

#[tokio::test]
async fn a_server_without_a_stream_is_refused() {
    for (code, kind) in [
        (200, CauseKind::HandshakeRefused),
        (404, CauseKind::HandshakeRefused),
        (401, CauseKind::Unauthorized),
    ] {
        let fake = Fake::start(handler(move |_| async move { status(code, "") })).await;
        assert_eq!(refused(&fake).await.kind, kind, "{code}");
    }
}
