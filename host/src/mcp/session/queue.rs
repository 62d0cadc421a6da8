//! What waits for a session's feed: bounded, in order, a change told once until it is read.
//!
//! Where room is short, log messages make it, the oldest first; and half of it is kept for what says that something changed.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

use super::feeds::Feeds;

/// Messages that wait, at most.
const MESSAGES: usize = 1024;
/// Bytes that wait, at most.
const BYTES: usize = 4 << 20;

/// The messages of one session that belong to no request.
#[derive(Debug)]
pub(in crate::mcp) struct Queue {
    number: u64,
    feeds: Feeds,
    waiting: Mutex<Waiting>,
    rung: Notify,
}

/// What a message is worth where room is short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::mcp) enum Worth {
    /// Makes room for everything else, and for newer ones.
    Log,
    /// A question, or what a plugin says of a call or a task.
    Word,
    /// Something changed. Whoever is not told of it goes on with what is wrong.
    Change,
}

#[derive(Debug, Default)]
struct Waiting {
    logs: VecDeque<Message>,
    others: VecDeque<Message>,
    bytes: usize,
    /// Of the others, those that are no changes, and their bytes.
    words: (usize, usize),
    /// Whose turn it is to listen.
    turn: u64,
    dropped: u64,
}

#[derive(Debug)]
struct Message {
    /// Of all that was ever said to any session: what came first has the lower one.
    number: u64,
    text: Bytes,
    worth: Worth,
}

impl Waiting {
    /// Whether there is room. Log messages make it.
    fn has_room(&mut self, worth: Worth, size: usize) -> bool {
        let (words, bytes) = self.words;
        // One is taken whatever its size.
        let words_fit = words == 0 || (words < MESSAGES / 2 && bytes + size <= BYTES / 2);
        if size > BYTES || (worth == Worth::Word && !words_fit) {
            return false;
        }
        while self.logs.len() + self.others.len() >= MESSAGES || self.bytes + size > BYTES {
            if self.drop_log().is_none() {
                return false;
            }
        }
        true
    }

    fn add(&mut self, message: Message) {
        let size = message.text.len();
        self.bytes += size;
        match message.worth {
            Worth::Log => self.logs.push_back(message),
            Worth::Change => self.others.push_back(message),
            Worth::Word => {
                self.words = (self.words.0 + 1, self.words.1 + size);
                self.others.push_back(message);
            }
        }
    }

    fn pop(&mut self) -> Option<Bytes> {
        let log_is_first = match (self.logs.front(), self.others.front()) {
            (Some(log), Some(other)) => log.number < other.number,
            (log, None) => log.is_some(),
            (None, Some(_)) => false,
        };
        let of = if log_is_first { &mut self.logs } else { &mut self.others };
        let message = of.pop_front()?;
        let size = message.text.len();
        self.bytes -= size;
        if message.worth == Worth::Word {
            self.words = (self.words.0 - 1, self.words.1 - size);
        }
        Some(message.text)
    }

    fn drop_log(&mut self) -> Option<()> {
        let oldest = self.logs.pop_front()?;
        self.bytes -= oldest.text.len();
        self.lost();
        Some(())
    }

    fn lost(&mut self) {
        self.dropped += 1;
        // The first, and then ever fewer: a client that does not read is no reason to fill the host's own log.
        if self.dropped.is_power_of_two() {
            let dropped = self.dropped;
            tracing::warn!(dropped, "a client does not read its feed; messages to it were dropped");
        }
    }
}

impl Queue {
    pub(super) fn new(number: u64, feeds: Feeds) -> Self {
        Self { number, feeds, waiting: Mutex::default(), rung: Notify::new() }
    }

    /// Adds a message. False: there is no room for it.
    pub(super) fn push(&self, text: Bytes, worth: Worth) -> bool {
        // Before our own is locked: room is made in all of them.
        let room = self.feeds.has_room(text.len(), worth == Worth::Change);
        let number = self.feeds.next_message();
        let added = self.counted(|waiting| {
            let fits = room && waiting.has_room(worth, text.len());
            if fits {
                waiting.add(Message { number, text, worth });
            } else {
                waiting.lost();
            }
            fits
        });
        if added {
            self.ring();
        }
        added
    }

    /// Adds a change, unless it waits already: it says no more if it is said twice.
    pub(super) fn push_once(&self, text: Bytes) {
        let waits = self.locked().others.iter().any(|message| message.text == text);
        if !waits {
            self.push(text, Worth::Change);
        }
    }

    pub(super) fn pop(&self) -> Option<Bytes> {
        self.counted(Waiting::pop)
    }

    /// The number of the oldest log message that waits.
    pub(super) fn oldest_log(&self) -> Option<u64> {
        self.locked().logs.front().map(|log| log.number)
    }

    pub(super) fn drop_log(&self) {
        self.counted(Waiting::drop_log);
    }

