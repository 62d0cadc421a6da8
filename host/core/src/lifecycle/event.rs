//! What happens to an instance, and what the machine wants done about it.

use wharf_plugin_api::Cause;

use crate::id::Generation;
use crate::moment::Moment;

/// What happened. Those with a generation are ignored unless it is the living one.
#[derive(Clone, Debug)]
pub enum Event {
    /// Wanted up; out of backoff, quarantine and fatal too, with fresh counters.
    Start,
    /// Wanted down.
    Stop,
    /// End it and start it anew.
    Restart,
    /// Let calls in flight end, then stop.
    Drain,
    /// Launch from something else: end it once its calls have ended, and start it anew. What is down stays down, but that
    /// what failed is tried again.
    Renew,
    /// It is not needed any more, for this reason.
    Retire(&'static str),
    /// Likewise, once its calls have ended.
    Dismiss(&'static str),
    /// Switched off.
    Disable,
    /// Switched on, and wanted up, whether it was switched off or only stopped.
    Enable,
    /// A call wants it: one that sleeps is started, or goes on where it is about to end. Nothing else follows.
    Wake,
    /// Nothing has used it for as long as its manifest says: a lazy one goes to sleep until it is called.
    Sleep(Generation),
    /// It has leave to start: its own budget begins.
    Admitted(Generation),
    /// All that the launch needs is there.
    Prepared(Generation),
    /// It is not.
    PrepareFailed(Generation, Cause),
    /// Its server has said or shown something for the first time: whatever was fetched is there.
    Heard(Generation),
    /// The handshake is done.
    Opened(Generation),
    /// No connection; nothing of the generation is left.
    OpenFailed(Generation, Cause),
    /// The lists are read: it works.
    Proven(Generation),
    /// They could not be read.
    ProofFailed(Generation, Cause),
    /// The connection is of no more use; what is left of the generation is being ended.
    Lost(Generation, Cause),
    /// The connection ended; nothing of the generation is left.
    Closed(Generation, Cause),
    /// A health probe ended.
    Probed {
        /// Whom it was for.
        generation: Generation,
        /// Whether it was answered.
        ok: bool,
        /// Whether the instance is inside a call's deadline: then silence is no fault.
        busy: bool,
    },
    /// No call is in flight.
    Idle(Generation),
    /// The deadline has passed.
    Tick,
}

/// What has to be done, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Wait for leave to start, then check that all that the launch needs is there; answer with `Admitted`, then with
    /// `Prepared` or `PrepareFailed`.
    Prepare(Generation),
    /// Open a connection; answer with `Opened` or `OpenFailed`.
    Open(Generation),
    /// Ask the opening under way to clean up; it answers with `OpenFailed` (or `Opened`, if it was quicker).
    CancelOpen(Generation),
    /// Read the lists; answer with `Proven` or `ProofFailed`.
    Prove(Generation),
    /// Let calls in.
    Serve(Generation),
    /// Let no further call in.
    Suspend(Generation),
    /// End the connection; answer with `Closed`.
    Close(Generation),
}

/// What the machine is told with each event.
#[derive(Clone, Copy, Debug)]
pub struct Context {
    /// The time.
    pub now: Moment,
    /// A random number, uniform in `0.0..=1.0`, for jitter.
    pub roll: f64,
    /// Whether no other instance of the plugin serves or is about to: then this one is never quarantined, only backed off.
    /// Always false for a plugin of one instance.
    pub last_serviceable: bool,
}
