//! Lines out of bytes: the framing of MCP over stdio, with a bound.
//!
//! Bytes go in by [`Framer::room`] or [`Framer::push`] in any pieces, lines come out of [`Framer::next_line`] one by one,
//! borrowed from the one buffer. A line over the bound is dropped up to its newline without ever being held; it is reported once, as soon
//! as it is known to be too long, so a peer that never sends a newline is told apart from a slow one.
//!
//! What is not here: what a line means, who reads, and what happens to a peer that sends garbage.

use std::collections::VecDeque;
use std::ops::Range;

use memchr::memchr;

/// The default bound of a line, without its end.
pub const DEFAULT_MAX: usize = 16 << 20;

/// What the buffer may keep between lines; more is given back.
pub const IDLE_CAPACITY: usize = 64 << 10;

/// Splits a stream of bytes into lines.
#[derive(Debug)]
pub struct Framer {
    buf: Vec<u8>,
    /// Before this all is consumed.
    start: usize,
    /// From `start` to here there is no newline.
    scanned: usize,
    max: usize,
    /// The length of the last line that the buffer had to grow for: the next long one is likely to be as long.
    long: usize,
    /// Inside a line that was reported as too long: drop up to its newline.
    skipping: bool,
    dropped: u64,
    /// Of the line that is being dropped.
    edges: Edges,
    /// Of lines that were dropped to their end, not yet taken.
    ended: VecDeque<(Edges, FrameError)>,
}

/// The first and the last bytes of a line that cannot be read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edges {
    head: Vec<u8>,
    tail: Vec<u8>,
}

/// How much of each end is kept.
const EDGE: usize = 128;
/// Of how many dropped lines the ends are kept until they are taken.
const UNTAKEN: usize = 64;

/// A line that cannot be a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Over the bound; it is dropped.
    #[error("a line of more than {max} bytes")]
    TooLong {
        /// The bound.
        max: usize,
    },
    /// Not UTF-8.
    #[error("a line that is not UTF-8 (from byte {at})")]
    NotUtf8 {
        /// Where in the line the first bad byte stands.
        at: usize,
    },
    /// Begins with a byte-order mark, which JSON forbids.
    #[error("a line that begins with a byte-order mark")]
    ByteOrderMark,
}

impl Framer {
    /// A framer for lines of at most `max` bytes, their end not counted.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            max,
            long: 0,
            skipping: false,
            dropped: 0,
            edges: Edges::default(),
            ended: VecDeque::new(),
        }
    }

    /// Where the next bytes are put, behind what is there, with room for at least so many. Call [`Framer::next_line`] until it
    /// returns `None` before the next ones; only then is the buffer bounded, by the line's bound and what is put in at once.
    pub fn room(&mut self, least: usize) -> &mut Vec<u8> {
        self.compact();
        self.grow(least);
        &mut self.buf
    }

    /// Takes the next bytes from elsewhere; else as [`Framer::room`].
    pub fn push(&mut self, bytes: &[u8]) {
        self.room(bytes.len()).extend_from_slice(bytes);
    }

    /// The next line, without its end. Blank lines are skipped.
    ///
    /// # Errors
    /// If a line was dropped, and why; the next call goes on after it.
    pub fn next_line(&mut self) -> Option<Result<&str, FrameError>> {
        loop {
            let Some(found) = self.buf.get(self.scanned..).and_then(|rest| memchr(b'\n', rest)) else {
                return self.unfinished();
            };
            let end = self.scanned + found;
            let line = self.start..end;
            self.start = end + 1;
            self.scanned = self.start;
            if self.skipping {
                self.drop_range(line);
                self.drop_end();
                continue;
            }
            let line = self.trimmed(line);
            if line.len() > self.max {
                self.drop_range(line);
                self.drop_end();
                return Some(Err(FrameError::TooLong { max: self.max }));
            }
            if line.len() > IDLE_CAPACITY {
                self.long = line.len();
            }
            if self.buf.get(line.clone()).is_none_or(|line| line.trim_ascii().is_empty()) {
                continue;
            }
            let text = self.buf.get(line).unwrap_or_default();
            let checked = check(text);
            if let Err(error) = &checked
                && self.ended.len() < UNTAKEN
            {
                self.ended.push_back((Edges::of(text), *error));
            }
            return Some(checked);
        }
    }

    /// How many bytes of an unfinished line are held: after the end of the stream, what is lost with it.
    #[must_use]
    pub fn unfinished_len(&self) -> usize {
        self.buf.len() - self.start
    }

    /// The ends of the next line that was dropped and whose end has come, and why it was; each is given once.
    pub fn take_dropped(&mut self) -> Option<(Edges, FrameError)> {
        self.ended.pop_front()
    }

    /// How many bytes were dropped in lines over the bound.
    #[must_use]
    pub fn dropped_bytes(&self) -> u64 {
        self.dropped
    }

    /// What the buffer holds now in memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// No newline in the buffer: decides whether what is there can still become a line.
    fn unfinished(&mut self) -> Option<Result<&str, FrameError>> {
        self.scanned = self.buf.len();
        let held = self.unfinished_len();
        if self.skipping {
            self.drop_range(self.start..self.buf.len());
            self.start = self.buf.len();
            return None;
        }
        // One byte over the bound may be the CR of a line end.
        let over = held > self.max && !(held == self.max + 1 && self.buf.last() == Some(&b'\r'));
        if !over {
            return None;
        }
        self.skipping = true;
        self.drop_range(self.start..self.buf.len());
        self.start = self.buf.len();
        Some(Err(FrameError::TooLong { max: self.max }))
    }

    fn drop_range(&mut self, range: Range<usize>) {
        let bytes = self.buf.get(range).unwrap_or_default();
        self.dropped += bytes.len() as u64;
        self.edges.add(bytes);
    }

    fn drop_end(&mut self) {
        self.skipping = false;
        let edges = std::mem::take(&mut self.edges);
        if self.ended.len() < UNTAKEN {
            self.ended.push_back((edges, FrameError::TooLong { max: self.max }));
        }
    }

    fn trimmed(&self, line: Range<usize>) -> Range<usize> {
        let cr = line.end > line.start && self.buf.get(line.end - 1) == Some(&b'\r');
        line.start..line.end - usize::from(cr)
    }

    /// Moves the unfinished line to the front. A byte is moved only after a line before it was consumed, so no stream
    /// makes this quadratic. An empty buffer that has grown is given back.
    fn compact(&mut self) {
        if self.start == 0 {
            return;
        }
        self.buf.drain(..self.start);
        self.scanned -= self.start;
        self.start = 0;
        if self.buf.capacity() > IDLE_CAPACITY && self.buf.len() < IDLE_CAPACITY {
            self.buf.shrink_to(IDLE_CAPACITY);
        }
    }

    /// Doubles, or grows to the last long line at once, but never beyond what one line and what is put in need.
    fn grow(&mut self, more: usize) {
        let need = self.buf.len() + more;
        if need > self.buf.capacity() {
            let most = self.max.saturating_add(more).saturating_add(2).max(need);
            let likely = if self.buf.len() >= IDLE_CAPACITY { self.long + more + 2 } else { 0 };
            let want = likely.max(self.buf.capacity() * 2).clamp(need, most);
            self.buf.reserve_exact(want - self.buf.len());
        }
    }
}

