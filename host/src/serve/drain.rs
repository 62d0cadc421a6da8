//! The end of the edge: nothing new is accepted, what is in flight is answered, and a connection that a client keeps for
//! later is open until that is done. What comes on it meanwhile is refused in order, and not by a broken connection.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::tasks::Tasks;

/// The requests in flight.
#[derive(Debug, Default)]
pub(super) struct Drain {
    busy: AtomicUsize,
    left: Notify,
    /// Cancelled when idle connections are closed too.
    quiet: CancellationToken,
}

/// A request in flight, until this is dropped.
#[derive(Debug)]
pub(super) struct Busy<'a>(&'a Drain);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if self.0.busy.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.left.notify_waiters();
        }
    }
}

impl Drain {
    /// Counts a request in.
    pub(super) fn enter(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(self)
    }

    /// Resolves when connections are to be closed.
    pub(super) async fn closes(&self) {
        self.quiet.cancelled().await;
    }

    /// Ends the edge: waits until no request is in flight, has all connections closed then, and waits for the tasks; at most
    /// `budget` for all. Returns how many tasks were left.
    pub(super) async fn end(&self, tasks: &Tasks, budget: Duration) -> usize {
        let end = Instant::now() + budget;
        tasks.ending().cancel();
        let idle = async {
            loop {
                let left = self.left.notified();
                if self.busy.load(Ordering::Acquire) == 0 {
                    return;
                }
                left.await;
            }
        };
        // Whatever is left has its connection's time.
        tokio::time::timeout_at(end, idle).await.ok();
        self.quiet.cancel();
        tasks.end(end.saturating_duration_since(Instant::now())).await
    }
}
