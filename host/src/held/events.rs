//! What is said during one request and waits for its transport: bounded in messages and in bytes. What does not fit is lost
//! to a client that reads too slowly, as everywhere on the way of a call; its answer is not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use tokio::sync::mpsc::error::SendError;

use super::Held;
use crate::late;

/// Bytes that wait. One message is taken whatever its size.
const BYTES: usize = 1 << 20;

/// The writing side. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Events {
    out: late::Sender<Bytes>,
    held: Held,
    bytes: Arc<AtomicUsize>,
}

impl Events {
    /// Room for so many messages.
    pub(crate) fn new(held: &Held, messages: usize) -> (Self, late::Receiver<Bytes>) {
        let (out, events) = late::queue(messages);
        (Self { out, held: held.clone(), bytes: Arc::default() }, events)
    }

    /// False: it did not fit, or nobody is there.
    pub(crate) fn try_send(&self, message: Bytes) -> bool {
        let waiting = self.bytes.load(Ordering::Relaxed);
        let fits = waiting == 0 || waiting.saturating_add(message.len()) <= BYTES;
        if !fits || !self.held.has_room(message.len()) {
            return false;
        }
        let Ok(place) = self.out.made().try_reserve() else { return false };
        place.send(self.held.counted(message, None, Some(Arc::clone(&self.bytes))));
        true
    }

    /// Waits for a place. What is sent so is never left out: there is no answer that would make up for it.
    ///
    /// # Errors
    /// Nobody is there.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), SendError<()>> {
        let place = self.out.made().reserve().await?;
        place.send(self.held.hold(message));
        Ok(())
    }

    /// Resolves when nobody is there.
    pub(crate) async fn closed(&self) {
        self.out.made().closed().await;
    }
}
