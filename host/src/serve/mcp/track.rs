//! One stream of events that its reader can leave and join again: the last of them are kept, each under an id of its own.
//!
//! Whoever writes never waits for whoever reads: what a reader is too slow for is lost to it, counted and logged.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::kept::{Kept, Place};
use crate::serve::sse::{KEEP_ALIVE, PULSE, frame};

/// Events that are kept of one stream, by number and by size. The newest is kept whatever its size.
const EVENTS: usize = 1024;
const BYTES: usize = 4 << 20;
/// How long a client is asked to wait before it joins again.
const RETRY_MS: u32 = 1000;

/// The writing side.
#[derive(Debug)]
pub(super) struct Track {
    number: u64,
    log: watch::Sender<Log>,
    kept: Kept,
}

#[derive(Debug)]
struct Log {
    frames: VecDeque<Bytes>,
    /// The number of the first frame; they are counted from 1.
    first: u64,
    bytes: usize,
    kept: Kept,
    /// Nothing comes any more.
    done: bool,
    /// Where it stands among those that are over.
    place: Option<Place>,
    /// Somebody read it to its end.
    read: bool,
    /// Nothing of it is kept any more.
    cleared: bool,
    /// Grows with each reader: only the latest one reads on.
    turn: u64,
}

/// The reading side.
#[derive(Debug)]
pub(super) struct Reader {
    track: Arc<Track>,
    log: watch::Receiver<Log>,
    next: u64,
    turn: u64,
}

// === impl Log ===

impl Log {
    fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len();
        let room = if self.kept.add(frame.len()) { 0 } else { BYTES };
        self.frames.push_back(frame);
        while self.frames.len() > 1 && (self.frames.len() > EVENTS || self.bytes > room) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(old) = self.frames.pop_front() else { return };
        self.first += 1;
        self.bytes -= old.len();
        self.kept.give_back(old.len());
    }

    /// The number of the next frame.
    fn end(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    fn get(&self, number: u64) -> Option<&Bytes> {
        self.frames.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.kept.give_back(self.bytes);
        if let Some(place) = self.place {
            self.kept.forget(place);
        }
    }
}

// === impl Track ===

impl Track {
    pub(super) fn new(number: u64, kept: Kept) -> Self {
        let log = Log {
            frames: VecDeque::new(),
            first: 1,
            bytes: 0,
            kept: kept.clone(),
            done: false,
            place: None,
            read: false,
            cleared: false,
            turn: 0,
        };
        Self { number, log: watch::Sender::new(log), kept }
    }

    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Appends a message.
    pub(super) fn push(&self, message: &[u8]) {
        self.kept.make_room(message.len());
        self.log.send_modify(|log| {
            let id = format!("{}-{}", self.number, log.end());
            log.push(frame("message", Some(&id), message));
        });
    }

    /// Says that nothing comes any more.
    pub(super) fn finish(self: &Arc<Self>) {
        self.log.send_modify(|log| {
            if !log.done {
                log.done = true;
                log.place = Some(self.kept.note(self));
            }
        });
        self.kept.make_room(0);
    }

    /// Drops all that is kept of it. Nobody can join it any more.
    pub(super) fn clear(&self) {
        self.log.send_modify(|log| {
            while !log.frames.is_empty() {
                log.forget_first();
            }
            log.cleared = true;
        });
    }

    /// A reader came to its end.
    fn note_read(&self) {
        self.log.send_if_modified(|log| {
            if log.done && !log.read {
                log.read = true;
                log.place = log.place.map(|place| self.kept.note_read(place));
            }
            false
        });
    }

    /// Whether somebody read it to its end.
    pub(super) fn is_read(&self) -> bool {
        self.log.borrow().read
    }

    pub(super) fn is_done(&self) -> bool {
        self.log.borrow().done
    }

    /// What is kept of it.
    pub(super) fn bytes(&self) -> usize {
        self.log.borrow().bytes
    }

    /// Reads on after this event, or from the end; whoever read before finds its stream ended. A connection that broke off
    /// without a word still looks open to us, so a second reader is not refused. `None`: there is no such event, yet or any more.
    pub(super) fn join(self: &Arc<Self>, after: Option<u64>) -> Option<Reader> {
        let unknown = |log: &Log| log.cleared || after.is_some_and(|after| after >= log.end());
        if unknown(&self.log.borrow()) {
            return None;
        }
        self.log.send_modify(|log| log.turn += 1);
        let log = self.log.subscribe();
        let (next, turn) = {
            let now = log.borrow();
            (after.map_or(now.end(), |after| after + 1), now.turn)
        };
        Some(Reader { track: Arc::clone(self), log, next, turn })
    }
}

// === impl Reader ===

impl Reader {
    /// An event without a message, which tells the client where to join again.
    pub(super) fn prime(&self) -> Bytes {
        let (stream, at) = (self.track.number, self.next - 1);
        format!("id: {stream}-{at}\nretry: {RETRY_MS}\ndata: \n\n").into()
    }

    pub(super) fn track(&self) -> &Arc<Track> {
        &self.track
    }

    /// A frame that is there already.
    pub(super) fn ready(&mut self) -> Option<Bytes> {
        let log = self.log.borrow_and_update();
        if log.turn != self.turn {
            return None;
        }
        if let Some(lost) = log.first.checked_sub(self.next).filter(|lost| *lost > 0) {
            tracing::warn!(
                stream = self.track.number,
                lost,
                "a client was too slow, or away too long, for its stream"
            );
            self.next = log.first;
        }
        let found = log.get(self.next).cloned()?;
        self.next += 1;
        Some(found)
    }

