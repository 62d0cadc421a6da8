//! Turns a call away before its body is read, where as many are in flight as may be.

use axum::extract::FromRequestParts;
use http::request::Parts;

use super::Edge;
use crate::serve::problem::Problem;

/// There is room for one more call.
pub(super) struct Room;

impl FromRequestParts<Edge> for Room {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, edge: &Edge) -> Result<Self, Problem> {
        edge.host.has_room()?;
        Ok(Self)
    }
}
