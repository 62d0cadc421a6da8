//! MCP over HTTP: streamable HTTP of both eras on one path, HTTP+SSE of 2024-11-05 beside it, and a pipe by upgrade.
//! Translates between requests and messages; what a message means, [`crate::mcp`] knows.
//!
//! ```text
//! POST -> visit (who, which face, which head) -> ladder -> modern | legacy -> answer as JSON, or a stream of events
//! ```

mod head;
mod kept;
mod legacy;
mod modern;
mod old_sse;
mod patience;
mod pipe;
mod room;
mod streams;
mod told;
mod track;
mod work;

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use tokio::sync::Semaphore;

use self::head::Visit;
pub(super) use self::head::{parsed_plugin as face_of, visitor};
use self::old_sse::OldSessions;
use self::patience::Patience;
use self::room::Room;
use self::streams::Streams;
use self::told::Told;
use super::answer::{Answering, Outgoing, known};
use super::body::JsonBody;
use super::heads::Heads;
use super::problem::Problem;
use super::taking::taker_of;
use super::trace::Traced;
use crate::apart::apart;
use crate::held::Taker;
use crate::mcp::ladder::{self, Classified, ModernMessage};
use crate::mcp::{Mcp, ModernRequest, Visitor};
use crate::tasks::{Tasks, on_bytes};

/// What these routes share.
#[derive(Clone, Debug)]
pub(super) struct McpEdge {
    mcp: Mcp,
    tasks: Tasks,
    streams: Streams,
    old: OldSessions,
    patience: Patience,
    /// Room for pipes: they outlive the bound on connections that they came through.
    pipes: Arc<Semaphore>,
}

impl McpEdge {
    pub(super) fn new(mcp: Mcp, tasks: Tasks) -> Self {
        Self {
            patience: Patience::new(mcp.alarm().clone()),
            mcp,
            streams: Streams::new(tasks.clone()),
            old: OldSessions::default(),
            pipes: Arc::new(Semaphore::new(pipe::PIPES)),
            tasks,
        }
    }
}

/// The routes, without fallbacks.
pub(super) fn routes(edge: McpEdge) -> Router {
    Router::new()
        .route("/mcp", post(message))
        .route("/mcp", get(legacy::listen))
        .route("/mcp", delete(legacy::end))
        .route("/plugins/{id}/mcp", post(message))
        .route("/plugins/{id}/mcp", get(legacy::listen))
        .route("/plugins/{id}/mcp", delete(legacy::end))
        .route("/groups/{name}/mcp", post(message))
        .route("/groups/{name}/mcp", get(legacy::listen))
        .route("/groups/{name}/mcp", delete(legacy::end))
        .route("/sse", get(old_sse::open))
        .route("/messages", post(old_sse::message))
        .route("/plugins/{id}/sse", get(old_sse::open))
        .route("/plugins/{id}/messages", post(old_sse::message))
        .route("/groups/{name}/sse", get(old_sse::open))
        .route("/groups/{name}/messages", post(old_sse::message))
        .route("/api/v1/pipe", get(pipe::open))
        .with_state(edge)
}

/// `POST /mcp`, of either era.
async fn message(
    State(edge): State<McpEdge>,
    Visit(visitor): Visit,
    taker: Option<Extension<Arc<Taker>>>,
    headers: HeaderMap,
    _: Room,
    JsonBody(body): JsonBody,
) -> Result<Outgoing, Problem> {
    let taker = taker_of(taker, edge.mcp.held());
    look(&edge, visitor, (&Heads::of(&headers), body)).answer(&edge, &taker).await
}

/// A message that was looked at. Of the request that it came with, nothing is needed any more.
pub(in crate::serve) enum Ready {
    Answered(Response),
    Modern(Visitor, ModernRequest),
    Legacy(legacy::Ready),
}

/// Looks at a message, whoever has found out who asks for what.
pub(super) fn look(edge: &McpEdge, visitor: Visitor, (heads, body): (&Heads<'_>, Option<Bytes>)) -> Ready {
    let told = Told::of(heads);
    let head = match told.head() {
        Ok(head) => head,
        Err(refusal) => return Ready::Answered(refusal.into_response()),
    };
    let traced = Traced::heard(heads);
    let body = body.unwrap_or_default();
    let classified = match on_bytes(body.len(), || ladder::classify(Some(&head), &body)) {
        Ok(classified) => classified,
        Err(rejection) => return Ready::Answered(head::answered(rejection.answered()).into_response()),
    };
    match classified {
        Classified::Modern(ModernMessage::Request(mut request)) => {
            traced.put(&mut request.params);
            match told.accepts_both(&request.id) {
                Ok(()) => Ready::Modern(visitor, request),
                Err(refusal) => Ready::Answered(refusal.into_response()),
            }
        }
        // What there is to tell a modern server is told by closing the stream that it is about.
        Classified::Modern(ModernMessage::Notification { .. }) => Ready::Answered(accepted()),
        Classified::Legacy(mut body) => {
            body.requests().for_each(|params| traced.put(params));
            match legacy::look(edge, visitor, &told, body) {
                Ok(ready) => Ready::Legacy(ready),
                Err(refusal) => Ready::Answered(refusal.into_response()),
            }
        }
    }
}

impl Ready {
    pub(super) fn answer<'a>(self, edge: &'a McpEdge, taker: &'a Arc<Taker>) -> Answering<'a> {
        match self {
            Self::Answered(response) => known(response),
            Self::Modern(visitor, request) => apart(|| modern::answer(edge, visitor, request, taker)),
            Self::Legacy(ready) => ready.answer(edge),
        }
    }
}

/// The answer, if there is no room for what the head tells of.
pub(super) fn no_room(edge: &McpEdge, heads: &Heads<'_>) -> Option<Response> {
    room::ahead(&edge.mcp, || heads.mcp.method).err().map(IntoResponse::into_response)
}

impl McpEdge {
    /// Whether as many calls are in flight as may be.
    pub(super) fn is_full(&self) -> bool {
        self.mcp.is_full()
    }
}

/// The answer to what wants none.
fn accepted() -> Response {
    StatusCode::ACCEPTED.into_response()
}
