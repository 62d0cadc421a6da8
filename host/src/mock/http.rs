//! Streamable HTTP of 2025-03-26 to 2025-11-25, the server's side: one path, a session in a header. Batches, which only
//! 2025-03-26 knew, are refused.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;
use wharf_plugin_api::jsonrpc::{self, Message};

use super::args::HttpAnswer;
use super::frame::{self, Frame};
use super::server::{REVISIONS, Server};
use super::web::{self, Peer, Refusal, Web, refuse};

/// Where it is served.
pub(crate) const PATH: &str = "/mcp";

const SESSION: &str = "mcp-session-id";
const VERSION: &str = "mcp-protocol-version";

/// The routes.
pub(crate) fn routes(server: Arc<Server>, answer: HttpAnswer) -> Router {
    let posted = move |State(web): State<Arc<Web>>, headers: HeaderMap, body: Bytes| async move {
        said(&web, &headers, &body, answer).await.into_response()
    };
    web::finish(Router::new().route(PATH, post(posted).get(listened).delete(closed)), "/health", server)
}

async fn said(web: &Web, headers: &HeaderMap, body: &[u8], answer: HttpAnswer) -> Result<Response, Refusal> {
    accepts(headers, "application/json")?;
    accepts(headers, "text/event-stream")?;
    let message =
        jsonrpc::parse(body).map_err(|e| refuse(StatusCode::BAD_REQUEST, -32700, &e.to_string()))?;
    let opening = matches!(&message, Message::Request { method, .. } if method == "initialize");
    let peer = if opening { web.sessions.open()? } else { known(web, headers)? };
    let answered = matches!(&message, Message::Request { .. });
    let frames = web.receive(&peer, message);
    if !answered {
        return Ok(StatusCode::ACCEPTED.into_response());
    }
    let mut response = match answer {
        HttpAnswer::Json => json(frames, &peer).await,
        HttpAnswer::Sse => web::events(frame::sse_body(None, frames, ())),
    };
    if opening && let Ok(id) = HeaderValue::from_str(&peer.session.id) {
        response.headers_mut().insert(SESSION, id);
    }
    Ok(response)
}

/// The stream for what belongs to no request. There is one for each session.
async fn listened(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<Response, Refusal> {
    accepts(&headers, "text/event-stream")?;
    let peer = known(&web, &headers)?;
    let pushed = Arc::clone(&peer.pushed).try_lock_owned();
    let pushed =
        pushed.map_err(|_| refuse(StatusCode::CONFLICT, -32000, "the session has a stream already"))?;
    Ok(web::events(frame::sse_body(Some(b": open\n\n".to_vec()), pushed, ())))
}

async fn closed(State(web): State<Arc<Web>>, headers: HeaderMap) -> Result<StatusCode, Refusal> {
    let peer = known(&web, &headers)?;
    web.sessions.close(&peer.session.id);
    Ok(StatusCode::OK)
}

/// The session that the headers name.
fn known(web: &Web, headers: &HeaderMap) -> Result<Arc<Peer>, Refusal> {
    if let Some(version) = headers.get(VERSION).map(|v| v.to_str().unwrap_or_default())
        && !REVISIONS.contains(&version)
    {
        return Err(refuse(StatusCode::BAD_REQUEST, -32000, "unsupported protocol version"));
    }
    web.sessions.find(headers.get(SESSION).and_then(|v| v.to_str().ok()))
}

fn accepts(headers: &HeaderMap, wanted: &str) -> Result<(), Refusal> {
    let accepted =
        headers.get_all("accept").iter().filter_map(|v| v.to_str().ok()).any(|v| v.contains(wanted));
    if accepted {
        Ok(())
    } else {
        Err(refuse(StatusCode::NOT_ACCEPTABLE, -32000, &format!("the client must accept {wanted}")))
    }
}

/// The answer alone; what comes before it goes to the session's stream, and what is no message goes in front.
async fn json(mut frames: Box<mpsc::Receiver<Frame>>, peer: &Peer) -> Response {
    let headers = [("content-type", "application/json")];
    let mut body = Vec::new();
    while let Some(frame) = frames.recv().await {
        match frame {
            Frame::Message(bytes) => {
                if peer.session.push.try_send(Frame::Message(bytes)).is_err() {
                    super::note("dropped a message: the session's stream is full");
                }
            }
            Frame::Raw(bytes) => {
                body.extend_from_slice(&bytes);
                body.push(b'\n');
            }
            Frame::Reply(bytes) => {
                body.extend_from_slice(&bytes);
                return (headers, body).into_response();
            }
            Frame::Huge { head, total, tail } => {
                let pieces = frame::around(head, total, tail).map(Ok::<_, std::convert::Infallible>);
                return (headers, Body::from_stream(stream::iter(pieces))).into_response();
            }
            Frame::Close => {
                let broken = stream::iter([
                    Ok(Bytes::from_static(b"{")),
                    Err(std::io::Error::other("closed as asked")),
                ]);
                return (headers, Body::from_stream(broken)).into_response();
            }
        }
    }
    // Cancelled: there is nothing to say.
    StatusCode::NO_CONTENT.into_response()
}
