//! What waits for a session's feed: bounded, in order, a change told once until it is read.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// Messages that wait, at most.
const MESSAGES: usize = 1024;
/// Bytes that wait, at most.
const BYTES: usize = 4 << 20;

/// The messages of one session that belong to no request.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Queue {
    waiting: Mutex<Waiting>,
    rung: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Bytes>,
    bytes: usize,
    /// Whose turn it is to listen.
    turn: u64,
    dropped: u64,
}

impl Queue {
    /// Adds a message. False: there is no room for it.
    pub(super) fn push(&self, message: Bytes) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.messages.len() >= MESSAGES || waiting.bytes + message.len() > BYTES {
            waiting.dropped += 1;
            let dropped = waiting.dropped;
            drop(waiting);
            // The first, and then ever fewer: a client that does not read is no reason to fill the host's own log.
            if dropped.is_power_of_two() {
                tracing::warn!(dropped, "a client does not read its feed; messages to it were dropped");
            }
            return false;
        }
        waiting.bytes += message.len();
        waiting.messages.push_back(message);
        drop(waiting);
        self.rung.notify_waiters();
        true
    }

    /// Adds a message that says no more if it is said twice.
    pub(super) fn push_once(&self, message: Bytes) {
        let waits = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).messages.contains(&message);
        if !waits {
            self.push(message);
        }
    }

    pub(super) fn pop(&self) -> Option<Bytes> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.len();
        Some(message)
    }

    /// Who calls this listens from now on, and nobody else.
    pub(super) fn take_turn(&self) -> u64 {
        let turn = {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.turn += 1;
            waiting.turn
        };
        self.ring();
        turn
    }

    pub(super) fn has_turn(&self, turn: u64) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).turn == turn
    }

    /// Wakes whoever listens.
    pub(super) fn ring(&self) {
        self.rung.notify_waiters();
    }

    /// Resolves with the next ring.
    pub(super) fn rung(&self) -> Notified<'_> {
        self.rung.notified()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BYTES, MESSAGES, Queue};

    #[test]
    fn it_is_bounded_in_messages_and_bytes() {
        let queue = Queue::default();
        for n in 0..MESSAGES {
            assert!(queue.push(Bytes::from(n.to_string())));
        }
        assert!(!queue.push(Bytes::from_static(b"more")));
        assert_eq!(queue.pop(), Some(Bytes::from_static(b"0")));
        assert!(queue.push(Bytes::from_static(b"more")));
        let queue = Queue::default();
        assert!(queue.push(Bytes::from(vec![b'x'; BYTES])));
        assert!(!queue.push(Bytes::from_static(b"y")));
        queue.pop();
        assert!(queue.push(Bytes::from_static(b"y")));
    }

    #[test]
    fn a_change_waits_once() {
        let queue = Queue::default();
        queue.push_once(Bytes::from_static(b"changed"));
        queue.push_once(Bytes::from_static(b"changed"));
        assert!(queue.pop().is_some());
        assert_eq!(queue.pop(), None);
        queue.push_once(Bytes::from_static(b"changed"));
        assert!(queue.pop().is_some());
    }

    #[test]
    fn the_last_who_came_has_the_turn() {
        let queue = Queue::default();
        let (first, second) = (queue.take_turn(), queue.take_turn());
        assert!(!queue.has_turn(first) && queue.has_turn(second));
    }
}