    fn locked(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what waits, and counts it among that of all sessions.
    fn counted<T>(&self, work: impl FnOnce(&mut Waiting) -> T) -> T {
        let mut waiting = self.locked();
        let before = waiting.bytes;
        let out = work(&mut waiting);
        self.feeds.count(before, waiting.bytes);
        out
    }

    /// Who calls this listens from now on, and nobody else.
    pub(super) fn take_turn(&self) -> u64 {
        let turn = {
            let mut waiting = self.locked();
            waiting.turn += 1;
            waiting.turn
        };
        self.ring();
        turn
    }

    pub(super) fn has_turn(&self, turn: u64) -> bool {
        self.locked().turn == turn
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

impl Drop for Queue {
    fn drop(&mut self) {
        self.feeds.count(self.locked().bytes, 0);
        self.feeds.forget(self.number);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{BYTES, Feeds, MESSAGES, Queue, Worth};

    fn text(n: impl ToString) -> Bytes {
        Bytes::from(n.to_string())
    }

    fn long(byte: u8, length: usize) -> Bytes {
        Bytes::from(vec![byte; length])
    }

    fn rest(queue: &Queue) -> Vec<String> {
        std::iter::from_fn(|| queue.pop()).map(|text| String::from_utf8(text.to_vec()).unwrap()).collect()
    }

    #[test]
    fn it_is_bounded_in_messages_and_bytes_and_the_newest_logs_stay() {
        let queue = Feeds::default().queue();
        for n in 0..MESSAGES + 5 {
            assert!(queue.push(text(n), Worth::Log));
        }
        let kept = rest(&queue);
        assert_eq!((kept.len(), &*kept[0]), (MESSAGES, "5"));
        assert!(queue.push(long(b'x', BYTES), Worth::Log));
        assert!(!queue.push(long(b'x', BYTES + 1), Worth::Log));
        assert!(queue.push(text("y"), Worth::Log));
        assert_eq!(rest(&queue), ["y"]);
    }

    #[test]
    fn neither_logs_nor_words_take_the_room_of_changes() {
        for worth in [Worth::Log, Worth::Word] {
            let queue = Feeds::default().queue();
            let words = (0..MESSAGES).filter(|n| queue.push(text(n), worth)).count();
            assert_eq!(words, if worth == Worth::Word { MESSAGES / 2 } else { MESSAGES });
            for n in 0..MESSAGES / 2 {
                queue.push_once(text(format!("change {n}")));
            }
            let kept = rest(&queue);
            let changes = kept.iter().filter(|text| text.starts_with("change")).count();
            assert_eq!((kept.len(), changes), (MESSAGES, MESSAGES / 2), "{worth:?}");
            let queue = Feeds::default().queue();
            assert!(queue.push(long(b'x', BYTES / 2), worth));
            assert_eq!(queue.push(long(b'x', BYTES / 2), worth), worth == Worth::Log);
            queue.push_once(long(b'c', BYTES / 2));
            assert!(rest(&queue).contains(&"c".repeat(BYTES / 2)), "{worth:?}");
        }
    }

    #[test]
    fn what_was_said_first_is_told_first() {
        let queue = Feeds::default().queue();
        for (n, worth) in [Worth::Log, Worth::Change, Worth::Word, Worth::Log].into_iter().enumerate() {
            assert!(queue.push(text(n), worth));
        }
        assert_eq!(rest(&queue), ["0", "1", "2", "3"]);
    }

    #[test]
    fn all_feeds_together_are_bounded_and_the_oldest_logs_of_all_go_first() {
        let feeds = Feeds::new(4000);
        let (deaf, other, late) = (feeds.queue(), feeds.queue(), feeds.queue());
        for _ in 0..3 {
            assert!(deaf.push(long(b'd', 1000), Worth::Log));
        }
        assert!(other.push(long(b'o', 900), Worth::Log));
        assert!(late.push(long(b'l', 1000), Worth::Log), "who listens is not refused for who does not");
        assert_eq!((rest(&deaf).len(), rest(&other).len(), rest(&late).len()), (1, 1, 1));
        assert_eq!(feeds.bytes(), 0);
        assert!(deaf.push(long(b'w', 3900), Worth::Word));
        assert!(!late.push(long(b'w', 200), Worth::Word));
        late.push_once(long(b'c', 200));
        assert_eq!(rest(&late).len(), 1, "there is a reserve for changes");
        drop((deaf, other, late));
        assert_eq!(feeds.bytes(), 0);
    }

    #[test]
    fn a_change_waits_once() {
        let queue = Feeds::default().queue();
        queue.push_once(Bytes::from_static(b"changed"));
        queue.push_once(Bytes::from_static(b"changed"));
        assert!(queue.pop().is_some());
        assert_eq!(queue.pop(), None);
        queue.push_once(Bytes::from_static(b"changed"));
        assert!(queue.pop().is_some());
    }

    #[test]
    fn the_last_who_came_has_the_turn() {
        let queue = Feeds::default().queue();
        let (first, second) = (queue.take_turn(), queue.take_turn());
        assert!(!queue.has_turn(first) && queue.has_turn(second));
    }
}
