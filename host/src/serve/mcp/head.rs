//! What a request tells beside its message: who asks for which face, and the headers of MCP; and refusals in its words.

use std::time::Duration;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::response::{IntoResponse, Response};
use http::header::RETRY_AFTER;
use http::request::Parts;
use http::{HeaderName, HeaderValue, StatusCode};
use wharf_core::catalog::Face;
use wharf_core::{Code, PluginId};
use wharf_plugin_api::{Id, RpcError};

use super::McpEdge;
use super::told::{One, Told, Unclear};
use crate::mcp::failure::INVALID_REQUEST;
use crate::mcp::ladder::{self, Head, LEGACY, Rejection, trimmed};
use crate::mcp::{AnswerKind, Answered, Visitor};
use crate::route::Failure;
use crate::serve::answer::Outgoing;
use crate::serve::auth::Principal;
use crate::serve::problem::{Problem, whole_seconds};

pub(super) const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");
pub(super) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
pub(super) const METHOD: HeaderName = HeaderName::from_static("mcp-method");
/// No such session: the client is to open a new one.
const NO_SESSION: i64 = -32001;
/// What the specification gives no code for.
const OTHER: i64 = -32000;

/// Who asks, and for what. Refused with 404 if nothing stands behind the path.
pub(super) struct Visit(pub(super) Visitor);

/// A refusal that has a status and a JSON-RPC error, as MCP clients expect it.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    id: Option<Id>,
    error: RpcError,
    retry_after: Option<Duration>,
}

impl FromRequestParts<McpEdge> for Visit {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, edge: &McpEdge) -> Result<Self, Problem> {
        let face = face(parts, edge).await?;
        visitor(edge, face, parts.extensions.get().cloned()).map(Self)
    }
}

/// Who asks for a face, if there is such a one.
pub(in crate::serve) fn visitor(
    edge: &McpEdge,
    face: Face,
    principal: Option<Principal>,
) -> Result<Visitor, Problem> {
    if !edge.mcp.has(&face) {
        return Err(nothing(&face));
    }
    // The door puts it there; without it nobody is anybody.
    let principal = principal.map_or_else(|| "anonymous".into(), |found| found.0);
    Ok(Visitor { principal, face })
}

async fn face(parts: &mut Parts, edge: &McpEdge) -> Result<Face, Problem> {
    let params = RawPathParams::from_request_parts(parts, edge)
        .await
        .map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let Some((key, value)) = params.iter().next() else { return Ok(Face::All) };
    if key == "name" {
        return Ok(Face::Group(value.into()));
    }
    parsed_plugin(value)
}

pub(in crate::serve) fn parsed_plugin(id: &str) -> Result<Face, Problem> {
    PluginId::new(id).map(Face::Plugin).map_err(|_| no_plugin(id))
}

/// There is no such face.
pub(super) fn nothing(face: &Face) -> Problem {
    match face {
        Face::Plugin(id) => no_plugin(id.as_str()),
        Face::Group(name) => Problem::new(Code::NotFound, format!("no plugin belongs to a group {name:?}")),
        Face::All => Problem::new(Code::NotFound, "nothing is there"),
    }
}

fn no_plugin(id: &str) -> Problem {
    let failure = Failure::new(Code::PluginNotFound, format!("no plugin has the id {id:?}"));
    Failure { plugin: Some(id.into()), ..failure }.into()
}

/// An answer as JSON, with the status of its kind.
pub(super) fn answered(answered: Answered) -> Outgoing {
    let status = match answered.kind {
        AnswerKind::Handled => {
            return answered.message.map_or_else(|| super::accepted().into(), Outgoing::Json);
        }
        AnswerKind::UnknownMethod => StatusCode::NOT_FOUND,
        AnswerKind::MissingCapability | AnswerKind::BadRequest => StatusCode::BAD_REQUEST,
    };
    let Some(message) = answered.message else { return super::accepted().into() };
    let mut response = Outgoing::Json(message).into_response();
    *response.status_mut() = status;
    response.into()
}

// === impl Told ===

