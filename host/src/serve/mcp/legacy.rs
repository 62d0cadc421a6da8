//! Streamable HTTP of 2025-03-26 to 2025-11-25: sessions by a header, an answer as JSON or as a stream that can be joined
//! again.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::HeaderValue;
use http::{HeaderMap, StatusCode};
use wharf_plugin_api::{Id, Reply};

use super::head::{self, LAST_EVENT_ID, Refusal, SESSION, Visit};
use super::told::{Told, Unclear};
use super::work::{Held, merged};
use super::{McpEdge, accepted, room};
use crate::apart::apart;
use crate::mcp::ladder::{LegacyBody, LegacyMessage};
use crate::mcp::{Answered, First, Params, Session, Visitor};
use crate::serve::answer::{Answering, Outgoing, known};
use crate::serve::guard::single;
use crate::serve::heads::Heads;
use crate::serve::problem::{Answer, Problem};
use crate::serve::sse;

/// Without an answer for so long, a stream is opened: its client then knows how to come back for it.
const PATIENCE: Duration = Duration::from_secs(2);
/// The one revision that knows batches.
const BATCHES: &str = "2025-03-26";

/// What a legacy client sent, when all is known of the head that it came with.
pub(in crate::serve) enum Ready {
    Answered(Response),
    /// It opens a session.
    Opens(Visitor, Id, Option<Params>),
    One(Arc<Session>, LegacyMessage),
}

/// Looks at a message, or several, of a legacy client.
pub(super) fn look(
    edge: &McpEdge,
    visitor: Visitor,
    told: &Told<'_>,
    body: LegacyBody,
) -> Result<Ready, Refusal> {
    match body {
        LegacyBody::One(LegacyMessage::Request { id, method, params }) if method == "initialize" => {
            told.accepts_both(&id)?;
            Ok(Ready::Opens(visitor, id, params))
        }
        LegacyBody::One(message) => {
            let id = id_of(&message);
            if let LegacyMessage::Request { method, .. } = &message {
                room::look(&edge.mcp, method, id.as_ref())?;
            }
            if let Some(id) = &id {
                told.accepts_both(id)?;
            }
            told.is_of_a_session(id.as_ref())?;
            Ok(Ready::One(session(edge, &visitor, told, id.as_ref())?, message))
        }
        LegacyBody::Batch(messages) => {
            told.is_of_a_session(None)?;
            let session = session(edge, &visitor, told, None)?;
            batch(edge, &session, told, messages).map(Ready::Answered)
        }
    }
}

impl Ready {
    pub(super) fn answer(self, edge: &McpEdge) -> Answering<'_> {
        match self {
            Self::Answered(response) => known(response),
            Self::Opens(visitor, id, params) => Box::pin(initialize(edge, visitor, id, params).map(Ok)),
            Self::One(session, message) => apart(|| one(edge, session, message)),
        }
    }
}

/// `GET /mcp`: joins a stream again, or listens to what belongs to no request.
pub(super) async fn listen(State(edge): State<McpEdge>, Visit(visitor): Visit, headers: HeaderMap) -> Answer {
    Ok(open(&edge, &visitor, &headers).unwrap_or_else(IntoResponse::into_response))
}

/// `DELETE /mcp`: ends the session.
pub(super) async fn end(State(edge): State<McpEdge>, Visit(visitor): Visit, headers: HeaderMap) -> Answer {
    let told = Told::of(&Heads::of(&headers));
    let ended = told.is_of_a_session(None).and_then(|()| session(&edge, &visitor, &told, None));
    Ok(ended.map_or_else(IntoResponse::into_response, |session| {
        session.end();
        StatusCode::NO_CONTENT.into_response()
    }))
}

fn open(edge: &McpEdge, visitor: &Visitor, headers: &HeaderMap) -> Result<Response, Refusal> {
    let told = Told::of(&Heads::of(headers));
    told.accepts_stream()?;
    told.is_of_a_session(None)?;
    let session = session(edge, visitor, &told, None)?;
    let tracks = edge.streams.of(&session);
    let after = single(headers, &LAST_EVENT_ID)
        .map_err(|()| Refusal::bad(None, "Last-Event-ID is there more than once, or is not visible ASCII"))?;
    // Not 404: that would tell the client that its session is gone.
    let gone = || {
        let text = "no stream of this session has the event that Last-Event-ID names (any more); what came after it is \
                    lost, but the session lives: listen again without the header";
        Refusal::other(StatusCode::BAD_REQUEST, None, text)
    };
    match after {
        Some(after) => Ok(sse::respond(tracks.resume(after).ok_or_else(gone)?)),
        None => Ok(sse::respond(tracks.feed().ok_or_else(gone)?)),
    }
}

