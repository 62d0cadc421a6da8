//! What the `_meta` of a request says to us, and what of it goes no further. It must not know whose the request is.

use std::borrow::Cow;

use serde_json::value::RawValue;
use wharf_core::idempotency::{BadKey, Key};
use wharf_core::splice;
use wharf_core::trace_context::TraceContext;
use wharf_plugin_api::{Id, RpcError};

use super::bad;
use crate::mcp::params::{HOP, KEY, META, Member, Meta, Params};

/// What `_meta` says.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a>(Option<&'a Params>);

impl<'a> Said<'a> {
    pub(super) fn of(params: Option<&'a Params>) -> Self {
        Self(params)
    }

    fn member(&self, key: Meta) -> Option<&'a RawValue> {
        self.0?.said(key)
    }

    /// The client's progress token: a string or an integer. Anything else is none.
    pub(super) fn token(&self) -> Option<Box<RawValue>> {
        let token = self.member(Meta::ProgressToken)?;
        Id::from_raw(token).map(|_| token.to_owned())
    }

    pub(super) fn trace(&self) -> Option<TraceContext> {
        let says = |params: &&Params| {
            [Meta::TraceParent, Meta::TraceState, Meta::Baggage].iter().any(|key| params.says(*key))
        };
        self.0.filter(says)?.meta().and_then(TraceContext::of_meta)
    }

    /// The key of a call.
    pub(super) fn key(&self) -> Result<Option<Key>, RpcError> {
        let Some(given) = self.member(Meta::Key) else { return Ok(None) };
        let key = splice::text(given).and_then(|text| Key::new(&text).ok());
        key.map(Some).ok_or_else(|| bad(format!("params._meta[{KEY:?}]: {BadKey}")))
    }

    /// Whether the call is to be durable. `None`: it does not say, or neither yes nor no; who runs it refuses that.
    pub(super) fn durable(&self) -> Option<bool> {
        self.member(Meta::Durable)?.get().parse().ok()
    }

    /// The params without what `_meta` says of the client's own hop, and with this name of a tool. `None`: no byte is changed.
    pub(super) fn for_plugin(&self, name: Option<&str>) -> Option<Box<RawValue>> {
        let params = self.0?;
        let bare = if params.has_hop() { self.without_hop() } else { None };
        // One that stands twice is changed at both places: the plugin could read the other.
        let given = || params.text(Member::Name).ok().filter(|_| params.is_plain());
        let name = name.filter(|name| given().as_deref() != Some(name)).map(splice::quoted);
        match (&bare, &name) {
            (None, None) => None,
            (Some(bare), None) => params.with([(Member::Meta, bare)]),
            (None, Some(name)) => params.with([(Member::Name, name)]),
            (Some(bare), Some(name)) => params.with([(Member::Meta, bare), (Member::Name, name)]),
        }
    }

    /// The `_meta` without what is between the client and us, as text.
    fn without_hop(&self) -> Option<Cow<'static, str>> {
        let params = self.0?;
        // What is neither yes nor no stays, to be refused.
        let stays = usize::from(params.says(Meta::Durable) && self.durable().is_none());
        if stays == 0 && params.is_all_hop() {
            return Some(Cow::Borrowed("{}"));
        }
        let bare = splice::without_fields(params.meta()?, META.get(stays..HOP)?)?;
        Some(Cow::Owned(bare.get().to_owned()))
    }
}
