//! The tables of a manifest, each with its defaults.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::routing::Rate;
use super::units::{ByteSize, Span};

/// How an instance speaks MCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Lines of JSON-RPC on stdin and stdout.
    Stdio,
    /// Streamable HTTP, as of 2025-03-26.
    Http,
    /// HTTP+SSE, as of 2024-11-05: GET for the event stream, POST for messages.
    Sse,
    /// One `POST /sse` per request with `x-session-id`; methods `list_tools` and `call_tool`.
    SsePost,
}

/// Which of the two ways of speaking MCP the server is spoken to in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EraChoice {
    /// It is asked at the first start, and the answer is remembered.
    #[default]
    Auto,
    /// `initialize` and sessions: up to revision 2025-11-25.
    Legacy,
    /// Requests that stand for themselves: from revision 2026-07-28.
    Modern,
}

/// When it is started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Start {
    /// With the host.
    #[default]
    Eager,
    /// By the first call. What it lists is remembered from its last start; without such a memory it is started once, to learn it.
    Lazy,
}

/// Whether clients share the instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// All clients use the same instances.
    #[default]
    Shared,
    /// Each MCP session of a client gets an instance of its own, which ends with the session. Callers without a session share
    /// the plugin's own instances.
    Session,
}

/// How an instance is probed while it is up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// An MCP `ping`.
    Mcp,
    /// A GET of this path at the plugin's port; any 2xx or 3xx is good.
    Http(String),
    /// A TCP connection to the plugin's port.
    Tcp,
    /// Not at all; only its end is noticed.
    None,
}

/// `[health]`: how the host knows that an instance works.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Health {
    /// `mcp` (a ping), `http:/path` (a GET at the plugin's port), `tcp` or `none`.
    pub probe: Probe,
    /// Time between probes.
    pub interval: Span,
    /// How long one probe may take.
    pub timeout: Span,
    /// Failed probes in a row until the instance is restarted. One that is busy inside a call's deadline is only marked degraded.
    #[schemars(range(min = 1, max = 100))]
    pub failures: u32,
    /// From spawn to handshake done and lists read. Of a command that fetches what it runs: from the server's first word on.
    pub start_timeout: Span,
    /// For what comes before that: checks, and with `npx`, `npm exec`, `uvx`, `uv run`, `uv tool run`, `bunx`, `pnpm dlx`,
    /// `yarn dlx` and `pipx run` the fetching. Two plugins fetch at a time; one that cannot is tried again and never quarantined.
    pub prepare_timeout: Span,
    /// A tool call that must succeed before an instance counts as ready, within the time for its start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub canary: Option<Canary>,
}

/// `health.canary`: a tool call that must succeed before an instance counts as ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// The tool, by the plugin's own name. It is called at each start: choose one that only reads.
    #[schemars(length(min = 1, max = 256))]
    pub tool: String,
    /// Its arguments; no variable is put in.
    #[serde(default)]
    pub args: serde_json::Map<String, serde_json::Value>,
}

/// When an ended instance is started again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RestartPolicy {
    /// Whenever it ends while it is wanted.
    #[default]
    Always,
    /// Unless it exited with code 0.
    OnFailure,
    /// Not at all.
    Never,
}

/// `[restart]`: what happens when an instance ends.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Restart {
    /// When to start again.
    pub policy: RestartPolicy,
    /// The first delay. An instance that had been ready for 10 s is restarted at once.
    pub initial: Span,
    /// Each further delay is this many times the last.
    #[schemars(range(min = 1.0, max = 10.0))]
    pub factor: f64,
    /// The longest delay.
    pub max: Span,
    /// Each delay is multiplied by a random number between 1 - jitter and 1 + jitter.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub jitter: f64,
    /// Each such span of being ready takes one step off the delay.
    pub decay: Span,
    /// Starts in a row that never became ready, after which the instance is quarantined.
    #[schemars(range(min = 1, max = 1000))]
    pub quarantine_after: u32,
    /// Ends within 10 minutes after which it is quarantined.
    #[schemars(range(min = 1, max = 1000))]
    pub quarantine_crashes: u32,
}

