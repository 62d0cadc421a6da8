//! The time that a call has. What passes while its caller is asked is not the plugin's: a person may have to be found, and
//! a plugin that asked did answer. Where the caller set no time, progress that it hears of begins the time anew. Neither
//! moves the latest moment. It must not know why the time was set as it was.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Poll, ready};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::{Instant, sleep_until};

/// How long a call may take.
#[derive(Debug)]
pub(crate) struct Allowance {
    now: Mutex<Spent>,
    /// Whatever is asked or reported, it ends here.
    latest: Instant,
    /// How long it may go on after a sign of progress; `None`: progress changes nothing.
    idle: Option<Duration>,
    /// Rung when the plugin's time runs again.
    runs: AtomicWaker,
}

#[derive(Debug)]
struct Spent {
    deadline: Instant,
    /// Questions that are open.
    asking: usize,
    /// Since when there was one.
    since: Instant,
}

/// A question that is open.
#[derive(Debug)]
pub(crate) struct Asking<'a>(&'a Allowance);

impl Allowance {
    pub(crate) fn new(deadline: Instant, latest: Instant) -> Self {
        let now = Mutex::new(Spent { deadline, asking: 0, since: deadline });
        Self { now, latest: latest.max(deadline), idle: None, runs: AtomicWaker::new() }
    }

    /// Likewise, and each sign of progress gives it so long again.
    pub(crate) fn renewed_by_progress(self, idle: Option<Duration>) -> Self {
        Self { idle, ..self }
    }

    /// The plugin reports progress.
    pub(crate) fn progress(&self) {
        let Some(idle) = self.idle else { return };
        let renewed = (Instant::now() + idle).min(self.latest);
        let mut now = self.now();
        // Who waits for the end looks again when the old one has come.
        now.deadline = now.deadline.max(renewed);
    }

    /// When the call ends at the latest.
    pub(crate) fn latest(&self) -> Instant {
        self.latest
    }

    /// When it ends, as things are.
    pub(crate) fn until(&self) -> Instant {
        let now = self.now();
        if now.asking > 0 { self.latest } else { now.deadline }
    }

    /// Resolves when the time is over. One task at a time waits for it.
    pub(crate) async fn over(&self) {
        let mut sleep = pin!(sleep_until(self.until()));
        poll_fn(|cx| {
            // Before the look at the clock: who rings after it wakes this task again.
            self.runs.register(cx.waker());
            loop {
                let until = self.until();
                if until != sleep.deadline() {
                    sleep.as_mut().reset(until);
                }
                ready!(sleep.as_mut().poll(cx));
                if self.until() <= Instant::now() {
                    return Poll::Ready(());
                }
            }
        })
        .await;
    }

    /// The caller is asked, until this is dropped.
    pub(crate) fn ask(&self) -> Asking<'_> {
        let mut now = self.now();
        if now.asking == 0 {
            now.since = Instant::now();
        }
        now.asking += 1;
        Asking(self)
    }

    fn now(&self) -> MutexGuard<'_, Spent> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut now = self.0.now();
        now.asking -= 1;
        if now.asking == 0 {
            now.deadline = (now.deadline + now.since.elapsed()).min(self.0.latest);
            self.0.runs.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Allowance;

    const SECOND: Duration = Duration::from_secs(1);

    fn allowance() -> Allowance {
        Allowance::new(Instant::now() + 10 * SECOND, Instant::now() + 100 * SECOND)
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_caller_is_asked_does_not_count() {
        let (begun, allowance) = (Instant::now(), allowance());
        let asked = async {
            tokio::time::sleep(9 * SECOND).await;
            let (one, two) = (allowance.ask(), allowance.ask());
            tokio::time::sleep(20 * SECOND).await;
            drop(one);
            tokio::time::sleep(20 * SECOND).await;
            drop(two);
        };
        tokio::join!(allowance.over(), asked);
        assert_eq!(begun.elapsed().as_secs(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_gives_time_again_and_never_beyond_the_latest_moment() {
        let (begun, allowance) = (Instant::now(), allowance().renewed_by_progress(Some(10 * SECOND)));
        let reports = async {
            for _ in 0..3 {
                tokio::time::sleep(9 * SECOND).await;
                allowance.progress();
            }
        };
        tokio::join!(allowance.over(), reports);
        assert_eq!(begun.elapsed().as_secs(), 37);
        let (begun, allowance) = (Instant::now(), self::allowance().renewed_by_progress(Some(10 * SECOND)));
        let forever = async {
            loop {
                tokio::time::sleep(SECOND).await;
                allowance.progress();
            }
        };
        tokio::select! {
            () = allowance.over() => {}
            () = forever => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_gives_nothing_to_a_time_that_its_caller_set() {
        let (begun, allowance) = (Instant::now(), allowance());
        let reports = async {
            tokio::time::sleep(9 * SECOND).await;
            allowance.progress();
        };
        tokio::join!(allowance.over(), reports);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn but_it_has_an_end_too() {
        let (begun, allowance) = (Instant::now(), allowance());
        let _asking = allowance.ask();
        allowance.over().await;
        assert_eq!(begun.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_asked_has_what_was_given() {
        let (begun, allowance) = (Instant::now(), allowance());
        allowance.over().await;
        assert_eq!(begun.elapsed().as_secs(), 10);
    }
}