    /// Whether nothing comes any more to this reader.
    pub(super) fn is_over(&self) -> bool {
        let (is_read, is_over) = {
            let log = self.log.borrow();
            let is_read = log.done && self.next >= log.end();
            (is_read && !log.read, is_read || log.turn != self.turn)
        };
        if is_read {
            self.track.note_read();
        }
        is_over
    }

    /// The next frame, or a pulse; `None` at the end, and when `ended` fires.
    pub(super) async fn next(&mut self, ended: &CancellationToken) -> Option<Bytes> {
        loop {
            if let Some(frame) = self.ready() {
                return Some(frame);
            }
            if self.is_over() {
                return None;
            }
            tokio::select! {
                biased;
                changed = self.log.changed() => changed.ok()?,
                // What was said just before the end is still told.
                () = ended.cancelled() => return self.ready(),
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(PULSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::{BYTES, EVENTS, Kept, Track};

    fn track() -> (Kept, Arc<Track>) {
        let kept = Kept::default();
        (kept.clone(), Arc::new(Track::new(3, kept)))
    }

    async fn rest(track: &Arc<Track>, after: Option<u64>) -> Vec<String> {
        let mut reader = track.join(after).unwrap();
        let mut out = Vec::new();
        while let Some(frame) = reader.next(&CancellationToken::new()).await {
            out.push(String::from_utf8(frame.to_vec()).unwrap());
        }
        out
    }

    #[tokio::test]
    async fn a_reader_joins_where_it_left_and_ends_with_the_stream() {
        let (_, track) = track();
        for message in ["1", "2", "3"] {
            track.push(message.as_bytes());
        }
        track.finish();
        let frame = |n: u32| format!("id: 3-{n}\nevent: message\ndata: {n}\n\n");
        assert_eq!(rest(&track, Some(0)).await, [frame(1), frame(2), frame(3)]);
        assert_eq!(rest(&track, Some(2)).await, [frame(3)]);
        assert_eq!(rest(&track, Some(3)).await, [""; 0]);
        assert_eq!(rest(&track, None).await, [""; 0]);
        assert!(track.join(Some(4)).is_none(), "an event that never was");
        assert!(track.join(Some(u64::MAX)).is_none());
    }

    #[tokio::test]
    async fn a_second_reader_ends_the_first() {
        let (_, track) = track();
        let mut first = track.join(Some(0)).unwrap();
        let mut second = track.join(Some(0)).unwrap();
        track.push(b"1");
        assert_eq!(first.next(&CancellationToken::new()).await, None);
        assert!(second.next(&CancellationToken::new()).await.is_some());
    }

    #[tokio::test]
    async fn a_reader_waits_for_what_comes_and_ends_when_told() {
        let (_, track) = track();
        let (mut reader, ended) = (track.join(None).unwrap(), CancellationToken::new());
        assert_eq!(reader.prime(), "id: 3-0\nretry: 1000\ndata: \n\n");
        let (read, ()) = tokio::join!(reader.next(&ended), async { track.push(b"1") });
        assert!(read.unwrap().starts_with(b"id: 3-1\n"));
        ended.cancel();
        assert_eq!(reader.next(&ended).await, None);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled() {
        let (_, track) = track();
        let mut reader = track.join(None).unwrap();
        assert_eq!(reader.next(&CancellationToken::new()).await.unwrap(), ": keep-alive\n\n");
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_given_back() {
        let (kept, track) = track();
        let slow = track.join(Some(0)).unwrap();
        for _ in 0..EVENTS + 5 {
            track.push(b"x");
        }
        let mut slow = slow;
        let frame = slow.ready().unwrap();
        assert!(frame.starts_with(b"id: 3-6\n"), "{frame:?}");
        track.push(&vec![b'y'; BYTES + 1]);
        assert!(track.bytes() > BYTES, "the newest is kept whatever its size");
        track.push(b"z");
        assert!(track.bytes() < 100);
        assert_eq!(kept.bytes(), track.bytes());
        drop((slow, track));
        assert_eq!(kept.bytes(), 0);
    }

    #[tokio::test]
    async fn beyond_the_bound_of_all_those_that_are_over_go_first() {
        let kept = Kept::new(1000);
        let track = |number| Arc::new(Track::new(number, kept.clone()));
        let (unread, read, running) = (track(1), track(2), track(3));
        running.push(b"first");
        for over in [&unread, &read] {
            over.push(&[b'x'; 300]);
            over.finish();
        }
        rest(&read, Some(0)).await;
        running.push(&[b'y'; 350]);
        assert!(read.join(Some(0)).is_none(), "it was read to its end");
        assert_eq!(rest(&unread, Some(0)).await.len(), 1, "one that nobody has read goes last");
        let third = track(4);
        third.push(&[b'z'; 500]);
        third.finish();
        assert!(unread.join(Some(0)).is_none());
        assert_eq!(rest(&third, Some(0)).await.len(), 1);
        // A stream that goes on keeps its newest event.
        running.push(&[b'y'; 2000]);
        assert!(third.join(Some(0)).is_none());
        running.finish();
        assert_eq!(kept.bytes(), 0, "an end gives back what is too much");
        drop((unread, read, running, third));
        assert_eq!(kept.bytes(), 0);
    }
}