impl<'a> Told<'a> {
    /// The head of a message.
    ///
    /// # Errors
    /// If a header stands there twice or is not visible ASCII.
    pub(super) fn head(&self) -> Result<Head<'a>, Refusal> {
        let one = |one: One<'a>, name: &str| {
            one.get().map_err(|Unclear| {
                let text = format!("the header {name} is there more than once, or is not visible ASCII");
                Refusal::new(StatusCode::BAD_REQUEST, None, ladder::mismatch(text))
            })
        };
        let params = self.params.iter().map(|(rest, value)| {
            let value = one(*value, &format!("mcp-param-{rest}"))?.unwrap_or_default();
            Ok(((*rest).to_owned(), value.to_owned()))
        });
        Ok(Head {
            protocol_version: one(self.version, "mcp-protocol-version")?,
            method: one(self.method, METHOD.as_str())?,
            name: one(self.name, "mcp-name")?,
            params: params.collect::<Result<_, Refusal>>()?,
        })
    }

    /// A client of a legacy session names its revision; without one it is of 2025-03-26, which had no such header.
    pub(super) fn is_of_a_session(&self, id: Option<&Id>) -> Result<(), Refusal> {
        match self.version.get() {
            Ok(None) => Ok(()),
            Ok(Some(version)) if LEGACY.contains(&trimmed(version)) => Ok(()),
            Ok(Some(_)) | Err(Unclear) => Err(Refusal::other(
                StatusCode::BAD_REQUEST,
                id,
                format!("MCP-Protocol-Version is not one of a session's: {}", LEGACY.join(", ")),
            )),
        }
    }

    /// An answer comes as the one or the other, and which is not known before.
    pub(super) fn accepts_both(&self, id: &Id) -> Result<(), Refusal> {
        if self.takes == [true, true] {
            return Ok(());
        }
        let text = "send `Accept: application/json, text/event-stream`: the answer may be either";
        Err(Refusal::other(StatusCode::NOT_ACCEPTABLE, Some(id), text))
    }

    pub(super) fn accepts_stream(&self) -> Result<(), Refusal> {
        let [_, stream] = self.takes;
        if stream {
            return Ok(());
        }
        Err(Refusal::other(StatusCode::NOT_ACCEPTABLE, None, "send `Accept: text/event-stream`"))
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn new(status: StatusCode, id: Option<&Id>, error: RpcError) -> Self {
        Self { status, id: id.cloned(), error, retry_after: None }
    }

    pub(super) fn retry_after(self, retry_after: Option<Duration>) -> Self {
        Self { retry_after, ..self }
    }

    pub(super) fn other(status: StatusCode, id: Option<&Id>, text: impl Into<String>) -> Self {
        Self::new(status, id, RpcError::new(OTHER, text))
    }

    pub(super) fn bad(id: Option<&Id>, text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, id, RpcError::new(INVALID_REQUEST, text))
    }

    pub(super) fn no_session(id: Option<&Id>) -> Self {
        let text = "no such session: it has ended, or is another's; open one with `initialize`";
        Self::new(StatusCode::NOT_FOUND, id, RpcError::new(NO_SESSION, text))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = answered(Rejection { id: self.id, error: self.error }.answered()).into_response();
        *response.status_mut() = self.status;
        if let Some(after) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(whole_seconds(after)));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderMap;
    use wharf_plugin_api::Id;

    use super::Told;
    use crate::serve::heads::Heads;

    fn with(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_client_must_take_json_and_a_stream() {
        for (accept, both, stream) in [
            ("application/json, text/event-stream", true, true),
            ("application/json", false, false),
            ("text/event-stream", false, true),
        ] {
            let headers = with(&[("accept", accept)]);
            let told = Told::of(&Heads::of(&headers));
            assert_eq!(told.accepts_both(&Id::number(1)).is_ok(), both, "{accept}");
            assert_eq!(told.accepts_stream().is_ok(), stream, "{accept}");
        }
    }

    #[test]
    fn the_head_is_read_once() {
        let headers = with(&[("mcp-protocol-version", "2026-07-28"), ("Mcp-Param-City", "Rome")]);
        let head = Told::of(&Heads::of(&headers)).head().unwrap();
        assert_eq!(head.protocol_version, Some("2026-07-28"));
        assert_eq!(head.params, [("city".to_owned(), "Rome".to_owned())]);
        for twice in ["mcp-method", "mcp-name", "mcp-protocol-version", "mcp-param-x"] {
            assert!(Told::of(&Heads::of(&with(&[(twice, "a"), (twice, "a")]))).head().is_err(), "{twice}");
        }
    }

    #[test]
    fn a_session_has_a_revision_that_has_sessions() {
        for (version, known) in
            [("2025-11-25", true), ("2024-11-05", true), ("2026-07-28", false), ("1", false)]
        {
            let headers = with(&[("mcp-protocol-version", version)]);
            assert_eq!(Told::of(&Heads::of(&headers)).is_of_a_session(None).is_ok(), known, "{version}");
        }
        assert!(Told::default().is_of_a_session(None).is_ok());
    }
}
