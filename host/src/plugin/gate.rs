//! The gate of a plugin: so many calls run, so many wait, the next is turned away at once. Who is next when several callers
//! wait is decided by [`wharf_core::admit`].
//!
//! While nobody waits, a call is let in by one exchange of a counter, and leaves by another: no lock, no allocation, no look
//! at the clock. The lock guards the queue only. Who waits has no timer: the host's alarm has the queue looked through when
//! the first of them has waited its time. It must not know what a call is, nor why the bounds are what they are.

mod caller;
mod pace;
mod pass;
mod rates;
mod shares;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, Ready, ready};
use tokio::sync::oneshot;
use tokio::time::Instant;
use wharf_core::admit::{FairQueue, Shed};

pub(crate) use self::caller::CallerKey;
pub(crate) use self::pace::Pace;
pub(crate) use self::pass::{Pass, Place};
pub(crate) use self::rates::Rates;
pub(crate) use self::shares::Held;
use self::shares::Shares;
use super::asking::Asking;
use crate::alarm::{Alarm, Times};

/// A call that runs, in the counter of both.
const RUNS: u64 = 1 << 32;
/// A call that waits.
const WAITS: u64 = 1;

/// The gate of one plugin. New bounds hold from the next call on; those that run, run on.
#[derive(Debug)]
pub(crate) struct Gate {
    /// Those that run, and those that wait: the upper and the lower half.
    load: AtomicU64,
    concurrency: AtomicU32,
    queue: AtomicU32,
    /// Who has how many of the places.
    shares: Shares,
    waiting: Mutex<FairQueue<Waiter>>,
    /// How long calls took lately.
    pub(crate) pace: Pace,
    pub(crate) rates: Rates,
    pub(crate) turned_away: TurnedAway,
    asking: Asking,
    alarm: Alarm,
}

/// A call that waits for its turn.
#[derive(Debug)]
struct Waiter {
    caller: CallerKey,
    until: Instant,
    patience: Duration,
    /// When it next has a call sent away that waits for its client. `None`: it did.
    press: Option<Instant>,
    turn: oneshot::Sender<Turn>,
}

/// A call's way through the gate: what is known at once, or what it waits for.
pub(crate) type Entering<'a> = Either<Ready<Result<Pass<'a>, Refused>>, Place<'a>>;

/// What becomes of a wait: a place, and when it was given; or none.
type Turn = Result<(Held, Instant), Refused>;

/// Why a call was not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// The queue is full.
    Full {
        /// How many may wait.
        queue: u32,
    },
    /// Others wait too, and this caller has its share of the queue.
    Share {
        /// How many of it may wait while others do.
        most: usize,
        /// How many may wait in all.
        queue: u32,
    },
    /// It waited its time and its turn did not come.
    Waited,
}

/// Calls that were turned away since the start, by reason.
#[derive(Debug, Default)]
pub(crate) struct TurnedAway {
    /// There was no room in the queue.
    pub(crate) queue_full: AtomicU64,
    /// They waited, and their turn did not come.
    pub(crate) waited: AtomicU64,
    /// Their caller began too many.
    pub(crate) rate_limited: AtomicU64,
}

/// What a gate shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowd {
    pub(crate) waiting: u32,
    pub(crate) running: u32,
    /// How many may run.
    pub(crate) limit: u32,
}

impl Gate {
    /// A gate that lets nobody in yet.
    pub(crate) fn new(alarm: &Alarm) -> Arc<Self> {
        let gate = Arc::new(Self {
            load: AtomicU64::new(0),
            concurrency: AtomicU32::new(0),
            queue: AtomicU32::new(0),
            shares: Shares::default(),
            waiting: Mutex::default(),
            pace: Pace::default(),
            rates: Rates::default(),
            turned_away: TurnedAway::default(),
            asking: Asking::default(),
            alarm: alarm.clone(),
        });
        alarm.minds(&gate);
        gate
    }

    /// Sets the bounds. Who waits for a place that there is now gets it.
    pub(crate) fn configure(&self, concurrency: u32, queue: u32) {
        self.queue.store(queue, Ordering::Relaxed);
        if self.concurrency.swap(concurrency, Ordering::AcqRel) >= concurrency {
            return;
        }
        while self.takes_one_more() {
            self.hand_on();
        }
    }