// === impl Edges ===

impl Edges {
    /// The id of the request that the line answered, if its ends say so beyond doubt: the id stands among the first or
    /// the last keys of the outermost object, and the first key of a payload is `result` or `error`.
    #[must_use]
    pub fn answers(&self) -> Option<u64> {
        const VERSION: &[u8] = b"\"jsonrpc\":\"2.0\",";
        let solid = |bytes: &[u8]| -> Vec<u8> {
            bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect()
        };
        let (head, tail) = (solid(&self.head), solid(&self.tail));
        let payload = |rest: &[u8]| rest.starts_with(b"\"result\":") || rest.starts_with(b"\"error\":");
        let head = head.strip_prefix(b"{")?;
        let head = head.strip_prefix(VERSION).unwrap_or(head);
        if let Some(rest) = head.strip_prefix(b"\"id\":") {
            let (id, rest) = rest.split_at(rest.iter().position(|b| !b.is_ascii_digit())?);
            let rest = rest.strip_prefix(b",")?;
            return payload(rest.strip_prefix(VERSION).unwrap_or(rest)).then(|| number(id)).flatten();
        }
        let tail = tail.strip_suffix(b"}").filter(|_| payload(head))?;
        let tail = tail.strip_suffix(b",\"jsonrpc\":\"2.0\"").unwrap_or(tail);
        let (rest, id) = tail.split_at(tail.iter().rposition(|b| !b.is_ascii_digit())? + 1);
        // The brace closes the outermost object, a digit ends no string, and a key that only ends like this one is
        // spelled with a backslash before its quote.
        rest.ends_with(b",\"id\":").then(|| number(id)).flatten()
    }

    /// Those of a line.
    #[must_use]
    pub fn of(line: &[u8]) -> Self {
        let mut edges = Self::default();
        edges.add(line);
        edges
    }

    /// Only its first bytes are known.
    pub(crate) fn of_head(bytes: &[u8]) -> Self {
        let head = bytes.get(..EDGE).unwrap_or(bytes).to_vec();
        Self { head, tail: Vec::new() }
    }

    fn add(&mut self, bytes: &[u8]) {
        let more = (EDGE - self.head.len()).min(bytes.len());
        self.head.extend_from_slice(bytes.get(..more).unwrap_or_default());
        let last = bytes.get(bytes.len().saturating_sub(EDGE)..).unwrap_or_default();
        self.tail.drain(..(self.tail.len() + last.len()).saturating_sub(EDGE));
        self.tail.extend_from_slice(last);
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn check(line: &[u8]) -> Result<&str, FrameError> {
    if line.starts_with(b"\xEF\xBB\xBF") {
        return Err(FrameError::ByteOrderMark);
    }
    std::str::from_utf8(line).map_err(|error| FrameError::NotUtf8 { at: error.valid_up_to() })
}

#[cfg(test)]
mod tests;
