//! What a scripted plugin does when it is opened or called.

use std::sync::atomic::Ordering;

use wharf_plugin_api::{CallError, CallErrorKind, CauseKind, Delivery, Reply, Request, Scope};

use super::Script;

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
    /// Handed over in the very moment in which nobody waits any more.
    HandedOverLate,
    /// Asks the client, and answers with its answer.
    Asks,
    /// The answer is read at the second look, and the caller never gets to it.
    IsRead,
    /// The newest connection ends with it.
    Dies,
    /// Asks the client, and is gone.
    AsksAndFails,
}

pub(super) async fn is_read(scope: &dyn Scope) -> Result<Reply, CallError> {
    tokio::task::yield_now().await;
    scope.answered();
    std::future::pending().await
}

pub(super) async fn asks_and_fails(scope: &dyn Scope) -> Result<Reply, CallError> {
    scope.ask(Request::bare("elicitation/create")).await.ok();
    Err(CallError::new(CallErrorKind::Connection, Delivery::Unknown, "scripted"))
}

/// Hands a call over when it is dropped.
pub(super) struct Late<'a>(pub(super) &'a dyn Scope, pub(super) &'a Script);

impl Drop for Late<'_> {
    fn drop(&mut self) {
        self.0.sent();
        self.1.executions.fetch_add(1, Ordering::SeqCst);
    }
}
