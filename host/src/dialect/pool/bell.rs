//! What a connection wakes: whoever uses it at the time, and nobody while that one is at it.
//!
//! A connection and whoever waits for its answer are one task. What the one does would wake the other, which is about to look
//! anyway: the task would be polled once more with all that it holds, and find nothing to do. And the task that used the
//! connection last would be woken by what the next one does. It must not know what a connection is.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// The user is at it.
const THERE: u8 = 1;
/// It was rung since the user was last at it.
const RUNG: u8 = 2;

/// The bell of a connection, which is polled with no other waker.
pub(super) struct Bell {
    door: Arc<Door>,
    waker: Waker,
    /// As the door knows it: to look at it takes no lock.
    user: Option<Waker>,
}

#[derive(Default)]
struct Door {
    state: AtomicU8,
    /// Who uses the connection.
    user: Mutex<Option<Waker>>,
}

impl Door {
    fn user(&self) -> MutexGuard<'_, Option<Waker>> {
        self.user.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Wake for Door {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Either the user, who is there, finds that it was rung, or is seen not to be there.
        if self.state.fetch_or(RUNG, Ordering::AcqRel) & THERE != 0 {
            return;
        }
        let user = self.user().clone();
        if let Some(user) = user {
            user.wake();
        }
    }
}

impl Bell {
    pub(super) fn new() -> Self {
        let door = Arc::<Door>::default();
        Self { waker: Waker::from(Arc::clone(&door)), door, user: None }
    }

    /// Does what may ring it, and whatever that is for. If nothing comes of it though it was rung, that is left to the next
    /// poll.
    pub(super) fn answered<T>(
        &mut self,
        cx: &Context<'_>,
        work: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.user.as_ref().is_none_or(|user| !user.will_wake(cx.waker())) {
            self.belongs_to(Some(cx.waker().clone()));
        }
        self.door.state.swap(THERE, Ordering::AcqRel);
        let done = work(&mut Context::from_waker(&self.waker));
        let was = self.door.state.swap(0, Ordering::AcqRel);
        if was & RUNG != 0 && done.is_pending() {
            cx.waker().wake_by_ref();
        }
        done
    }

    /// Nobody uses the connection.
    pub(super) fn leave(&mut self) {
        self.belongs_to(None);
    }

    fn belongs_to(&mut self, user: Option<Waker>) {
        self.door.user().clone_from(&user);
        self.user = user;
    }
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Poll};

    use super::Bell;
    use crate::woken::Woken;

    #[test]
    fn who_used_it_last_is_woken_and_nobody_once_it_is_left() {
        let mut bell = Bell::new();
        let ((ones, one), (twos, two)) = (Woken::task(), Woken::task());
        for user in [&one, &two, &two] {
            let pending = bell.answered(&Context::from_waker(user), |_| Poll::<()>::Pending);
            assert!(pending.is_pending());
        }
        bell.waker.wake_by_ref();
        assert_eq!((ones.times(), twos.times()), (0, 1));
        bell.leave();
        bell.waker.wake_by_ref();
        assert_eq!((ones.times(), twos.times()), (0, 1));
    }

    #[test]
    fn what_rings_while_somebody_is_at_it_wakes_only_if_nothing_came_of_it() {
        let mut bell = Bell::new();
        let (woken, waker) = Woken::task();
        let cx = Context::from_waker(&waker);
        let ring = |cx: &mut Context<'_>| cx.waker().wake_by_ref();
        let ready = bell.answered(&cx, |cx| {
            ring(cx);
            Poll::Ready(7)
        });
        assert_eq!((ready, woken.times()), (Poll::Ready(7), 0));
        assert!(bell.answered(&cx, |_| Poll::<()>::Pending).is_pending());
        assert_eq!(woken.times(), 0, "what was rung before was for naught");
        let pending = bell.answered(&cx, |cx| {
            ring(cx);
            ring(cx);
            assert_eq!(woken.times(), 0);
            Poll::<()>::Pending
        });
        assert_eq!((pending, woken.times()), (Poll::Pending, 1));
        // From another thread as from this one.
        std::thread::scope(|scope| scope.spawn(|| bell.waker.wake_by_ref()).join().unwrap());
        assert_eq!(woken.times(), 2);
    }
}
