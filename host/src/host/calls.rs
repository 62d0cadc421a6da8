//! The calls of the host, looked at and taken back.

use std::time::{Duration, SystemTime};

use tokio::time::{Instant, sleep, timeout_at};
use wharf_core::journal::Recovery;
use wharf_core::{CallId, Code};

use super::Host;
use crate::route::{CallView, Failure, Wanted};

/// How long the calls of plugins that are gone may take to tell so. One that waits for its client tells it when that asks.
const SETTLE: Duration = Duration::from_millis(500);
/// Between two looks whether they have.
const LOOK: Duration = Duration::from_millis(5);

impl Host {
    /// Calls that run, the last that ended, and those of earlier runs that the journal told of; newest first.
    #[must_use]
    pub fn calls(&self, wanted: &Wanted) -> Vec<CallView> {
        self.0.routing.book.list(wanted)
    }

    /// Says that the program ends without waiting for the calls in flight: to the next host they are unknown, and not
    /// cancelled by their callers.
    pub fn cut_off(&self) {
        self.close();
        self.0.routing.calls.cut_off();
    }

    /// How many are in flight.
    pub(crate) fn calls_in_flight(&self) -> usize {
        self.0.routing.calls.in_flight()
    }

    /// Waits, for a moment and until `end` at most, until the calls whose plugins are gone have told their callers.
    pub(super) async fn settled(&self, end: Instant) {
        let settled = async {
            while self.calls_in_flight() > 0 {
                sleep(LOOK).await;
            }
        };
        timeout_at(end.min(Instant::now() + SETTLE), settled).await.ok();
    }

    /// One call.
    ///
    /// # Errors
    /// If there is none of this id, or it is forgotten.
    pub fn call_view(&self, id: &str) -> Result<CallView, Failure> {
        let call = parsed(id)?;
        self.0.routing.book.view(&call).ok_or_else(|| missing(id))
    }

    /// Takes a call back: it is cancelled at its plugin as if its caller had left, and its caller is told. One that has ended
    /// stays as it is. Returns how it stands.
    ///
    /// # Errors
    /// If there is none of this id, or it is forgotten.
    pub fn cancel(&self, id: &str) -> Result<CallView, Failure> {
        if let Some(call) = self.0.routing.book.find(&parsed(id)?) {
            call.take_back();
        }
        self.call_view(id)
    }
}

fn parsed(id: &str) -> Result<CallId, Failure> {
    id.parse().map_err(|error| Failure { detail: format!("{id:?}: {error}"), ..missing(id) })
}

fn missing(id: &str) -> Failure {
    let detail =
        format!("no call {id:?}, or it is forgotten by now; `GET /api/v1/calls` lists those that are not");
    Failure::new(Code::CallNotFound, detail)
}

/// A name for this run that no call of an earlier one has.
pub(super) fn new_run(recovery: &Recovery) -> u32 {
    let taken = |run: &u32| recovery.calls.iter().any(|call| call.call.run() == *run);
    let time =
        || SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(1, |now| now.subsec_nanos());
    // Without randomness from the system the time names it.
    let random = || getrandom::u32().unwrap_or_else(|_| time());
    std::iter::repeat_with(random).take(8).find(|run| !taken(run)).unwrap_or_default()
}