    /// Takes a place for whoever waits first, if there is one.
    fn takes_one_more(&self) -> bool {
        // Under the lock: who comes to wait, or hands on, goes by the old bound up to here and by the new one after.
        let _queue = self.waiting();
        let limit = self.concurrency.load(Ordering::Relaxed);
        let more = |load: u64| (waiting(load) > 0 && running(load) < limit).then_some(load + RUNS);
        self.load.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).is_ok()
    }

    /// How many calls it lets run.
    pub(crate) fn concurrency(&self) -> usize {
        self.concurrency.load(Ordering::Relaxed) as usize
    }

    /// Whether one that came now would have to wait.
    pub(crate) fn is_crowded(&self) -> bool {
        let Crowd { waiting, running, limit } = self.crowd();
        waiting > 0 || running >= limit
    }

    /// How many run and wait.
    pub(crate) fn crowd(&self) -> Crowd {
        let load = self.load.load(Ordering::Relaxed);
        let limit = self.concurrency.load(Ordering::Relaxed);
        Crowd { waiting: waiting(load), running: running(load), limit }
    }

    /// How many of them may wait for their clients: half, so that there is room for others.
    pub(crate) fn may_ask(&self) -> usize {
        (self.concurrency() / 2).max(1)
    }

    /// Those that do.
    pub(crate) fn asking(&self) -> &Asking {
        &self.asking
    }

    /// How long it is likely to take until a call that comes now would run: those that wait go first. `None`: nothing is known.
    pub(crate) fn likely_free_in(&self) -> Option<Duration> {
        let Crowd { waiting, limit, .. } = self.crowd();
        let rounds = waiting / limit.max(1) + 1;
        self.pace.typical().map(|typical| typical.saturating_mul(rounds))
    }

    /// Lets a call in that came at `since`, at once or when its turn comes before `until`. It has its place, or one in the queue,
    /// from now on, and not from the first poll. One that gets no turn within `patience` has a call that waits for its client
    /// sent away.
    #[must_use]
    pub(crate) fn enter(
        &self,
        caller: CallerKey,
        since: Instant,
        until: Instant,
        patience: Duration,
    ) -> Entering<'_> {
        match self.try_enter(caller) {
            Some(pass) => Either::Left(ready(Ok(pass))),
            None => self.wait(caller, since, until, patience),
        }
    }

    /// Lets a call in that need not wait. Nobody overtakes those that do.
    pub(crate) fn try_enter(&self, caller: CallerKey) -> Option<Pass<'_>> {
        let limit = self.concurrency.load(Ordering::Relaxed);
        let more = |load: u64| (waiting(load) == 0 && running(load) < limit).then_some(load + RUNS);
        self.load.fetch_update(Ordering::AcqRel, Ordering::Relaxed, more).ok()?;
        Some(Pass::new(self, self.shares.take(caller), Duration::ZERO))
    }

    fn wait(&self, caller: CallerKey, since: Instant, until: Instant, patience: Duration) -> Entering<'_> {
        let press = Asking::first_press(since, patience);
        let (turn, result) = oneshot::channel();
        let waiter = Waiter { caller, until, patience, press: Some(press), turn };
        match self.join(waiter, since, result) {
            Ok(Joined::In(pass)) => Either::Left(ready(Ok(pass))),
            Ok(Joined::Waits(place)) => {
                self.alarm.at(press.min(until));
                Either::Right(place)
            }
            Err(refused) => {
                // Where nobody may wait for its turn, nobody else does this.
                if refused == (Refused::Full { queue: 0 }) {
                    self.asking.send_away(patience);
                }
                Either::Left(ready(Err(refused)))
            }
        }
    }

    /// Takes a place after all, or one in the queue.
    fn join(
        &self,
        waiter: Waiter,
        since: Instant,
        result: oneshot::Receiver<Turn>,
    ) -> Result<Joined<'_>, Refused> {
        let caller = waiter.caller;
        let (mut waiting, queue) = (self.waiting(), self.queue.load(Ordering::Relaxed));
        // Once it is counted as one that waits, whoever leaves looks into the queue, and finds it: the lock is held.
        loop {
            if let Some(pass) = self.try_enter(caller) {
                return Ok(Joined::In(pass));
            }
            match waiting.sheds(caller.0, queue as usize) {
                Some(Shed::Full) => return Err(Refused::Full { queue }),
                Some(Shed::Share { most }) => return Err(Refused::Share { most, queue }),
                None => {}
            }
            let limit = self.concurrency.load(Ordering::Relaxed);
            let one_more =
                |load: u64| (self::waiting(load) > 0 || running(load) >= limit).then_some(load + WAITS);
            if self.load.fetch_update(Ordering::AcqRel, Ordering::Relaxed, one_more).is_ok() {
                break;
            }
        }
        let (number, sent_away) = waiting.join(caller.0, queue as usize, waiter);
        if let Some(away) = sent_away {
            self.load.fetch_sub(WAITS, Ordering::AcqRel);
            // Whoever is woken may come back here at once.
            drop(waiting);
            let most = wharf_core::admit::share(queue as usize);
            away.turn.send(Err(Refused::Share { most, queue })).ok();
        }
        Ok(Joined::Waits(Place::new(self, caller, (number, since), result)))
    }

    /// A call leaves: its place goes to whoever is next, or is free.
    pub(crate) fn leave(&self, held: Held) {
        self.shares.give_back(held);
        let alone = |load: u64| (waiting(load) == 0).then(|| load - RUNS);
        if self.load.fetch_update(Ordering::AcqRel, Ordering::Acquire, alone).is_err() {
            self.hand_on();
        }
    }

    /// Hands a place on that is counted as taken. Whoever has waited for too long is told so: nobody is served late.
    fn hand_on(&self) {
        let now = Instant::now();
        while let Some((next, held)) = self.next() {
            if next.until <= now {
                self.shares.give_back(held);
                next.turn.send(Err(Refused::Waited)).ok();
                continue;
            }
            // Not under the lock: who is woken may go on at once, and come back here.
            match next.turn.send(Ok((held, now))) {
                Ok(()) => return,
                // Whoever waited is gone without a word.
                Err(turn) => turn.into_iter().for_each(|(held, _)| self.shares.give_back(held)),
            }
        }
    }

    /// Who gets a place that is counted as taken, and waits no longer. `None`: nobody, and it is taken no more.
    fn next(&self) -> Option<(Waiter, Held)> {
        let mut queue = self.waiting();
        let limit = self.concurrency.load(Ordering::Relaxed);
        // Fewer places than there were: this one is gone.
        let is_left = running(self.load.load(Ordering::Relaxed)) <= limit;
        let has = |caller| self.shares.of(CallerKey(caller));
        let next = if is_left { queue.next(limit as usize, has) } else { None };
        // Under the lock: whoever comes to wait has seen either this place or its end, and whoever hands on next counts this
        // place as its caller's.
        self.load.fetch_sub(if next.is_some() { WAITS } else { RUNS }, Ordering::AcqRel);
        next.map(|next| {
            let held = self.shares.take(next.caller);
            (next, held)
        })
    }

    fn waiting(&self) -> MutexGuard<'_, FairQueue<Waiter>> {
        // No critical section can panic half way.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times of those that wait: when they have waited for too long, and when they press.
impl Times for Gate {
    fn come(&self, now: Instant) -> Option<Instant> {
        let (mut next, mut queue) = (None, self.waiting());
        let late = queue.take_all(|waiter| {
            if waiter.until <= now {
                return true;
            }
            if waiter.press.is_some_and(|press| press <= now) {
                waiter.press = self.asking.press_once(waiter.patience);
            }
            next = next.into_iter().chain(waiter.press).chain([waiter.until]).min();
            false
        });
        self.load.fetch_sub(WAITS * late.len() as u64, Ordering::AcqRel);
        drop(queue);
        for waiter in late {
            waiter.turn.send(Err(Refused::Waited)).ok();
        }
        next
    }
}

/// How a call that found no place went on.
enum Joined<'a> {
    In(Pass<'a>),
    Waits(Place<'a>),
}

fn running(load: u64) -> u32 {
    u32::try_from(load >> 32).unwrap_or(u32::MAX)
}

fn waiting(load: u64) -> u32 {
    u32::try_from(load & u64::from(u32::MAX)).unwrap_or(u32::MAX)
}
