//! What is written down of calls while they run, so that a host that was killed can say afterwards what became of them.
//!
//! Before the first byte of a call reaches a plugin, that it is `sent` is in a file: in the system's hands, so that the death
//! of this process, SIGKILL included, loses nothing of it. That it has `settled` is written with what comes next, or within
//! [`GATHERED`], and nobody waits for it: a call whose end was lost reads as unknown, which is the safe side. The loss of
//! power is another matter: it is claimed only for what is written [`Journal::durably`], which waits for the disk.
//!
//! The file is one of a few segments. A full one is closed and a new one begun; the oldest goes, once what must be kept of it
//! ([`wharf_core::journal::kept`]) stands in the newest. So the folder is bounded in size and in time, whatever happens.
//!
//! A disk that takes nothing must not stop the calls: the journal says so once, goes on without, and tries again by itself.
//! Only who asked for durability is refused then.
//!
//! It must not know what a call is beyond the entries it is given, nor when one may be tried again.

mod carry;
mod durable;
mod health;
mod keeper;
mod recover;
mod segment;
#[cfg(test)]
mod testkit;
#[cfg(test)]
mod tests;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Notify, watch};
use wharf_core::CallId;
use wharf_core::journal::{Entry, MAX_ANSWER, Recovery, Settled};

use self::durable::Synced;
use self::health::Health;
pub use self::health::JournalView;
use self::writer::Writer;
use crate::events::EventBus;
use crate::tasks::Tasks;

/// How long the end of a call may wait to be written.
const GATHERED: Duration = Duration::from_millis(5);
/// No more of them is gathered, bytes; a disk that takes nothing must not fill the memory.
const MOST_GATHERED: usize = 256 << 10;
/// How long anything is kept.
pub(crate) const KEPT: Duration = Duration::from_secs(24 * 3600);

/// The journal of a host. Cheap to clone. The default one writes nothing.
#[derive(Clone, Debug, Default)]
pub struct Journal(Arc<Inner>);

/// The journal cannot be written; it says why in [`Journal::view`] and tries again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the journal cannot be written")]
pub struct NotWritten;

/// Whether the journal keeps what it says of a call.
type IsOpen = Box<dyn Fn(&CallId) -> bool + Send + Sync>;

struct Inner {
    folder: PathBuf,
    writer: Mutex<Writer>,
    /// Ends of calls that wait to be written.
    gathered: Mutex<Vec<u8>>,
    /// Something was gathered since the last flush.
    dirty: AtomicBool,
    flush: Notify,
    /// There is work for the keeper: to sync, to try again, to clear away.
    work: Notify,
    health: Health,
    synced: watch::Sender<Synced>,
    /// Whether a call still runs, or is unknown of an earlier run.
    is_open: OnceLock<IsOpen>,
}

impl Journal {
    /// Reads what the last host left in the folder, and begins a segment. Blocks. What cannot be read or written is told, and
    /// tried again; it keeps no host from starting.
    pub fn open(folder: &Path) -> (Self, Recovery) {
        let (recovery, next) = recover::recover(folder);
        let inner = Inner::new(folder.to_owned(), Writer::new(next));
        let journal = Self(Arc::new(inner));
        journal.0.try_again();
        (journal, recovery)
    }

    /// Keeps it in order as long as the host lives. `is_open` says of a call whether it still runs, or is to be remembered as
    /// unknown.
    pub fn keep(
        &self,
        tasks: &Tasks,
        events: &Arc<EventBus>,
        is_open: impl Fn(&CallId) -> bool + Send + Sync + 'static,
    ) {
        // There is one host to a journal, which asks once.
        self.0.is_open.set(Box::new(is_open)).ok();
        keeper::start(&self.0, tasks, events);
    }

    /// Writes entries as one record, and whatever was gathered before them; one write, without waiting for the disk.
    ///
    /// # Errors
    /// If it cannot be written. The caller goes on without.
    pub fn append(&self, entries: &[u8]) -> Result<(), NotWritten> {
        self.0.append(entries, false).map(drop)
    }

