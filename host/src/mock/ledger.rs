//! The ledger: what really ran, one JSON line for each begin and end. Tests compare it with what was answered.
//! Knows nothing of how calls come in.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value, json};

/// The open file. Several processes may append to the same one.
#[derive(Debug)]
pub(crate) struct Ledger(File);

/// A call that has begun. Dropped without [`Entry::end`] it is recorded as cancelled.
#[derive(Debug)]
pub(crate) struct Entry {
    ledger: Option<Arc<Ledger>>,
    n: u64,
    tool: String,
    arguments: Map<String, Value>,
    /// The metadata that came with it.
    meta: Value,
}

impl Ledger {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        OpenOptions::new().create(true).append(true).open(path).map(Self)
    }

    /// One line, one write: with `O_APPEND` lines of several processes do not mix.
    fn write(&self, line: &Value) -> io::Result<()> {
        let mut bytes = line.to_string().into_bytes();
        bytes.push(b'\n');
        let written = (&self.0).write(&bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(io::Error::from(io::ErrorKind::WriteZero)) }
    }
}

impl Entry {
    /// Records that call `n` runs now. If that cannot be recorded, it must not run.
    pub(crate) fn begin(
        ledger: Option<Arc<Ledger>>,
        n: u64,
        tool: &str,
        arguments: &Map<String, Value>,
        meta: Option<&Value>,
    ) -> io::Result<Self> {
        let meta = meta.cloned().unwrap_or_default();
        let entry = Self { ledger, n, tool: tool.to_owned(), arguments: arguments.clone(), meta };
        entry.write("begin")?;
        Ok(entry)
    }

    /// Records that the call ran to its end.
    pub(crate) fn end(mut self) -> io::Result<()> {
        let written = self.write("end");
        self.ledger = None;
        written
    }

    fn write(&self, phase: &str) -> io::Result<()> {
        let Some(ledger) = &self.ledger else { return Ok(()) };
        let at = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX));
        ledger.write(&json!({
            "n": self.n,
            "tool": self.tool,
            "arguments": self.arguments,
            "meta": self.meta,
            "at": at,
            "pid": std::process::id(),
            "phase": phase,
        }))
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if let Err(error) = self.write("cancelled") {
            super::note(&format!("ledger: {error}"));
        }
    }
}

#[cfg(test)]
pub(crate) fn read(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|l| serde_json::from_str(l).unwrap()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_begin_and_end_and_what_was_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let ledger = Arc::new(Ledger::open(&path).unwrap());
        let arguments = json!({"a": 1}).as_object().unwrap().clone();
        Entry::begin(Some(ledger.clone()), 1, "count", &arguments, Some(&json!({"x": 1})))
            .unwrap()
            .end()
            .unwrap();
        drop(Entry::begin(Some(ledger), 2, "sleep", &Map::new(), None).unwrap());
        let lines = read(&path);
        let seen: Vec<_> =
            lines.iter().map(|l| (l["n"].as_u64().unwrap(), l["phase"].as_str().unwrap())).collect();
        assert_eq!(seen, [(1, "begin"), (1, "end"), (2, "begin"), (2, "cancelled")]);
        assert_eq!(lines[0]["arguments"], json!({"a": 1}));
        assert_eq!((&lines[0]["meta"]["x"], &lines[2]["meta"]), (&json!(1), &Value::Null));
        assert_eq!(lines[0]["pid"], std::process::id());
    }

    #[test]
    fn two_writers_append_to_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ledger");
        let writers: Vec<_> = (0..4)
            .map(|w| {
                let ledger = Arc::new(Ledger::open(&path).unwrap());
                std::thread::spawn(move || {
                    for n in 0..100 {
                        Entry::begin(Some(ledger.clone()), n + w * 100, "count", &Map::new(), None)
                            .unwrap()
                            .end()
                            .unwrap();
                    }
                })
            })
            .collect();
        writers.into_iter().for_each(|w| w.join().unwrap());
        assert_eq!(read(&path).len(), 800);
    }
}
