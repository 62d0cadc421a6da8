//! Finding out how a URL speaks MCP: streamable HTTP first, then HTTP+SSE.
//!
//! A refused handshake is evidence, refused credentials and silence are not. It must not remember a verdict.

use std::sync::Arc;

use http::StatusCode;
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::{Cause, Inbox};

use super::http::{Trouble, connect_by_era};
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
    let first = connect_by_era(endpoint.clone(), Arc::clone(&inbox), options.clone()).await;
    match first {
        // The older dialect is of the old era alone.
        Err(refused) if options.era == EraChoice::Modern => Err(refused.cause()),
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
