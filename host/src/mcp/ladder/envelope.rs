//! The envelope of a modern request: what `params._meta` says of the client and its hop. It must not know the head.

use std::borrow::Cow;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use wharf_core::splice;
use wharf_plugin_api::{Client, Id, RpcError};

use super::super::level::Level;
use super::super::params::{Looked, Member, Meta as Key};
use super::repeated;

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const INFO: &str = "io.modelcontextprotocol/clientInfo";
const LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
const PROGRESS_TOKEN: &str = "progressToken";

/// What a modern request says of its client.
#[derive(Clone, Debug)]
pub(crate) struct Envelope {
    pub(crate) client: Arc<Client>,
    /// As the client spelled it.
    pub(crate) progress_token: Option<Id>,
}

/// What makes a message one of a client that speaks by envelopes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claim<'a> {
    /// The revision; `None` if it is not among the keys.
    pub(super) revision: Option<Cow<'a, str>>,
}

/// A key that stands twice is an error: two readers could choose differently.
#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow, default, rename = "_meta", deserialize_with = "present")]
    meta: Option<&'a RawValue>,
}

/// What of `_meta` makes an envelope. Likewise.
#[derive(Default, Deserialize)]
pub(super) struct Meta<'a> {
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

fn is_object(raw: &RawValue) -> bool {
    raw.get().starts_with('{')
}

/// Reads strictly: the error names what is wrong.
fn read<'a, T: Deserialize<'a>>(object: &'a RawValue) -> Result<T, RpcError> {
    serde_json::from_str(object.get())
        .map_err(|error| RpcError::new(RpcError::INVALID_PARAMS, format!("in _meta: {error}")))
}

/// The answer to an envelope that is not right. `data.keys` names the keys, for programs.
fn bad(keys: &[&str], what: &str) -> RpcError {
    let message = format!("params._meta: {} {what}", keys.join(" and "));
    RpcError {
        data: to_raw_value(&json!({ "keys": keys })).ok(),
        ..RpcError::new(RpcError::INVALID_PARAMS, message)
    }
}

// === impl Meta ===

impl<'a> Meta<'a> {
    /// The metadata; `None` if there is no object of it.
    ///
    /// # Errors
    /// If a key stands twice.
    pub(super) fn of(params: Option<(&'a RawValue, &Looked)>) -> Result<Option<Self>, RpcError> {
        let Some((params, looked)) = params.filter(|(params, _)| is_object(params)) else { return Ok(None) };
        let [plain, plain_meta] = looked.is_plain();
        let meta = if plain { looked.member(params, Member::Meta) } else { read::<Params<'_>>(params)?.meta };
        let Some(meta) = meta.filter(|meta| is_object(meta)) else { return Ok(None) };
        if !(plain && plain_meta) {
            return read(meta).map(Some);
        }
        let said = |key| looked.of_meta(meta, key);
        Ok(Some(Self {
            version: said(Key::Version),
            capabilities: said(Key::Capabilities),
            info: said(Key::Info),
            log_level: said(Key::LogLevel),
            progress_token: said(Key::ProgressToken),
        }))
    }

    /// Likewise, by the strict reader alone.
    #[cfg(test)]
    pub(super) fn strict(params: &'a RawValue) -> Result<Option<Self>, RpcError> {
        let meta = read::<Params<'_>>(params)?.meta.filter(|meta| is_object(meta));
        meta.map(read).transpose()
    }

    /// What the message claims to be; `None` if it has no key of an envelope.
    pub(super) fn claim(&self) -> Result<Option<Claim<'a>>, RpcError> {
        if let Some(version) = self.version {
            let revision = splice::text(version).ok_or_else(|| bad(&[VERSION], "is not a string"))?;
            return Ok(Some(Claim { revision: Some(revision) }));
        }
        let begun = self.capabilities.or(self.info).or(self.log_level);
        Ok(begun.map(|_| Claim { revision: None }))
    }
}

// === impl Envelope ===

impl Envelope {
    /// Reads the envelope of a request.
    ///
    /// # Errors
    /// -32602, if a key that must be there is not, or one has a value that it cannot have.
    pub(crate) fn read(params: Option<&super::Params>) -> Result<Self, RpcError> {
        Self::of(Meta::of(params.map(super::Params::looked))?).map(|(_, envelope)| envelope)
    }

    /// Likewise, of what was looked for already; and the revision that it names.
    pub(super) fn of(meta: Option<Meta<'_>>) -> Result<(Cow<'_, str>, Self), RpcError> {
        let meta = meta.unwrap_or_default();
        let (version, capabilities) = match (meta.version, meta.capabilities) {
            (Some(version), Some(capabilities)) => (version, capabilities),
            (Some(_), None) => return Err(bad(&[CAPABILITIES], "is required")),
            (None, Some(_)) => return Err(bad(&[VERSION], "is required")),
            (None, None) => return Err(bad(&[VERSION, CAPABILITIES], "are required")),
        };
        let revision = splice::text(version).ok_or_else(|| bad(&[VERSION], "is not a string"))?;
        for (key, value) in [(CAPABILITIES, Some(capabilities)), (INFO, meta.info)] {
            if !value.is_none_or(is_object) {
                return Err(bad(&[key], "is not an object"));
            }
        }
        let level = |raw| {
            let level = splice::text(raw).and_then(|level| Level::named(&level));
            let level = level.map(|level| Arc::from(level.as_str()));
            level.ok_or_else(|| bad(&[LOG_LEVEL], "is none of the levels from debug to emergency"))
        };
        let token = |raw| {
            Id::from_raw(raw).ok_or_else(|| bad(&[PROGRESS_TOKEN], "is neither a string nor an integer"))
        };
        let log_level = meta.log_level.map(level).transpose()?;
        let mut client = repeated::client(capabilities, meta.info);
        if log_level.is_some() {
            client = Arc::new(Client { log_level, ..Client::clone(&client) });
        }
        Ok((revision, Self { client, progress_token: meta.progress_token.map(token).transpose()? }))
    }
}
