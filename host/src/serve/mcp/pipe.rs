//! A connection given over to messages, one a line each way: how `wharf stdio` reaches a host that runs.

use std::io::Cursor;
use std::sync::Arc;

use axum::extract::{Query, Request, State};
use axum::response::{IntoResponse, Response};
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, StatusCode};
use hyper::upgrade::{OnUpgrade, Parts, Upgraded};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use wharf_core::Code;
use wharf_core::catalog::Face;

use super::McpEdge;
use super::head::{nothing, parsed_plugin};
use crate::edge_stdio;
use crate::edge_stdio::peer::Peer;
use crate::mcp::{Mcp, Visitor};
use crate::serve::auth::Principal;
use crate::serve::framing::Watched;
use crate::serve::problem::{Answer, Problem};
use crate::serve::roaming::Roaming;
use crate::tasks::Tasks;

/// Pipes at a time. A client program holds one for as long as it lives.
pub(super) const PIPES: usize = 512;
/// What the connection becomes.
const PROTOCOL: &str = "wharf-mcp";

/// Which part of the catalog is asked for; all of it without a word.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    plugin: Option<String>,
    group: Option<String>,
}

/// `GET /api/v1/pipe`
pub(super) async fn open(
    State(edge): State<McpEdge>,
    axum::Extension(Principal(principal)): axum::Extension<Principal>,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
    mut request: Request,
) -> Answer {
    let Query(which) = which.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let face = which.face()?;
    if !edge.mcp.has(&face) {
        return Err(nothing(&face));
    }
    let wanted = request.headers().get(UPGRADE).and_then(|value| value.to_str().ok());
    let is_ours = wanted.is_some_and(|wanted| wanted.eq_ignore_ascii_case(PROTOCOL));
    let upgrade = request.extensions_mut().remove::<OnUpgrade>().filter(|_| is_ours);
    let Some(upgrade) = upgrade else {
        let text = format!(
            "this is for `Connection: upgrade` and `Upgrade: {PROTOCOL}`; it is what `wharf stdio` uses"
        );
        return Err(Problem::new(Code::BadRequest, text));
    };
    let permit = Arc::clone(&edge.pipes)
        .try_acquire_owned()
        .map_err(|_| Problem::new(Code::Overloaded, format!("{PIPES} pipes are open already")))?;
    let McpEdge { mcp, tasks, .. } = edge;
    let all = tasks.clone();
    tasks.spawn(tracing::debug_span!("pipe"), async move {
        match upgrade.await {
            Ok(connection) => {
                given_over(connection, mcp, Visitor { principal, face }, all).await;
            }
            Err(error) => tracing::debug!(%error, "a connection did not become a pipe"),
        }
        drop(permit);
    });
    let headers =
        [(CONNECTION, HeaderValue::from_static("upgrade")), (UPGRADE, HeaderValue::from_static(PROTOCOL))];
    let response: Response = (StatusCode::SWITCHING_PROTOCOLS, headers).into_response();
    Ok(response)
}

/// Serves a connection that is HTTP no more. What watched it as HTTP is taken off: the bounds of a pipe are its own.
async fn given_over(connection: Upgraded, mcp: Mcp, visitor: Visitor, tasks: Tasks) {
    let connection = match connection.downcast::<TokioIo<Watched<UnixStream>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (stream, unread) = io.into_inner().into_inner();
            let peer = Peer::of(&stream);
            let (reader, writer) = stream.into_split();
            let both = (Cursor::new(read_buf).chain(Cursor::new(unread)).chain(reader), writer);
            return edge_stdio::serve(mcp, visitor, both, peer, tasks).await;
        }
        Err(connection) => connection,
    };
    match connection.downcast::<TokioIo<Watched<Roaming>>>() {
        Ok(Parts { io, read_buf, .. }) => {
            let (stream, unread) = io.into_inner().into_inner();
            let stream = match stream.into_inner() {
                Ok(stream) => stream,
                Err(error) => return tracing::debug!(%error, "a pipe ended before it began"),
            };
            let peer = Peer::of(&stream);
            let (reader, writer) = stream.into_split();
            let both = (Cursor::new(read_buf).chain(Cursor::new(unread)).chain(reader), writer);
            edge_stdio::serve(mcp, visitor, both, peer, tasks).await;
        }
        Err(_) => tracing::error!("a pipe came over neither TCP nor a unix socket; this is a bug of wharf"),
    }
}

impl Which {
    fn face(self) -> Result<Face, Problem> {
        match (self.plugin, self.group) {
            (None, None) => Ok(Face::All),
            (Some(plugin), None) => parsed_plugin(&plugin),
            (None, Some(group)) => Ok(Face::Group(group.into())),
            (Some(_), Some(_)) => Err(Problem::new(Code::BadRequest, "name a plugin or a group, not both")),
        }
    }
}