    /// The same for one entry.
    ///
    /// # Errors
    /// Likewise.
    pub fn write(&self, entry: &Entry<'_>) -> Result<(), NotWritten> {
        if let Entry::Answer(answer) = entry
            && answer.result.len() > MAX_ANSWER
        {
            // Not kept, as every answer that is too long.
            return Ok(());
        }
        let mut bytes = Vec::with_capacity(128);
        entry.put(&mut bytes);
        self.append(&bytes)
    }

    /// A call has ended. Written soon; nobody waits for it.
    pub fn settled(&self, settled: Settled) {
        {
            let mut gathered = self.0.gathered();
            if gathered.len() > MOST_GATHERED || !self.is_well() {
                return;
            }
            Entry::Settled(settled).put(&mut gathered);
        }
        // The look alone, for all but one of many: who flushes takes the mark down before it takes what was gathered.
        if !self.0.dirty.load(Ordering::Acquire) && !self.0.dirty.swap(true, Ordering::AcqRel) {
            self.0.flush.notify_one();
        }
    }

    /// Writes entries and waits until the disk has them, the power's loss included.
    ///
    /// # Errors
    /// If that is not known to be so.
    pub async fn durably(&self, entries: &[u8]) -> Result<(), NotWritten> {
        durable::write(&self.0, entries).await
    }

    /// Whether it can be written, as far as is known.
    pub(crate) fn is_well(&self) -> bool {
        self.0.health.is_well()
    }

    /// How it is.
    pub(crate) fn view(&self) -> JournalView {
        self.0.health.view()
    }
}

impl Inner {
    fn new(folder: PathBuf, writer: Writer) -> Self {
        Self {
            folder,
            writer: Mutex::new(writer),
            gathered: Mutex::default(),
            dirty: AtomicBool::new(false),
            flush: Notify::new(),
            work: Notify::new(),
            health: Health::default(),
            synced: watch::Sender::default(),
            is_open: OnceLock::new(),
        }
    }

    /// Writes entries behind those that were gathered, and says how many records there are now.
    fn append(&self, entries: &[u8], durable: bool) -> Result<u64, NotWritten> {
        if !self.health.is_well() {
            return Err(NotWritten);
        }
        let mut writer = self.writer();
        let record = writer.begin();
        record.append(&mut self.gathered());
        record.extend_from_slice(entries);
        let written = writer.write(&self.folder, durable);
        self.wrote(writer, written)
    }

    /// Takes in how a write went.
    fn wrote(
        &self,
        mut writer: MutexGuard<'_, Writer>,
        written: Result<u64, Option<std::io::Error>>,
    ) -> Result<u64, NotWritten> {
        let (begun, trouble) = (writer.has_begun(), writer.take_trouble());
        drop(writer);
        if begun {
            // There is one more of them now.
            self.work.notify_one();
        }
        if let Some(error) = trouble {
            self.failed(Some(&error));
        }
        written.map_err(|error| self.failed(error.as_ref()))
    }

    /// Writes what was gathered.
    fn flush(&self) {
        if !self.gathered().is_empty() {
            // What is lost reads as unknown.
            self.append(&[], false).ok();
        }
    }

    /// Opens a new segment if there is none to write to. Blocks.
    fn try_again(&self) {
        let opened = {
            let mut writer = self.writer();
            if writer.is_open() { Ok(()) } else { writer.open(&self.folder) }
        };
        match opened {
            Ok(()) => self.health.well(),
            Err(error) => self.health.ill(&error, &self.folder),
        }
    }

    /// `None`: it had failed before.
    fn failed(&self, error: Option<&std::io::Error>) -> NotWritten {
        if let Some(error) = error {
            self.health.ill(error, &self.folder);
            self.work.notify_one();
        }
        NotWritten
    }

    fn writer(&self) -> MutexGuard<'_, Writer> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn gathered(&self) -> MutexGuard<'_, Vec<u8>> {
        self.gathered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    /// What ended after the tasks did.
    fn drop(&mut self) {
        self.flush();
    }
}

/// Milliseconds since 1970, as entries have it.
pub(crate) fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// And back.
pub(crate) fn of_millis(at: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(at)).unwrap_or(SystemTime::UNIX_EPOCH)
}

impl Default for Inner {
    fn default() -> Self {
        Self::new(PathBuf::new(), Writer::default())
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal").field("folder", &self.folder).finish_non_exhaustive()
    }
}
