//! A small HTTP server on a port of its own that answers as a test says and remembers what it saw.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::response::Response;
use bytes::Bytes as Chunk;
use futures_util::future::BoxFuture;
use http::{HeaderMap, Method, Uri};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};

use super::within;
use crate::dialect::web::{Endpoint, http_client};
use crate::tasks::Tasks;

/// A request as the server saw it.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }

    /// The JSON-RPC method, or nothing.
    pub(crate) fn rpc(&self) -> &str {
        self.body["method"].as_str().unwrap_or_default()
    }

    pub(crate) fn is(&self, method: &Method, rpc: &str) -> bool {
        self.method == *method && self.rpc() == rpc
    }
}

pub(crate) struct Fake {
    pub(crate) base: String,
    seen: watch::Sender<Vec<Seen>>,
}

impl Fake {
    pub(crate) async fn start<F>(answer: F) -> Self
    where
        F: Fn(Seen) -> BoxFuture<'static, Response> + Clone + Send + Sync + 'static,
    {
        let seen = watch::channel(Vec::new()).0;
        let log = seen.clone();
        let handler = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
            let path = uri.path_and_query().map_or_else(String::new, ToString::to_string);
            let one = Seen { method, path, headers, body };
            log.send_modify(|all| all.push(one.clone()));
            answer(one)
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let server = axum::serve(listener, Router::new().fallback(handler));
        drop(Tasks::default().spawn(tracing::Span::none(), async move { server.await.expect("serving") }));
        Self { base, seen }
    }

    pub(crate) fn endpoint(&self, path: &str) -> Endpoint {
        endpoint(&format!("{}{path}", self.base))
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.borrow().clone()
    }

    pub(crate) fn count(&self, method: &Method, rpc: &str) -> usize {
        self.seen.borrow().iter().filter(|seen| seen.is(method, rpc)).count()
    }

    /// The first request that fits, once it has come.
    pub(crate) async fn first(&self, fits: impl Fn(&Seen) -> bool) -> Seen {
        let all = self.until(|all| all.iter().any(&fits)).await;
        all.into_iter().find(|seen| fits(seen)).expect("it is there")
    }

    /// All requests, once they are as they should be.
    pub(crate) async fn until(&self, fits: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        within(self.seen.subscribe().wait_for(|all| fits(all))).await.expect("open").clone()
    }
}

pub(crate) fn endpoint(url: &str) -> Endpoint {
    let headers = [("x-key".to_owned(), "k".to_owned())];
    Endpoint::new(url, &headers, &http_client(&Tasks::default())).expect("a URL")
}

/// A plain connection to this address.
pub(crate) fn dial_to(at: std::net::SocketAddr) -> crate::dialect::way::Dial {
    Arc::new(move || Box::pin(tokio::net::TcpStream::connect(at)))
}

pub(crate) fn status(status: u16, body: &str) -> Response {
    Response::builder().status(status).body(Body::from(body.to_owned())).expect("a response")
}

pub(crate) fn typed(media: &str, body: impl Into<Body>) -> Response {
    Response::builder().header("content-type", media).body(body.into()).expect("a response")
}

pub(crate) fn json_result(id: &Value, result: Value) -> Response {
    typed("application/json", json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string())
}

/// A response that stays open while its sender lives.
pub(crate) fn stream() -> (mpsc::Sender<String>, Response) {
    let (tx, rx) = mpsc::channel::<String>(16);
    let chunks = futures_util::stream::unfold(rx, |mut rx| async move {
        rx.recv().await.map(|text| (Ok::<_, std::io::Error>(Chunk::from(text)), rx))
    });
    (tx, typed("text/event-stream", Body::from_stream(chunks)))
}

pub(crate) fn event(message: &Value) -> String {
    format!("event: message\ndata: {message}\n\n")
}

/// A handler from an async closure-like function.
pub(crate) fn handler<F, R>(
    f: F,
) -> impl Fn(Seen) -> BoxFuture<'static, Response> + Clone + Send + Sync + 'static
where
    F: Fn(Seen) -> R + Send + Sync + 'static,
    R: Future<Output = Response> + Send + 'static,
{
    let f = Arc::new(f);
    move |seen| Box::pin(f(seen))
}
