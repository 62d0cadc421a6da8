//! What a plugin wrote on stderr: the last lines in memory, all of it in rolling files.
//!
//! A line is shortened, freed of secrets and numbered once, here; ring, feed and file get the same line. Neither a slow
//! disk nor a slow reader ever holds up the plugin. It knows nothing of processes: `pump` reads their pipes.

mod files;
pub(crate) mod pump;
mod rate;
mod redact;

use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use serde::Serialize;
use tokio::sync::broadcast;

use self::files::FileSink;
use self::redact::Redactor;

/// Bytes of one line that are kept.
pub const MAX_LINE: usize = 16 * 1024;

/// Lines in memory, per plugin.
const RING_LINES: usize = 1000;

/// Bytes of text in memory, per plugin.
const RING_BYTES: usize = 256 * 1024;

/// Of each instance's newest launch, this many lines outlive the flood of the others: they tell why it died.
const LAST_WORDS: usize = 20;

/// Lines a reader of the live feed may lag behind.
const LIVE_LINES: usize = 256;

/// Ends a line that was longer.
const CUT: &str = " [line cut]";

/// One line of a plugin's log.
#[derive(Clone, Debug, Serialize)]
pub struct LogLine {
    /// Counts from 1 per plugin.
    pub seq: u64,
    /// When it was read.
    #[serde(serialize_with = "crate::telemetry::rfc3339")]
    pub at: SystemTime,
    /// Which instance.
    pub instance: u32,
    /// Which launch of it.
    pub generation: u64,
    /// `stderr`, `stdout` (what is not MCP on stdout), `wharf` (the host about the log) or `state` (a change of state).
    pub stream: &'static str,
    /// The line, without its end, shortened to the bound.
    pub text: String,
}

/// The log of one plugin.
#[derive(Debug)]
pub struct LogBook {
    plugin: String,
    redactor: ArcSwap<Redactor>,
    ring: Mutex<Ring>,
    /// Made for the first reader: most logs never have one.
    live: OnceLock<broadcast::Sender<LogLine>>,
    file: FileSink,
    strays: AtomicU64,
    late: AtomicU64,
}

#[derive(Debug, Default)]
struct Ring {
    last: u64,
    bytes: usize,
    lines: VecDeque<Arc<LogLine>>,
    /// By instance; they share their text with `lines`.
    last_words: BTreeMap<u32, LastWords>,
}

/// The last lines of an instance's newest launch.
#[derive(Debug, Default)]
struct LastWords {
    generation: u64,
    lines: VecDeque<Arc<LogLine>>,
}

// === impl LogBook ===

impl LogBook {
    /// A log that keeps its files in `dir`: `<plugin>.log`, and older ones as `<plugin>.log.1`, `<plugin>.log.2`.
    #[must_use]
    pub fn new(dir: PathBuf, plugin: &str, secrets: Vec<String>) -> Self {
        Self {
            plugin: plugin.to_owned(),
            redactor: ArcSwap::from_pointee(Redactor::new(secrets)),
            ring: Mutex::default(),
            live: OnceLock::new(),
            file: FileSink::new(&dir, plugin),
            strays: AtomicU64::new(0),
            late: AtomicU64::new(0),
        }
    }

