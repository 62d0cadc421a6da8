//! What waits for the feeds of all sessions together: a session that never listens must not cost the others their memory.
//! Beyond the bound the oldest log messages go, whoever they wait for.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::queue::Queue;

/// Bytes that wait for all feeds.
const ALL_BYTES: usize = 128 << 20;
/// Room beyond it for what says that something changed.
const RESERVE: usize = 32 << 20;

/// The feeds of all sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Feeds(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    bytes: AtomicUsize,
    /// Messages are numbered as they come, over all feeds.
    last_message: AtomicU64,
    last_queue: AtomicU64,
    queues: Mutex<HashMap<u64, Weak<Queue>>>,
}

impl Default for Feeds {
    fn default() -> Self {
        Self::new(ALL_BYTES)
    }
}

impl Feeds {
    pub(super) fn new(most: usize) -> Self {
        Self(Arc::new(Shared {
            most,
            bytes: AtomicUsize::new(0),
            last_message: AtomicU64::new(0),
            last_queue: AtomicU64::new(0),
            queues: Mutex::default(),
        }))
    }

    /// What will wait for one more session.
    pub(super) fn queue(&self) -> Arc<Queue> {
        let number = self.0.last_queue.fetch_add(1, Ordering::Relaxed);
        let queue = Arc::new(Queue::new(number, self.clone()));
        self.queues(|queues| queues.insert(number, Arc::downgrade(&queue)));
        queue
    }

    pub(super) fn forget(&self, number: u64) {
        self.queues(|queues| queues.remove(&number));
    }

    pub(super) fn next_message(&self) -> u64 {
        self.0.last_message.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> usize {
        self.0.bytes.load(Ordering::Relaxed)
    }

    /// What waits for one of them was so much, and is so much now.
    pub(super) fn count(&self, before: usize, after: usize) {
        self.0.bytes.fetch_add(after.saturating_sub(before), Ordering::Relaxed);
        self.0.bytes.fetch_sub(before.saturating_sub(after), Ordering::Relaxed);
    }

    /// Whether there is room for this much more; makes it, if log messages have it. `reserve`: it may use the reserve.
    pub(super) fn has_room(&self, more: usize, reserve: bool) -> bool {
        let needed = || self.bytes().saturating_add(more);
        if needed() > self.0.most {
            self.make_room(more);
        }
        needed() <= self.0.most + if reserve { RESERVE } else { 0 }
    }

    /// Drops the oldest log messages, more than is needed now, so that it is seldom to do.
    fn make_room(&self, more: usize) {
        let all: Vec<Arc<Queue>> = self.queues(|queues| queues.values().filter_map(Weak::upgrade).collect());
        let oldest =
            all.iter().enumerate().filter_map(|(at, queue)| Some(Reverse((queue.oldest_log()?, at))));
        let mut oldest: BinaryHeap<_> = oldest.collect();
        let target = self.0.most - self.0.most / 4;
        while self.bytes().saturating_add(more) > target
            && let Some(Reverse((_, at))) = oldest.pop()
            && let Some(queue) = all.get(at)
        {
            queue.drop_log();
            oldest.extend(queue.oldest_log().map(|log| Reverse((log, at))));
        }
    }

    fn queues<T>(&self, work: impl FnOnce(&mut HashMap<u64, Weak<Queue>>) -> T) -> T {
        // No critical section can panic half way.
        work(&mut self.0.queues.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
