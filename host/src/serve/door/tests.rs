use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderValue, Request, Uri};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use super::{Connection, Door};
use crate::held::Held;
use crate::mcp::modern::testkit::{Kit, call};
use crate::serve::auth::{Auth, Principal, Via};
use crate::serve::framing::Verdict;
use crate::serve::guard::Guard;
use crate::serve::rest;
use crate::tasks::Tasks;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

async fn whoami(principal: axum::Extension<Principal>) -> String {
    principal.0.0.to_string()
}

fn door() -> Door {
    let router = Router::new().route("/who", get(whoami)).route("/healthz", get(|| async { "ok" })).route(
        "/panic",
        post(|| async {
            if true {
                panic!("boom")
            }
        }),
    );
    Door::new(
        Guard::new(&[], &["https://app.example".into()]).unwrap(),
        Auth::Token(TOKEN.to_owned().into()),
        rest::with_fallbacks(router),
        None,
    )
}

async fn send(method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    send_over(false, method, path, headers).await
}

async fn send_over(is_spare: bool, method: &str, path: &str, headers: &[(&str, &str)]) -> Response {
    let mut request = Request::builder().method(method).uri(path).header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let taker = Held::default().taker("test");
    let connection = Connection { verdict: &Verdict::default(), taker: &taker, is_spare };
    door().handle(Via::Tcp, connection, request.body(Body::empty()).unwrap()).await
}

async fn text(response: Response) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

const BEARER: (&str, &str) = ("authorization", "Bearer 0123456789abcdef0123456789abcdef");

#[tokio::test]
async fn a_request_passes_guard_then_token_then_route() {
    assert_eq!(send("GET", "/who", &[]).await.status(), 401);
    assert_eq!(send("GET", "/nothing", &[]).await.status(), 401);
    assert_eq!(send("GET", "/who", &[BEARER, ("origin", "http://evil.example")]).await.status(), 403);
    assert_eq!(send("GET", "/healthz", &[("origin", "http://evil.example")]).await.status(), 403);
    assert_eq!(send("GET", "/healthz", &[]).await.status(), 200);
    let response = send("GET", "/who", &[BEARER]).await;
    assert_eq!((response.status().as_u16(), text(response).await), (200, "token".to_owned()));
}

#[tokio::test]
async fn unknown_paths_and_methods_are_problems() {
    let response = send("GET", "/nothing", &[BEARER]).await;
    assert_eq!(response.status(), 404);
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    assert!(text(response).await.contains("\"not_found\""));
    let response = send("POST", "/who", &[BEARER]).await;
    assert_eq!(response.status(), 405);
    assert_eq!(response.headers()["allow"], "GET,HEAD");
    assert!(text(response).await.contains("\"method_not_allowed\""));
}

#[tokio::test]
async fn a_page_of_an_allowed_origin_and_no_other_can_use_us() {
    let app = ("origin", "https://app.example");
    let asks = ("access-control-request-method", "POST");
    let preflight = send("OPTIONS", "/who", &[app, asks]).await;
    assert_eq!(preflight.status(), 204);
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://app.example");
    assert!(preflight.headers()["access-control-allow-headers"].to_str().unwrap().contains("authorization"));
    let names = ("access-control-request-headers", "Mcp-Param-City, x-evil");
    let preflight = send("OPTIONS", "/who", &[app, asks, names]).await;
    let allowed = preflight.headers()["access-control-allow-headers"].to_str().unwrap();
    let mcp = ["mcp-param-city", "mcp-session-id", "mcp-protocol-version", "mcp-method", "mcp-name"];
    let calls = ["idempotency-key", "x-attempt", "wharf-durable", "traceparent"];
    for name in mcp.into_iter().chain(calls) {
        assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}: {allowed}");
    }
    assert!(!allowed.contains("evil"), "{allowed}");
    assert!(preflight.headers()["access-control-allow-methods"].to_str().unwrap().contains("DELETE"));
    let exposed = preflight.headers()["access-control-expose-headers"].to_str().unwrap();
    assert!(exposed.contains("mcp-session-id") && exposed.contains("idempotency-replayed"), "{exposed}");
    assert_eq!(send("OPTIONS", "/who", &[app]).await.status(), 401, "no preflight");
    assert_eq!(send("OPTIONS", "/who", &[asks]).await.status(), 401, "no origin");
    assert_eq!(send("GET", "/who", &[app]).await.status(), 401);
    assert_eq!(
        send("GET", "/who", &[app, BEARER]).await.headers()["access-control-allow-origin"],
        "https://app.example"
    );
    for origin in ["http://localhost", "https://evil.example"] {
        let response = send("OPTIONS", "/who", &[("origin", origin), asks]).await;
        assert!(!response.status().is_success(), "{origin}");
        assert!(!response.headers().contains_key("access-control-allow-origin"), "{origin}");
    }
}

#[tokio::test]
async fn a_spare_connection_serves_health_and_takes_no_call() {
    let health = send_over(true, "GET", "/healthz", &[]).await;
    assert_eq!((health.status().as_u16(), health.headers()["connection"].as_bytes()), (200, &b"close"[..]));
    let call = send_over(true, "POST", "/panic", &[BEARER]).await;
    assert_eq!((call.status().as_u16(), call.headers()["retry-after"].as_bytes()), (503, &b"1"[..]));
    assert!(text(call).await.contains("\"overloaded\""));
    assert_eq!(send_over(true, "POST", "/panic", &[]).await.status(), 401, "who may not ask is told nothing");
}

#[tokio::test]
async fn a_panic_is_an_answer() {
    let response = send("POST", "/panic", &[BEARER]).await;
    assert_eq!(response.status(), 500);
    let body = text(response).await;
    assert!(body.contains("\"internal\"") && !body.contains("boom"), "{body}");
}

