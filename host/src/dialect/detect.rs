//! Finding out how a URL speaks MCP: streamable HTTP first, then HTTP+SSE.
//!
//! A refused handshake is evidence, refused credentials and silence are not. It must not remember a verdict.

use std::sync::Arc;

use http::StatusCode;
use wharf_plugin_api::{Cause, Inbox};

use super::http::{self as streamable, Flavor, Trouble};
use super::web::Endpoint;
use super::{Connected, Options, sse};

/// Connects by whichever dialect the server answers.
///
/// # Errors
/// Why there is no working connection.
pub(crate) async fn connect(
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Cause> {
    let first = streamable::open(Flavor::Http, endpoint.clone(), Arc::clone(&inbox), options.clone()).await;
    match first {
        Err(Trouble::Status(refused))
            if refused.status.is_client_error()
                && !matches!(refused.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) =>
        {
            sse::connect(endpoint, inbox, options).await.map_err(|second| {
                let detail = format!("as http: {}; as sse: {}", refused.detail(), second.detail);
                Cause::new(second.kind, detail)
            })
        }
        other => other.map_err(Trouble::cause),
    }
}
