//! What a plugin wrote on stderr: the last lines in memory, all of it in rolling files.

use std::path::PathBuf;
use std::time::SystemTime;

use serde::Serialize;
use tokio::sync::broadcast;

/// One line of a plugin's log.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// Counts from 1 per plugin.
    pub seq: u64,
    /// When it was read.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub at: SystemTime,
    /// Which instance.
    pub instance: u32,
    /// Which launch of it.
    pub generation: u64,
    /// `stderr`, `stdout` (what is not MCP on stdout) or `wharf` (the host about the plugin).
    pub stream: &'static str,
    /// The line, without its end, shortened to the bound.
    pub text: String,
}

/// The log of one plugin.
#[derive(Debug)]
pub struct LogBook {
    live: broadcast::Sender<LogLine>,
}

impl LogBook {
    /// A log that keeps its files in `dir`.
    #[must_use]
    pub fn new(_dir: PathBuf, _plugin: &str, _secrets: Vec<String>) -> Self {
        Self { live: broadcast::channel(256).0 }
    }

    /// Adds a line.
    pub fn append(&self, _instance: u32, _generation: u64, _stream: &'static str, _text: &str) {}

    /// The last `n` lines, oldest first.
    #[must_use]
    pub fn tail(&self, _n: usize) -> Vec<LogLine> {
        Vec::new()
    }

    /// The last `n` lines that one launch wrote on stderr, oldest first.
    #[must_use]
    pub fn tail_of(&self, _instance: u32, _generation: u64, _n: usize) -> Vec<String> {
        Vec::new()
    }

    /// What comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LogLine> {
        self.live.subscribe()
    }
}
