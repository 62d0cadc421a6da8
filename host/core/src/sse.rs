//! Events out of bytes: the WHATWG event stream, with a bound.
//!
//! Bytes go in by [`Parser::push`] in any pieces, events come out of [`Parser::next_event`]. Everything the standard
//! allows is accepted: a byte-order mark at the start, lines ended by CR, LF or CRLF split anywhere, comments, several
//! `data` lines, unknown fields, bare field names. An event over the bound is dropped up to its blank line without being
//! held, and reported once.
//!
//! One step aside from the standard: bytes that are not UTF-8 in `data` are an error, not a replacement character. Our
//! events are messages; one that was changed must not pass for the one that was sent.
//!
//! What is not here: HTTP, reconnecting, and what an event means.

use std::time::Duration;

use memchr::memchr2;

use crate::frame::Edges;

/// What the buffer may keep between events; more is given back.
const IDLE_CAPACITY: usize = 64 << 10;
/// A reconnection time beyond this is not believed.
const MAX_RETRY_MS: u64 = 24 * 3600 * 1000;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The event's type; `None` is `message`.
    pub kind: Option<String>,
    /// The data lines, joined by LF.
    pub data: String,
}

/// An event that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SseError {
    /// Over the bound.
    #[error("an event of more than {max} bytes")]
    TooLarge {
        /// The bound.
        max: usize,
    },
    /// Its data is not UTF-8.
    #[error("an event whose data is not UTF-8")]
    NotUtf8,
}

/// Splits a stream of bytes into events.
#[derive(Debug)]
pub struct Parser {
    buf: Vec<u8>,
    start: usize,
    scanned: usize,
    max: usize,
    at_stream_start: bool,
    /// The last line ended with CR: an LF that follows belongs to it.
    after_cr: bool,
    /// Inside an event over the bound: `Some(whether the current line has bytes)`.
    skipping: Option<bool>,
    block: Block,
    last_id: String,
    retry: Option<Duration>,
    /// How the data of the last event that was over the bound began.
    dropped: Option<Edges>,
}

/// The event under construction.
#[derive(Debug, Default)]
struct Block {
    kind: Option<String>,
    data: Vec<u8>,
    has_data: bool,
    id: Option<String>,
}

