//! One call of a tool, as the tool sees it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::ToolError;
use super::cancel::Cancel;
use super::tool::Tool;
use crate::jsonrpc::{self, Id};

/// How much a log message matters; in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For the author.
    Debug,
    /// Sent unless the client asks for less.
    Info,
    /// Normal but worth a look.
    Notice,
    /// Something is odd.
    Warning,
    /// Something failed.
    Error,
    /// A part of the server failed.
    Critical,
    /// Someone must act.
    Alert,
    /// Nothing works.
    Emergency,
}

/// One call of a tool.
pub struct Call {
    pub(super) tool: Arc<Tool>,
    pub(super) raw: Box<RawValue>,
    pub(super) arguments: Map<String, Value>,
    pub(super) token: Option<Id>,
    pub(super) reported: Mutex<f64>,
    pub(super) cancel: Arc<Cancel>,
    pub(super) line: Arc<dyn Line>,
}

/// What a call needs of its session.
pub(super) trait Line: Send + Sync {
    fn send(&self, message: &[u8]);
    fn level(&self) -> Level;
}

impl Call {
    /// The tool's name.
    #[must_use]
    pub fn tool(&self) -> &str {
        &self.tool.name
    }

    /// All arguments as one type.
    ///
    /// # Errors
    /// What does not fit, for the model to read.
    pub fn arguments<T: DeserializeOwned>(&self) -> Result<T, ToolError> {
        serde_json::from_str(self.raw.get())
            .map_err(|error| ToolError::new(format!("the arguments do not fit: {error}")))
    }

    /// The arguments as they came: a JSON object.
    #[must_use]
    pub fn raw_arguments(&self) -> &RawValue {
        &self.raw
    }

    /// A string argument.
    ///
    /// # Errors
    /// If it is missing or no string.
    pub fn text(&self, name: &str) -> Result<&str, ToolError> {
        let value = self.arguments.get(name).ok_or_else(|| self.missing(name))?;
        value.as_str().ok_or_else(|| ToolError::new(format!("the argument {name:?} is not a string")))
    }

    /// An argument of any type. An `Option` is `None` where the argument is missing or null.
    ///
    /// # Errors
    /// If it is missing or does not fit.
    pub fn get<T: DeserializeOwned>(&self, name: &str) -> Result<T, ToolError> {
        match self.arguments.get(name) {
            Some(value) => T::deserialize(value)
                .map_err(|error| ToolError::new(format!("the argument {name:?} does not fit: {error}"))),
            None => T::deserialize(Value::Null).map_err(|_| self.missing(name)),
        }
    }

    /// Tells how far it got. Reaches the caller only if the caller asked for it, only while it grows, and not after the
    /// call was cancelled.
    pub fn progress(&self, done: f64, total: Option<f64>, message: Option<&str>) {
        let Some(token) = &self.token else { return };
        let mut reported = self.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if !done.is_finite() || done <= *reported || self.is_cancelled() {
            return;
        }
        *reported = done;
        let mut params = json!({"progressToken": token, "progress": done});
        if let Some(total) = total.filter(|total| total.is_finite()) {
            insert(&mut params, "total", total.into());
        }
        if let Some(message) = message {
            insert(&mut params, "message", message.into());
        }
        self.notify("notifications/progress", &params);
    }

    /// Sends a log message to the client, which can choose from which level on it wants them.
    pub fn log(&self, level: Level, message: impl Into<Value>) {
        if level >= self.line.level() && !self.is_cancelled() {
            let params = json!({"level": level, "logger": self.tool.name, "data": message.into()});
            self.notify("notifications/message", &params);
        }
    }

    /// Whether nobody waits for the answer any more.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.cancel.is_raised()
    }

    /// Waits for `span`, less if the call is cancelled meanwhile.
    ///
    /// # Errors
    /// If the call is cancelled; with `?` the tool ends at once.
    pub fn sleep(&self, span: Duration) -> Result<(), ToolError> {
        if self.cancel.wait(span) { Err(ToolError::new("cancelled")) } else { Ok(()) }
    }

    fn missing(&self, name: &str) -> ToolError {
        let purpose = self.tool.purpose(name).map_or_else(String::new, |text| format!(" ({text})"));
        ToolError::new(format!("the argument {name:?}{purpose} is missing"))
    }

    fn notify(&self, method: &str, params: &Value) {
        // A `Value` without non-finite numbers always serializes.
        if let Ok(params) = serde_json::value::to_raw_value(params) {
            self.line.send(&jsonrpc::notification(method, Some(&params)));
        }
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Arguments may hold secrets.
        f.debug_struct("Call").field("tool", &self.tool.name).finish_non_exhaustive()
    }
}

fn insert(object: &mut Value, key: &str, value: Value) {
    if let Some(object) = object.as_object_mut() {
        object.insert(key.to_owned(), value);
    }
}
