//! A stand-in for AWS Bedrock: `Converse` as JSON and `ConverseStream` as binary events that wait for the test.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Json, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::frames::{event, exception};

/// Whose signature it takes. It does not check the signature itself.
pub(super) const ACCESS_KEY: &str = "AKIDOFTHETEST";
pub(super) const PIECES: [&str; 3] = ["Bed", "rock ", "answers."];

/// A running stand-in. It ends with the test's runtime.
#[derive(Clone, Debug)]
pub(super) struct Bedrock {
    address: SocketAddr,
    gate: Arc<Semaphore>,
    last: Arc<Mutex<(String, Value)>>,
}

impl Bedrock {
    pub(super) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let fake = Self { address, gate: Arc::new(Semaphore::new(0)), last: Arc::default() };
        let routes = Router::new().route("/model/{model}/{method}", post(converse)).with_state(fake.clone());
        #[expect(
            clippy::disallowed_methods,
            reason = "a stand-in of the test, not the host: its runtime ends it"
        )]
        tokio::spawn(async move { axum::serve(listener, routes).await });
        fake
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Lets so many more pieces of streams go.
    pub(super) fn lets_go(&self, pieces: usize) {
        self.gate.add_permits(pieces);
    }

    /// The model and the body of the last request.
    pub(super) fn last(&self) -> (String, Value) {
        self.last.lock().unwrap().clone()
    }
}

async fn converse(
    State(fake): State<Bedrock>,
    Path((model, method)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    *fake.last.lock().unwrap() = (model, body.clone());
    let signature = headers[header::AUTHORIZATION].to_str().unwrap();
    let ours = format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/");
    if !signature.starts_with(&ours) || !signature.contains("/eu-central-1/bedrock/aws4_request") {
        let error = json!({ "message": "The security token included in the request is invalid." });
        let kind = [("x-amzn-errortype", "UnrecognizedClientException")];
        return (StatusCode::FORBIDDEN, kind, Json(error)).into_response();
    }
    let usage = json!({ "inputTokens": 2000, "outputTokens": 1000, "totalTokens": 3000 });
    if method == "converse-stream" {
        return stream(&fake, &body, &usage);
    }
    let message = json!({ "role": "assistant", "content": [{ "text": PIECES.concat() }] });
    let metrics = json!({ "latencyMs": 1 });
    Json(json!({ "output": { "message": message }, "stopReason": "end_turn", "usage": usage, "metrics": metrics }))
        .into_response()
}

/// One piece for each permit. The messages `break off` and `fail` end it after the first one.
fn stream(fake: &Bedrock, body: &Value, usage: &Value) -> Response {
    let delta = |text: &str| json!({ "contentBlockIndex": 0, "delta": { "text": text } });
    let piece = |text: &str| event("contentBlockDelta", &delta(text));
    let said = body["messages"][0]["content"][0]["text"].as_str().unwrap_or_default();
    let mut events = vec![event("messageStart", &json!({ "role": "assistant" })), piece(PIECES[0])];
    match said {
        "break off" => {}
        "fail" => events.push(exception("throttlingException", &json!({ "message": "Too many tokens" }))),
        _ => {
            events.extend(PIECES[1..].iter().map(|text| piece(text)));
            events.push(event("contentBlockStop", &json!({ "contentBlockIndex": 0 })));
            events.push(event("messageStop", &json!({ "stopReason": "end_turn" })));
            events.push(event("metadata", &json!({ "usage": usage, "metrics": { "latencyMs": 1 } })));
        }
    }
    let gated = 1..=if matches!(said, "break off" | "fail") { 1 } else { PIECES.len() };
    let gate = Arc::clone(&fake.gate);
    let events = futures_util::stream::iter(events.into_iter().enumerate()).then(move |(n, event)| {
        let (gate, waits) = (Arc::clone(&gate), gated.contains(&n));
        async move {
            if waits {
                gate.acquire().await.unwrap().forget();
            }
            Ok::<_, std::io::Error>(Bytes::from(event))
        }
    });
    ([(header::CONTENT_TYPE, "application/vnd.amazon.eventstream")], Body::from_stream(events))
        .into_response()
}
