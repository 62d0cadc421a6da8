//! HTTP+SSE of 2024-11-05, the server's side: a stream that first names an endpoint, and messages posted to that.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Deserialize;
use wharf_plugin_api::jsonrpc;

use super::frame;
use super::server::Server;
use super::web::{self, Refusal, Web, refuse};

/// Where the stream is.
pub(crate) const PATH: &str = "/sse";

const MESSAGES: &str = "/messages";

#[derive(Deserialize)]
struct Named {
    session_id: Option<String>,
}

/// Ends the session with its stream.
struct Gone {
    web: Arc<Web>,
    id: String,
}

impl Drop for Gone {
    fn drop(&mut self) {
        self.web.sessions.close(&self.id);
    }
}

/// The routes.
pub(crate) fn routes(server: Arc<Server>) -> Router {
    web::finish(Router::new().route(PATH, get(opened)).route(MESSAGES, post(posted)), "/health", server)
}

async fn opened(State(web): State<Arc<Web>>) -> Result<Response, Refusal> {
    let peer = web.sessions.open()?;
    let id = peer.session.id.clone();
    let endpoint = frame::event("endpoint", format!("{MESSAGES}?session_id={id}").as_bytes());
    let frames = Arc::clone(&peer.pushed).lock_owned().await;
    Ok(web::events(frame::sse_body(Some(endpoint), frames, Gone { web, id })))
}

async fn posted(
    State(web): State<Arc<Web>>,
    Query(named): Query<Named>,
    body: Bytes,
) -> Result<(StatusCode, &'static str), Refusal> {
    let peer = web.sessions.find(named.session_id.as_deref())?;
    let message =
        jsonrpc::parse(&body).map_err(|e| refuse(StatusCode::BAD_REQUEST, -32700, &e.to_string()))?;
    web.receive_into(&peer, message, peer.session.push.clone());
    Ok((StatusCode::ACCEPTED, "Accepted"))
}
