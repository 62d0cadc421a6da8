//! What a call is, and what comes of it.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::mpsc;
use wharf_core::{CallId, InstanceNo, PluginId};
use wharf_plugin_api::{Caller, Notification, Reply};

/// A request on its way to a plugin.
#[derive(Debug)]
pub struct CallSpec {
    /// Whose it is.
    pub plugin: PluginId,
    /// The MCP method, e.g. `tools/call`.
    pub method: Cow<'static, str>,
    /// For `tools/call`: the name under which the tool is offered.
    pub tool: Option<String>,
    /// For `tools/call`: the arguments, raw, absent if the caller gave none. Otherwise the whole params.
    pub payload: Option<Arc<RawValue>>,
    /// `_meta` to pass on, raw: a JSON object.
    pub meta: Option<Arc<RawValue>>,
    /// How long the caller wants to wait; bounded by the manifest.
    pub timeout: Option<Duration>,
    /// Who calls.
    pub caller: Caller,
    /// Where progress and log notifications of this call go, if the caller wants them. Bounded; what does not fit is dropped.
    pub events: Option<mpsc::Sender<CallEvent>>,
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
}
