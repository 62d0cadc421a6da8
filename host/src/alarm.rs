//! One timer for all whose time has an end that hardly ever comes: calls with a deadline, and those that wait for their turn.
//!
//! With a timer each, every call would be put under the lock of the runtime's timers, and taken out again, for nothing. So
//! such times are kept where their owners are entered anyway, and here is only the earliest of them, and one task that has
//! all looked through when it has come. Who ends in time does nothing here. It must not know whose times they are.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::tasks::Tasks;

/// No time.
const NEVER: u64 = u64::MAX;

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Alarm(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    born: Instant,
    /// When to look next, nanoseconds after the birth.
    next: AtomicU64,
    sooner: Notify,
    books: Mutex<Vec<Weak<dyn Times>>>,
}

/// Where times are kept.
pub(crate) trait Times: Send + Sync + std::fmt::Debug {
    /// Tells those whose time has come by `now`, and returns the earliest of the other times.
    fn come(&self, now: Instant) -> Option<Instant>;
}

impl Alarm {
    /// An alarm that these tasks keep, until the host ends.
    pub(crate) fn new(tasks: &Tasks) -> Self {
        let (sooner, books) = (Notify::new(), Mutex::default());
        let alarm =
            Self(Arc::new(Inner { born: Instant::now(), next: AtomicU64::new(NEVER), sooner, books }));
        let (kept, ending) = (alarm.clone(), tasks.ending().clone());
        tasks.spawn(tracing::info_span!(parent: None, "alarm"), async move {
            tokio::select! {
                () = kept.keep() => {}
                () = ending.cancelled() => {}
            }
        });
        alarm
    }

    /// Has these times looked through as well, as long as somebody else holds them.
    pub(crate) fn minds<T: Times + 'static>(&self, times: &Arc<T>) {
        let times: Weak<T> = Arc::downgrade(times);
        let mut books = self.books();
        books.retain(|times| times.strong_count() > 0);
        books.push(times);
    }

    /// Somebody's time comes then. It stands in its book already, so that whoever looks from now on finds it.
    pub(crate) fn at(&self, time: Instant) {
        let time = self.nanos(time);
        // The way of nearly every call: there will be a look before.
        if self.0.next.load(Ordering::SeqCst) > time && self.0.next.fetch_min(time, Ordering::SeqCst) > time {
            self.0.sooner.notify_one();
        }
    }

    async fn keep(&self) {
        loop {
            let next = self.0.next.load(Ordering::SeqCst);
            tokio::select! {
                () = self.0.sooner.notified() => {}
                () = sleep_until(self.0.born + Duration::from_nanos(next)), if next != NEVER => self.look(),
            }
        }
    }

    fn look(&self) {
        // First: a time that is put down too late for this look is told by its owner, who finds nothing earlier.
        self.0.next.store(NEVER, Ordering::SeqCst);
        let now = Instant::now();
        let mut next: Option<Instant> = None;
        self.books().retain(|times| {
            let times = times.upgrade();
            let earliest = times.as_ref().and_then(|times| times.come(now));
            next = next.into_iter().chain(earliest).min();
            times.is_some()
        });
        if let Some(next) = next {
            self.at(next);
        }
    }

    fn nanos(&self, time: Instant) -> u64 {
        let after = time.saturating_duration_since(self.0.born);
        u64::try_from(after.as_nanos()).unwrap_or(NEVER - 1)
    }

    fn books(&self) -> MutexGuard<'_, Vec<Weak<dyn Times>>> {
        self.0.books.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use tokio::time::{Instant, sleep};

    use super::{Alarm, Times};
    use crate::tasks::Tasks;

    const SECOND: Duration = Duration::from_secs(1);

    /// Times, and when they were told.
    #[derive(Debug, Default)]
    struct Book(Mutex<(Vec<Instant>, Vec<Instant>)>);

    impl Book {
        fn put(&self, alarm: &Alarm, time: Instant) {
            self.0.lock().unwrap().0.push(time);
            alarm.at(time);
        }

        fn told(&self, begun: Instant) -> Vec<u64> {
            self.0.lock().unwrap().1.iter().map(|at| at.duration_since(begun).as_secs()).collect()
        }
    }

    impl Times for Book {
        fn come(&self, now: Instant) -> Option<Instant> {
            let mut state = self.0.lock().unwrap();
            let (open, told) = &mut *state;
            told.extend(open.extract_if(.., |time| *time <= now).map(|_| now));
            open.iter().min().copied()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_told_when_its_time_comes_in_whatever_order_they_were_put() {
        let (begun, alarm) = (Instant::now(), Alarm::new(&Tasks::default()));
        let (one, two) = (Arc::<Book>::default(), Arc::<Book>::default());
        alarm.minds(&one);
        alarm.minds(&two);
        sleep(SECOND).await;
        for (book, after) in [(&one, 9), (&two, 5), (&one, 7), (&two, 7), (&one, 3)] {
            book.put(&alarm, begun + after * SECOND);
        }
        sleep(3 * SECOND).await;
        one.put(&alarm, begun + 6 * SECOND);
        // It is over before it is put down.
        two.put(&alarm, begun);
        sleep(30 * SECOND).await;
        assert_eq!((one.told(begun), two.told(begun)), (vec![3, 6, 7, 9], vec![4, 5, 7]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_book_that_nobody_holds_is_forgotten_and_the_others_are_not() {
        let (begun, alarm) = (Instant::now(), Alarm::new(&Tasks::default()));
        let (gone, stays) = (Arc::<Book>::default(), Arc::<Book>::default());
        alarm.minds(&gone);
        alarm.minds(&stays);
        gone.put(&alarm, begun + SECOND);
        stays.put(&alarm, begun + 2 * SECOND);
        drop(gone);
        sleep(3 * SECOND).await;
        assert_eq!((stays.told(begun), alarm.books().len()), (vec![2], 1));
    }

    /// Threads that put times down while others are looked through: none is lost.
    #[tokio::test(flavor = "multi_thread", worker_threads = 3)]
    async fn no_time_is_lost_between_two_looks() {
        let (alarm, book) = (Alarm::new(&Tasks::default()), Arc::<Book>::default());
        alarm.minds(&book);
        let put = |offset: u64| {
            let (alarm, book) = (alarm.clone(), Arc::clone(&book));
            std::thread::spawn(move || {
                for n in 0..2000 {
                    book.put(&alarm, Instant::now() + Duration::from_micros((n * 7 + offset) % 900));
                }
            })
        };
        for thread in [put(0), put(311), put(613)] {
            thread.join().unwrap();
        }
        let all = async {
            while book.0.lock().unwrap().1.len() < 6000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(30 * SECOND, all).await.unwrap();
    }
}
