//! The time that a call has. What passes while its caller is asked is not the plugin's: a person may have to be found, and
//! a plugin that asked did answer. Where the caller set no time, progress that it hears of begins the time anew. Neither
//! moves the latest moment. It must not know why the time was set as it was.

use std::future::poll_fn;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::time::Instant;

use super::bell::Bell;
use crate::alarm::Alarm;

/// How long a call may take.
#[derive(Debug)]
pub(crate) struct Allowance {
    now: Mutex<Spent>,
    /// Whatever is asked or reported, it ends here.
    latest: Instant,
    /// How long it may go on after a sign of progress; `None`: progress changes nothing.
    idle: Option<Duration>,
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
pub(super) struct Asking<'a>(&'a Allowance, &'a Bell);

impl Allowance {
    pub(crate) fn new(deadline: Instant, latest: Instant) -> Self {
        let now = Mutex::new(Spent { deadline, asking: 0, since: deadline });
        Self { now, latest: latest.max(deadline), idle: None }
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

    /// Resolves when the time is over. One task at a time waits for it: the one that hears the
    /// call's bell.
    pub(super) async fn over(&self, bell: &Bell, alarm: &Alarm) {
        let mut set = false;
        poll_fn(|cx| {
            // Nearly every poll: its time was put down, and has not come.
            if set && !bell.has_rung() {
                return Poll::Pending;
            }
            let until = self.until();
            if set && until <= Instant::now() {
                return Poll::Ready(());
            }
            set = true;
            bell.heard_by(cx.waker());
            bell.set(until, alarm);
            Poll::Pending
        })
        .await;
    }

    /// The caller is asked, until this is dropped.
    pub(super) fn ask<'a>(&'a self, bell: &'a Bell) -> Asking<'a> {
        let mut now = self.now();
        if now.asking == 0 {
            now.since = Instant::now();
        }
        now.asking += 1;
        Asking(self, bell)
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
            self.1.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Allowance, Bell};
    use crate::alarm::{Alarm, Times};
    use crate::tasks::Tasks;

    const SECOND: Duration = Duration::from_secs(1);

    fn allowance() -> (Allowance, Arc<Bell>) {
        let allowance = Allowance::new(Instant::now() + 10 * SECOND, Instant::now() + 100 * SECOND);
        (allowance, Arc::new(Bell::new(Instant::now())))
    }

    impl Times for Bell {
        fn come(&self, now: Instant) -> Option<Instant> {
            self.come(now)
        }
    }

    async fn over(allowance: &Allowance, bell: &Arc<Bell>) {
        let alarm = Alarm::new(&Tasks::default());
        alarm.minds(bell);
        allowance.over(bell, &alarm).await;
    }

    #[tokio::test(start_paused = true)]
    async fn time_in_which_the_caller_is_asked_does_not_count() {
        let (begun, (allowance, bell)) = (Instant::now(), allowance());
        let asked = async {
            tokio::time::sleep(9 * SECOND).await;
            let (one, two) = (allowance.ask(&bell), allowance.ask(&bell));
            tokio::time::sleep(20 * SECOND).await;
            drop(one);
            tokio::time::sleep(20 * SECOND).await;
            drop(two);
        };
        tokio::join!(over(&allowance, &bell), asked);
        assert_eq!(begun.elapsed().as_secs(), 50);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_gives_time_again_and_never_beyond_the_latest_moment() {
        let (begun, (allowance, bell)) = (Instant::now(), allowance());
        let allowance = allowance.renewed_by_progress(Some(10 * SECOND));
        let reports = async {
            for _ in 0..3 {
                tokio::time::sleep(9 * SECOND).await;
                allowance.progress();
            }
        };
        tokio::join!(over(&allowance, &bell), reports);
        assert_eq!(begun.elapsed().as_secs(), 37);
        let (begun, (allowance, bell)) = (Instant::now(), self::allowance());
        let allowance = allowance.renewed_by_progress(Some(10 * SECOND));
        let forever = async {
            loop {
                tokio::time::sleep(SECOND).await;
                allowance.progress();
            }
        };
        tokio::select! {
            () = over(&allowance, &bell) => {}
            () = forever => {}
        }
        assert_eq!(begun.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn progress_gives_nothing_to_a_time_that_its_caller_set() {
        let (begun, (allowance, bell)) = (Instant::now(), allowance());
        let reports = async {
            tokio::time::sleep(9 * SECOND).await;
            allowance.progress();
        };
        tokio::join!(over(&allowance, &bell), reports);
        assert_eq!(begun.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn but_it_has_an_end_too() {
        let (begun, (allowance, bell)) = (Instant::now(), allowance());
        let _asking = allowance.ask(&bell);
        over(&allowance, &bell).await;
        assert_eq!(begun.elapsed().as_secs(), 100);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_asked_has_what_was_given() {
        let (begun, (allowance, bell)) = (Instant::now(), allowance());
        over(&allowance, &bell).await;
        assert_eq!(begun.elapsed().as_secs(), 10);
    }
}
