//! Reads a pipe of a plugin to its end, line by line, into the log. It always reads: a plugin that floods its stderr loses
//! lines, counted, but is never held up, and memory stays what one line takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::task::JoinHandle;

use super::rate::Rate;
use super::{LogBook, MAX_LINE};
use crate::process::wire::HOST_STREAM;
use crate::tasks::Tasks;

/// Bytes per read.
const CHUNK: usize = 32 * 1024;

/// Of the lines turned away, the last ones are held: if the plugin dies then, they tell why.
const HELD: usize = 20;

/// Bytes of a held line.
const HELD_LINE: usize = 1024;

/// Whose output it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source {
    /// The instance.
    pub(crate) instance: u32,
    /// Its launch.
    pub(crate) generation: u64,
    /// `stderr` or `stdout`.
    pub(crate) stream: &'static str,
    /// How many lines of it are kept, each second on average.
    pub(crate) rate: u32,
}

/// Starts to read. The task ends with the pipe.
pub(crate) fn start(
    pipe: pipe::Receiver,
    source: Source,
    log: Arc<LogBook>,
    tasks: &Tasks,
) -> JoinHandle<()> {
    let span = tracing::debug_span!("log", plugin = log.plugin(), stream = source.stream);
    tasks.spawn(span, async move {
        let mut lines = Lines::new(source, log, Instant::now());
        lines.read_all(pipe).await;
    })
}

struct Lines {
    source: Source,
    log: Arc<LogBook>,
    rate: Rate,
    /// The line being read, as far as it is worth keeping.
    line: Vec<u8>,
    dropped: u64,
    held: VecDeque<Vec<u8>>,
}

// === impl Lines ===

impl Lines {
    fn new(source: Source, log: Arc<LogBook>, now: Instant) -> Self {
        let rate = Rate::new(source.rate, now);
        Self { source, log, rate, line: Vec::new(), dropped: 0, held: VecDeque::new() }
    }

    async fn read_all(&mut self, mut pipe: pipe::Receiver) {
        // Of its memory, only what was ever read into is held.
        let mut chunk = Vec::with_capacity(CHUNK);
        loop {
            chunk.clear();
            match pipe.read_buf(&mut chunk).await {
                Ok(0) => break,
                Ok(_) => self.take(&chunk, Instant::now()),
                Err(error) => {
                    tracing::warn!(%error, "the plugin's output cannot be read any more");
                    break;
                }
            }
        }
        self.end(Instant::now());
    }

    fn take(&mut self, mut bytes: &[u8], now: Instant) {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            self.extend(line);
            self.finish_line(now);
            bytes = rest.get(1..).unwrap_or_default();
        }
        self.extend(bytes);
    }

    fn extend(&mut self, bytes: &[u8]) {
        let room = self.log.worth_reading().saturating_sub(self.line.len());
        self.line.extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    fn finish_line(&mut self, now: Instant) {
        if self.line.last() == Some(&b'\r') {
            self.line.pop();
        }
        if self.rate.admits(now) {
            self.tell_dropped();
            let line = std::mem::take(&mut self.line);
            self.append(&line);
            self.line = line;
        } else {
            self.hold();
        }
        self.line.clear();
    }

    /// Turned away. A held line is cut at a place where no secret can be cut in two: whole lines only.
    fn hold(&mut self) {
        self.dropped += 1;
        if self.held.len() == HELD {
            self.held.pop_front();
        }
        if self.line.len() <= HELD_LINE {
            self.held.push_back(self.line.clone());
        }
    }

    fn end(&mut self, now: Instant) {
        if !self.line.is_empty() {
            self.finish_line(now);
        }
        let held = std::mem::take(&mut self.held);
        self.dropped -= held.len() as u64;
        self.tell_dropped();
        for line in held {
            self.append(&line);
        }
    }

    fn tell_dropped(&mut self) {
        self.held.clear();
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let Source { instance, generation, stream, rate } = self.source;
            let text = format!(
                "{dropped} lines of {stream} dropped: the plugin logs faster than {rate} lines a second, its limits.log_rate"
            );
            self.log.append(instance, generation, HOST_STREAM, &text);
        }
    }

    fn append(&self, line: &[u8]) {
        let Source { instance, generation, stream, .. } = self.source;
        self.log.append_line(instance, generation, stream, &String::from_utf8_lossy(line));
    }
}

