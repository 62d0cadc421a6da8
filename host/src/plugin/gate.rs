//! The gate of a plugin: so many calls run, so many wait, the next is turned away at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use wharf_core::admit::{Admission, admit};

use super::asking::Asking;

/// The gate of one plugin. A changed manifest gives it new bounds; calls under way keep their place under the old ones.
#[derive(Debug)]
pub(crate) struct Gate {
    bounds: ArcSwap<Bounds>,
    asking: Arc<Asking>,
}

#[derive(Debug)]
struct Bounds {
    running: Arc<Semaphore>,
    concurrency: u32,
    waiting: Arc<AtomicUsize>,
    queue: u32,
}

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full {
        /// How many wait.
        queue: u32,
    },
    /// It waited its time and its turn did not come.
    Waited,
}

/// Takes a waiting call off the count, however it ends.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self { bounds: ArcSwap::from_pointee(Bounds::new(0, 0)), asking: Arc::default() }
    }
}

impl Bounds {
    fn new(concurrency: u32, queue: u32) -> Self {
        Self {
            running: Arc::new(Semaphore::new(concurrency as usize)),
            concurrency,
            waiting: Arc::default(),
            queue,
        }
    }
}

impl Gate {
    /// Sets the bounds.
    pub(crate) fn configure(&self, concurrency: u32, queue: u32) {
        let bounds = self.bounds.load();
        if (bounds.concurrency, bounds.queue) != (concurrency, queue) {
            self.bounds.store(Arc::new(Bounds::new(concurrency, queue)));
        }
    }

    /// How many calls it lets run.
    pub(crate) fn concurrency(&self) -> usize {
        self.bounds.load().concurrency as usize
    }

    /// How many wait for their turn.
    pub(crate) fn waiting(&self) -> usize {
        self.bounds.load().waiting.load(Ordering::Relaxed)
    }

    /// How many of them may wait for their clients: half, so that there is room for others.
    pub(crate) fn may_ask(&self) -> usize {
        (self.concurrency() / 2).max(1)
    }

    /// Those that do.
    pub(crate) fn asking(&self) -> &Arc<Asking> {
        &self.asking
    }

    /// Lets a call in, at once or when its turn comes before `until`. One that gets no turn within `patience` has a call that
    /// waits for its client sent away.
    pub(crate) async fn enter(
        &self,
        until: Instant,
        patience: Duration,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let bounds = self.bounds.load_full();
        let waiting = bounds.waiting.load(Ordering::Relaxed);
        match admit(bounds.running.available_permits(), waiting, bounds.queue as usize) {
            Admission::Now => {
                if let Ok(permit) = Arc::clone(&bounds.running).try_acquire_owned() {
                    return Ok(permit);
                }
                if bounds.queue == 0 {
                    return Err(self.full(&bounds, patience));
                }
            }
            Admission::Queue => {}
            Admission::Shed => return Err(self.full(&bounds, patience)),
        }
        bounds.waiting.fetch_add(1, Ordering::Relaxed);
        let _waiting = Waiting(Arc::clone(&bounds.waiting));
        let turn = Arc::clone(&bounds.running).acquire_owned();
        tokio::select! {
            biased;
            permit = turn => permit.map_err(|_| Refused::Waited),
            () = tokio::time::sleep_until(until) => Err(Refused::Waited),
            never = self.asking.press(patience) => match never {},
        }
    }

    fn full(&self, bounds: &Bounds, patience: Duration) -> Refused {
        // Where nobody may wait for its turn, nobody else does this.
        if bounds.queue == 0 {
            self.asking.send_away(patience);
        }
        Refused::Full { queue: bounds.queue }
    }
}
