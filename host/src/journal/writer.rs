//! The one place that writes to the journal: the segment that is open, and when the next one is begun.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use wharf_core::journal::{HEAD, begin, seal};

use super::segment::Segment;

/// A segment that has this many bytes is full.
pub(super) const FULL: u64 = 4 << 20;
/// And one that is so old, so that what is in it is of about the same age.
const OLD: Duration = Duration::from_secs(3 * 3600);
/// A record's buffer that has grown beyond this is given back.
const BUFFER: usize = 256 << 10;

/// What is written to, and what was written.
#[derive(Debug, Default)]
pub(super) struct Writer {
    /// `None`: nothing can be written.
    segment: Option<Segment>,
    record: Vec<u8>,
    /// The number of the next segment.
    next: u64,
    /// Records so far.
    written: u64,
    /// Somebody waits for the disk.
    wanted: bool,
    /// Closed segments that hold what somebody waits for.
    closed: Vec<Arc<File>>,
    /// The segment that is open was begun after the folder was last synced.
    fresh: bool,
    /// A segment was begun since the keeper last looked.
    begun: bool,
    /// Why the next segment could not be begun.
    trouble: Option<io::Error>,
}

/// What a sync is to do.
pub(super) struct Sync {
    pub(super) files: Vec<Arc<File>>,
    /// The folder as well: a segment in it is new.
    pub(super) folder: bool,
    /// All records up to this one are on the disk then.
    pub(super) up_to: u64,
}

impl Writer {
    /// One whose next segment has this number.
    pub(super) fn new(next: u64) -> Self {
        Self { next, ..Self::default() }
    }

    pub(super) fn is_open(&self) -> bool {
        self.segment.is_some()
    }

    /// Begins a segment.
    pub(super) fn open(&mut self, folder: &Path) -> io::Result<()> {
        // A number that was tried is not tried again: something may lie there.
        let number = self.next;
        self.next += 1;
        let segment = Segment::begin(folder, number)?;
        if let Some(full) = self.segment.replace(segment).filter(|_| self.wanted) {
            self.closed.push(full.file);
        }
        (self.fresh, self.begun) = (true, true);
        Ok(())
    }

    /// The record that comes next; entries are put into it.
    pub(super) fn begin(&mut self) -> &mut Vec<u8> {
        begin(&mut self.record);
        &mut self.record
    }

    /// Writes the record, and says how many there are now.
    ///
    /// # Errors
    /// `None`: it has failed before. Nothing is written until a segment is [`Writer::open`]ed.
    pub(super) fn write(&mut self, folder: &Path, durable: bool) -> Result<u64, Option<io::Error>> {
        let Some(segment) = &mut self.segment else { return Err(None) };
        seal(&mut self.record);
        if let Err(error) = segment.write(&self.record) {
            self.close();
            return Err(Some(error));
        }
        self.written += 1;
        self.wanted |= durable;
        if self.record.capacity() > BUFFER {
            self.record = Vec::new();
        }
        if segment.length >= FULL
            && let Err(error) = self.open(folder)
        {
            // What was written counts; what comes next does not.
            self.trouble = Some(error);
            self.close();
        }
        Ok(self.written)
    }

    /// Nothing more goes to the open segment. Who waits for what is in it still gets it synced.
    fn close(&mut self) {
        if let Some(segment) = self.segment.take().filter(|_| self.wanted) {
            self.closed.push(segment.file);
        }
    }

    /// Whether the open segment is one that ought to be closed for its age.
    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        let old = |segment: &Segment| {
            segment.length > HEAD as u64 && now.duration_since(segment.begun).is_ok_and(|age| age > OLD)
        };
        self.segment.as_ref().is_some_and(old)
    }

    /// What is written goes to this file instead of the open segment.
    #[cfg(test)]
    pub(super) fn divert(&mut self, file: File) {
        if let Some(segment) = &mut self.segment {
            segment.file = Arc::new(file);
        }
    }

    /// The number of the open segment, or of the next: all below it are closed.
    pub(super) fn number(&self) -> u64 {
        if self.segment.is_some() { self.next.saturating_sub(1) } else { self.next }
    }

    /// Whether a segment was begun since this was asked.
    pub(super) fn has_begun(&mut self) -> bool {
        std::mem::take(&mut self.begun)
    }

    /// Why nothing can be written any more, though the last record was.
    pub(super) fn take_trouble(&mut self) -> Option<io::Error> {
        self.trouble.take()
    }

    /// Whether somebody waits for the disk.
    pub(super) fn wants_sync(&self) -> bool {
        self.wanted
    }

    /// What is to be synced, if somebody waits for it.
    pub(super) fn take_sync(&mut self) -> Option<Sync> {
        if !std::mem::take(&mut self.wanted) {
            return None;
        }
        let open = self.segment.iter().map(|segment| Arc::clone(&segment.file));
        let files = std::mem::take(&mut self.closed).into_iter().chain(open).collect();
        Some(Sync { files, folder: std::mem::take(&mut self.fresh), up_to: self.written })
    }

    /// The disk did not take it: what is written now goes to another segment. Says how many records there are: nobody who
    /// waits for one of them gets it.
    pub(super) fn give_up(&mut self) -> u64 {
        self.segment = None;
        self.closed.clear();
        self.wanted = false;
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::super::testkit::{FULL_DISK, NO_SYNC, put_in_place};
    use super::super::{Inner, durable};
    use super::*;

    fn put(writer: &mut Writer, folder: &Path) -> Result<u64, Option<io::Error>> {
        writer.begin().extend_from_slice(b"entry");
        writer.write(folder, true)
    }

    #[test]
    fn a_segment_that_takes_no_more_is_synced_for_those_who_wait() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(1);
        writer.open(home.path()).unwrap();
        assert_eq!(put(&mut writer, home.path()).unwrap(), 1);
        put_in_place(&mut writer, FULL_DISK);
        assert!(put(&mut writer, home.path()).is_err() && !writer.is_open());
        let sync = writer.take_sync().unwrap();
        assert_eq!((sync.files.len(), sync.up_to), (1, 1));
    }

    #[test]
    fn what_was_written_before_a_failed_sync_is_never_said_to_be_on_the_disk() {
        let home = tempfile::tempdir().unwrap();
        let mut writer = Writer::new(1);
        writer.open(home.path()).unwrap();
        put_in_place(&mut writer, NO_SYNC);
        let inner = Inner::new(home.path().to_owned(), writer);
        assert_eq!(put(&mut inner.writer(), home.path()).unwrap(), 1);
        let work = inner.writer().take_sync().unwrap();
        // Written while the disk is at it.
        assert_eq!(put(&mut inner.writer(), home.path()).unwrap(), 2);
        assert!(!durable::carried_out(&inner, &work));
        inner.try_again();
        assert!(inner.writer().is_open());
        assert!(durable::now(&inner), "nobody waits");
        let synced = *inner.synced.borrow();
        assert!(!synced.has(1) && !synced.has(2), "{synced:?}");
        // What comes after it is.
        assert_eq!(put(&mut inner.writer(), home.path()).unwrap(), 3);
        assert!(durable::now(&inner));
        let synced = *inner.synced.borrow();
        assert!(!synced.has(2) && synced.has(3), "{synced:?}");
    }
}
