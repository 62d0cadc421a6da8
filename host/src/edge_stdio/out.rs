//! The way out of one client: a short queue to whoever writes, of which every message counts as held for the client, also
//! while it still waits for a place.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{SendError, TrySendError};

use crate::held::Taker;

/// Where messages go. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Out {
    queue: mpsc::Sender<Bytes>,
    taker: Arc<Taker>,
}

/// A message that counts already, and waits for a place.
#[derive(Debug)]
pub(super) struct Waiting(pub(super) Bytes);

impl Out {
    /// A queue of so many messages.
    pub(crate) fn new(taker: Arc<Taker>, messages: usize) -> (Self, mpsc::Receiver<Bytes>) {
        let (queue, out) = mpsc::channel(messages);
        (Self { queue, taker }, out)
    }

    /// Waits for a place.
    ///
    /// # Errors
    /// Nobody is there.
    pub(super) async fn send(&self, message: Bytes) -> Result<(), SendError<Bytes>> {
        self.hand_over(self.hold(message)).await
    }

    /// A place, once there is one.
    ///
    /// # Errors
    /// Nobody is there.
    pub(super) async fn place(&self) -> Result<mpsc::Permit<'_, Bytes>, SendError<()>> {
        self.queue.reserve().await
    }

    /// Counts a message from now on.
    pub(super) fn hold(&self, message: Bytes) -> Waiting {
        Waiting(self.taker.hold(message))
    }

    /// The message, if there is no place now. One that nobody is there to take is dropped.
    pub(super) fn try_hand_over(&self, message: Waiting) -> Option<Waiting> {
        match self.queue.try_send(message.0) {
            Err(TrySendError::Full(message)) => Some(Waiting(message)),
            Ok(()) | Err(TrySendError::Closed(_)) => None,
        }
    }

    /// # Errors
    /// Nobody is there.
    pub(super) async fn hand_over(&self, message: Waiting) -> Result<(), SendError<Bytes>> {
        self.queue.send(message.0).await
    }
}

impl Waiting {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}
