//! The states of an instance, and of a plugin.

use serde::Serialize;

/// Where an instance stands in its life. The order is from best to worst: a plugin's state is the best of its instances'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Proven and serving.
    Ready,
    /// Alive, but its probes fail.
    Degraded,
    /// No new calls; those in flight may end.
    Draining,
    /// Its process runs; the handshake or the lists are not done.
    Starting,
    /// What it needs is being checked or fetched.
    Preparing,
    /// Waits for its next start.
    Backoff,
    /// Being ended, until nothing of it is left.
    Stopping,
    /// Ended too often: one try each five minutes.
    Quarantined,
    /// Cannot heal by itself.
    Fatal,
    /// The manifest is wrong; there are no instances.
    Misconfigured,
    /// Not wanted up.
    Stopped,
    /// Switched off by the manifest or an operator.
    Disabled,
}

impl State {
    /// Every state.
    pub const ALL: [State; 12] = [
        State::Ready,
        State::Degraded,
        State::Draining,
        State::Starting,
        State::Preparing,
        State::Backoff,
        State::Stopping,
        State::Quarantined,
        State::Fatal,
        State::Misconfigured,
        State::Stopped,
        State::Disabled,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Starting => "starting",
            Self::Preparing => "preparing",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Quarantined => "quarantined",
            Self::Fatal => "fatal",
            Self::Misconfigured => "misconfigured",
            Self::Stopped => "stopped",
            Self::Disabled => "disabled",
        }
    }
}
