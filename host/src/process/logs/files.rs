//! Rolling files, by size, written by one thread for all plugins.
//!
//! tracing-appender rolls by time only, and its non-blocking writer is a thread for each file; a host with fifty plugins
//! needs neither. The queue to the thread is bounded and never waited for: what finds no room is counted and told.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use super::LogLine;

/// Bytes of one file, and how many there are.
const FILE_BYTES: u64 = 10 * 1024 * 1024;
const FILES: u32 = 3;

/// Lines on their way to the disk, of all plugins.
const QUEUE: usize = 1024;

/// After a failure (disk full, folder gone), the next attempt is not before this.
const RETRY: Duration = Duration::from_secs(1);

/// The thread lives as long as the program; every host in it shares it.
static WRITER: OnceLock<SyncSender<Message>> = OnceLock::new();

enum Message {
    Line(Arc<Path>, Vec<u8>),
    Close(Arc<Path>),
    Flush(SyncSender<()>),
}

/// A plugin's way to its file. Dropping it closes the file.
#[derive(Debug)]
pub(super) struct FileSink {
    path: Arc<Path>,
    /// `None` if the thread could not be started: then there are no files, and a warning said so.
    queue: Option<SyncSender<Message>>,
    dropped: AtomicU64,
}

// === impl FileSink ===

impl FileSink {
    pub(super) fn new(dir: &Path, plugin: &str) -> Self {
        Self { path: dir.join(format!("{plugin}.log")).into(), queue: writer(), dropped: AtomicU64::new(0) }
    }

    /// Hands a line over. Never waits.
    pub(super) fn write(&self, line: &LogLine) {
        let Some(queue) = &self.queue else { return };
        let dropped = self.dropped.swap(0, Ordering::Relaxed);
        let mut bytes = Vec::with_capacity(line.text.len() + 64);
        let at = humantime::format_rfc3339_millis(line.at);
        // Writing to memory does not fail.
        if dropped > 0 {
            writeln!(bytes, "{at} - wharf {dropped} lines not written: the disk is too slow").ok();
        }
        writeln!(bytes, "{at} {}.{} {} {}", line.instance, line.generation, line.stream, line.text).ok();
        if let Err(TrySendError::Full(_)) = queue.try_send(Message::Line(Arc::clone(&self.path), bytes)) {
            self.dropped.fetch_add(dropped + 1, Ordering::Relaxed);
        }
    }

    /// Waits until everything handed over before is in the file.
    pub(super) fn flush(&self, budget: Duration) -> bool {
        let Some(queue) = &self.queue else { return true };
        let (done, wait) = sync_channel(1);
        let end = Instant::now() + budget;
        while let Err(TrySendError::Full(_)) = queue.try_send(Message::Flush(done.clone())) {
            if Instant::now() >= end {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        wait.recv_timeout(end.saturating_duration_since(Instant::now())).is_ok()
    }
}

impl Drop for FileSink {
    fn drop(&mut self) {
        if let Some(queue) = &self.queue {
            // With a full queue the file stays open until the program ends or the plugin logs again: no harm.
            queue.try_send(Message::Close(Arc::clone(&self.path))).ok();
        }
    }
}

fn writer() -> Option<SyncSender<Message>> {
    if let Some(queue) = WRITER.get() {
        return Some(queue.clone());
    }
    let (queue, messages) = sync_channel(QUEUE);
    let thread =
        std::thread::Builder::new().name("wharf-logs".to_owned()).spawn(move || write_all(&messages));
    match thread {
        // If two were started at once, the loser's queue is dropped here and its thread ends.
        Ok(_) => Some(WRITER.get_or_init(|| queue).clone()),
        Err(error) => {
            tracing::warn!(%error, "log files are not written: the thread for them could not be started");
            None
        }
    }
}

fn write_all(messages: &Receiver<Message>) {
    let mut files: HashMap<Arc<Path>, Rolling> = HashMap::new();
    for message in messages {
        match message {
            Message::Line(path, bytes) => {
                let file = files.entry(Arc::clone(&path)).or_insert_with(|| Rolling::new(&path, FILE_BYTES));
                file.write(&bytes, Instant::now());
            }
            Message::Close(path) => drop(files.remove(&path)),
            // Lines are written as they come, so all before this one are in the file. Whoever asked may have given up.
            Message::Flush(done) => drop(done.try_send(())),
        }
    }
}

/// One file, and the older ones beside it.
struct Rolling {
    path: PathBuf,
    limit: u64,
    open: Option<(File, u64)>,
    /// Nothing is tried before; set by a failure.
    not_before: Option<Instant>,
    lost: u64,
}

impl Rolling {
    fn new(path: &Path, limit: u64) -> Self {
        Self { path: path.to_owned(), limit, open: None, not_before: None, lost: 0 }
    }

    fn write(&mut self, bytes: &[u8], now: Instant) {
        if self.not_before.is_some_and(|at| now < at) {
            self.lost += 1;
            return;
        }
        match self.try_write(bytes) {
            Ok(()) if self.lost > 0 => {
                tracing::warn!(path = %self.path.display(), lines = self.lost, "log lines were lost; writing again");
                (self.lost, self.not_before) = (0, None);
            }
            Ok(()) => self.not_before = None,
            Err(error) => {
                if self.lost == 0 {
                    tracing::warn!(path = %self.path.display(), %error, "the log file cannot be written");
                }
                self.lost += 1;
                (self.open, self.not_before) = (None, Some(now + RETRY));
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let length = bytes.len() as u64;
        if self.open.as_ref().is_some_and(|(_, size)| size + length > self.limit) {
            self.open = None;
            self.roll()?;
        }
        let (file, size) = match &mut self.open {
            Some(open) => open,
            closed => closed.insert(open(&self.path)?),
        };
        file.write_all(bytes)?;
        *size += length;
        Ok(())
    }

    /// `p.log` becomes `p.log.1`, that `p.log.2`; the oldest goes.
    fn roll(&self) -> io::Result<()> {
        let name = |n: u32| match n {
            0 => self.path.clone(),
            n => PathBuf::from(format!("{}.{n}", self.path.display())),
        };
        for n in (0..FILES - 1).rev() {
            match fs::rename(name(n), name(n + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }
}

/// Opens to append, readable by the owner only: redaction is by value, and a plugin may log what we do not know.
fn open(path: &Path) -> io::Result<(File, u64)> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir)?;
    }
    let file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::{RETRY, Rolling};

    #[test]
    fn files_roll_by_size_and_the_oldest_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p.log");
        let mut file = Rolling::new(&path, 10);
        for n in 0..9 {
            file.write(format!("line{n}\n").as_bytes(), Instant::now());
        }
        let mut names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["p.log", "p.log.1", "p.log.2"]);
        assert_eq!(fs::read_to_string(&path).unwrap(), "line8\n");
        assert_eq!(fs::read_to_string(dir.path().join("p.log.2")).unwrap(), "line6\n");
    }

    #[test]
    fn a_failure_is_survived_and_writing_goes_on_after_it() {
        let dir = tempfile::tempdir().unwrap();
        let blocked = dir.path().join("logs");
        fs::write(&blocked, "a file where the folder should be").unwrap();
        let mut file = Rolling::new(&blocked.join("p.log"), 1000);
        let start = Instant::now();
        file.write(b"lost\n", start);
        fs::remove_file(&blocked).unwrap();
        file.write(b"too early\n", start);
        assert_eq!(file.lost, 2);
        file.write(b"kept\n", start + RETRY);
        assert_eq!(fs::read_to_string(blocked.join("p.log")).unwrap(), "kept\n");
    }
}
