//! The four traits between a host and a plugin, and who owns what.
//!
//! The host owns the instances: how many there are, when one starts and ends, and the proof that one works. A plugin is
//! only a factory of connections; it never restarts itself and never hides that a connection is gone.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::cause::Cause;
use crate::error::CallError;
use crate::jsonrpc::{Notification, Reply, Request};
use crate::trace::Trace;

/// A factory of connections: a subprocess behind any dialect, a remote URL, or a Rust type of an embedder.
#[async_trait]
pub trait Plugin: Send + Sync {
    /// Makes sure that all that a launch needs is there (the executable, the folder, a download), before anything is
    /// started. It has a budget of its own, and its failure never counts as a crash.
    ///
    /// # Errors
    /// The cause; [`CauseKind::is_permanent`](crate::CauseKind::is_permanent) tells the host whether to try again.
    async fn prepare(&self) -> Result<(), Cause> {
        Ok(())
    }

    /// Opens one connection and does the handshake.
    ///
    /// The contract of the ends, on which the host's rule "no new generation before the last one is gone" rests:
    /// * `Err` is returned only when nothing of this generation is left (no process, no socket).
    /// * After `Ok`, [`Inbox::closed`] is called exactly once, when nothing of this generation is left.
    /// * Where that end takes time, [`Inbox::lost`] says before it that nothing can be said to the plugin any more.
    /// * The host does not drop this future. It asks for an early end by [`Inbox::cancelled`], which an implementation
    ///   must watch while it waits.
    ///
    /// # Errors
    /// Why no working connection could be made.
    async fn open(&self, launch: Launch, host: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause>;
}

/// One live connection to one generation of an instance.
#[async_trait]
pub trait Link: Send + Sync {
    /// What the handshake proved.
    fn hello(&self) -> &Hello;

    /// Sends any MCP request and waits for its answer. Ids and progress tokens on the wire are the link's own business.
    /// It may be sent before the future is polled. Dropping the future cancels the request at the plugin.
    ///
    /// # Errors
    /// [`CallError`] if there is no answer; it says how far the request got. An answer that is a JSON-RPC error is a
    /// [`Reply::Error`], not an `Err`.
    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError>;

    /// Sends a notification, without waiting.
    ///
    /// # Errors
    /// [`Full`] if the link's bounded queue has no room, or the link is gone.
    fn notify(&self, notification: Notification) -> Result<(), Full>;

    /// Ends the connection gracefully and returns when nothing of it is left. Bounded by the plugin's stop policy.
    async fn close(&self);
}

/// What belongs to one call: how far it got, what the plugin says during it, and what the plugin asks of its caller.
#[async_trait]
pub trait Scope: Send + Sync {
    /// The first byte of the request is about to be handed to the plugin: from here on the outcome may be unknown.
    fn sent(&self);

    /// The same, for a link that writes several requests at once and writes down what the host keeps of them in one piece: what
    /// is put into `batch` is kept before the first byte goes out, and then [`Scope::sent`] is called. A link that knows
    /// nothing of this calls `sent` alone.
    fn note(&self, batch: &mut Vec<u8>) {
        let _ = batch;
    }

    /// The answer was read, and [`Link::request`] returns it, whatever else happens. The call takes no room at the plugin from
    /// here on, though its caller may get to the answer later. A link that reads the answers of many calls says so, at most once
    /// for each: in a task of the host, and without a lock of its own, since the requests of other calls may begin within.
    fn answered(&self) {}

    /// Whether the caller wants any notification of this call.
    fn listens(&self) -> bool;

    /// Whether progress is among them. Only then does the link ask for it.
    fn wants_progress(&self) -> bool {
        self.listens()
    }

    /// A notification of the plugin that belongs to this call (progress, log message).
    fn event(&self, notification: Notification);

    /// A request of the plugin to the caller of this call (sampling, elicitation, roots). Dropping the future takes it back.
    ///
    /// # Errors
    /// If the caller cannot be asked.
    async fn ask(&self, request: Request) -> Result<Reply, CallError>;

    /// Whether a caller stands behind it, whom the plugin may mean when it asks or tells something without saying of which
    /// request it speaks. False for what the host asks for itself.
    fn is_call(&self) -> bool {
        true
    }

    /// Whether the caller is there. One that was told the plugin's questions, and is to come back with the answers, is not:
    /// nothing reaches it until then.
    fn is_attended(&self) -> bool {
        true
    }

    /// The trace that the call is part of, where its caller named one. It stands in the request's `_meta` already; a link
    /// whose transport has headers says it there too.
    fn trace(&self) -> Option<&Trace> {
        None
    }

    /// Who calls.
    fn caller(&self) -> &Caller;

    /// When the call ends at the latest, over all attempts.
    fn deadline(&self) -> Instant;
}

/// What belongs to no call: the host's ear for one generation of an instance.
#[async_trait]
pub trait Inbox: Send + Sync {
    /// A step of the opening has been reached.
    fn stage(&self, stage: Stage);