impl Parser {
    /// A parser for events of at most `max` bytes, their fields' names and line ends not counted.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            buf: Vec::new(),
            start: 0,
            scanned: 0,
            max,
            at_stream_start: true,
            after_cr: false,
            skipping: None,
            block: Block::default(),
            last_id: String::new(),
            retry: None,
            dropped: None,
        }
    }

    /// Takes the next bytes. Call [`Parser::next_event`] until it returns `None` before the next push.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buf.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
            if self.buf.capacity() > IDLE_CAPACITY && self.buf.len() < IDLE_CAPACITY {
                self.buf.shrink_to(IDLE_CAPACITY);
            }
        }
        self.buf.extend_from_slice(bytes);
    }

    /// The next event. Blocks without data give none, as the standard says.
    ///
    /// # Errors
    /// If an event was dropped, and why; the next call goes on after it.
    pub fn next_event(&mut self) -> Option<Result<Event, SseError>> {
        if !self.skip_mark() {
            return None;
        }
        loop {
            self.skip_lf();
            let found = self.buf.get(self.scanned..).and_then(|rest| memchr2(b'\n', b'\r', rest));
            let Some(found) = found else {
                return self.unfinished();
            };
            let line = self.start..self.scanned + found;
            self.after_cr = self.buf.get(line.end) == Some(&b'\r');
            self.start = line.end + 1;
            self.scanned = self.start;
            if let Some(line_has_bytes) = self.skipping {
                let blank = !line_has_bytes && line.is_empty();
                self.skipping = if blank { None } else { Some(false) };
                continue;
            }
            let line = self.buf.get(line).unwrap_or_default();
            if line.is_empty() {
                if let Some(event) = self.dispatch() {
                    return Some(event);
                }
                continue;
            }
            if self.block.size() + line.len() > self.max.saturating_add(FIELD_NAME) {
                self.dropped = Some(head(&self.block, line));
                self.block = Block::default();
                self.skipping = Some(false);
                return Some(Err(SseError::TooLarge { max: self.max }));
            }
            if let Some(retry) = self.block.field(line) {
                self.retry = Some(retry);
            }
        }
    }

    /// How the data of the last event that was over the bound began, once: it may tell whose answer it was.
    pub fn take_dropped(&mut self) -> Option<Edges> {
        self.dropped.take()
    }

    /// The id to resume after, empty if the stream gave none.
    #[must_use]
    pub fn last_event_id(&self) -> &str {
        &self.last_id
    }

    /// How long the stream asked to wait before reconnecting.
    #[must_use]
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// What the buffers hold now in memory.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.buf.capacity() + self.block.data.capacity()
    }

    /// Skips the byte-order mark; false if it is not yet known whether there is one.
    fn skip_mark(&mut self) -> bool {
        const MARK: &[u8] = b"\xEF\xBB\xBF";
        if !self.at_stream_start {
            return true;
        }
        if self.buf.len() < MARK.len() && MARK.starts_with(&self.buf) {
            return false;
        }
        self.at_stream_start = false;
        if self.buf.starts_with(MARK) {
            self.start = MARK.len();
            self.scanned = self.start;
        }
        true
    }

    fn skip_lf(&mut self) {
        if self.after_cr && self.scanned == self.start {
            match self.buf.get(self.start) {
                Some(b'\n') => {
                    self.start += 1;
                    self.scanned = self.start;
                    self.after_cr = false;
                }
                Some(_) => self.after_cr = false,
                None => {}
            }
        }
    }

    /// No line end in the buffer: decides whether what is there is already too much.
    fn unfinished(&mut self) -> Option<Result<Event, SseError>> {
        self.scanned = self.buf.len();
        let held = self.buf.len() - self.start;
        if let Some(line_has_bytes) = self.skipping {
            self.skipping = Some(line_has_bytes || held > 0);
            self.start = self.buf.len();
            return None;
        }
        if held + self.block.size() <= self.max.saturating_add(FIELD_NAME) {
            return None;
        }
        self.dropped = Some(head(&self.block, self.buf.get(self.start..).unwrap_or_default()));
        self.block = Block::default();
        self.skipping = Some(true);
        self.start = self.buf.len();
        Some(Err(SseError::TooLarge { max: self.max }))
    }

    fn dispatch(&mut self) -> Option<Result<Event, SseError>> {
        let block = std::mem::take(&mut self.block);
        if let Some(id) = block.id {
            self.last_id = id;
        }
        if !block.has_data {
            return None;
        }
        Some(match String::from_utf8(block.data) {
            Ok(data) => Ok(Event { kind: block.kind, data }),
            Err(_) => Err(SseError::NotUtf8),
        })
    }
}

/// How an event's data began: in an earlier line, or in this one.
fn head(block: &Block, line: &[u8]) -> Edges {
    let value = line.strip_prefix(b"data:").unwrap_or_default();
    let value = value.strip_prefix(b" ").unwrap_or(value);
    Edges::of_head(if block.has_data { &block.data } else { value })
}

/// What a line may hold beside its value, so that the bound speaks of data: `data: ` and a little more.
const FIELD_NAME: usize = 16;

impl Block {
    fn size(&self) -> usize {
        self.data.len() + self.kind.as_ref().map_or(0, String::len) + self.id.as_ref().map_or(0, String::len)
    }

    /// Takes one line that is not empty; returns a reconnection time if the line sets one.
    fn field(&mut self, line: &[u8]) -> Option<Duration> {
        let (name, value) = match memchr::memchr(b':', line) {
            Some(at) => line.split_at(at),
            None => (line, &b""[..]),
        };
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => {
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.kind = (!value.is_empty()).then(|| String::from_utf8_lossy(value).into_owned()),
            b"id" if !value.contains(&0) => self.id = Some(String::from_utf8_lossy(value).into_owned()),
            b"retry" => return retry(value),
            // A comment (empty name), or a field of tomorrow.
            _ => {}
        }
        None
    }
}

/// Digits only, as the standard says; anything else is ignored.
fn retry(value: &[u8]) -> Option<Duration> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let ms = std::str::from_utf8(value).ok()?.parse().unwrap_or(MAX_RETRY_MS);
    Some(Duration::from_millis(MAX_RETRY_MS.min(ms)))
}

#[cfg(test)]
mod tests;
