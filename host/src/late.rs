//! A queue that is made by the first thing that is put into it.
//!
//! Nearly every call could hear something on its way, be asked something, or have something to tell, and nearly none does. A
//! queue with its places costs a call more than all that it is looked at for; this one costs a counted pointer.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

/// The writing side. Cheap to clone.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// The reading side. Once it is dropped, nobody is there.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    queue: Option<mpsc::Receiver<T>>,
}

#[derive(Debug)]
struct Shared<T> {
    room: usize,
    /// The end of all who write is told to who waits, also where nothing was ever put.
    tells_end: bool,
    writers: AtomicUsize,
    queue: OnceLock<mpsc::Sender<T>>,
    /// Something happened: the queue was made, or nobody writes any more.
    stirred: AtomicBool,
    /// The reading end, until it is fetched.
    end: Mutex<Option<mpsc::Receiver<T>>>,
    /// Who waits for the queue, or for the end of those who write.
    task: AtomicWaker,
    gone: AtomicBool,
}

/// A queue of so many places.
#[must_use]
pub fn queue<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    made(room, true)
}

/// Likewise, for who waits for the end of those who write beside it: that alone wakes nobody. Nearly always it is the task
/// itself that comes to the end of a call, and it would be polled once more for nothing.
pub(crate) fn beside<T>(room: usize) -> (Sender<T>, Receiver<T>) {
    made(room, false)
}

fn made<T>(room: usize, tells_end: bool) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        room,
        tells_end,
        writers: AtomicUsize::new(1),
        queue: OnceLock::new(),
        stirred: AtomicBool::new(false),
        end: Mutex::new(None),
        task: AtomicWaker::new(),
        gone: AtomicBool::new(false),
    });
    (Sender(Arc::clone(&shared)), Receiver { shared, queue: None })
}

impl<T> Shared<T> {
    fn end(&self) -> MutexGuard<'_, Option<mpsc::Receiver<T>>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stir(&self) {
        self.stirred.store(true, Ordering::Release);
        self.task.wake();
    }
}

// === impl Sender ===

impl<T> Sender<T> {
    /// The queue. It is there from now on.
    pub(crate) fn made(&self) -> &mpsc::Sender<T> {
        let shared = &*self.0;
        shared.queue.get_or_init(|| {
            let (queue, end) = mpsc::channel(shared.room);
            *shared.end() = Some(end);
            shared.stir();
            if shared.gone.load(Ordering::Acquire) {
                // Who left may not have seen this end.
                drop(shared.end().take());
            }
            queue
        })
    }

    /// Puts something without waiting for room.
    ///
    /// # Errors
    /// If there is none, or nobody is there.
    pub fn try_send(&self, it: T) -> Result<(), TrySendError<T>> {
        self.made().try_send(it)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.writers.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let is_last = self.0.writers.fetch_sub(1, Ordering::AcqRel) == 1;
        if is_last && (self.0.tells_end || self.0.queue.get().is_some()) {
            self.0.stir();
        }
    }
}

// === impl Receiver ===