    /// The plugin has said something that is MCP, whatever it was: it lives.
    fn heard(&self) {}

    /// A notification of the plugin that belongs to no call.
    fn event(&self, notification: Notification);

    /// A request of the plugin that belongs to no call.
    ///
    /// # Errors
    /// If the host cannot answer it.
    async fn ask(&self, request: Request) -> Result<Reply, CallError>;

    /// Resolves when the host no longer wants this generation: an `open` under way must then clean up and return.
    async fn cancelled(&self);

    /// The connection is of no more use, or the plugin's process has ended; what is left of the generation is being ended.
    /// Told at most once, after a successful `open` and before [`Inbox::closed`], where the end takes time: from here on no
    /// call is let in.
    fn lost(&self, cause: Cause) {
        drop(cause);
    }

    /// The connection has ended and nothing of this generation is left. Called exactly once after a successful `open`.
    fn closed(&self, cause: Cause);
}

/// Which launch this is.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The number of the instance within its plugin, from 0.
    pub instance: u32,
    /// Its position among those that run by the same manifest, from 0. It differs from `instance` where instances of two
    /// versions of a manifest run side by side.
    pub replica: u32,
    /// Counts the launches of this instance, from 1.
    pub generation: u64,
    /// When the connection must be open and proven at the latest.
    pub deadline: Instant,
    /// The one client that the instance is for, where each has its own. `None`: clients share it.
    pub client: Option<Arc<Client>>,
}

/// A step of an opening that the host shows its users.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stage {
    /// The plugin's process runs.
    Spawned {
        /// Process id of the plugin's main process.
        pid: u32,
        /// The port the host chose for it, if it speaks over one.
        port: Option<u16>,
    },
    /// It is known where the plugin's server listens: health probes of the kinds `tcp` and `http` go there.
    Listening {
        /// An IP address (of a plugin that was launched, the one on which its own process listens) or a name.
        host: String,
        /// The port.
        port: u16,
    },
}

/// What the handshake proved. The payloads stay as the plugin sent them.
#[derive(Clone, Debug)]
pub struct Hello {
    /// How the instance speaks MCP: `stdio`, `sse`, `sse-post`, `http`, or an embedder's own word.
    pub dialect: &'static str,
    /// The dated MCP revision that both sides settled on.
    pub revision: String,
    /// The plugin's `serverInfo`.
    pub server_info: Option<Box<RawValue>>,
    /// The plugin's `capabilities`.
    pub capabilities: Option<Box<RawValue>>,
    /// The plugin's `instructions`.
    pub instructions: Option<String>,
}

/// Who makes a call.
#[derive(Clone, Debug)]
pub struct Caller {
    /// Under which name the caller was let in; rates, shares and idempotency keys are counted under it.
    pub principal: Arc<str>,
    /// What the caller's own MCP client can do.
    pub client: Arc<Client>,
    /// The caller's MCP session with the host, if it has one.
    pub session: Option<Arc<str>>,
}

/// What an MCP client says of itself. A modern plugin is told exactly this; nobody asks the client for more.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its `ClientCapabilities`, a JSON object, as it came.
    pub capabilities: Arc<RawValue>,
    /// Its `clientInfo`, if it gave one.
    pub info: Option<Arc<RawValue>>,
    /// The least severe level of log messages that it wants; `None`: it wants none.
    pub log_level: Option<Arc<str>>,
}

/// The two ways in which MCP is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Era {
    /// Up to 2025-11-25: `initialize`, sessions, requests in both directions.
    Legacy,
    /// From 2026-07-28: every request stands for itself.
    Modern,
}

/// The link's queue has no room, or the link is gone; nothing was sent.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the plugin's queue is full")]
pub struct Full;

// === impl Hello ===

impl Hello {
    /// How the connection speaks.
    #[must_use]
    pub fn era(&self) -> Era {
        Era::of(&self.revision)
    }
}

// === impl Era ===

impl Era {
    /// The first modern revision.
    pub const FIRST_MODERN: &'static str = "2026-07-28";

    /// The era of a revision. Revisions are dates, which sort as texts.
    #[must_use]
    pub fn of(revision: &str) -> Self {
        if revision < Self::FIRST_MODERN { Self::Legacy } else { Self::Modern }
    }

    /// Its name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

// === impl Caller ===

impl Caller {
    /// A caller without an MCP client: it can be asked nothing.
    pub fn new(principal: impl Into<Arc<str>>) -> Self {
        static NONE: LazyLock<Arc<Client>> = LazyLock::new(Arc::default);
        Self { principal: principal.into(), client: Arc::clone(&NONE), session: None }
    }
}

// === impl Client ===

impl Default for Client {
    /// One that can do nothing.
    fn default() -> Self {
        let nothing = RawValue::from_string("{}".to_owned()).unwrap_or_else(|_| RawValue::NULL.to_owned());
        Self { capabilities: nothing.into(), info: None, log_level: None }
    }
}
