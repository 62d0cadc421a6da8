//! A flag that is raised once, and on which a thread can wait.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

#[derive(Debug, Default)]
pub(super) struct Cancel {
    raised: Mutex<bool>,
    changed: Condvar,
}

impl Cancel {
    pub(super) fn raise(&self) {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.changed.notify_all();
    }

    pub(super) fn is_raised(&self) -> bool {
        *self.raised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until it is raised, at most `span`. Returns whether it is.
    pub(super) fn wait(&self, span: Duration) -> bool {
        let raised = self.raised.lock().unwrap_or_else(PoisonError::into_inner);
        *self
            .changed
            .wait_timeout_while(raised, span, |raised| !*raised)
            .unwrap_or_else(PoisonError::into_inner)
            .0
    }
}
