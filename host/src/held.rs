//! What waits in memory for clients to take it, counted in bytes: of each client, and of all together.
//!
//! A queue that is bounded in messages is not bounded in bytes: one message may be as large as a plugin's longest answer.
//! So every message on its way out is held here until its last byte is handed to the system, wherever it waits meanwhile.
//! A client that leaves too much waiting is cut off: first who is beyond its own bound, then who has taken nothing for the
//! longest time. What that means for its calls its edge knows: nothing here knows a call.
//!
//! ```text
//! message -> Taker::hold -> Bytes that count -> queue, lane, frame, socket -> dropped: given back
//! ```

mod events;
mod taker;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;

pub(crate) use self::events::Events;
pub(crate) use self::taker::{STUCK, Taker};

/// Bytes that wait for all clients.
const ALL: usize = 256 << 20;
/// Bytes that wait for one of them. More is there for a moment only: [`taker::GRACE`].
const OWN: usize = 32 << 20;
/// Where too much waits, who leaves less than this is cut off last: it would make no room.
const WORTH: usize = 1 << 20;

/// What waits for all clients of a host. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Held(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    all: usize,
    own: usize,
    bytes: AtomicUsize,
    last: AtomicU64,
    /// How many clients were cut off, since the start.
    cut: AtomicU64,
    takers: Mutex<HashMap<u64, Weak<Taker>>>,
}

/// Bytes that count for as long as they are there.
struct Counted {
    message: Bytes,
    held: Held,
    taker: Option<Arc<Taker>>,
    /// What else counts them.
    room: Option<Arc<AtomicUsize>>,
}

impl Default for Held {
    fn default() -> Self {
        Self::new(ALL, OWN)
    }
}

// === impl Held ===

impl Held {
    pub(crate) fn new(all: usize, own: usize) -> Self {
        Self(Arc::new(Shared {
            all,
            own,
            bytes: AtomicUsize::new(0),
            last: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            takers: Mutex::default(),
        }))
    }

    /// One more who takes messages. `what` names it in the log.
    pub(crate) fn taker(&self, what: &'static str) -> Arc<Taker> {
        let number = self.0.last.fetch_add(1, Ordering::Relaxed);
        let taker = Arc::new(Taker::new(self.clone(), number, what));
        self.takers().insert(number, Arc::downgrade(&taker));
        taker
    }

    /// Counts a message that is for no taker yet. Makes room for it, if it must.
    pub(crate) fn hold(&self, message: Bytes) -> Bytes {
        let held = self.counted(message, None, None);
        self.make_room();
        held
    }

    /// What waits now, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// How many clients were cut off because too much waited.
    pub(crate) fn cut_off(&self) -> u64 {
        self.0.cut.load(Ordering::Relaxed)
    }

    fn has_room(&self, more: usize) -> bool {
        self.bytes().saturating_add(more) <= self.0.all
    }

    fn counted(&self, message: Bytes, taker: Option<Arc<Taker>>, room: Option<Arc<AtomicUsize>>) -> Bytes {
        if message.is_empty() {
            return message;
        }
        let size = message.len();
        self.0.bytes.fetch_add(size, Ordering::Relaxed);
        if let Some(taker) = &taker {
            taker.add(size);
        }
        if let Some(room) = &room {
            room.fetch_add(size, Ordering::Relaxed);
        }
        Bytes::from_owner(Counted { message, held: self.clone(), taker, room })
    }

    /// Cuts clients off until what is left fits. What waits for those that are cut off already is on its way out.
    fn make_room(&self) {
        if self.has_room(0) {
            return;
        }
        // Dropped after the lock is: the last of a taker takes it out of the table.
        let mut all: Vec<Arc<Taker>> = self.takers().values().filter_map(Weak::upgrade).collect();
        let going: usize = all.iter().filter(|taker| taker.is_cut()).map(|taker| taker.bytes()).sum();
        let mut left = self.bytes().saturating_sub(going);
        all.retain(|taker| !taker.is_cut() && taker.bytes() > 0);
        all.sort_by_cached_key(|taker| {
            let bytes = taker.bytes();
            (bytes <= self.0.own, bytes < WORTH.min(self.0.own), taker.took_at())
        });
        for taker in &all {
            if left <= self.0.all {
                return;
            }
            left = left.saturating_sub(taker.bytes());
            taker.cut("too much waits for all clients together, and this one takes it the slowest");
        }
    }

    fn takers(&self) -> MutexGuard<'_, HashMap<u64, Weak<Taker>>> {
        // No critical section can panic half way.
        self.0.takers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Counted ===

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.message
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let size = self.message.len();
        self.held.0.bytes.fetch_sub(size, Ordering::Relaxed);
        if let Some(taker) = &self.taker {
            taker.give_back(size);
        }
        if let Some(room) = &self.room {
            room.fetch_sub(size, Ordering::Relaxed);
        }
    }
}
