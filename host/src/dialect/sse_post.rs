//! The dialect `sse-post`: `GET /` tells health, every request is a `POST /sse` with `x-session-id`, methods are called
//! `initialize`, `list_tools` and `call_tool`, and the answer is an event. It has no notifications and nothing but tools.
//!
//! All else is as in [`super::http`]; here is only what differs.

use std::sync::Arc;

use http::{HeaderValue, Method, Uri};
use http_body_util::Full;
use serde_json::value::RawValue;
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, Inbox, Reply, Request, RpcError,
};

use super::http::{Flavor, Trouble, open};
use super::web::{self, Endpoint};
use super::{Connected, Options, handshake, shortened};

/// The revision of a server that names none.
pub(crate) const REVISION: &str = "2024-11-05";

/// What becomes of a request.
pub(crate) enum Asked {
    /// It is sent, under the dialect's own name.
    Call(Request),
    /// It is `GET /`.
    Health,
    /// The dialect cannot say it.
    Unknown(RpcError),
}

/// Asks for health, then does the handshake.
///
/// # Errors
/// Why there is no working connection.
pub(crate) async fn connect(
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Cause> {
    let healthy = tokio::time::timeout_at(options.handshake_deadline, ping(&endpoint)).await;
    healthy.map_err(|_| handshake::too_late(handshake::INITIALIZE))?.map_err(|error| {
        Cause::new(CauseKind::Unreachable, format!("GET / does not tell health: {}", error.detail))
    })?;
    open(Flavor::SsePost, endpoint, inbox, options).await.map_err(Trouble::cause)
}

/// The request in the dialect's words.
pub(crate) fn translated(request: Request) -> Asked {
    let method = match request.method.as_ref() {
        "tools/list" => "list_tools",
        "tools/call" => "call_tool",
        "ping" => return Asked::Health,
        other => {
            let message = format!("the dialect sse-post knows tools only, not {:?}", shortened(other));
            return Asked::Unknown(RpcError::new(RpcError::METHOD_NOT_FOUND, message));
        }
    };
    Asked::Call(Request { method: method.into(), params: request.params })
}

/// `GET /` at the server's root: anything but a success is not healthy.
///
/// # Errors
/// If it is not.
pub(crate) async fn ping(endpoint: &Endpoint) -> Result<Reply, CallError> {
    let request = endpoint.request(Method::GET, &Uri::from_static("/"), Full::default());
    let response = web::send(&endpoint.server, request).await?;
    if !response.status().is_success() {
        return Err(web::refused(response).await.call_error());
    }
    // The body is of no interest; dropping it closes the connection, which is no matter for a probe.
    let pong = RawValue::from_string("{}".to_owned());
    let bug = |_| CallError::new(CallErrorKind::Protocol, Delivery::Answered, "no answer could be made");
    pong.map(Reply::Result).map_err(bug)
}

/// A name for a session that nobody can guess: a random UUID (version 4).
pub(crate) fn new_session_id() -> HeaderValue {
    let mut bytes = [0u8; 16];
    if getrandom::fill(&mut bytes).is_err() {
        tracing::warn!("the system gives no random bytes; the session's name is all zero");
    }
    let n = u128::from_be_bytes(bytes) & !(0xF << 76 | 0x3 << 62) | 0x4 << 76 | 0x2 << 62;
    let hex = format!("{n:032x}");
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| hex.get(part).unwrap_or_default());
    HeaderValue::from_str(&parts.join("-")).unwrap_or_else(|_| HeaderValue::from_static("wharf"))
}

#[cfg(test)]
mod tests;
