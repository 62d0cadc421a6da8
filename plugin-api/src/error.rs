//! Why a call got no answer, how far it got, and whose fault it is.

use serde::Serialize;

/// What is known of a request that got no answer. It decides whether another attempt is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Delivery {
    /// Still in the host's own queue.
    Queued,
    /// Provably not delivered: no byte of it reached the plugin. Another attempt runs nothing twice.
    NotDelivered,
    /// At least one byte was handed over and no answer came: it may have run.
    Unknown,
    /// Answered, be it by a result, a tool error or a JSON-RPC error.
    Answered,
}

/// The four kinds of failure that users tell apart, and two that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallErrorKind {
    /// The plugin cannot be reached, or the connection broke.
    Connection,
    /// What came back is not MCP.
    Protocol,
    /// The server refused the request itself, with an HTTP status of 4xx: it works, and will not have this request. Users see
    /// it as `protocol`.
    #[serde(rename = "protocol")]
    Refused,
    /// The deadline passed.
    Timeout,
    /// The MCP session is gone and could not be restored.
    Session,
    /// The caller gave up.
    Cancelled,
    /// The link's bounded queue has no room.
    Full,
}

/// A call without an answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct CallError {
    /// What went wrong.
    pub kind: CallErrorKind,
    /// How far the request got.
    pub delivery: Delivery,
    /// For people: what happened. Holds no secret and no payload.
    pub detail: String,
}

/// Who has to act for the error to go away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller.
    Caller,
    /// The plugin, or the way to it.
    Plugin,
    /// The host.
    Host,
}

// === impl CallError ===

impl CallError {
    /// A failure of `kind`, with what is known of the delivery.
    pub fn new(kind: CallErrorKind, delivery: Delivery, detail: impl Into<String>) -> Self {
        Self { kind, delivery, detail: detail.into() }
    }

    /// Whose fault it is.
    #[must_use]
    pub fn fault(&self) -> Fault {
        match self.kind {
            CallErrorKind::Cancelled => Fault::Caller,
            CallErrorKind::Full => Fault::Host,
            CallErrorKind::Connection
            | CallErrorKind::Protocol
            | CallErrorKind::Refused
            | CallErrorKind::Timeout
            | CallErrorKind::Session => Fault::Plugin,
        }
    }

    /// Whether another attempt provably runs nothing twice, whatever the tool does.
    #[must_use]
    pub fn is_safe_to_retry(&self) -> bool {
        self.delivery <= Delivery::NotDelivered && self.kind != CallErrorKind::Cancelled
    }
}
