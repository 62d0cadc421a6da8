//! A future beside the work of a task, which rarely has anything to say.
//!
//! A task that waits for its work and for the end of the host is woken by its work a hundred thousand times a second. Each time
//! `select!` would poll the other future as well, which takes its locks and its place in lists for nothing. This one is
//! polled when it was woken itself, and else costs a look at a flag.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// A future that is polled only when it was woken. It is pinned in a box, so it can be held by reference in a `select!`.
pub(crate) struct Aside<F> {
    future: Pin<Box<F>>,
    bell: Arc<Bell>,
    waker: Waker,
    /// The task that hears it.
    heard_by: Option<Waker>,
}

/// Rung by the future, heard by the task.
struct Bell {
    rung: AtomicBool,
    task: AtomicWaker,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.rung.store(true, Ordering::Release);
        self.task.wake();
    }
}

impl<F> fmt::Debug for Aside<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Aside").finish_non_exhaustive()
    }
}

impl<F: Future> Aside<F> {
    pub(crate) fn new(future: F) -> Self {
        let bell = Arc::new(Bell { rung: AtomicBool::new(true), task: AtomicWaker::new() });
        let waker = Waker::from(Arc::clone(&bell));
        Self { future: Box::pin(future), bell, waker, heard_by: None }
    }
}

impl<F: Future> Future for Aside<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        // Who rings takes the waker, so it is left again then. Before the look: who rings after it wakes this task once more.
        let is_rung = this.bell.rung.load(Ordering::Acquire);
        if is_rung || this.heard_by.as_ref().is_none_or(|task| !task.will_wake(cx.waker())) {
            this.bell.task.register(cx.waker());
            this.heard_by = Some(cx.waker().clone());
        }
        if !this.bell.rung.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        this.bell.rung.swap(false, Ordering::AcqRel);
        // Whoever rang may be about to take the waker that was just left: it is left anew at the next poll.
        this.heard_by = None;
        this.future.as_mut().poll(&mut Context::from_waker(&this.waker))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    use futures_util::FutureExt;

    use super::Aside;

    #[test]
    fn it_is_polled_once_until_it_is_woken() {
        let mut polls = 0;
        let mut aside = pin!(Aside::new(poll_fn(|_| {
            polls += 1;
            Poll::<()>::Pending
        })));
        for _ in 0..3 {
            assert!(aside.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
        }
        assert_eq!(polls, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn what_it_waits_for_wakes_the_task() {
        let (tell, told) = tokio::sync::oneshot::channel();
        let mut aside = Aside::new(async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            told.await
        });
        assert!((&mut aside).now_or_never().is_none());
        tokio::join!(async { assert_eq!(aside.await, Ok(7)) }, async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            tell.send(7).unwrap();
        });
    }
}
