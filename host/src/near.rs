//! Which serving thread this is, values of which each has its own, so that two threads that serve calls at the same time do
//! not take them from each other, and where a call wishes its connection to be. It must not know what the values are.

use std::cell::Cell;

/// Threads that serve: the host's own runtime, and so many beside it.
pub(crate) const BESIDE: usize = 4;

/// On which serving thread the connection that a call came by is served best.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Best {
    /// On the host's own: the pipe of its plugin is there, and the call need not change threads.
    Own,
    /// On any, so the one with the least to do: each has connections to the plugin.
    Any,
}

thread_local! {
    static AT: Cell<usize> = const { Cell::new(0) };
    static BEST: Cell<Option<Best>> = const { Cell::new(None) };
}

/// A call that was made here, just now, is served best there. Who polls a connection learns it by [`best`]: a call is made
/// while its connection is polled, and nothing on the way from one to the other need know of threads.
pub(crate) fn wishes(best: Option<Best>) {
    BEST.set(best);
}

/// What was wished here since this was asked last.
pub(crate) fn best() -> Option<Best> {
    BEST.take()
}

/// The serving thread that this one belongs to; 0 is the host's own.
pub(crate) fn number() -> usize {
    AT.get()
}

/// From now on this thread is one of those of serving thread `number`, counted from 1. All others belong to the host's own
/// runtime, which is 0.
pub(crate) fn belongs_to(number: usize) {
    AT.set(number.min(BESIDE));
}

/// Whether this thread is of the host's own runtime, or of none that serves.
pub(crate) fn is_own() -> bool {
    number() == 0
}

/// One value for each serving thread.
#[derive(Debug, Default)]
pub(crate) struct Near<T>([Apart<T>; 1 + BESIDE]);

/// On cache lines that hold nothing else, in pairs as processors fetch them: else threads would take those of each other.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Apart<T>(T);

impl<T> Near<T> {
    /// That of the serving thread which this one belongs to.
    pub(crate) fn here(&self) -> &T {
        let [own, ..] = &self.0;
        &self.0.get(AT.get()).unwrap_or(own).0
    }

    /// Those of all serving threads.
    pub(crate) fn all(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|apart| &apart.0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::{BESIDE, Near, belongs_to};

    #[test]
    fn each_serving_thread_has_its_own() {
        let near = Near::<Mutex<usize>>::default();
        std::thread::scope(|threads| {
            for number in [1, BESIDE, BESIDE + 1] {
                let near = &near;
                threads.spawn(move || {
                    belongs_to(number);
                    *near.here().lock().unwrap() += number;
                });
            }
        });
        // One that nobody has told belongs to the host's own.
        *near.here().lock().unwrap() += 100;
        let [own, first, .., last] = near.0;
        assert_eq!([own, first, last].map(|value| value.0.into_inner().unwrap()), [100, 1, 2 * BESIDE + 1]);
    }
}
