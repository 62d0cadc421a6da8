//! Calls of tools as plain as they can be: arguments in, the value out, without MCP around either.
//!
//! The way that carries more is [`super::calls`]. Whoever finds the names in the path, the call is the same.

use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::Extension;
use axum::extract::State;
use bytes::Bytes;
use http::HeaderMap;
use serde_json::value::RawValue;
use wharf_core::Code;
use wharf_core::catalog::Tool;
use wharf_plugin_api::{Caller, Reply};

use super::calls::{CALL, about, checked, malformed, must_be_object, refused, spec};
use super::params::Names;
use super::room::Room;
use super::tries::{Tries, marked};
use super::{Edge, input};
use crate::mcp::modern::MISSING_CAPABILITY;
use crate::route::{CallSpec, Failure, Settled};
use crate::serve::answer::Outgoing;
use crate::serve::auth::Principal;
use crate::serve::body::{self, JsonBody};
use crate::serve::facade::{self, Unwrapped};
use crate::serve::heads::Heads;
use crate::serve::problem::Problem;
use crate::serve::trace::Traced;
use crate::tasks::on_bytes;

/// `POST /tools/{plugin}/{tool}`
pub(super) async fn call(
    State(edge): State<Edge>,
    Extension(principal): Extension<Principal>,
    Names((plugin, tool)): Names<(String, String)>,
    headers: HeaderMap,
    (tries, _): (Tries, Room),
    JsonBody(body): JsonBody,
) -> Result<Outgoing, Problem> {
    begin(&edge, principal, (&plugin, &tool), (&Heads::of(&headers), tries, body)).await?.answer().await
}

/// A call that is under way. It holds nothing of the request.
pub(in crate::serve) struct Begun {
    tool: Arc<Tool>,
    call: Pin<Box<dyn Future<Output = Result<Settled, Failure>> + Send>>,
}

/// Begins a call, whoever has found the names in the path.
pub(in crate::serve) async fn found<B>(
    edge: &Edge,
    principal: Principal,
    names: (&str, &str),
    (heads, body): (&Heads<'_>, B),
) -> Result<Begun, Problem>
where
    B: hyper::body::Body<Data = Bytes>,
    B::Error: Into<axum::BoxError>,
{
    let tries = Tries::of(heads)?;
    edge.host.has_room()?;
    let body = pin!(body::json(heads, body)).await?;
    pin!(begin(edge, principal, names, (heads, tries, body))).await
}

async fn begin(
    edge: &Edge,
    principal: Principal,
    (plugin, tool): (&str, &str),
    (heads, tries, body): (&Heads<'_>, Tries, Option<Bytes>),
) -> Result<Begun, Problem> {
    let durable = input::durable(heads)?;
    let away = |failure| edge.host.turned_away(plugin, CALL, failure);
    let tool = pin!(edge.host.tool(plugin, tool)).await.map_err(away)?;
    let read = |body| on_bytes(<[u8]>::len(body), || serde_json::from_slice::<&RawValue>(body));
    let arguments = body.as_deref().map(read).transpose();
    let arguments = arguments.map_err(|error| malformed(&error))?;
    must_be_object("the body", arguments)?;
    pin!(checked(edge, &tool, arguments)).await?;
    let (caller, trace) = (Caller::new(principal.0), Traced::heard(heads).with(None));
    let mut call = CallSpec { durable, trace, ..spec(&tool, caller, arguments) };
    tries.put(&mut call);
    Ok(Begun { tool, call: edge.host.call(call) })
}

impl Begun {
    /// Waits for the answer.
    pub(in crate::serve) async fn answer(self) -> Result<Outgoing, Problem> {
        let settled = self.call.await?;
        let replayed = settled.replayed;
        let answer = value(&self.tool, settled);
        Ok(marked(answer.unwrap_or_else(Outgoing::from), replayed))
    }
}

/// What a call comes to.
fn value(tool: &Tool, settled: Settled) -> Result<Outgoing, Problem> {
    let about = || about(tool, settled.call_id);
    let asked = !settled.undeclared.is_empty();
    let failed = |code, detail| Problem::from(Failure { code, detail, ..about() });
    let asks = "the tool asks for input, which this route cannot carry; use the call route under /api/v1";
    let result = match settled.reply {
        Reply::Result(result) => result,
        // It was told no: here nobody can be asked, and so no call is left waiting.
        Reply::Error(error) if asked || error.code == MISSING_CAPABILITY => {
            return Err(failed(Code::InputRequired, asks.to_owned()));
        }
        Reply::Error(error) => return Err(refused(about(), error)),
    };
    match on_bytes(result.get().len(), || facade::unwrap(result)) {
        Ok(Unwrapped::Value(json)) => Ok(Outgoing::Json(json)),
        Ok(Unwrapped::ToolError(text)) if asked => {
            Err(failed(Code::InputRequired, format!("{asks}. Without it the tool says: {text}")))
        }
        Ok(Unwrapped::ToolError(text)) => Err(failed(Code::ToolError, text)),
        Ok(Unwrapped::InputRequired) => Err(failed(Code::InputRequired, asks.to_owned())),
        Err(detail) => Err(failed(Code::ProtocolError, detail)),
    }
}
