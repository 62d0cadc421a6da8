//! A fake provider: answers each request with the next of its answers and keeps what it was asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use serde_json::Value;
use tokio::sync::oneshot;

/// What it answers.
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    pieces: BoxStream<'static, String>,
}

/// What it was asked.
pub(crate) struct Asked {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

type Shared = Arc<Mutex<(VecDeque<Answer>, Vec<Asked>)>>;

/// A provider that listens until the test ends.
pub(crate) struct Fake {
    pub(crate) url: String,
    shared: Shared,
}

impl Answer {
    pub(crate) fn json(body: Value) -> Self {
        Self::status(200, body)
    }

    pub(crate) fn status(status: u16, body: Value) -> Self {
        Self { status, kind: "application/json", pieces: stream::iter([body.to_string()]).boxed() }
    }

    /// Events, one piece each. A string is sent as it is.
    pub(crate) fn sse(events: impl IntoIterator<Item = Value>) -> Self {
        let events: Vec<_> = events.into_iter().map(|event| frame(&event)).collect();
        Self { status: 200, kind: "text/event-stream", pieces: stream::iter(events).boxed() }
    }

    /// Events, of which the second part is sent once the gate was opened.
    pub(crate) fn gated<const A: usize, const B: usize>(
        first: [Value; A],
        then: [Value; B],
    ) -> (Self, oneshot::Sender<()>) {
        let (gate, opened) = oneshot::channel::<()>();
        let held = stream::once(async move {
            opened.await.unwrap();
            Self::sse(then).pieces
        });
        let pieces = Self::sse(first).pieces.chain(held.flatten()).boxed();
        (Self { status: 200, kind: "text/event-stream", pieces }, gate)
    }
}

/// An event, named by its type as Anthropic does.
fn frame(event: &Value) -> String {
    let name = event.get("type").and_then(Value::as_str).map(|name| format!("event: {name}\n"));
    let data = event.as_str().map_or_else(|| event.to_string(), str::to_owned);
    format!("{}data: {data}\n\n", name.unwrap_or_default())
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Fake {
    #[allow(clippy::disallowed_methods, reason = "it ends with the test's runtime")]
    pub(crate) async fn start(answers: Vec<Answer>) -> Self {
        let shared: Shared = Arc::new(Mutex::new((answers.into(), Vec::new())));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { url, shared }
    }

    /// All requests, which must be so many.
    pub(crate) fn requests<const N: usize>(&self) -> [Asked; N] {
        let asked = std::mem::take(&mut self.shared.lock().unwrap().1);
        let count = asked.len();
        asked.try_into().unwrap_or_else(|_| panic!("{count} requests instead of {N}"))
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap();
    let next = {
        let mut shared = shared.lock().unwrap();
        shared.1.push(Asked { path: head.uri.path().to_owned(), headers: head.headers, body });
        shared.0.pop_front()
    };
    let Answer { status, kind, pieces } = next.expect("no more requests than answers");
    let pieces = pieces.map(|piece| Ok::<_, std::convert::Infallible>(Bytes::from(piece)));
    Response::builder().status(status).header("content-type", kind).body(Body::from_stream(pieces)).unwrap()
}
