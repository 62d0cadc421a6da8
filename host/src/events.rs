//! What happened in the host, in order: a bounded ring that a reader can join late (`Last-Event-ID`), and a live feed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use serde::Serialize;
use serde_json::Value;
use tokio::sync::broadcast;

/// Events kept for late readers.
const KEPT: usize = 1024;

/// One thing that happened.
#[derive(Debug, Serialize)]
pub struct Event {
    /// Counts from 1 over the life of the host.
    pub id: u64,
    /// `plugin.state`, `plugin.lists`, `plugin.upgrade`, `plugin.squatted`, `catalog.changed`, `call.finished`, `manifest.error` or `journal.state`.
    pub kind: &'static str,
    /// When.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub at: SystemTime,
    /// What, by kind.
    pub data: Value,
}

/// The host's events. One owner writes the ring, everyone reads.
#[derive(Debug)]
pub struct EventBus {
    ring: Mutex<Ring>,
    live: broadcast::Sender<Arc<Event>>,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    events: VecDeque<Arc<Event>>,
}

/// A reader's place: what was missed, and what comes.
#[derive(Debug)]
pub struct Subscription {
    /// Kept events after the one asked for, oldest first.
    pub missed: Vec<Arc<Event>>,
    /// What happens from now on. A reader that lags behind by more than the ring is told so by the channel.
    pub live: broadcast::Receiver<Arc<Event>>,
}

impl Default for EventBus {
    fn default() -> Self {
        Self { ring: Mutex::default(), live: broadcast::channel(KEPT).0 }
    }
}

impl EventBus {
    /// Publishes an event.
    pub fn publish(&self, kind: &'static str, data: Value) {
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let event = Arc::new(Event { id: ring.last, kind, at: SystemTime::now(), data });
        if ring.events.len() == KEPT {
            ring.events.pop_front();
        }
        ring.events.push_back(Arc::clone(&event));
        // Nobody listening is fine. Sent under the lock, so that the feed is in the order of the ring.
        self.live.send(event).ok();
    }

    /// Tells those who listen now, and keeps nothing: for what happens so often that it would push all else out of the ring.
    /// `data` is made only if somebody listens. The id is that of the last kept event.
    pub fn tell(&self, kind: &'static str, data: impl FnOnce() -> Value) {
        if self.live.receiver_count() == 0 {
            return;
        }
        let data = data();
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        self.live.send(Arc::new(Event { id: ring.last, kind, at: SystemTime::now(), data })).ok();
    }

    /// Joins the feed after the event `after` (0: everything that is kept; `None`: only what comes).
    #[must_use]
    pub fn subscribe(&self, after: Option<u64>) -> Subscription {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let missed = after.map_or_else(Vec::new, |after| {
            ring.events.iter().filter(|event| event.id > after).cloned().collect()
        });
        Subscription { missed, live: self.live.subscribe() }
    }
}

#[cfg(test)]
mod tests {
    use super::{EventBus, KEPT};

    #[test]
    fn a_late_reader_gets_what_it_missed_and_no_more_than_is_kept() {
        let bus = EventBus::default();
        for n in 0..KEPT + 10 {
            bus.publish("plugin.state", n.into());
        }
        assert_eq!(bus.subscribe(Some(0)).missed.len(), KEPT);
        let missed = bus.subscribe(Some(KEPT as u64 + 8)).missed;
        assert_eq!(missed.iter().map(|e| e.id).collect::<Vec<_>>(), [KEPT as u64 + 9, KEPT as u64 + 10]);
        assert!(bus.subscribe(None).missed.is_empty());
    }

    #[test]
    fn what_is_only_told_is_not_kept() {
        let bus = EventBus::default();
        bus.tell("call.finished", || unreachable!("nobody listens"));
        let mut listener = bus.subscribe(None);
        bus.tell("call.finished", || 1.into());
        assert_eq!(listener.live.try_recv().unwrap().data, 1);
        assert!(bus.subscribe(Some(0)).missed.is_empty());
    }
}
