//! The modern way of speaking MCP, without its transport: the handshake that is no handshake, and what each request says
//! of whom it is from.
//!
//! A server is asked `server/discover`, and every request stands for itself after that. It must not know whether it is
//! allowed to ask again in the legacy way: that is whoever opens the connection.

pub(crate) mod envelope;
pub(crate) mod headers;
pub(crate) mod mirrored;

use serde::Deserialize;
use serde_json::value::RawValue;
use wharf_core::splice::{self, Places};
use wharf_plugin_api::{Cause, CauseKind, Era, Hello, Reply, Request, RpcError};

use super::shortened;

/// The revision we speak.
pub(crate) const REVISION: &str = Era::FIRST_MODERN;
/// What asks a server which revisions it speaks.
pub(crate) const DISCOVER: &str = "server/discover";
/// A header says something else than the body.
pub(crate) const HEADER_MISMATCH: i64 = -32020;
/// A capability is needed that the client did not declare.
const CAPABILITY_REQUIRED: i64 = -32021;
/// The revision is none of the server's.
const UNSUPPORTED_REVISION: i64 = -32022;
/// How the keys of the envelope begin, which no legacy server names.
const KEYS: &str = "io.modelcontextprotocol/";
/// Where a result says who answers.
const SERVER_INFO: &str = "io.modelcontextprotocol/serverInfo";
/// Where a notification says for which request to listen it is.
const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What an answer to `server/discover` shows.
#[derive(Debug)]
pub(crate) enum Discovery {
    /// The server is modern, and we speak one of its revisions.
    Modern(Box<Hello>),
    /// It is, and says so by refusing: asked again with the revision that it names, it may answer.
    Again(Cause),
    /// It is, and it does not let us in.
    Refused(Cause),
    /// It is not known to be: `initialize` is next. Why.
    Unknown(Cause),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DiscoverResult {
    supported_versions: Option<Vec<String>>,
    capabilities: Option<Box<RawValue>>,
    server_info: Option<Box<RawValue>>,
    instructions: Option<String>,
    #[serde(rename = "_meta")]
    meta: Option<Box<RawValue>>,
}

#[derive(Default, Deserialize)]
struct Supported {
    #[serde(default)]
    supported: Vec<String>,
}

/// Where the params of a request have their metadata, and what the request is about: in that order.
pub(crate) type Look = Places<2>;

const META: usize = 0;
const ABOUT: usize = 1;
const META_KEY: &str = "_meta";

/// Looks for both at once.
pub(crate) fn look(request: &Request) -> Look {
    let about = headers::about(&request.method).unwrap_or(META_KEY);
    request.params.as_deref().map_or_else(Look::none, |params| Look::of(params, [META_KEY, about]))
}

/// The request that opens a connection. What it says of us is put in where it is sent.
pub(crate) fn discover() -> Request {
    Request::bare(DISCOVER)
}

/// Reads the answer.
pub(crate) fn discovered(dialect: &'static str, reply: Reply) -> Discovery {
    let result = match reply {
        Reply::Result(result) => result,
        Reply::Error(error) => return refused(&error),
    };
    let Ok(result) = serde_json::from_str::<DiscoverResult>(result.get()) else {
        return Discovery::Unknown(unwilling("the answer to `server/discover` is not MCP".to_owned()));
    };
    let supported = result.supported_versions.unwrap_or_default();
    if !speaks(&supported) {
        return Discovery::Unknown(no_common(&supported));
    }
    let named = result.meta.as_deref().and_then(|meta| splice::field(meta, SERVER_INFO));
    Discovery::Modern(Box::new(Hello {
        dialect,
        revision: REVISION.to_owned(),
        server_info: named.map(ToOwned::to_owned).or(result.server_info),
        capabilities: result.capabilities,
        instructions: result.instructions,
    }))
}

/// What a refusal of `server/discover` shows. Servers of both eras have many codes; few are of one era alone.
fn refused(error: &RpcError) -> Discovery {
    let words = format!("the server refused `{DISCOVER}`: {} ({})", shortened(&error.message), error.code);
    let cause = unwilling(words);
    match error.code {
        UNSUPPORTED_REVISION => {
            let data = error.data.as_deref().map_or("{}", RawValue::get);
            let Supported { supported } = serde_json::from_str(data).unwrap_or_default();
            if speaks(&supported) {
                Discovery::Again(cause)
            } else {
                Discovery::Unknown(no_common(&supported))
            }
        }
        HEADER_MISMATCH | CAPABILITY_REQUIRED => Discovery::Refused(cause),
        RpcError::INVALID_PARAMS if names_envelope(error) => Discovery::Refused(cause),
        _ => Discovery::Unknown(cause),
    }
}

fn names_envelope(error: &RpcError) -> bool {
    error.message.contains(KEYS) || error.data.as_ref().is_some_and(|data| data.get().contains(KEYS))
}

fn speaks(supported: &[String]) -> bool {
    supported.iter().any(|revision| revision == REVISION)
}

fn no_common(supported: &[String]) -> Cause {
    let theirs: String = supported.join(", ").chars().take(200).collect();
    let theirs = if theirs.is_empty() { "no modern MCP".to_owned() } else { format!("MCP {theirs:?}") };
    unwilling(format!("the server speaks {theirs}; this host speaks {REVISION}"))
}

fn unwilling(detail: String) -> Cause {
    Cause::new(CauseKind::HandshakeRefused, detail)
}

/// The request of ours, by its id, for which a notification is that belongs to a subscription.
pub(crate) fn subscription(params: Option<&RawValue>) -> Option<u64> {
    let meta = splice::field(params?, "_meta")?;
    splice::field(meta, SUBSCRIPTION)?.get().parse().ok()
}

// === impl Discovery ===

impl Discovery {
    /// The answer of a server that must be modern.
    ///
    /// # Errors
    /// If it is not.
    pub(crate) fn required(self) -> Result<Hello, Cause> {
        match self {
            Self::Modern(hello) => Ok(*hello),
            Self::Again(cause) | Self::Refused(cause) | Self::Unknown(cause) => Err(cause),
        }
    }
}

#[cfg(test)]
mod tests;
