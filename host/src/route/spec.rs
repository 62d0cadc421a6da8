//! What a call is, and what comes of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use wharf_core::ask::Capability;
use wharf_core::idempotency::Key;
use wharf_core::trace_context::TraceContext;
use wharf_core::{CallId, InstanceNo, PluginId, splice};
use wharf_plugin_api::{Caller, Era, Notification, Reply};

use crate::late;
use crate::plugin::asks::Asks;

/// A request on its way to a plugin.
#[derive(Debug)]
pub struct CallSpec {
    /// Whose it is.
    pub plugin: PluginId,
    /// The MCP method, e.g. `tools/call`.
    pub method: Cow<'static, str>,
    /// For `tools/call`: the name under which the tool is offered.
    pub tool: Option<String>,
    /// What goes to the plugin.
    pub payload: Payload,
    /// How long the caller wants to wait; bounded by the manifest.
    pub timeout: Option<Duration>,
    /// Who calls.
    pub caller: Caller,
    /// Where progress and log notifications of this call go, if the caller wants them. Bounded; what does not fit is dropped.
    pub events: Option<late::Sender<CallEvent>>,
    /// Whether progress is wanted among them; if not, the plugin is not asked for any.
    pub progress: bool,
    /// Where the plugin's questions to the caller go, of this call alone. `None`: nobody can be asked.
    pub asks: Option<Asks>,
    /// The caller tries again by itself, and this is not its first try: what may have run is not repeated by the host.
    pub repeated: bool,
    /// Under which the call runs at most once, however often it is sent.
    pub key: Option<Key>,
    /// The trace that it is part of, if the caller said anything of one.
    pub trace: Option<Box<TraceContext>>,
    /// How the caller came in; only shown.
    pub edge: Edge,
    /// What is written down of it must survive the loss of power: before its first byte goes out, and before its answer goes
    /// back. It is refused where that cannot be.
    pub durable: bool,
}

/// How a caller came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Edge {
    /// The embedding program.
    #[default]
    Direct,
    /// REST.
    Rest,
    /// MCP with sessions.
    Legacy,
    /// MCP without.
    Modern,
}

/// What goes to the plugin, raw.
#[derive(Clone, Debug)]
pub enum Payload {
    /// The pieces of a `tools/call`.
    Call {
        /// The arguments, absent if the caller gave none.
        arguments: Option<Arc<RawValue>>,
        /// `_meta` to pass on: a JSON object.
        meta: Option<Arc<RawValue>>,
    },
    /// The whole params as an MCP client sent them, what is its own hop's business taken out. Of a `tools/call` the name is
    /// replaced by the one at the plugin; all else passes byte for byte.
    Params(Option<Arc<RawValue>>),
    /// Likewise, where the name is the one at the plugin already.
    Named(Option<Arc<RawValue>>),
}

/// What a plugin says during a call.
#[derive(Debug)]
pub enum CallEvent {
    /// The call has got its id.
    Accepted(CallId),
    /// `notifications/progress`, `notifications/message` and the like.
    Notification(Notification),
}

/// An answered call.
#[derive(Debug)]
pub struct Settled {
    /// The host's id for it.
    pub call_id: CallId,
    /// Who answered.
    pub instance: InstanceNo,
    /// From admission to answer.
    pub duration: Duration,
    /// The answer; a JSON-RPC error of the plugin is an answer too.
    pub reply: Reply,
    /// How the plugin that answered speaks MCP: the answer is in its words.
    pub era: Era,
    /// What the plugin asked for and the caller's client had not declared, in order, each once.
    pub undeclared: Vec<Capability>,
    /// Nothing ran: it is the answer that an earlier call with the same key had.
    pub replayed: bool,
}

// === impl Payload ===

impl Payload {
    /// The whole params, if it is such.
    pub(crate) fn params(&self) -> Option<&Arc<RawValue>> {
        match self {
            Self::Call { .. } => None,
            Self::Params(params) | Self::Named(params) => params.as_ref(),
        }
    }

    /// Without these members of the whole params.
    pub(crate) fn without(self, members: &[&str]) -> Self {
        let bare = |params: Option<Arc<RawValue>>| {
            let bare = params.as_deref().and_then(|params| splice::without_fields(params, members));
            bare.map(Into::into).or(params)
        };
        match self {
            pieces @ Self::Call { .. } => pieces,
            Self::Params(params) => Self::Params(bare(params)),
            Self::Named(params) => Self::Named(bare(params)),
        }
    }
}

// === impl Edge ===

impl Edge {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Rest => "rest",
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

// === impl CallSpec ===

impl CallSpec {
    /// A request with the params of an MCP client, nobody listening.
    pub fn new(
        plugin: PluginId,
        method: impl Into<Cow<'static, str>>,
        params: Option<Arc<RawValue>>,
        caller: Caller,
    ) -> Self {
        Self {
            plugin,
            method: method.into(),
            tool: None,
            payload: Payload::Params(params),
            timeout: None,
            caller,
            events: None,
            progress: true,
            asks: None,
            repeated: false,
            trace: None,
            edge: Edge::default(),
            durable: false,
            key: None,
        }
    }

    /// A call of the tool that is offered as `tool`, nobody listening.
    pub fn tool(
        plugin: PluginId,
        tool: impl Into<String>,
        arguments: Option<Arc<RawValue>>,
        caller: Caller,
    ) -> Self {
        Self {
            tool: Some(tool.into()),
            payload: Payload::Call { arguments, meta: None },
            ..Self::new(plugin, "tools/call", None, caller)
        }
    }
}
