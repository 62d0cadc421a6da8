//! The writing half of a line connection: a bounded queue, and the task that drains it into as few writes as it can.
//!
//! It must not know what a frame means, only which request it belongs to, so that a request whose caller is gone is
//! never written and one that is written counts as handed over from before its first byte.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Outbox;
use super::pending::Pending;
use crate::aside::Aside;
use crate::journal::Journal;
use crate::turn::step_back;

/// Frames in the queue.
const QUEUE: usize = 1024;
/// Frames that are written together.
const BATCH: usize = 64;
/// Frames that are written without a look whether others are about to come.
const ENOUGH: usize = 16;
/// Bytes in the queue. A frame larger than this passes alone.
const QUEUE_BYTES: usize = 64 << 20;
/// Small frames are gathered up to this size; a larger one is written as it is.
const GATHER: usize = 64 << 10;
/// How long a write that is under way may still take once the link closes.
const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// The sending end. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Queue {
    frames: mpsc::Sender<Frame>,
    room: Arc<Semaphore>,
}

/// One line, without its end.
pub(crate) struct Frame {
    /// The request it belongs to, if it is one of ours.
    request: Option<u64>,
    bytes: Vec<u8>,
}

/// The receiving end. It gives back the room of what it has taken, for a batch at once; when it is dropped nobody waits for
/// room any more.
pub(crate) struct Frames {
    queued: mpsc::Receiver<Frame>,
    room: Arc<Semaphore>,
}

/// A queue and its receiving end.
pub(crate) fn queue() -> (Queue, Frames) {
    let (frames, queued) = mpsc::channel(QUEUE);
    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    (Queue { frames, room: Arc::clone(&room) }, Frames { queued, room })
}

/// Writes what the queue holds, until `closing`; then closes `to`.
///
/// # Errors
/// If a write fails: the other side has closed its end.
pub(crate) async fn run<W: AsyncWrite + Unpin>(
    mut to: W,
    mut frames: Frames,
    pending: Arc<Pending>,
    journal: Journal,
    closing: CancellationToken,
) -> io::Result<()> {
    let mut batch = Vec::with_capacity(BATCH);
    let mut gathered = Vec::new();
    let mut closed = Aside::new(closing.cancelled());
    let mut notes = Vec::new();
    loop {
        tokio::select! {
            biased;
            () = &mut closed => break,
            n = frames.queued.recv_many(&mut batch, BATCH) => if n == 0 { break },
        }
        // Who is about to queue a frame does so first: its request came with the one that woke this task, and shares the write.
        // Where many do already, the plugin works on those meanwhile.
        if batch.len() < ENOUGH {
            step_back().await;
        }
        while batch.len() < BATCH
            && let Ok(frame) = frames.queued.try_recv()
        {
            batch.push(frame);
        }
        let mut taken = 0;
        for frame in batch.drain(..) {
            if !gathered.is_empty() && gathered.len() + frame.bytes.len() > GATHER {
                frames.give_back(std::mem::take(&mut taken));
                keep(&journal, &mut notes);
                write(&mut to, &gathered, &closing).await?;
                gathered.clear();
            }
            taken += weight(&frame.bytes) as usize;
            if frame.request.is_some_and(|id| !pending.sent(id, &mut notes)) {
                continue;
            }
            if frame.bytes.len() > GATHER {
                keep(&journal, &mut notes);
                write(&mut to, &frame.bytes, &closing).await?;
                gathered.push(b'\n');
            } else {
                gathered.extend_from_slice(&frame.bytes);
                gathered.push(b'\n');
            }
        }
        frames.give_back(taken);
        keep(&journal, &mut notes);
        write(&mut to, &gathered, &closing).await?;
        gathered.clear();
        to.flush().await?;
    }
    tokio::time::timeout(CLOSE_GRACE, to.shutdown()).await.unwrap_or(Ok(()))
}

/// Writes down, as one record, which requests are in the bytes that go out next.
fn keep(journal: &Journal, notes: &mut Vec<u8>) {
    if !notes.is_empty() {
        // Where it cannot be written, the calls go on: the journal says so.
        journal.append(notes).ok();
        notes.clear();
    }
}

async fn write<W: AsyncWrite + Unpin>(
    to: &mut W,
    bytes: &[u8],
    closing: &CancellationToken,
) -> io::Result<()> {
    let too_late = async {
        closing.cancelled().await;
        tokio::time::sleep(CLOSE_GRACE).await;
    };
    tokio::select! {
        biased;
        written = to.write_all(bytes) => written,
        () = too_late => Err(io::ErrorKind::TimedOut.into()),
    }
}

// === impl Queue ===

impl Queue {
    /// Queues a frame without waiting.
    ///
    /// # Errors
    /// If there is no room for it, or nobody writes any more.
    pub(crate) fn push(&self, request: Option<u64>, bytes: Vec<u8>) -> Result<(), wharf_plugin_api::Full> {
        let room = self.room.try_acquire_many(weight(&bytes)).map_err(|_| wharf_plugin_api::Full)?;
        self.frames.try_send(Frame { request, bytes }).map_err(|_| wharf_plugin_api::Full)?;
        // Who takes the frame gives it back.
        room.forget();
        Ok(())
    }
}

// === impl Frames ===

impl Frames {
    fn give_back(&self, room: usize) {
        self.room.add_permits(room);
    }
}

impl Drop for Frames {
    fn drop(&mut self) {
        self.room.close();
    }
}

impl Outbox for Queue {
    fn try_send(&self, message: Vec<u8>) -> bool {
        self.push(None, message).is_ok()
    }

    fn send(&self, bytes: Vec<u8>) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            let Ok(room) = self.room.acquire_many(weight(&bytes)).await else { return false };
            let is_queued = self.frames.send(Frame { request: None, bytes }).await.is_ok();
            if is_queued {
                room.forget();
            }
            is_queued
        })
    }
}

fn weight(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len().min(QUEUE_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
