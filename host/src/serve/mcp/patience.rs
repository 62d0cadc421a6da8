//! For how long requests are waited for before something is told of them that is no answer.
//!
//! Nearly every request is answered long before, so none has a timer of its own: who waits has a place in a table, which the
//! host's alarm has looked through when the first of the times has come. It must not know what is told then.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::Instant;

use crate::alarm::{Alarm, Times};
use crate::near::Near;

/// Between two looks whose time has come, at least: the alarm looks through all that it knows of, and under load slow requests end
/// at any time.
const REST: Duration = Duration::from_millis(50);

/// The requests that are waited for. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Patience {
    waits: Arc<Waits>,
    alarm: Alarm,
}

#[derive(Debug, Default)]
struct Waits(Near<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    places: Vec<Place>,
    free: Vec<usize>,
}

#[derive(Debug)]
struct Place {
    until: Instant,
    /// `None`: the time has come, or nobody has this place.
    task: Option<Waker>,
}

/// Resolves when a time is over that begins with the first look at it.
#[derive(Debug)]
pub(super) struct Wait<'a> {
    patience: &'a Patience,
    lasts: Duration,
    place: Option<(&'a Mutex<Table>, usize)>,
}

impl Patience {
    pub(super) fn new(alarm: Alarm) -> Self {
        let waits = Arc::default();
        alarm.minds(&waits);
        Self { waits, alarm }
    }

    /// Waits for so long.
    pub(super) fn lasts(&self, lasts: Duration) -> Wait<'_> {
        Wait { patience: self, lasts, place: None }
    }
}

fn locked(table: &Mutex<Table>) -> MutexGuard<'_, Table> {
    // No critical section can panic half way.
    table.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Table ===

impl Table {
    fn take(&mut self, place: Place) -> usize {
        if let Some(free) = self.free.pop()
            && let Some(old) = self.places.get_mut(free)
        {
            *old = place;
            return free;
        }
        self.places.push(place);
        self.places.len() - 1
    }

    /// Takes out those whose time has come, and tells the earliest time of the others.
    fn come(&mut self, now: Instant, tasks: &mut Vec<Waker>) -> Option<Instant> {
        let mut next = None::<Instant>;
        for place in self.places.iter_mut().filter(|place| place.task.is_some()) {
            if place.until <= now {
                tasks.extend(place.task.take());
            } else {
                next = Some(next.map_or(place.until, |next| next.min(place.until)));
            }
        }
        next
    }
}

impl Times for Waits {
    fn come(&self, now: Instant) -> Option<Instant> {
        let mut tasks = Vec::new();
        let next = self.0.all().filter_map(|table| locked(table).come(now, &mut tasks)).min();
        tasks.into_iter().for_each(Waker::wake);
        next.map(|next| next.max(now + REST))
    }
}

// === impl Wait ===

impl Future for Wait<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some((table, at)) = self.place else {
            let (until, table) = (Instant::now() + self.lasts, self.patience.waits.0.here());
            let at = locked(table).take(Place { until, task: Some(cx.waker().clone()) });
            self.place = Some((table, at));
            // It stands there already: whoever looks from now on finds it.
            self.patience.alarm.at(until);
            return Poll::Pending;
        };
        match locked(table).places.get_mut(at).and_then(|place| place.task.as_mut()) {
            Some(task) => {
                task.clone_from(cx.waker());
                Poll::Pending
            }
            None => Poll::Ready(()),
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        let Some((table, at)) = self.place else { return };
        let task = {
            let mut table = locked(table);
            table.free.push(at);
            table.places.get_mut(at).and_then(|place| place.task.take())
        };
        // What its end comes to is not for under the lock.
        drop(task);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::time::Instant;

    use super::{Patience, REST, locked};
    use crate::alarm::Alarm;
    use crate::tasks::Tasks;

    const SECOND: Duration = Duration::from_secs(1);

    fn patience() -> Patience {
        Patience::new(Alarm::new(&Tasks::default()))
    }

    fn places(patience: &Patience) -> (usize, usize) {
        let table = locked(patience.waits.0.here());
        (table.places.len(), table.free.len())
    }

    #[tokio::test(start_paused = true)]
    async fn each_ends_in_its_time_whatever_others_wait_for() {
        let (begun, patience) = (Instant::now(), patience());
        let after = |seconds: u32| {
            let wait = patience.lasts(seconds * SECOND);
            async move {
                wait.await;
                begun.elapsed().as_secs()
            }
        };
        assert_eq!(join_all([15, 2, 9, 2].map(after)).await, [15, 2, 9, 2]);
        assert_eq!(after(3).await, 18);
        assert_eq!(places(&patience), (4, 4));
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_nearly_at_the_same_time_is_looked_for_at_once() {
        let (begun, patience) = (Instant::now(), patience());
        let waits = (0..100).map(|after| {
            let wait = patience.lasts(SECOND + Duration::from_millis(after));
            async move {
                wait.await;
                begun.elapsed()
            }
        });
        let mut looks = join_all(waits).await;
        assert!(looks.iter().all(|ended| *ended < SECOND + Duration::from_millis(100) + REST), "{looks:?}");
        looks.dedup();
        assert!(looks.len() <= 4, "{looks:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_makes_place_for_another() {
        let patience = patience();
        let mut stays = patience.lasts(5 * SECOND);
        assert!((&mut stays).now_or_never().is_none());
        for _ in 0..9 {
            assert!(patience.lasts(SECOND).now_or_never().is_none());
        }
        // Never looked at: it has no place.
        drop(patience.lasts(SECOND));
        assert_eq!(places(&patience), (2, 1));
        let begun = Instant::now();
        stays.await;
        assert_eq!(begun.elapsed().as_secs(), 5, "the place of another is not its own");
    }

    #[tokio::test(start_paused = true)]
    async fn the_task_that_looked_last_is_woken() {
        let patience = patience();
        let mut wait = Box::pin(patience.lasts(SECOND));
        assert!(wait.as_mut().now_or_never().is_none(), "looked at by nobody who can be woken");
        wait.await;
    }
}
