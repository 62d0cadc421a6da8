//! The dialect that some home-grown servers speak: `GET /` for health, `POST /sse` with `initialize`, `list_tools` and
//! `call_tool`, each answered by a stream of `message` events, the session in `x-session-id`. It has no way to say what
//! belongs to no request, so such messages are dropped.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use wharf_plugin_api::jsonrpc::{self, Message};

use super::frame;
use super::server::Server;
use super::web::{self, Refusal, Web, refuse};

/// Where messages are posted.
pub(crate) const PATH: &str = "/sse";

const SESSION: &str = "x-session-id";

/// The routes.
pub(crate) fn routes(server: Arc<Server>) -> Router {
    web::finish(Router::new().route(PATH, post(posted)), "/", server)
}

async fn posted(State(web): State<Arc<Web>>, headers: HeaderMap, body: Bytes) -> Result<Response, Refusal> {
    let message =
        jsonrpc::parse(&body).map_err(|e| refuse(StatusCode::BAD_REQUEST, -32700, &e.to_string()))?;
    let message = translated(message);
    let opening = matches!(&message, Message::Request { method, .. } if method == "initialize");
    let peer = if opening {
        let peer = web.sessions.open()?;
        // Closed, so that nobody waits for room in a queue that nobody reads.
        peer.pushed.lock().await.close();
        peer
    } else {
        web.sessions.find(headers.get(SESSION).and_then(|v| v.to_str().ok()))?
    };
    let answered = matches!(&message, Message::Request { .. });
    let frames = web.receive(&peer, message);
    if !answered {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let mut response = web::events(frame::sse_body(None, frames, ()));
    if let Ok(id) = HeaderValue::from_str(&peer.session.id) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

/// The dialect's names of methods to MCP's. MCP's own are not known here, so that a client that mixes them up notices.
fn translated(message: Message<'_>) -> Message<'_> {
    match message {
        Message::Request { id, method, params } => {
            let method = match method.as_ref() {
                "initialize" => Cow::Borrowed("initialize"),
                "list_tools" => Cow::Borrowed("tools/list"),
                "call_tool" => Cow::Borrowed("tools/call"),
                other => Cow::Owned(format!("{other}, only initialize, list_tools and call_tool")),
            };
            Message::Request { id, method, params }
        }
        Message::Notification { .. } | Message::Response { .. } => message,
    }
}
