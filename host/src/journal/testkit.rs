//! What the tests of the journal share: its entries, a record of them, and a disk that fails.

use std::fs::File;

use wharf_core::CallId;
use wharf_core::journal::{Entry, Keyed, Outcome, Sent, Settled, begin, seal};

use super::writer::Writer;
use super::{Journal, millis};

/// Files that fail as a disk does: no room for a write, no sync, and no write at all (EIO: nothing is mapped at the begin of
/// a process's memory).
pub(crate) const FULL_DISK: &str = "/dev/full";
pub(crate) const NO_SYNC: &str = "/dev/null";
pub(crate) const BROKEN_DISK: &str = "/proc/self/mem";

pub(super) fn now() -> u64 {
    millis(std::time::SystemTime::now())
}

/// A call was handed over, at this time.
pub(super) fn sent_at(call: &CallId, at: u64) -> Entry<'static> {
    Entry::Sent(Sent {
        call: *call,
        at,
        keyed: false,
        plugin: "p",
        tool: "t",
        method: "tools/call",
        instance: 1,
        generation: 2,
        principal: "me",
    })
}

pub(super) fn sent(call: &CallId) -> Entry<'static> {
    sent_at(call, now())
}

pub(super) fn settled(call: &CallId) -> Settled {
    Settled { call: *call, at: now(), keyed: false, outcome: Outcome::Answered, code: None }
}

/// A call took a key, at this time.
pub(super) fn keyed_at(call: &CallId, at: u64) -> Entry<'static> {
    let (principal, key, plugin, tool) = ("me", "key", "p", "t");
    Entry::Keyed(Keyed { call: *call, at, principal, key, plugin, tool, digest: &[1; 32] })
}

/// Entries as one record.
pub(super) fn record(entries: &[Entry<'_>]) -> Vec<u8> {
    let mut record = Vec::new();
    begin(&mut record);
    entries.iter().for_each(|entry| entry.put(&mut record));
    seal(&mut record);
    record
}

/// The open segment becomes this file.
pub(super) fn put_in_place(writer: &mut Writer, file: &str) {
    writer.divert(File::options().write(true).open(file).unwrap());
}

impl Journal {
    /// From now on the open segment takes no write: the system says that the device fails.
    pub(crate) fn breaks(&self) {
        put_in_place(&mut self.0.writer(), BROKEN_DISK);
    }
}