#[tokio::test]
async fn a_request_id_is_echoed_or_made() {
    let id = |response: Response| response.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(id(send("GET", "/who", &[BEARER, ("x-request-id", "abc-1")]).await), "abc-1");
    for bad in ["", "a b", &"x".repeat(129)] {
        let made = id(send("GET", "/who", &[("x-request-id", bad)]).await);
        assert!(made.starts_with("r-"), "{made}");
    }
}

/// What a request was read into.
struct Read(Arc<Vec<u8>>);

impl AsRef<[u8]> for Read {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

fn message(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).to_string()
}

/// A request, so far as it is the same for all.
fn posted(path: &str, headers: &[(&'static str, String)]) -> http::request::Builder {
    let mut request = Request::builder().method("POST").uri(path).header("host", "localhost");
    request = request.header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    request
}

/// A door with the routes that carry calls.
async fn hot() -> (Kit, Door) {
    let kit = Kit::new().await;
    let (router, hot) = rest::routes(kit.host.clone(), kit.mcp.clone(), Tasks::default());
    (kit, Door::new(Guard::new(&[], &[]).unwrap(), Auth::Open, router, Some(hot)))
}

type Way = (&'static str, Vec<(&'static str, String)>, String);

/// A call of a tool that waits, by each way: path, headers and body.
async fn ways(door: &Door, connection: Connection<'_>, arguments: &Value) -> [Way; 4] {
    let both = ("accept", "application/json, text/event-stream".to_owned());
    let opens = message(
        "initialize",
        &json!({"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "c", "version": "1"}}),
    );
    let opens = posted("/mcp", std::slice::from_ref(&both)).body(Body::from(opens)).unwrap();
    let opened = door.handle(Via::Tcp, connection, opens).await;
    let session = opened.headers()["mcp-session-id"].to_str().unwrap().to_owned();
    let legacy =
        vec![both.clone(), ("mcp-protocol-version", "2025-11-25".into()), ("mcp-session-id", session)];
    let modern = vec![
        both,
        ("mcp-protocol-version", "2026-07-28".into()),
        ("mcp-method", "tools/call".into()),
        ("mcp-name", "old__hang".into()),
    ];
    let mut in_envelope = call("old__hang", &json!({}));
    in_envelope["arguments"] = arguments.clone();
    [
        ("/api/v1/plugins/old/tools/hang/call", vec![], json!({"arguments": arguments}).to_string()),
        ("/tools/old/hang", vec![], arguments.to_string()),
        ("/mcp", legacy, message("tools/call", &json!({"name": "old__hang", "arguments": arguments}))),
        ("/mcp", modern, message("tools/call", &in_envelope)),
    ]
}

/// The most that a request is in memory with while its call is waited for, bytes, beside what the call itself is.
const WAITS: usize = 256;

#[tokio::test]
async fn a_call_is_waited_for_without_its_head() {
    let (kit, door) = hot().await;
    let (verdict, taker) = (Verdict::default(), Held::default().taker("test"));
    let connection = Connection { verdict: &verdict, taker: &taker, is_spare: false };
    for (path, headers, body) in ways(&door, connection, &json!({})).await {
        // As a connection reads it: in one piece, of which all are parts.
        let uri = path.len();
        let read = Arc::new(format!("{path}x{body}").into_bytes());
        let all = Bytes::from_owner(Read(Arc::clone(&read)));
        let value = HeaderValue::from_maybe_shared(all.slice(uri..=uri)).unwrap();
        let body = Body::from(all.slice(uri + 1..));
        let mut request = posted(path, &headers).header("x-read", value).body(body).unwrap();
        *request.uri_mut() = Uri::from_maybe_shared(all.slice(..uri)).unwrap();
        drop(all);
        let mut answer = pin!(door.handle(Via::Tcp, connection, request));
        assert!(size_of_val(&*answer) <= WAITS, "{}", size_of_val(&*answer));
        tokio::select! {
            answer = &mut answer => panic!("{path}: {:?}", text(answer).await),
            () = kit.legacy.reached.notified() => {}
        }
        assert_eq!(Arc::strong_count(&read), 1, "{path} {headers:?}");
        kit.legacy.goes_on.notify_one();
        assert_eq!(answer.await.status(), 200, "{path}");
    }
}

#[tokio::test]
async fn a_panic_in_what_is_waited_for_is_answered_and_no_call_is_left_in_flight() {
    let (kit, door) = hot().await;
    let (verdict, taker) = (Verdict::default(), Held::default().taker("test"));
    let connection = Connection { verdict: &verdict, taker: &taker, is_spare: false };
    for (path, headers, body) in ways(&door, connection, &json!({"panics": true})).await {
        let request = posted(path, &headers).body(Body::from(body)).unwrap();
        let mut answer = pin!(door.handle(Via::Tcp, connection, request));
        tokio::select! {
            answer = &mut answer => panic!("{path}: {:?}", text(answer).await),
            () = kit.legacy.reached.notified() => {}
        }
        kit.legacy.goes_on.notify_one();
        let answer = answer.await;
        assert_eq!(answer.status(), 500, "{path} {headers:?}");
        assert!(answer.headers().contains_key("x-request-id"));
        assert!(text(answer).await.contains("met a bug of wharf"), "{path}");
        assert_eq!(kit.host.calls_in_flight(), 0, "{path} {headers:?}");
    }
    for (path, headers, body) in ways(&door, connection, &json!({})).await {
        let answer =
            door.handle(Via::Tcp, connection, posted(path, &headers).body(Body::from(body)).unwrap());
        kit.legacy.goes_on.notify_one();
        assert_eq!(answer.await.status(), 200, "{path}");
    }
}
