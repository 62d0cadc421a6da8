//! One client that takes messages: a connection or a pipe. Knows how much waits for it, and whether it takes any of it.

use std::future::pending;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::Held;

/// How long more than its bound may wait for a client: answers that came together are taken in a moment by one that reads.
pub(super) const GRACE: Duration = Duration::from_secs(5);
/// A client that takes no byte for so long, while the host ends, is not waited for.
pub(crate) const STUCK: Duration = Duration::from_secs(3);

/// Who takes messages.
#[derive(Debug)]
pub(crate) struct Taker {
    held: Held,
    number: u64,
    what: &'static str,
    state: Mutex<State>,
    /// What waits came to be more, or no more, than its bound.
    changed: Notify,
    cut: CancellationToken,
}

#[derive(Debug)]
struct State {
    bytes: usize,
    /// Since when more waits than its bound allows.
    over: Option<Instant>,
    /// When it took something last, or something began to wait.
    took: Instant,
    /// Since when a write waits for it.
    blocked: Option<Instant>,
}

impl Taker {
    pub(super) fn new(held: Held, number: u64, what: &'static str) -> Self {
        let state = State { bytes: 0, over: None, took: Instant::now(), blocked: None };
        Self {
            held,
            number,
            what,
            state: Mutex::new(state),
            changed: Notify::new(),
            cut: CancellationToken::new(),
        }
    }

    /// Counts a message for as long as any part of it is in memory. The host makes room for it, if it must.
    pub(crate) fn hold(self: &Arc<Self>, message: Bytes) -> Bytes {
        let held = self.held.counted(message, Some(Arc::clone(self)), None);
        self.held.make_room();
        held
    }

    /// What waits for it now, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.state().bytes
    }

    /// A write waits for it.
    pub(crate) fn waits(&self) {
        self.state().blocked.get_or_insert_with(Instant::now);
    }

    /// It took something, at this time.
    pub(crate) fn took(&self, now: Instant) {
        let mut state = self.state();
        state.took = now;
        state.blocked = None;
    }

    /// Resolves when it must be cut off, because too much waits for it. The log knows why by then.
    pub(crate) async fn must_go(&self) {
        loop {
            let changed = self.changed.notified();
            let over = self.state().over;
            let late = async {
                match over {
                    Some(since) => sleep_until(since + GRACE).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = self.cut.cancelled() => return,
                () = changed => {}
                () = late => {
                    if self.state().over == over {
                        return self.cut("more waits for it than the host keeps for one client");
                    }
                }
            }
        }
    }

    /// Resolves when a write has waited for so long without a byte being taken.
    pub(crate) async fn stuck(&self, patience: Duration) {
        loop {
            let blocked = self.state().blocked;
            match blocked {
                None => sleep(patience / 4).await,
                Some(since) if since.elapsed() >= patience => return,
                Some(since) => sleep_until(since + patience).await,
            }
        }
    }

    pub(super) fn add(&self, size: usize) {
        let mut state = self.state();
        if state.bytes == 0 {
            state.took = Instant::now();
        }
        state.bytes += size;
        if state.bytes > self.held.0.own && state.over.is_none() {
            state.over = Some(Instant::now());
            drop(state);
            self.changed.notify_waiters();
        }
    }

    pub(super) fn give_back(&self, size: usize) {
        let mut state = self.state();
        state.bytes -= size;
        if state.bytes <= self.held.0.own && state.over.take().is_some() {
            drop(state);
            self.changed.notify_waiters();
        }
    }

    pub(super) fn took_at(&self) -> Instant {
        self.state().took
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.is_cancelled()
    }

    pub(super) fn cut(&self, why: &str) {
        let (waiting, idle) = {
            let state = self.state();
            (state.bytes, state.took.elapsed())
        };
        if self.cut.is_cancelled() {
            return;
        }
        self.cut.cancel();
        self.held.0.cut.fetch_add(1, Ordering::Relaxed);
        tracing::warn!(
            client = self.what,
            waiting_bytes = waiting,
            took_nothing_for_ms = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX),
            "a client that does not take its answers is cut off: {why}"
        );
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No critical section can panic half way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Taker {
    fn drop(&mut self) {
        self.held.takers().remove(&self.number);
    }
}
