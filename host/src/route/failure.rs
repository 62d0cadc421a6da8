//! Why a request to the host failed, in the terms of the API. The edges turn it into a status or a JSON-RPC error.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use wharf_core::{CallId, Code};
use wharf_plugin_api::{CallErrorKind, Delivery};

/// A failed request.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}: {detail}", code.as_str())]
pub struct Failure {
    /// Which of the documented codes it is.
    pub code: Code,
    /// What happened and what helps, for people.
    pub detail: String,
    /// The plugin it is about.
    pub plugin: Option<Arc<str>>,
    /// The tool it is about.
    pub tool: Option<Arc<str>>,
    /// The call's id, if it got one.
    pub call_id: Option<CallId>,
    /// How far the call got, if there was one.
    pub delivery: Option<Delivery>,
    /// Connection, protocol, timeout or session, where one of these ended the call.
    pub kind: Option<CallErrorKind>,
    /// When another try makes sense.
    pub retry_after: Option<Duration>,
    /// Every single problem, where there can be several.
    pub errors: Vec<FieldError>,
}

/// One problem of a request's body.
#[derive(Clone, Debug, Serialize)]
pub struct FieldError {
    /// JSON Pointer (RFC 6901) to the place.
    pub pointer: String,
    /// What is wrong there.
    pub detail: String,
}

impl Failure {
    /// A failure of `code`, with what happened.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            plugin: None,
            tool: None,
            call_id: None,
            delivery: None,
            kind: None,
            retry_after: None,
            errors: Vec::new(),
        }
    }

    /// Nothing new is let in.
    pub(crate) fn ending() -> Self {
        let retry_after = Some(Duration::from_secs(1));
        Self {
            retry_after,
            ..Self::new(Code::Overloaded, "the host is ending; another one may take its place")
        }
    }

    /// No plugin has this id.
    #[must_use]
    pub fn no_plugin(id: &str) -> Self {
        Self {
            plugin: Some(id.into()),
            ..Self::new(Code::PluginNotFound, format!("no plugin {id:?}; `wharf ps` lists them"))
        }
    }

    /// The plugin offers no such tool.
    #[must_use]
    pub fn no_tool(plugin: &str, tool: &str) -> Self {
        Self {
            plugin: Some(plugin.into()),
            tool: Some(tool.into()),
            ..Self::new(
                Code::ToolNotFound,
                format!("{plugin:?} offers no tool {tool:?}; `wharf tools {plugin}` lists them"),
            )
        }
    }
}