async fn initialize(edge: &McpEdge, visitor: Visitor, id: Id, params: Option<Params>) -> Outgoing {
    let (session, reply) = match edge.mcp.initialize(visitor, params).await {
        Ok(opened) => opened,
        Err(error) => return head::answered(Answered::new(&id, &Reply::Error(error))),
    };
    let mut response = head::answered(Answered::new(&id, &reply)).into_response();
    match HeaderValue::from_str(session.id()) {
        Ok(value) => response.headers_mut().insert(SESSION, value),
        Err(error) => {
            tracing::error!(%error, "a session's id is no header value; this is a bug of wharf");
            session.end();
            None
        }
    };
    response.into()
}

/// Takes a message up, before anything is waited for: what an async function is handed is in memory twice.
fn one(
    edge: &McpEdge,
    session: Arc<Session>,
    message: LegacyMessage,
) -> impl Future<Output = Result<Outgoing, Problem>> {
    let mut held = match message {
        LegacyMessage::Request { id, method, params } => {
            Some(Held::new(session.request(id, method, params), &edge.streams, session))
        }
        LegacyMessage::Notification { method, params } => {
            session.notification(&method, params);
            None
        }
        LegacyMessage::Response { id, reply } => {
            session.response(id.as_ref(), reply);
            None
        }
    };
    async move {
        let Some(waits) = &mut held else { return Ok(accepted().into()) };
        let first = waits.first(&mut edge.patience.lasts(PATIENCE)).await;
        let said = match first {
            // The errors of a session are answers as good as results.
            First::Answered(Answered { message: Some(message), kind: _ }) => {
                return Ok(Outgoing::Json(message));
            }
            // Cancelled by its client, which waits for nothing any more.
            First::Answered(Answered { message: None, kind: _ }) => {
                return Ok(sse::respond(futures_util::stream::empty()).into());
            }
            First::Said(event) => Some(event),
            First::Nothing => None,
        };
        Ok(held.map_or_else(accepted, |held| streamed(held, said)).into())
    }
}

/// The answer as a stream, which begins with what was said.
fn streamed(held: Held<'_>, said: Option<Bytes>) -> Response {
    let (tracks, track) = held.stream(said);
    stream(tracks.read(&track))
}

fn batch(
    edge: &McpEdge,
    session: &Arc<Session>,
    told: &Told<'_>,
    messages: Vec<LegacyMessage>,
) -> Result<Response, Refusal> {
    if session.revision() != BATCHES {
        return Err(Refusal::bad(None, "only 2025-03-26 knows batches; send each message by itself"));
    }
    if let Some(id) = messages.iter().find_map(id_of) {
        told.accepts_both(&id)?;
    }
    if messages.iter().any(|m| matches!(m, LegacyMessage::Request { method, .. } if method == "initialize")) {
        return Err(Refusal::bad(None, "`initialize` must not stand in a batch"));
    }
    let mut exchanges = Vec::new();
    for message in messages {
        match message {
            LegacyMessage::Request { id, method, params } => {
                exchanges.push(session.request(id, method, params))
            }
            LegacyMessage::Notification { method, params } => session.notification(&method, params),
            LegacyMessage::Response { id, reply } => session.response(id.as_ref(), reply),
        }
    }
    if exchanges.is_empty() {
        return Ok(accepted());
    }
    Ok(streamed(Held::new(merged(exchanges), &edge.streams, Arc::clone(session)), None))
}

fn stream(frames: Option<impl futures_util::Stream<Item = Bytes> + Send + 'static>) -> Response {
    // A stream can always be read from its begin.
    frames.map_or_else(accepted, sse::respond)
}

/// The session that a request names.
fn session(
    edge: &McpEdge,
    visitor: &Visitor,
    told: &Told<'_>,
    id: Option<&Id>,
) -> Result<Arc<Session>, Refusal> {
    let named = told.session.get().map_err(|Unclear| {
        Refusal::bad(id, "Mcp-Session-Id is there more than once, or is not visible ASCII")
    })?;
    let missing = "the header Mcp-Session-Id is missing; open a session with `initialize`";
    let named = named.ok_or_else(|| Refusal::other(StatusCode::BAD_REQUEST, id, missing))?;
    edge.mcp.session(named, visitor).ok_or_else(|| Refusal::no_session(id))
}

fn id_of(message: &LegacyMessage) -> Option<Id> {
    match message {
        LegacyMessage::Request { id, .. } => Some(id.clone()),
        LegacyMessage::Notification { .. } | LegacyMessage::Response { .. } => None,
    }
}
