//! The two tasks of the journal: one writes what was gathered; one syncs, tries again after a failure, and clears away.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use wharf_core::journal::read_head;

use super::segment::Found;
use super::{GATHERED, Inner, KEPT, durable, millis, of_millis};
use crate::events::EventBus;
use crate::tasks::Tasks;

/// Segments, the open one among them.
const SEGMENTS: usize = 8;
/// Between two tries while nothing can be written.
const AGAIN: Duration = Duration::from_secs(1);
/// Between two looks at what is old.
const LOOK: Duration = Duration::from_secs(600);

/// Starts both; they end with the host.
pub(super) fn start(inner: &Arc<Inner>, tasks: &Tasks, events: &Arc<EventBus>) {
    inner.health.tell(events);
    let span = |task| tracing::info_span!(parent: None, "journal", task);
    tasks.spawn(span("flush"), flush(Arc::clone(inner), tasks.clone()));
    tasks.spawn(span("keep"), keep(Arc::clone(inner), tasks.clone()));
}

/// Writes what was gathered, soon after it was.
async fn flush(inner: Arc<Inner>, tasks: Tasks) {
    let soon = async {
        loop {
            inner.flush.notified().await;
            tokio::time::sleep(GATHERED).await;
            inner.dirty.store(false, Ordering::Release);
            inner.flush();
        }
    };
    tokio::select! {
        () = tasks.ending().cancelled() => {}
        () = soon => {}
    }
    // The ends of the last calls.
    inner.flush();
}

async fn keep(inner: Arc<Inner>, tasks: Tasks) {
    loop {
        durable::sync(&inner, &tasks).await;
        let kept = Arc::clone(&inner);
        // A panic there is told by the runtime, and the next look begins anew.
        tasks.blocking(move || kept.clear_away()).await.ok();
        let pause = if inner.writer().is_open() { LOOK } else { AGAIN };
        tokio::select! {
            () = tasks.ending().cancelled() => break,
            () = inner.work.notified() => {}
            () = tokio::time::sleep(pause) => {}
        }
        if !inner.writer().is_open() {
            // Not at once: what failed now fails a moment later.
            tokio::select! {
                () = tasks.ending().cancelled() => break,
                () = tokio::time::sleep(AGAIN) => {}
            }
            let again = Arc::clone(&inner);
            tasks.blocking(move || again.try_again()).await.ok();
        }
    }
    durable::sync(&inner, &tasks).await;
}

impl Inner {
    /// Closes what is old, and deletes what is too much. Blocks.
    pub(super) fn clear_away(&self) {
        let now = SystemTime::now();
        let current = {
            let mut writer = self.writer();
            if writer.is_old(now)
                && let Err(error) = writer.open(&self.folder)
            {
                tracing::warn!(%error, "the next segment of the journal cannot be begun; the last is written on");
            }
            if !writer.is_open() {
                return;
            }
            writer.number()
        };
        let Ok(mut closed) = Found::all(&self.folder) else { return };
        closed.retain(|segment| segment.number < current);
        let oldest = now.checked_sub(KEPT).unwrap_or(SystemTime::UNIX_EPOCH);
        let mut surplus = closed.len().saturating_sub(SEGMENTS - 1);
        for segment in &closed {
            let bytes = match segment.read() {
                Ok(bytes) => bytes,
                Err(error) => {
                    // Another would go in its place, again and again.
                    if surplus > 0 {
                        segment.put_aside(&error);
                    }
                    surplus = surplus.saturating_sub(1);
                    continue;
                }
            };
            let begun = read_head(&bytes).map_or(now, |(begun, _)| of_millis(begun));
            if surplus == 0 && begun > oldest {
                break;
            }
            surplus = surplus.saturating_sub(1);
            if !self.carry(&bytes, millis(oldest)) {
                return;
            }
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(%error, path = %segment.path.display(), "an old file of the journal cannot be deleted");
            }
        }
    }
}