impl<T> Receiver<T> {
    /// The next that was put; `None` when nothing comes any more. Cancel safe.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Looks for the next one; the task is woken when there may be one, as by [`Receiver::recv`].
    pub(crate) fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        // Before the look: who stirs after it wakes this task.
        self.shared.task.register(cx.waker());
        if !self.fetched() {
            return Poll::Pending;
        }
        self.queue.as_mut().map_or(Poll::Ready(None), |queue| queue.poll_recv(cx))
    }

    /// The next, if it is there already.
    ///
    /// # Errors
    /// If nothing is there, or nothing comes any more.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        if !self.fetched() {
            return Err(TryRecvError::Empty);
        }
        self.queue.as_mut().map_or(Err(TryRecvError::Disconnected), mpsc::Receiver::try_recv)
    }

    /// Fetches the queue. False: it was not made.
    fn fetched(&mut self) -> bool {
        if self.queue.is_none() {
            if !self.shared.stirred.load(Ordering::Acquire) {
                return false;
            }
            self.queue = self.shared.end().take();
        }
        if let Some(queue) = self.queue.as_mut().filter(|_| self.shared.writers.load(Ordering::Acquire) == 0)
        {
            // What was put is still there.
            queue.close();
        }
        true
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Before the lock: who makes the queue after this one sees it.
        self.shared.gone.store(true, Ordering::Release);
        drop(self.shared.end().take());
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use futures_util::FutureExt;
    use tokio::sync::mpsc::error::{TryRecvError, TrySendError};

    use super::{beside, queue};
    use crate::woken::Woken;

    #[tokio::test]
    async fn things_come_in_order_and_wake_who_waits() {
        let (sender, mut receiver) = queue(4);
        assert!(receiver.recv().now_or_never().is_none());
        assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
        let put = async {
            for n in 0..9 {
                sender.made().send(n).await.unwrap();
            }
        };
        let taken = async {
            let mut taken = Vec::new();
            while taken.len() < 9 {
                taken.push(receiver.recv().await.unwrap());
            }
            taken
        };
        let (taken, ()) = tokio::join!(taken, put);
        assert_eq!(taken, (0..9).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn the_end_of_all_who_write_is_told() {
        let (sender, mut receiver) = queue::<u8>(1);
        let other = sender.clone();
        drop(sender);
        assert!(receiver.recv().now_or_never().is_none(), "one is left");
        let waits = async { receiver.recv().await };
        let (ended, ()) = tokio::join!(waits, async { drop(other) });
        assert_eq!((ended, receiver.try_recv()), (None, Err(TryRecvError::Disconnected)));
        let (sender, mut receiver) = queue(1);
        sender.try_send(1).unwrap();
        drop(sender);
        assert_eq!(
            (receiver.recv().await, receiver.recv().await),
            (Some(1), None),
            "what was put comes first"
        );
    }

    #[tokio::test]
    async fn who_waits_beside_is_woken_by_what_is_put_and_by_no_end() {
        let (woken, task) = Woken::task();
        let mut cx = Context::from_waker(&task);
        let (sender, mut receiver) = beside::<u8>(1);
        assert!(receiver.poll_recv(&mut cx).is_pending());
        drop(sender);
        assert!(receiver.poll_recv(&mut cx).is_pending() && woken.times() == 0);
        let (sender, mut receiver) = beside(1);
        assert!(receiver.poll_recv(&mut cx).is_pending());
        sender.try_send(1).unwrap();
        assert_eq!(woken.times(), 1);
        drop(sender);
        assert_eq!((receiver.recv().await, receiver.recv().await), (Some(1), None));
    }

    #[tokio::test]
    async fn who_has_taken_all_and_waits_is_told_the_end_once() {
        for made in [queue, beside] {
            let (woken, task) = Woken::task();
            let mut cx = Context::from_waker(&task);
            let (sender, mut receiver) = made(1);
            let other = sender.clone();
            sender.try_send(1).unwrap();
            assert_eq!(receiver.try_recv(), Ok(1));
            assert!(receiver.poll_recv(&mut cx).is_pending());
            drop(other);
            assert!(receiver.poll_recv(&mut cx).is_pending() && woken.times() == 0, "one is left");
            drop(sender);
            assert_eq!(woken.times(), 1);
            assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(None));
            assert_eq!(receiver.try_recv(), Err(TryRecvError::Disconnected));
        }
    }

    #[tokio::test]
    async fn who_has_left_gets_nothing() {
        let (sender, receiver) = queue(1);
        drop(receiver);
        assert_eq!(sender.try_send(1), Err(TrySendError::Closed(1)), "before the first");
        sender.made().closed().now_or_never().unwrap();
        let (sender, receiver) = queue(2);
        sender.try_send(1).unwrap();
        drop(receiver);
        assert_eq!(sender.try_send(2), Err(TrySendError::Closed(2)), "never fetched");
        let (sender, mut receiver) = queue(2);
        sender.try_send(1).unwrap();
        assert_eq!(receiver.try_recv(), Ok(1));
        drop(receiver);
        assert_eq!(sender.try_send(2), Err(TrySendError::Closed(2)), "fetched");
    }

    #[test]
    fn more_than_there_is_room_for_is_refused() {
        let (sender, mut receiver) = queue(1);
        sender.try_send(1).unwrap();
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.try_recv(), Ok(1));
        sender.try_send(3).unwrap();
        assert_eq!(receiver.try_recv(), Ok(3));
    }
}
