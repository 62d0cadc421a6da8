//! What the `_meta` of a request says to us, and what of it goes no further. It must not know whose the request is.

use serde_json::value::{RawValue, to_raw_value};
use wharf_core::idempotency::{BadKey, Key};
use wharf_core::splice;
use wharf_core::trace_context::{self, TraceContext};
use wharf_plugin_api::{Id, RpcError};

use super::bad;
use crate::route::durable;

/// The member of `_meta` under which a call runs at most once.
pub(crate) const KEY: &str = "wharf/idempotencyKey";

/// What of `_meta` is between a client and us alone.
const HOP: [&str; 8] = [
    durable::KEY,
    KEY,
    "io.modelcontextprotocol/protocolVersion",
    "io.modelcontextprotocol/clientInfo",
    "io.modelcontextprotocol/clientCapabilities",
    "io.modelcontextprotocol/logLevel",
    "io.modelcontextprotocol/serverInfo",
    "io.modelcontextprotocol/subscriptionId",
];

/// What `_meta` says, found in one look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Said<'a> {
    /// All of it, as it came.
    meta: Option<&'a RawValue>,
    token: Option<&'a RawValue>,
    /// It says something of a trace.
    traced: bool,
    durable: Option<&'a RawValue>,
    key: Option<&'a RawValue>,
    /// It has something else that is between the client and us alone.
    has_hop: bool,
}

impl<'a> Said<'a> {
    pub(super) fn of(params: Option<&'a RawValue>) -> Self {
        let Some(meta) = params.and_then(|params| splice::field(params, "_meta")) else {
            return Self::default();
        };
        let [parent, state, baggage] = trace_context::KEYS;
        let [own, once, version, info, capabilities, level, server, subscription] = HOP;
        let keys = [
            "progressToken",
            own,
            once,
            parent,
            state,
            baggage,
            version,
            info,
            capabilities,
            level,
            server,
            subscription,
        ];
        let [token, durable, key, parent, state, baggage, hop @ ..] = splice::fields(meta, keys);
        let traced = [parent, state, baggage].iter().any(Option::is_some);
        let has_hop = hop.iter().any(Option::is_some);
        Self { meta: Some(meta), token, traced, durable, key, has_hop }
    }

    /// The client's progress token: a string or an integer. Anything else is none.
    pub(super) fn token(&self) -> Option<Box<RawValue>> {
        let token = self.token?;
        Id::from_raw(token).map(|_| token.to_owned())
    }

    pub(super) fn trace(&self) -> Option<TraceContext> {
        self.meta.filter(|_| self.traced).and_then(TraceContext::of_meta)
    }

    /// The key of a call.
    pub(super) fn key(&self) -> Result<Option<Key>, RpcError> {
        let Some(given) = self.key else { return Ok(None) };
        let key = splice::text(given).and_then(|text| Key::new(&text).ok());
        key.map(Some).ok_or_else(|| bad(format!("params._meta[{KEY:?}]: {BadKey}")))
    }

    /// Whether the call is to be durable. `None`: it does not say, or neither yes nor no; who runs it refuses that.
    pub(super) fn durable(&self) -> Option<bool> {
        self.durable?.get().parse().ok()
    }

    /// The params without what `_meta` says of the client's own hop, and with this name of a tool. `None`: it says nothing of
    /// its hop, and no byte is changed.
    pub(super) fn without_hop(&self, params: &RawValue, name: Option<&str>) -> Option<Box<RawValue>> {
        let durable = self.durable();
        if durable.is_none() && self.key.is_none() && !self.has_hop {
            return None;
        }
        // The first is whether it is durable: what says neither stays, to be refused.
        let hop = HOP.get(usize::from(durable.is_none())..)?;
        let bare = splice::without_fields(self.meta?, hop)?;
        match name.and_then(|name| to_raw_value(name).ok()) {
            Some(name) => splice::with_fields(params, &[("_meta", &bare), ("name", &name)]),
            None => splice::with_field(params, "_meta", &bare),
        }
    }
}
