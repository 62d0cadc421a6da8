//! Between the scope of a call and whoever serves its client: the questions, whether the client is there, and that the call
//! has to go because it does not answer.
//!
//! Nearly every call can be asked something and nearly none is, so the queue is made by the first question.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use super::visit::Ask;
use crate::word::Word;

/// Questions that wait to be collected.
const ROOM: usize = 16;

/// The asking side, of one call. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Asks(Arc<Shared>);

/// The side that takes the questions. Once it is dropped, nobody can be asked.
#[derive(Debug)]
pub struct Asked {
    shared: Arc<Shared>,
    questions: Option<mpsc::Receiver<Ask>>,
}

#[derive(Debug, Default)]
struct Shared {
    queue: OnceLock<mpsc::Sender<Ask>>,
    /// Its other end, until it is fetched.
    end: Mutex<Option<mpsc::Receiver<Ask>>>,
    /// Who waits for the first question.
    task: AtomicWaker,
    gone: AtomicBool,
    /// The client has left with the questions, and may come back with the answers.
    left: AtomicBool,
    /// The call has to make room.
    away: Word,
}

/// Both sides, for one call: a second one would be taken for the first.
#[must_use]
pub fn asks() -> (Asks, Asked) {
    let shared = Arc::<Shared>::default();
    (Asks(Arc::clone(&shared)), Asked { shared, questions: None })
}

impl Shared {
    fn end(&self) -> MutexGuard<'_, Option<mpsc::Receiver<Ask>>> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Asks ===

impl Asks {
    /// Puts a question; waits for room. False: nobody is there.
    pub async fn put(&self, ask: Ask) -> bool {
        let queue = self.0.queue.get_or_init(|| {
            let (queue, end) = mpsc::channel(ROOM);
            *self.0.end() = Some(end);
            queue
        });
        if self.0.gone.load(Ordering::Acquire) {
            // Who left may not have seen this end.
            drop(self.0.end().take());
        }
        self.0.task.wake();
        queue.send(ask).await.is_ok()
    }

    /// Whether the client is there.
    pub(crate) fn is_attended(&self) -> bool {
        !self.0.left.load(Ordering::Acquire)
    }

    /// Whether both are of the same call.
    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// Tells the call to make room.
    pub(super) fn send_away(&self) {
        self.0.away.say();
    }

    /// Resolves when the call has to make room. One task at a time waits for it.
    pub(crate) async fn sent_away(&self) {
        self.0.away.heard().await;
    }
}

// === impl Asked ===

impl Asked {
    /// The next question. Who waits for it waits for the end of the call beside it: that is not told here.
    pub async fn next(&mut self) -> Ask {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The client has left with the questions, or is back.
    pub fn attends(&self, is_there: bool) {
        self.shared.left.store(!is_there, Ordering::Release);
    }

    /// As [`Asked::next`].
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Ask> {
        if self.questions.is_none() {
            self.shared.task.register(cx.waker());
            if self.shared.queue.get().is_none() {
                return Poll::Pending;
            }
            self.questions = self.shared.end().take();
        }
        match self.questions.as_mut().map(|questions| questions.poll_recv(cx)) {
            Some(Poll::Ready(Some(ask))) => Poll::Ready(ask),
            Some(Poll::Ready(None) | Poll::Pending) | None => Poll::Pending,
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.shared.gone.store(true, Ordering::Release);
        drop(self.shared.end().take());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;
    use wharf_plugin_api::Request;

    use super::{Ask, asks};

    fn ask(method: &'static str) -> Ask {
        Ask { request: Request::bare(method), reply: oneshot::channel().0 }
    }

    #[tokio::test]
    async fn questions_come_in_order_and_wake_who_waits() {
        let (asks, mut asked) = asks();
        assert!(asked.next().now_or_never().is_none());
        let all = async {
            for method in ["a", "b"] {
                assert!(asks.put(ask(method)).await);
            }
        };
        let taken = async { [asked.next().await.request.method, asked.next().await.request.method] };
        let (taken, ()) = tokio::join!(taken, all);
        assert_eq!(taken, ["a", "b"]);
    }

    #[tokio::test]
    async fn nobody_is_asked_who_has_left() {
        let (first, asked) = asks();
        drop(asked);
        assert!(!first.put(ask("a")).await, "before the first question");
        let (second, mut asked) = asks();
        assert!(second.put(ask("a")).await);
        asked.next().await;
        drop(asked);
        assert!(!second.put(ask("b")).await);
    }

    #[tokio::test]
    async fn more_than_there_is_room_for_waits() {
        let (asks, mut asked) = asks();
        for _ in 0..super::ROOM {
            assert!(asks.put(ask("a")).await);
        }
        assert!(asks.put(ask("b")).now_or_never().is_none());
        asked.next().await;
        assert!(asks.put(ask("c")).await);
    }
}
