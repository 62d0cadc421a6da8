//! Values of which each serving thread has its own, so that two threads that serve calls at the same time do not take them
//! from each other. It must not know what they are.

use std::cell::Cell;

/// Threads that serve: the host's own runtime, and so many beside it.
pub(crate) const BESIDE: usize = 4;

thread_local! {
    static AT: Cell<usize> = const { Cell::new(0) };
}

/// From now on this thread is one of those of serving thread `number`, counted from 1. All others belong to the host's own
/// runtime, which is 0.
pub(crate) fn belongs_to(number: usize) {
    AT.set(number.min(BESIDE));
}

/// Whether this thread is of the host's own runtime, or of none that serves.
pub(crate) fn is_own() -> bool {
    AT.get() == 0
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
