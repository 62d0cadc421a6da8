//! What the last host left. Blocks; it is done before the first call, and bounded by what a host may leave.

use std::path::Path;
use std::time::SystemTime;

use wharf_core::journal::{HEAD, HeadError, Recovery, Replay};

use super::segment::Found;
use super::{KEPT, millis};

/// Segments that are read, the newest; more are never left.
const MOST_SEGMENTS: usize = 16;
/// Calls and keys that are remembered, of each kind.
const MOST: usize = 16 << 10;

/// All that can be read, and the number of the next segment.
pub(super) fn recover(folder: &Path) -> (Recovery, u64) {
    let found = match Found::all(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            tracing::error!(%error, folder = %folder.display(), "the journal cannot be read; what ran before is not known");
            Vec::new()
        }
    };
    let next = found.last().map_or(1, |last| last.number.saturating_add(1));
    let oldest = millis(SystemTime::now().checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH));
    let mut replay = Replay::new(oldest, MOST);
    for segment in found.iter().skip(found.len().saturating_sub(MOST_SEGMENTS)) {
        let read = segment.read().map(|bytes| (replay.read(&bytes), bytes.len()));
        match read {
            // Nothing was written after its head, or the head was not finished.
            Ok((Ok(()) | Err(HeadError::Torn), length)) if length <= HEAD => {
                std::fs::remove_file(&segment.path).ok();
            }
            Ok((Ok(()), _)) => {}
            Ok((Err(error), _)) => {
                tracing::error!(%error, path = %segment.path.display(), "a file of the journal is not read");
            }
            Err(error) => {
                tracing::error!(%error, path = %segment.path.display(), "a file of the journal cannot be read");
            }
        }
    }
    let recovery = replay.recovered();
    let scanned = recovery.scanned;
    if scanned.corrupt > 0 || recovery.dropped > 0 {
        tracing::error!(
            places = scanned.corrupt,
            dropped = recovery.dropped,
            "the journal is damaged: what it said there is not known; all else was read"
        );
    }
    if scanned.torn > 0 {
        tracing::info!(
            bytes = scanned.torn,
            "the journal ends within a record, as after a crash; it is left out"
        );
    }
    (recovery, next)
}
