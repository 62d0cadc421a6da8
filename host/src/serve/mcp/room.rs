//! Turns a call away where as many are in flight as may be: before its body is read if its head tells that it is one, else as
//! soon as its method is known. What is no call passes: an answer to a plugin's question, or a cancellation, makes room.

use axum::extract::FromRequestParts;
use http::StatusCode;
use http::request::Parts;
use wharf_plugin_api::Id;

use super::McpEdge;
use super::head::Refusal;
use crate::mcp::{Mcp, failure};
use crate::serve::heads::{Heads, Line};

/// There is room for one more call, or the head does not tell that this is one.
pub(super) struct Room;

impl FromRequestParts<McpEdge> for Room {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, edge: &McpEdge) -> Result<Self, Refusal> {
        ahead(&edge.mcp, || Heads::of(&parts.headers).mcp.method).map(|()| Self)
    }
}

/// Refuses a call of which its head tells, and for which there is no room.
pub(super) fn ahead<'h>(mcp: &Mcp, method: impl FnOnce() -> Line<'h>) -> Result<(), Refusal> {
    // The way of nearly every request: there is room, whatever it is.
    if !mcp.is_full() {
        return Ok(());
    }
    let method = method().single().ok().flatten();
    method.map_or(Ok(()), |method| look(mcp, method, None))
}

/// Refuses a call for which there is no room.
pub(super) fn look(mcp: &Mcp, method: &str, id: Option<&Id>) -> Result<(), Refusal> {
    if !is_call(method) {
        return Ok(());
    }
    mcp.has_room().map_err(|failure| {
        let refusal = Refusal::new(StatusCode::SERVICE_UNAVAILABLE, id, failure::error(&failure));
        refusal.retry_after(failure.retry_after)
    })
}

/// What goes to a plugin and may take its time there.
fn is_call(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "completion/complete")
}
