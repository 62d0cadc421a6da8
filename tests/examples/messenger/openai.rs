//! A stand-in for OpenAI: the chat completions of its API, also as a stream that stops until the test lets it go on.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

/// The one key that it takes.
pub(super) const KEY: &str = "sk-the-right-key-of-the-test";
/// What it answers, in the pieces of its stream.
pub(super) const PIECES: [&str; 4] = ["The ", "answer ", "is\n", "42."];

/// A running stand-in. It ends with the test's runtime.
#[derive(Clone, Debug)]
pub(super) struct OpenAi {
    address: SocketAddr,
    gate: Arc<Semaphore>,
    last: Arc<Mutex<Value>>,
}

impl OpenAi {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { address, gate: Arc::new(Semaphore::new(0)), last: Arc::default() };
        let routes = Router::new().route("/v1/chat/completions", post(complete)).with_state(fake.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "a stand-in of the test, not the host: its runtime ends it"
        )]
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Lets so many more pieces of streams go.
    pub(super) fn lets_go(&self, pieces: usize) {
        self.gate.add_permits(pieces);
    }

    /// The body of the last request.
    pub(super) fn last(&self) -> Value {
        self.last.lock().unwrap().clone()
    }
}

async fn complete(State(fake): State<OpenAi>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    *fake.last.lock().unwrap() = body.clone();
    if headers[header::AUTHORIZATION] != format!("Bearer {KEY}") {
        let error = json!({ "message": "Incorrect API key provided", "type": "invalid_request_error", "code": "invalid_api_key" });
        return (StatusCode::UNAUTHORIZED, Json(json!({ "error": error }))).into_response();
    }
    if body["stream"] == true {
        return stream(&fake, &body);
    }
    let message = json!({ "role": "assistant", "content": PIECES.concat() });
    let choice = json!({ "index": 0, "message": message, "finish_reason": "stop" });
    let mut answer = about(&body, "chat.completion");
    answer["choices"] = json!([choice]);
    answer["usage"] = usage();
    Json(answer).into_response()
}

/// One piece for each permit. The message `break off` ends it after the first one.
fn stream(fake: &OpenAi, body: &Value) -> Response {
    let breaks = body["messages"][0]["content"] == "break off";
    let mut events: Vec<String> = PIECES.map(|piece| chunk(body, json!({ "content": piece }), None)).into();
    if breaks {
        events.truncate(1);
    } else {
        events.push(chunk(body, json!({}), Some("stop")));
        let mut last = about(body, "chat.completion.chunk");
        last["choices"] = json!([]);
        last["usage"] = usage();
        events.extend([format!("data: {last}\n\n"), "data: [DONE]\n\n".to_owned()]);
    }
    let gate = Arc::clone(&fake.gate);
    let events = futures_util::stream::iter(events.into_iter().enumerate()).then(move |(n, event)| {
        let gate = Arc::clone(&gate);
        async move {
            if n < PIECES.len() {
                gate.acquire().await.unwrap().forget();
            }
            Ok::<_, std::io::Error>(Bytes::from(event))
        }
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

fn chunk(body: &Value, delta: Value, finish: Option<&str>) -> String {
    let mut chunk = about(body, "chat.completion.chunk");
    chunk["choices"] = json!([{ "index": 0, "delta": delta, "finish_reason": finish }]);
    format!("data: {chunk}\n\n")
}

fn about(body: &Value, object: &str) -> Value {
    json!({ "id": "chatcmpl-1", "object": object, "created": 1, "model": body["model"] })
}

fn usage() -> Value {
    json!({ "prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500 })
}