/// `[limits]`: bounds on calls, and on what a launched plugin takes of the machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// How long a call may take unless the caller says otherwise. Progress that such a caller hears of gives it as long
    /// again, up to `limits.max_timeout`.
    pub call_timeout: Span,
    /// The longest that a caller may ask for, and that any call takes.
    pub max_timeout: Span,
    /// Calls that run at the same time, per instance. At most half of them (at least one) wait for what the plugin asked
    /// their clients; one that does is cancelled when another call gets no turn within half of `limits.queue_wait`.
    #[schemars(range(min = 1, max = 10000))]
    pub concurrency: u32,
    /// Calls that wait for their turn; one more is refused at once. Callers (principals, and within one the MCP sessions)
    /// take turns; while several wait, none has more than a quarter of the queue, nor gets more than its part of the places.
    #[schemars(range(min = 0, max = 100000))]
    pub queue: u32,
    /// How long a call waits for its turn, or for a plugin that is about to be ready.
    pub queue_wait: Span,
    /// Calls that each caller may begin, on average; as many may come at once. A caller is a principal here, whatever
    /// sessions it has. Without it they are not counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
    /// The largest message that the plugin may send.
    pub result: ByteSize,
    /// The most memory that an instance's processes hold together; over it, it is killed and restarted. Node.js is told to
    /// keep its heap below three quarters of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<ByteSize>,
    /// The most processors that an instance uses, on average over a tenth of a second: `0.5` is half of one.
    #[schemars(range(min = 0.01, max = 1024.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// The most processes and threads that an instance has.
    #[schemars(range(min = 1, max = 100000))]
    pub pids: u32,
    /// The most files and sockets that each of its processes holds open; without it, the host's own limit.
    #[schemars(range(min = 16, max = 1048576))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// The largest file that it may write.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_size: Option<ByteSize>,
    /// Lines of its stderr that are kept, each second on average; five times as many at once.
    #[schemars(range(min = 1, max = 100000))]
    pub log_rate: u32,
}

/// `[stop]`: how an instance is ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stop {
    /// After its stdin is closed (or, without one, at once): how long until SIGTERM.
    pub grace: Span,
    /// After SIGTERM: how long until SIGKILL for the whole tree.
    pub term: Span,
    /// When asked to drain: how long calls in flight may go on.
    pub drain: Span,
}

/// `[tools]`: which tools are offered, and under which names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ToolFilter {
    /// Glob patterns; a tool must match one. Empty: all.
    pub include: Vec<String>,
    /// Glob patterns; a tool that matches one is not offered.
    pub exclude: Vec<String>,
    /// Upstream name = offered name.
    pub rename: std::collections::BTreeMap<String, String>,
}

// === defaults: the values of surface.md ===

impl Default for Health {
    fn default() -> Self {
        Self {
            probe: Probe::Mcp,
            interval: Span::secs(10),
            timeout: Span::secs(5),
            failures: 3,
            start_timeout: Span::secs(30),
            prepare_timeout: Span::secs(300),
            canary: None,
        }
    }
}

impl Default for Restart {
    fn default() -> Self {
        Self {
            policy: RestartPolicy::Always,
            initial: Span::millis(500),
            factor: 2.0,
            max: Span::secs(60),
            jitter: 0.5,
            decay: Span::secs(60),
            quarantine_after: 5,
            quarantine_crashes: 10,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call_timeout: Span::secs(60),
            max_timeout: Span::secs(600),
            concurrency: 64,
            queue: 256,
            queue_wait: Span::secs(5),
            rate: None,
            result: ByteSize::mib(16),
            memory: None,
            cpu: None,
            pids: 512,
            open_files: None,
            file_size: None,
            log_rate: 200,
        }
    }
}

impl Default for Stop {
    fn default() -> Self {
        Self { grace: Span::secs(2), term: Span::secs(5), drain: Span::secs(30) }
    }
}

// === impl Dialect, Probe ===

impl Dialect {
    /// The name on the wire and in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdio => "stdio",
            Self::Http => "http",
            Self::Sse => "sse",
            Self::SsePost => "sse-post",
        }
    }

    /// The path of its endpoint where the manifest names none.
    #[must_use]
    pub fn default_path(self) -> &'static str {
        match self {
            Self::Stdio | Self::Http => "/mcp",
            Self::Sse | Self::SsePost => "/sse",
        }
    }
}

impl Probe {
    /// Reads `mcp`, `tcp`, `none`, `http:/path`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "mcp" => Self::Mcp,
            "tcp" => Self::Tcp,
            "none" => Self::None,
            _ => Self::Http(text.strip_prefix("http:").filter(|path| path.starts_with('/'))?.to_owned()),
        })
    }
}

impl<'de> Deserialize<'de> for Probe {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom("a probe is mcp, tcp, none or http:/path"))
    }
}

impl Serialize for Probe {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Mcp => to.serialize_str("mcp"),
            Self::Tcp => to.serialize_str("tcp"),
            Self::None => to.serialize_str("none"),
            Self::Http(path) => to.collect_str(&format_args!("http:{path}")),
        }
    }
}

impl JsonSchema for Probe {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Probe".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "pattern": "^(mcp|tcp|none|http:/.*)$"})
    }
}

impl Limits {
    /// Whether what is bound at a launch is the same.
    #[must_use]
    pub fn launches_like(&self, other: &Self) -> bool {
        self.result == other.result
            && self.memory == other.memory
            && self.cpu == other.cpu
            && self.pids == other.pids
            && self.open_files == other.open_files
            && self.file_size == other.file_size
            && self.log_rate == other.log_rate
    }

    /// The deadline of a call, from what its caller asks for.
    #[must_use]
    pub fn timeout(&self, asked: Option<Duration>) -> Duration {
        asked.unwrap_or(self.call_timeout.0).min(self.max_timeout.0)
    }
}
