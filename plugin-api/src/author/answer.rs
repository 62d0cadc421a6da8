//! What a tool answers, and how it fails.

use std::error::Error;
use std::fmt;

use serde::Serialize;
use serde_json::{Value, json};

use crate::jsonrpc::RpcError;

/// What a tool answers: content for a model to read, and perhaps the same as data.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Answer {
    content: Vec<Value>,
    #[serde(rename = "structuredContent", skip_serializing_if = "Option::is_none")]
    structured: Option<Value>,
    #[serde(rename = "isError", skip_serializing_if = "std::ops::Not::not")]
    is_error: bool,
}

/// Why a call has no answer.
///
/// Every [`std::error::Error`] becomes [`ToolError::Tool`] by `?`, with its chain of causes.
#[derive(Clone, Debug)]
pub enum ToolError {
    /// The tool ran and failed, or its arguments are wrong: the model reads this text and may try something else.
    Tool(String),
    /// The request itself is wrong: a JSON-RPC error, which a model hardly ever sees.
    Protocol(RpcError),
}

// === impl Answer ===

impl Answer {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::default().with_text(text)
    }

    /// Data. A JSON object is sent as `structuredContent`, which must be one, and as text for clients that know only
    /// text; any other value as text alone.
    ///
    /// # Errors
    /// If `data` does not serialize.
    pub fn data(data: &impl Serialize) -> Result<Self, ToolError> {
        Ok(Self::from(serde_json::to_value(data)?))
    }

    /// An image, encoded as base64.
    pub fn image(mime_type: &str, base64: impl Into<String>) -> Self {
        Self::default().with_content(json!({"type": "image", "data": base64.into(), "mimeType": mime_type}))
    }

    /// A further text.
    #[must_use]
    pub fn with_text(self, text: impl Into<String>) -> Self {
        self.with_content(json!({"type": "text", "text": text.into()}))
    }

    /// A further block of content, as MCP defines it.
    #[must_use]
    pub fn with_content(mut self, block: Value) -> Self {
        self.content.push(block);
        self
    }

    /// The same content, as the tool's failure.
    #[must_use]
    pub fn failed(mut self) -> Self {
        self.is_error = true;
        self
    }
}

impl From<String> for Answer {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<&str> for Answer {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<Value> for Answer {
    fn from(data: Value) -> Self {
        let text = Self::text(data.to_string());
        Self { structured: data.is_object().then_some(data), ..text }
    }
}

// === impl ToolError ===

impl ToolError {
    /// A failure that the model should read.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Tool(text.into())
    }

    /// A JSON-RPC error.
    pub fn protocol(code: i64, message: impl Into<String>) -> Self {
        Self::Protocol(RpcError::new(code, message))
    }
}

impl fmt::Display for ToolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tool(text) => f.write_str(text),
            Self::Protocol(error) => error.fmt(f),
        }
    }
}

// `ToolError` is no `Error` itself: that is what makes this conversion possible.
impl<E: Error> From<E> for ToolError {
    fn from(error: E) -> Self {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(next) = cause {
            text.push_str(": ");
            text.push_str(&next.to_string());
            cause = next.source();
        }
        Self::Tool(text)
    }
}
