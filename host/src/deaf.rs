//! A task that does not hear itself, where what it does would wake it for nothing.
//!
//! Who takes the last piece of a request's body wakes the connection, which would have to read on: it is the same task, which
//! would be polled once more with all that it holds, and find nothing to do. Only who calls [`deaf`] knows that nothing is
//! left to do; if there is, that is theirs to see to.

use std::cell::Cell;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};

thread_local! {
    /// Within [`deaf`].
    static DEAF: Cell<bool> = const { Cell::new(false) };
}

/// What wakes a task, except from within [`deaf`]. To be kept from one poll to the next.
#[derive(Debug, Default)]
pub(crate) struct Ear(Option<(Waker, Waker)>);

struct Task(Waker);

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !DEAF.get() {
            self.0.wake_by_ref();
        }
    }
}

impl Ear {
    /// The context in which to poll a future of the task that has this one.
    pub(crate) fn context(&mut self, cx: &Context<'_>) -> Context<'_> {
        if self.0.as_ref().is_some_and(|(task, _)| !task.will_wake(cx.waker())) {
            self.0 = None;
        }
        let (_, own) = self.0.get_or_insert_with(|| {
            let task = cx.waker().clone();
            (task.clone(), Waker::from(Arc::new(Task(task))))
        });
        Context::from_waker(own)
    }
}

/// Does something that wakes no task which has an [`Ear`].
pub(crate) fn deaf<T>(work: impl FnOnce() -> T) -> T {
    struct Hears(bool);
    impl Drop for Hears {
        fn drop(&mut self) {
            DEAF.set(self.0);
        }
    }
    let _hears = Hears(DEAF.replace(true));
    work()
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use super::{Ear, deaf};
    use crate::woken::Woken;

    #[test]
    fn it_hears_all_but_what_is_done_deaf() {
        let ((one, first), (two, second)) = (Woken::task(), Woken::task());
        let mut ear = Ear::default();
        let heard = ear.context(&Context::from_waker(&first)).waker().clone();
        assert!(ear.context(&Context::from_waker(&first)).waker().will_wake(&heard), "it is the same");
        heard.wake_by_ref();
        deaf(|| deaf(|| heard.wake_by_ref()));
        assert_eq!(one.times(), 1);
        // Another thread is not deaf.
        deaf(|| std::thread::scope(|scope| scope.spawn(|| heard.wake_by_ref()).join().unwrap()));
        assert!(std::panic::catch_unwind(|| deaf(|| panic!("on purpose"))).is_err());
        heard.wake_by_ref();
        assert_eq!(one.times(), 3);
        ear.context(&Context::from_waker(&second)).waker().wake_by_ref();
        assert_eq!((one.times(), two.times()), (3, 1), "it moved");
    }
}
