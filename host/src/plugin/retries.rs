//! What the calls of a plugin may be tried again: the budget and what fills it. Which call may be is not known here.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use wharf_core::Moment;
use wharf_core::budget::Budget;

/// The further attempts of all calls of one plugin.
#[derive(Debug, Default)]
pub(crate) struct Retries {
    calls: AtomicU64,
    budget: Mutex<Budget>,
}

impl Retries {
    /// A call begins.
    pub(crate) fn count_call(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether there may be one more attempt.
    pub(crate) fn take(&self, share: f64, now: Moment) -> bool {
        let calls = self.calls.load(Ordering::Relaxed);
        self.budget.lock().unwrap_or_else(PoisonError::into_inner).take(calls, share, now)
    }
}
