//! Writing that waits for the disk. Many that wait at the same time share one sync, off the runtime's workers.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::writer::Sync;
use super::{Inner, NotWritten};
use crate::tasks::Tasks;

/// How long the disk may take; a call that waits longer is refused.
const PATIENCE: Duration = Duration::from_secs(5);

/// Up to which record the disk is known to have all, or to have failed.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Synced {
    done: u64,
    failed: u64,
}

impl Synced {
    /// Whether the disk has this record. One that was before a failure is not told from one that failed with it.
    pub(super) fn has(&self, record: u64) -> bool {
        self.done >= record && self.failed < record
    }
}

/// Writes entries and waits for the disk.
pub(super) async fn write(inner: &Inner, entries: &[u8]) -> Result<(), NotWritten> {
    // Before the write: what is synced meanwhile is seen.
    let mut synced = inner.synced.subscribe();
    let record = inner.append(entries, true)?;
    inner.work.notify_one();
    let known = synced.wait_for(|synced| synced.done >= record || synced.failed >= record);
    match tokio::time::timeout(PATIENCE, known).await {
        Ok(Ok(synced)) if synced.has(record) => Ok(()),
        Ok(_) | Err(_) => Err(NotWritten),
    }
}

/// Does what those who wait need, off the runtime's workers.
pub(super) async fn sync(inner: &Arc<Inner>, tasks: &Tasks) {
    if inner.writer().wants_sync() {
        let inner = Arc::clone(inner);
        // After a panic those who wait are refused when their patience ends.
        tasks.blocking(move || now(&inner)).await.ok();
    }
}

/// The same, at once. Blocks. False: the disk did not take it.
pub(super) fn now(inner: &Inner) -> bool {
    let Some(work) = inner.writer().take_sync() else { return true };
    carried_out(inner, &work)
}

/// Does it and tells those who wait.
pub(super) fn carried_out(inner: &Inner, work: &Sync) -> bool {
    let Err(error) = carry_out(work, &inner.folder) else {
        inner.synced.send_modify(|synced| synced.done = work.up_to);
        return true;
    };
    // After a failed sync nobody knows what the file holds, what was written to it meanwhile included.
    let failed = inner.writer().give_up();
    inner.health.ill(&error, &inner.folder);
    inner.synced.send_modify(|synced| synced.failed = failed);
    false
}

fn carry_out(work: &Sync, folder: &Path) -> std::io::Result<()> {
    for file in &work.files {
        file.sync_data()?;
    }
    if work.folder {
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}
