//! How an instance speaks MCP: bytes to messages and back. Each dialect gives a [`Link`].
//!
//! Data plane and control plane are apart. A caller inserts itself into the link's [`pending`] table and pushes a bounded
//! queue; whoever reads completes callers directly; whoever writes drains the queue into one write. Reader and writer are
//! tasks of their own, and nothing awaits a write where it reads.
//!
//! What is not here: processes, restarts, health and retries. A dialect link ends its connection and tells when it is
//! lost; what that means is the supervisor's business.

pub(crate) mod detect;
pub(crate) mod handshake;
pub(crate) mod http;
pub(crate) mod incoming;
pub(crate) mod messages;
pub(crate) mod modern;
pub(crate) mod pending;
mod plain;
pub(crate) mod pool;
mod posts;
pub(crate) mod sse;
pub(crate) mod sse_post;
pub(crate) mod stdio;
pub(crate) mod strikes;
#[cfg(test)]
pub(crate) mod testkit;
pub(crate) mod unlinked;
pub(crate) mod way;
pub(crate) mod web;
pub(crate) mod writer;

use self::pending::Pending;
pub(crate) use pool::HttpClient;
pub(crate) use web::{Endpoint, http_client};

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::{CallError, CallErrorKind, Cause, CauseKind, Client, Delivery, Era, Link};

use crate::journal::Journal;
use crate::process::logs::LogBook;
use crate::tasks::Tasks;

/// How long a server that does not know the question may be silent before it is spoken to in the old way.
const PROBE: Duration = Duration::from_secs(10);

/// What a connection needs to know of the generation it serves.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// The plugin, for spans and for people.
    pub(crate) label: Arc<str>,
    /// No message may be larger; `limits.result` of the manifest.
    pub(crate) max_message: usize,
    /// When the handshake must be done.
    pub(crate) handshake_deadline: Instant,
    /// Where it is written down what is handed over.
    pub(crate) journal: Journal,
    /// Where the link's tasks run.
    pub(crate) tasks: Tasks,
    /// Takes what is no message.
    pub(crate) log: Arc<LogBook>,
    /// Which instance.
    pub(crate) instance: u32,
    /// Which launch of it.
    pub(crate) generation: u64,
    /// The one client that the connection is for; `None`: clients share it.
    pub(crate) client: Option<Arc<Client>>,
    /// In which of the two ways the server is spoken to; `Auto`: it is asked.
    pub(crate) era: EraChoice,
    /// The server may be on its way for long: its silence says nothing of how it speaks.
    pub(crate) patient: bool,
    /// Cancelled when nobody is left who could answer, though the connection may look open (what the server started holds
    /// its end of a pipe): who waits is told so.
    pub(crate) cut: CancellationToken,
}

/// A connection whose handshake is done.
pub(crate) struct Connected {
    /// Sends requests, matches answers. Its `close` ends the connection, not the process behind it.
    pub(crate) link: Arc<dyn Link>,
    /// Resolves when the connection is broken.
    pub(crate) lost: Lost,
    /// Whether the server has shown its era; false: whatever was asked for it was in trouble, and only this worked.
    pub(crate) shown: bool,
}

/// Resolves, once, with why a connection is broken; after a `close` of ours with `Requested`.
#[derive(Debug)]
pub(crate) struct Lost(oneshot::Receiver<Cause>);

/// The other end of [`Lost`].
pub(crate) type LostSender = oneshot::Sender<Cause>;

/// What can be said to the plugin beside requests: answers and notifications.
pub(crate) trait Outbox: Send + Sync {
    /// Sends without waiting. False: there is no room, or the connection is gone.
    fn try_send(&self, message: Vec<u8>) -> bool;

    /// Sends, waiting for room. False: the connection is gone.
    fn send(&self, message: Vec<u8>) -> Pin<Box<dyn Future<Output = bool> + Send + '_>>;
}

// === impl Options ===

impl Options {
    /// Until when a server is asked for its era: most of the time is left for the handshake of a server that is silent.
    pub(crate) fn probe_deadline(&self) -> Instant {
        let now = Instant::now();
        now + PROBE.min(self.handshake_deadline.saturating_duration_since(now) / 3)
    }

    /// The one request of this id is about to be handed over, and that is written down. False: its caller is gone.
    pub(crate) fn sent(&self, pending: &Pending, id: u64) -> bool {
        let mut notes = Vec::with_capacity(128);
        let wanted = pending.sent(id, &mut notes);
        if !notes.is_empty() {
            // Where it cannot be written, the call goes on: the journal says so.
            self.journal.append(&notes).ok();
        }
        wanted
    }

    /// Notes what is no message.
    pub(crate) fn note(&self, stream: &'static str, text: &str) {
        self.log.append(self.instance, self.generation, stream, shortened(text));
    }
}

// === impl Connected ===

impl Connected {
    /// The era of the server, if it has shown it.
    pub(crate) fn era(&self) -> Option<Era> {
        self.shown.then(|| self.link.hello().era())
    }
}

// === impl Lost ===

impl Lost {
    pub(crate) fn channel() -> (LostSender, Self) {
        let (tx, rx) = oneshot::channel();
        (tx, Self(rx))
    }

    /// The cause, if the connection is already lost.
    pub(crate) fn already(&mut self) -> Option<Cause> {
        self.0.try_recv().ok()
    }
}

impl Future for Lost {
    type Output = Cause;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Cause> {
        Pin::new(&mut self.0).poll(cx).map(|cause| {
            cause.unwrap_or_else(|_| Cause::new(CauseKind::Requested, "the host closed the connection"))
        })
    }
}

/// The start of a text that may be long, for a log.
fn shortened(text: &str) -> &str {
    const MOST: usize = 8 << 10;
    text.get(..text.floor_char_boundary(MOST)).unwrap_or(text)
}

fn not_delivered(detail: impl Into<String>) -> CallError {
    CallError::new(CallErrorKind::Connection, Delivery::NotDelivered, detail)
}

fn queue_full() -> CallError {
    CallError::new(CallErrorKind::Full, Delivery::NotDelivered, "the plugin's queue is full")
}