    /// The plugin's name.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.plugin
    }

    /// More values that no line may show: those of a new manifest revision. The old ones stay secret.
    pub fn learn_secrets(&self, secrets: impl IntoIterator<Item = String>) {
        let secrets: Vec<String> = secrets.into_iter().collect();
        self.redactor.rcu(|known| known.with(&secrets));
    }

    /// Counts an answer of the plugin to nothing that it was asked, and gives the count.
    pub(crate) fn count_stray(&self) -> u64 {
        self.strays.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// Counts an answer of the plugin to a call that was given up.
    pub(crate) fn count_late(&self) {
        self.late.fetch_add(1, Ordering::Relaxed);
    }

    /// How many answers of the plugin, to calls that were given up, were dropped.
    #[must_use]
    pub fn late(&self) -> u64 {
        self.late.load(Ordering::Relaxed)
    }

    /// How many answers of the plugin, to nothing that it was asked, were dropped.
    #[must_use]
    pub fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }

    /// Adds a line (several, if the text has line ends). Never blocks.
    pub fn append(&self, instance: u32, generation: u64, stream: &'static str, text: &str) {
        for line in text.lines() {
            self.append_line(instance, generation, stream, line);
        }
    }

    fn append_line(&self, instance: u32, generation: u64, stream: &'static str, text: &str) {
        let text = self.clean(text).into_owned();
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.last += 1;
        let line = LogLine { seq: ring.last, at: SystemTime::now(), instance, generation, stream, text };
        // Under the lock, so that file and feed have the order of the ring. Neither waits.
        self.file.write(&line);
        if let Some(live) = self.live.get().filter(|live| live.receiver_count() > 0) {
            // A reader that has just left is fine.
            live.send(line.clone()).ok();
        }
        ring.push(line);
    }

    /// Secrets first: a cut in the middle of one would leave a part that no longer looks like it.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let redactor = self.redactor.load();
        let limit = MAX_LINE + redactor.longest();
        let whole = text.len() <= limit;
        let mut clean = redactor.redact(prefix(text, limit));
        if whole && clean.len() <= MAX_LINE {
            return clean;
        }
        let known = if whole { clean.len() } else { clean.len().saturating_sub(redactor.longest()) };
        let keep = prefix(&clean, known.min(MAX_LINE)).len();
        let owned = clean.to_mut();
        owned.truncate(keep);
        owned.push_str(CUT);
        clean
    }

    /// How many bytes of a line are worth reading: what can be kept, and a secret that begins there.
    fn worth_reading(&self) -> usize {
        MAX_LINE + self.redactor.load().longest() + 1
    }

    /// The last `n` lines, oldest first.
    #[must_use]
    pub fn tail(&self, n: usize) -> Vec<LogLine> {
        self.last_of(n, |_| true)
    }

    /// The last `n` lines of one launch, oldest first, without its changes of state. Of its newest launch, an instance has
    /// at least the last 20, however much the others write.
    #[must_use]
    pub fn tail_of(&self, instance: u32, generation: u64, n: usize) -> Vec<LogLine> {
        let own = |line: &LogLine| line.instance == instance && line.generation == generation;
        let lines = self.last_of(n, |line| own(line) && line.stream != "state");
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = ring.last_words.get(&instance).filter(|kept| kept.generation == generation);
        match kept {
            // Both are the end of the same lines.
            Some(kept) if kept.lines.len().min(n) > lines.len() => {
                let skipped = kept.lines.len().saturating_sub(n);
                kept.lines.iter().skip(skipped).map(|line| LogLine::clone(line)).collect()
            }
            Some(_) | None => lines,
        }
    }

    fn last_of(&self, n: usize, wanted: impl Fn(&LogLine) -> bool) -> Vec<LogLine> {
        let ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let found = ring.lines.iter().rev().filter(|line| wanted(line)).take(n);
        let mut lines: Vec<LogLine> = found.map(|line| LogLine::clone(line)).collect();
        lines.reverse();
        lines
    }

    /// What comes from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<LogLine> {
        self.live.get_or_init(|| broadcast::channel(LIVE_LINES).0).subscribe()
    }

    /// Waits until what was appended stands in the files, at most `budget`. Blocks. False if it took longer.
    pub fn flush(&self, budget: Duration) -> bool {
        self.file.flush(budget)
    }
}

// === impl Ring ===

impl Ring {
    fn push(&mut self, line: LogLine) {
        let line = Arc::new(line);
        self.bytes += line.text.len();
        if line.stream != "state" {
            self.last_words.entry(line.instance).or_default().push(&line);
        }
        self.lines.push_back(line);
        while self.lines.len() > RING_LINES || self.bytes > RING_BYTES {
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes -= old.text.len();
        }
    }
}

// === impl LastWords ===

impl LastWords {
    fn push(&mut self, line: &Arc<LogLine>) {
        if line.generation > self.generation {
            *self = Self { generation: line.generation, lines: VecDeque::new() };
        }
        if line.generation == self.generation {
            self.lines.push_back(Arc::clone(line));
        }
        if self.lines.len() > LAST_WORDS {
            self.lines.pop_front();
        }
    }
}

/// The longest prefix of at most `max` bytes that ends between two characters.
fn prefix(text: &str, max: usize) -> &str {
    text.get(..text.floor_char_boundary(max)).unwrap_or(text)
}

#[cfg(test)]
mod tests;
