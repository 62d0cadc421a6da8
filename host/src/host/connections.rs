//! How many connections clients have, and how often there were too many: counted by the edge that has them, told by the
//! metrics. It must not know what a connection is for.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Those of a host. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    pub(crate) tcp: Arc<Crowd>,
    pub(crate) unix: Arc<Crowd>,
}

/// Those of one socket.
#[derive(Debug, Default)]
pub(crate) struct Crowd {
    open: AtomicUsize,
    full: AtomicU64,
}

/// A connection that is open, until this is dropped.
#[derive(Debug)]
pub(crate) struct OneOf(Arc<Crowd>);

impl Crowd {
    /// One more.
    pub(crate) fn enter(self: &Arc<Self>) -> OneOf {
        self.open.fetch_add(1, Ordering::Relaxed);
        OneOf(Arc::clone(self))
    }

    /// All of them are in use, as they were not before.
    pub(crate) fn fills(&self) {
        self.full.fetch_add(1, Ordering::Relaxed);
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How often all were in use, since the start.
    pub(crate) fn full(&self) -> u64 {
        self.full.load(Ordering::Relaxed)
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
