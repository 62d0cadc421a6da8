//! What all streams of all sessions keep together, and which of those that are over go first when it is too much: those that
//! were read to their end, then the others, the oldest first. A stream that goes on is never dropped from here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use super::track::Track;

/// Bytes of all streams; beyond it, and with none left that is over, each keeps its newest event only.
const ALL_BYTES: usize = 256 << 20;

/// What all tracks together keep. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Kept(Arc<Shared>);

/// The place of a stream among those that are over; the first goes first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    unread: bool,
    number: u64,
}

#[derive(Debug)]
struct Shared {
    bytes: AtomicUsize,
    most: usize,
    over: Mutex<Over>,
}

#[derive(Debug, Default)]
struct Over {
    last: u64,
    tracks: BTreeMap<Place, Weak<Track>>,
}

impl Default for Kept {
    fn default() -> Self {
        Self::new(ALL_BYTES)
    }
}

impl Kept {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared { bytes: AtomicUsize::new(0), most, over: Mutex::default() }))
    }

    fn over(&self) -> MutexGuard<'_, Over> {
        // No critical section can panic half way.
        self.0.over.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// Counts these bytes. True: that is too much.
    pub(super) fn add(&self, bytes: usize) -> bool {
        self.0.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.0.most
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes note of a stream that is over, and was not read to its end yet.
    pub(super) fn note(&self, track: &Arc<Track>) -> Place {
        let mut over = self.over();
        over.last += 1;
        let place = Place { unread: true, number: over.last };
        over.tracks.insert(place, Arc::downgrade(track));
        place
    }

    /// It was read to its end.
    pub(super) fn note_read(&self, place: Place) -> Place {
        let read = Place { unread: false, ..place };
        let mut over = self.over();
        if let Some(track) = over.tracks.remove(&place) {
            over.tracks.insert(read, track);
        }
        read
    }

    pub(super) fn forget(&self, place: Place) {
        self.over().tracks.remove(&place);
    }

    /// Drops what streams that are over keep, until there is room for this much more.
    pub(super) fn make_room(&self, more: usize) {
        while self.bytes().saturating_add(more) > self.0.most {
            // Not held while the stream is dropped, which comes back here.
            let first = self.over().tracks.pop_first();
            let Some((place, track)) = first else { return };
            if let Some(track) = track.upgrade() {
                if place.unread {
                    tracing::warn!("a stream that nobody read to its end was dropped: too much is kept");
                }
                track.clear();
            }
        }
    }
}
