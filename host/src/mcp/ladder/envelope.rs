//! The envelope of a modern request: what `params._meta` says of the client and its hop. It must not know the head.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::splice;
use wharf_plugin_api::{Client, Id, RpcError};

use super::super::level::Level;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const PROGRESS_TOKEN: &str = "progressToken";

/// What a modern request says of its client.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) revision: String,
    pub(crate) client: Client,
    /// As the client spelled it.
    pub(crate) progress_token: Option<Id>,
}

/// What makes a message one of a client that speaks by envelopes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The revision; `None` if it is not among the keys.
    pub(super) revision: Option<String>,
}

/// A key that stands twice is an error: two readers could choose differently.
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
struct Meta<'a> {
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/protocolVersion",
        deserialize_with = "present"
    )]
    version: Option<&'a RawValue>,
    #[serde(
        borrow,
        default,
        rename = "io.modelcontextprotocol/clientCapabilities",
        deserialize_with = "present"
    )]
    capabilities: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/clientInfo", deserialize_with = "present")]
    info: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "io.modelcontextprotocol/logLevel", deserialize_with = "present")]
    log_level: Option<&'a RawValue>,
    #[serde(borrow, default, rename = "progressToken", deserialize_with = "present")]
    progress_token: Option<&'a RawValue>,
}

/// Keeps `null` apart from absent.
fn present<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The metadata; `None` if there is no object of it.
fn meta(params: Option<&RawValue>) -> Result<Option<Meta<'_>>, RpcError> {
    let is_object = |raw: &&RawValue| raw.get().starts_with('{');
    let read =
        |error: serde_json::Error| RpcError::new(RpcError::INVALID_PARAMS, format!("in _meta: {error}"));
    let may_hold = |params: &&RawValue| splice::may_hold(params, "_meta");
    let Some(params) = params.filter(is_object).filter(may_hold) else { return Ok(None) };
    let params: Params<'_> = serde_json::from_str(params.get()).map_err(read)?;
    params.meta.filter(is_object).map(|meta| serde_json::from_str(meta.get()).map_err(read)).transpose()
}

/// What the message claims to be; `None` if it has no key of an envelope.
pub(super) fn claim(params: Option<&RawValue>) -> Result<Option<Claim>, RpcError> {
    let Some(meta) = meta(params)? else { return Ok(None) };
    if let Some(version) = meta.version {
        let revision = text(version).ok_or_else(|| bad(&[VERSION], "is not a string"))?;
        return Ok(Some(Claim { revision: Some(revision.into_owned()) }));
    }
    let begun = meta.capabilities.or(meta.info).or(meta.log_level);
    Ok(begun.map(|_| Claim { revision: None }))
}

fn text(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Cow<'_, str>>(raw.get()).ok()
}

/// The answer to an envelope that is not right. `data.keys` names the keys, for programs.
fn bad(keys: &[&str], what: &str) -> RpcError {
    let message = format!("params._meta: {} {what}", keys.join(" and "));
    RpcError {
        data: to_raw_value(&json!({ "keys": keys })).ok(),
        ..RpcError::new(RpcError::INVALID_PARAMS, message)
    }
}

// === impl Envelope ===

impl Envelope {
    /// Reads the envelope of a request.
    ///
    /// # Errors
    /// -32602, if a key that must be there is not, or one has a value that it cannot have.
    pub(crate) fn read(params: Option<&RawValue>) -> Result<Self, RpcError> {
        let meta = meta(params)?.unwrap_or_default();
        let (version, capabilities) = match (meta.version, meta.capabilities) {
            (Some(version), Some(capabilities)) => (version, capabilities),
            (Some(_), None) => return Err(bad(&[CAPABILITIES], "is required")),
            (None, Some(_)) => return Err(bad(&[VERSION], "is required")),
            (None, None) => return Err(bad(&[VERSION, CAPABILITIES], "are required")),
        };
        let revision = text(version).ok_or_else(|| bad(&[VERSION], "is not a string"))?.into_owned();
        let object = |key, raw: &RawValue| {
            if raw.get().starts_with('{') {
                Ok(Arc::from(raw.to_owned()))
            } else {
                Err(bad(&[key], "is not an object"))
            }
        };
        let level = |raw| {
            let level = text(raw).and_then(|level| Level::named(&level));
            let level = level.map(|level| Arc::from(level.as_str()));
            level.ok_or_else(|| bad(&[LOG_LEVEL], "is none of the levels from debug to emergency"))
        };
        let token = |raw| {
            Id::from_raw(raw).ok_or_else(|| bad(&[PROGRESS_TOKEN], "is neither a string nor an integer"))
        };
        Ok(Self {
            revision,
            client: Client {
                capabilities: object(CAPABILITIES, capabilities)?,
                info: meta.info.map(|info| object(INFO, info)).transpose()?,
                log_level: meta.log_level.map(level).transpose()?,
            },
            progress_token: meta.progress_token.map(token).transpose()?,
        })
    }
}
