//! The legacy handshake, without its transport: what we say, what we accept, and the scope of requests that the host
//! makes for itself.
//!
//! What a server offers depends on what is declared. To a server that clients share we declare all that any of them could be
//! asked: each question goes to the caller it is for, if that one can be asked. A server of one client is told of that client.

use std::sync::Arc;
use std::time::Instant;

use serde::Deserialize;
use serde_json::value::RawValue;
use wharf_plugin_api::{
    CallError, CallErrorKind, Caller, Cause, CauseKind, Client, Delivery, Hello, Notification, Reply,
    Request, Scope, async_trait,
};

use super::shortened;

/// The revision we ask for: the latest with a handshake.
pub(crate) const REVISION: &str = "2025-11-25";
/// The revisions we speak.
pub(crate) const REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", REVISION];
/// The method that is never cancelled and never sent twice on one connection.
pub(crate) const INITIALIZE: &str = "initialize";
/// What tells the server that we are done.
pub(crate) const INITIALIZED: &str = "notifications/initialized";

/// A request that the host makes for itself: nobody listens, nobody can be asked.
pub(crate) struct HostScope {
    caller: Caller,
    deadline: Instant,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InitializeResult {
    protocol_version: Option<String>,
    capabilities: Option<Box<RawValue>>,
    server_info: Option<Box<RawValue>>,
    instructions: Option<String>,
}

/// All that a client can be asked.
const EVERYTHING: &str =
    r#"{"roots":{},"sampling":{"context":{},"tools":{}},"elicitation":{"form":{},"url":{}}}"#;

/// The request that opens a session, for `client` alone or for all.
pub(crate) fn initialize(client: Option<&Client>) -> Request {
    let capabilities = client.map_or(EVERYTHING, |client| client.capabilities.get());
    let params = format!(
        r#"{{"protocolVersion":"{REVISION}","capabilities":{capabilities},"clientInfo":{{"name":"wharf","version":"{}"}}}}"#,
        env!("CARGO_PKG_VERSION")
    );
    Request { method: INITIALIZE.into(), params: RawValue::from_string(params).ok().map(Into::into) }
}

/// Reads the answer. `assumed` is the revision of a server that names none; `None` refuses it.
///
/// # Errors
/// If the server refused, or speaks no revision of ours.
pub(crate) fn hello(dialect: &'static str, reply: Reply, assumed: Option<&str>) -> Result<Hello, Cause> {
    let refused = |detail: String| Cause::new(CauseKind::HandshakeRefused, detail);
    let result = match reply {
        Reply::Result(result) => result,
        Reply::Error(error) => {
            return Err(refused(format!(
                "the server refused `initialize`: {} ({})",
                shortened(&error.message),
                error.code
            )));
        }
    };
    let result: InitializeResult = serde_json::from_str(result.get())
        .map_err(|error| refused(format!("the answer to `initialize` is not MCP: {error}")))?;
    let Some(revision) = result.protocol_version.or_else(|| assumed.map(str::to_owned)) else {
        return Err(refused("the answer to `initialize` names no protocolVersion".to_owned()));
    };
    if !REVISIONS.contains(&revision.as_str()) {
        let known = REVISIONS.join(", ");
        return Err(refused(format!(
            "the server speaks MCP {:?}; this host speaks {known}",
            revision.chars().take(40).collect::<String>()
        )));
    }
    Ok(Hello {
        dialect,
        revision,
        server_info: result.server_info,
        capabilities: result.capabilities,
        instructions: result.instructions,
    })
}

/// Why there is no handshake, from the way its request failed.
pub(crate) fn failed(error: CallError, otherwise: CauseKind) -> Cause {
    let kind = match error.kind {
        CallErrorKind::Protocol | CallErrorKind::Refused => CauseKind::ProtocolGarbage,
        CallErrorKind::Timeout => CauseKind::StartTimeout,
        CallErrorKind::Session => CauseKind::HandshakeRefused,
        CallErrorKind::Connection | CallErrorKind::Cancelled | CallErrorKind::Full | _ => otherwise,
    };
    Cause::new(kind, error.detail)
}

/// The handshake was not done in time.
pub(crate) fn too_late(method: &str) -> Cause {
    Cause::new(CauseKind::StartTimeout, format!("no answer to `{method}` in time"))
}

// === impl HostScope ===

impl HostScope {
    pub(crate) fn until(deadline: tokio::time::Instant) -> Arc<dyn Scope> {
        Arc::new(Self { caller: Caller::new("wharf"), deadline: deadline.into_std() })
    }
}

#[async_trait]
impl Scope for HostScope {
    fn sent(&self) {}

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, notification: Notification) {
        tracing::debug!(method = %notification.method, "a notification about a request of the host itself");
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        let detail = format!("nobody can be asked {:?} here", shortened(&request.method));
        Err(CallError::new(CallErrorKind::Protocol, Delivery::NotDelivered, detail))
    }

    fn is_call(&self) -> bool {
        false
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;
    use wharf_plugin_api::{CauseKind, Reply, RpcError};

    use super::hello;

    fn result(json: &str) -> Reply {
        Reply::Result(RawValue::from_string(json.to_owned()).expect("JSON"))
    }

    #[test]
    fn the_answer_is_kept_as_it_came() {
        let hello = hello(
            "stdio",
            result(r#"{"protocolVersion":"2024-11-05","capabilities":{ "x":1.0 },"serverInfo":{"name":"a"},"instructions":"i"}"#),
            None,
        )
        .expect("a hello");
        assert_eq!(hello.revision, "2024-11-05");
        assert_eq!(hello.capabilities.expect("there").get(), "{ \"x\":1.0 }");
        assert_eq!(hello.server_info.expect("there").get(), r#"{"name":"a"}"#);
        assert_eq!(hello.instructions.as_deref(), Some("i"));
    }

    #[test]
    fn a_refusal_names_the_servers_words_and_the_revisions() {
        for (reply, words) in [
            (result(r#"{"protocolVersion":"1999-01-01"}"#), "1999-01-01"),
            (result(r#"{"protocolVersion":"2026-07-28"}"#), "2025-11-25"),
            (result("{}"), "protocolVersion"),
            (result("[]"), "not MCP"),
            (Reply::Error(RpcError::new(-32000, "go away")), "go away"),
        ] {
            let cause = hello("stdio", reply, None).expect_err("refused");
            assert_eq!(cause.kind, CauseKind::HandshakeRefused);
            assert!(cause.detail.contains(words), "{}", cause.detail);
        }
    }

    #[test]
    fn a_server_that_names_no_revision_gets_the_assumed_one() {
        assert_eq!(
            hello("sse-post", result("{}"), Some("2024-11-05")).expect("a hello").revision,
            "2024-11-05"
        );
    }
}
