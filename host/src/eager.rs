//! A future that is polled where it is woken, if whoever wakes it says so.
//!
//! A call that waits for its turn is deep in the task of its connection: to go on it would have to be scheduled, perhaps on
//! another thread, and polled through all that stands around it, only to hand a message to the writer of its plugin. Whoever
//! gives the turns, the reader of that plugin's answers, polls the calls themselves instead, and what they have to say is
//! written together. To their tasks it is as if they had been polled there, but for what belongs to the one who polls: its span,
//! its share of time.
//!
//! A future must not drop itself while it is polled.

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::task::{ArcWake, AtomicWaker, waker_ref};
use tokio::runtime::Handle;

use crate::near;

/// A future that its task polls, and whoever wakes it [`eagerly`].
pub(crate) struct Eager<T: 'static>(Arc<Shared<T>>);

struct Shared<T> {
    state: Mutex<State<T>>,
    task: AtomicWaker,
}

enum State<T> {
    Runs(BoxFuture<'static, T>),
    /// It ended, or panicked, where it was woken; its task has yet to be told.
    Ended(Box<Result<T, Box<dyn Any + Send>>>),
    Over,
}

/// What this thread does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Whom it wakes is scheduled.
    Schedules,
    /// Whom it wakes it polls.
    Polls,
    /// It does: whom that wakes is scheduled, or it would not come to an end.
    IsPolling,
}

thread_local! {
    static MODE: Cell<Mode> = const { Cell::new(Mode::Schedules) };
}

/// Sets the mode of this thread until it is dropped.
struct Within(Mode);

/// Polls what `work` wakes, in a task of the host's own runtime; elsewhere that is scheduled as ever: what a future begins
/// belongs to the runtime in which it is polled, and this one outlives all others. (A connection may move to another one
/// between two requests, but no call does.)
pub(crate) fn eagerly<T>(work: impl FnOnce() -> T) -> T {
    let may_poll = MODE.get() == Mode::Schedules && near::is_own() && Handle::try_current().is_ok();
    let _within = may_poll.then(|| Within::mode(Mode::Polls));
    work()
}

// === impl Within ===

impl Within {
    fn mode(mode: Mode) -> Self {
        Self(MODE.replace(mode))
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        MODE.set(self.0);
    }
}

// === impl Eager ===

impl<T: Send + 'static> Eager<T> {
    pub(crate) fn new(future: BoxFuture<'static, T>) -> Self {
        Self(Arc::new(Shared { state: Mutex::new(State::Runs(future)), task: AtomicWaker::new() }))
    }
}

impl<T: Send + 'static> Future for Eager<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let mut state = self.0.state();
        if let State::Runs(future) = &mut *state {
            // Under the lock: who wakes it while it is polled here does not get it, and wakes this task.
            self.0.task.register(cx.waker());
            let polled = future.as_mut().poll(&mut Context::from_waker(&waker_ref(&self.0)));
            if polled.is_ready() {
                *state = State::Over;
            }
            return polled;
        }
        match std::mem::replace(&mut *state, State::Over) {
            State::Ended(ended) => {
                drop(state);
                Poll::Ready(ended.unwrap_or_else(|panic| resume_unwind(panic)))
            }
            State::Runs(_) | State::Over => Poll::Pending,
        }
    }
}

impl<T> Drop for Eager<T> {
    fn drop(&mut self) {
        // It holds what wakes it, and that holds it. Whoever polls it at the moment is waited for.
        let state = std::mem::replace(&mut *self.0.state(), State::Over);
        drop(state);
    }
}

// === impl Shared ===

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Shared<T> {
    /// Polls it here. False: its task has to, since it is being polled, or has ended.
    fn polled(self: &Arc<Self>) -> bool {
        let Ok(mut state) = self.state.try_lock() else { return false };
        let State::Runs(future) = &mut *state else { return false };
        let waker = waker_ref(self);
        // What goes wrong in it is its own task's, and not of whoever woke it.
        let polled =
            catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(&mut Context::from_waker(&waker))));
        let ended = match polled {
            Ok(Poll::Pending) => return true,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        let over = std::mem::replace(&mut *state, State::Ended(Box::new(ended)));
        drop(state);
        drop(over);
        false
    }
}

impl<T: Send + 'static> ArcWake for Shared<T> {
    fn wake_by_ref(shared: &Arc<Self>) {
        let polls = MODE.get() == Mode::Polls;
        // Over the end, too: what waits for it may be such a future itself.
        let _within = polls.then(|| Within::mode(Mode::IsPolling));
        if !(polls && shared.polled()) {
            shared.task.wake();
        }
    }
}

#[cfg(test)]
mod tests;
