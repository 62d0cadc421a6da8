//! What a scripted plugin does when it is opened or called.

use wharf_plugin_api::{CallErrorKind, CauseKind, Delivery};

/// What the next opening does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Opening {
    Works,
    Fails(CauseKind),
    /// Never gets ready, but ends when it is cancelled.
    Hangs,
    /// Says something, and then hangs.
    SpeaksAndHangs,
    /// Does not even watch for the cancellation.
    Ignores,
}

/// What a call does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Answer {
    Ok,
    Fails(CallErrorKind, Delivery),
    /// With these words.
    Is(&'static str),
    /// Handed over, never answered.
    Hangs,
    /// Asks the client, and answers with its answer.
    Asks,
    /// The newest connection ends with it.
    Dies,
    /// Asks the client, and is gone.
    AsksAndFails,
}