const _: () = assert!(HELD_LINE < MAX_LINE);

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{HELD, Lines, Source};
    use crate::process::logs::{LogBook, MAX_LINE};

    const RATE: u32 = 200;
    const BURST: usize = 5 * RATE as usize;

    fn lines() -> (Lines, Arc<LogBook>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let log = Arc::new(LogBook::new(dir.path().to_owned(), "p", vec!["very-secret".to_owned()]));
        let source = Source { instance: 0, generation: 1, stream: "stderr", rate: RATE };
        (Lines::new(source, Arc::clone(&log), Instant::now()), log, dir)
    }

    fn texts(log: &LogBook) -> Vec<String> {
        log.tail(usize::MAX).into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn lines_are_split_wherever_the_chunks_are() {
        let (mut lines, log, _dir) = lines();
        for chunk in ["on", "e\r\ntw", "o\n\nvery-", "secret\nlast"] {
            lines.take(chunk.as_bytes(), Instant::now());
        }
        lines.take(b" \xff", Instant::now());
        lines.end(Instant::now());
        assert_eq!(texts(&log), ["one", "two", "", "***", "last \u{fffd}"]);
    }

    #[test]
    fn an_endless_line_takes_bounded_memory_and_ends_in_a_mark() {
        let (mut lines, log, _dir) = lines();
        for _ in 0..1000 {
            lines.take(&[b'x'; 4096], Instant::now());
        }
        assert!(lines.line.capacity() <= 4 * MAX_LINE, "{}", lines.line.capacity());
        lines.take(b"\nnext\n", Instant::now());
        let texts = texts(&log);
        assert!(texts[0].ends_with("[line cut]") && texts[0].len() < MAX_LINE + 100);
        assert_eq!(texts[1], "next");
    }

    /// Numbered lines, all at one time.
    fn flood(lines: &mut Lines, numbers: std::ops::Range<usize>, now: Instant) {
        for n in numbers {
            lines.take(format!("{n}\n").as_bytes(), now);
        }
    }

    #[test]
    fn a_flood_is_counted_and_its_last_lines_are_kept() {
        let (mut lines, log, _dir) = lines();
        let (start, total) = (Instant::now(), 50_000);
        flood(&mut lines, 0..total, start);
        lines.end(start);
        let told = format!("{} lines of stderr dropped", total - BURST - HELD);
        let tail = log.tail_of(0, 1, HELD + 1);
        assert!(tail[0].stream == "wharf" && tail[0].text.starts_with(&told), "{:?}", tail[0]);
        let last: Vec<String> = tail[1..].iter().map(|line| line.text.clone()).collect();
        assert_eq!(last, (total - HELD..total).map(|n| n.to_string()).collect::<Vec<_>>());
        assert_eq!(tail[0].seq as usize, BURST + 1, "what fits the rate is in the log");
    }

    #[test]
    fn a_line_that_passes_tells_what_was_dropped_before_it() {
        let (mut lines, log, _dir) = lines();
        let start = Instant::now();
        flood(&mut lines, 0..BURST + 30, start);
        flood(&mut lines, 7777..7778, start + Duration::from_secs(1));
        lines.end(start + Duration::from_secs(1));
        let tail: Vec<String> = log.tail(3).into_iter().map(|line| line.text).collect();
        assert_eq!(tail[0], (BURST - 1).to_string());
        assert!(tail[1].starts_with("30 lines of stderr dropped"), "{tail:?}");
        assert_eq!(tail[2], "7777");
    }
}
