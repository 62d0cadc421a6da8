//! On which thread a connection is served.
//!
//! The host's own runtime serves the first connections, as it looks after the plugins as well: a few callers are answered
//! soonest where their call need not change threads. Where more are shared, others are served beside it until each thread has
//! as many of them, each with timers and connections to HTTP plugins of its own, so that of two calls at the same time neither
//! waits for the other's thread. A thread begins with its first connection: a host that few call has none. Knows no request.
//!
//! With one thread beside the host's own, only the connections are shared whose calls go to plugins over HTTP, which is known
//! after a few calls. The others are bound to where the plugins' pipes are. On a machine of so few cores the plugin and its
//! callers need the second one, and a call that changes threads costs more than it gains: of 32 callers on two cores, one
//! thread answers 6 to 10 % more calls, for 16 to 20 % less time of the processor each, and the 99th percentile is a third to
//! a half less.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::near::{self, BESIDE, Best};
use crate::tasks::IDLE_THREAD;

/// So many of the connections that are shared the host's own runtime serves before others serve any: those of some agents,
/// whose calls then never change threads.
const OWN: usize = 16;

/// A connection moves when so many calls in a row would have been served better elsewhere,
const IN_A_ROW: u8 = 4;
/// and when twice as many would, each time it has moved before, up to this: one that calls all kinds stays somewhere.
const AT_MOST: u8 = 128;

/// The threads of one edge.
#[derive(Debug, Default)]
pub(super) struct Threads {
    /// Of those that are shared.
    own: Open,
    beside: Box<[Beside]>,
}

/// One beside the host's own.
#[derive(Debug)]
struct Beside {
    /// Counted from 1.
    number: usize,
    open: Open,
    /// `None` inside if it could not be begun.
    runtime: OnceLock<Option<Runtime>>,
}

/// How many connections a thread serves.
type Open = Arc<AtomicUsize>;

/// A connection's place on a thread, until it is dropped. The default one is bound to the host's own, for good.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Where it counts. `None`: it is bound, and counts nowhere.
    open: Option<Open>,
    at: Option<Handle>,
    /// So many calls in a row would have been served better elsewhere.
    elsewhere: u8,
    /// And with so many it moves. `None`: never.
    enough: Option<u8>,
}

// === impl Threads ===

impl Threads {
    /// So many beside the host's own, at most [`BESIDE`].
    pub(super) fn new(beside: usize) -> Self {
        let beside = (1..=beside.min(BESIDE)).map(|number| {
            let (open, runtime) = (Open::default(), OnceLock::new());
            Beside { number, open, runtime }
        });
        Self { own: Open::default(), beside: beside.collect() }
    }

    /// Ends those beside, and waits so long for what is under way on them. Not from within a runtime.
    pub(super) fn end(mut self, budget: Duration) {
        for runtime in self.take() {
            runtime.shutdown_timeout(budget);
        }
    }

    fn take(&mut self) -> impl Iterator<Item = Runtime> {
        self.beside.iter_mut().filter_map(|beside| beside.runtime.take().flatten())
    }

    /// A place for one more connection, of whose calls nothing is known yet.
    pub(super) fn place(&self) -> Place {
        let mut place = if self.binds() { Place::default() } else { self.shared() };
        place.enough = self.binds().then_some(IN_A_ROW);
        place
    }

    /// A better place for a connection that has [left](Place::is_left) its own. `None`: that is on the thread where it is.
    pub(super) fn moves(&self, place: &mut Place) -> Option<Place> {
        let mut better = if place.is_bound() { self.shared() } else { Place::default() };
        let is_here = better.at().map(Handle::id) == place.at().map(Handle::id);
        let next = |enough: u8| if is_here { enough } else { enough.saturating_mul(2).min(AT_MOST) };
        better.enough = place.enough.map(next);
        if is_here {
            *place = better;
            return None;
        }
        Some(better)
    }

    /// Whether connections whose calls go to pipes stay where those are.
    fn binds(&self) -> bool {
        self.beside.len() == 1
    }

    fn shared(&self) -> Place {
        let beside = self.beside.iter().map(Beside::open);
        let own = self.own.load(Ordering::Relaxed);
        let at = emptiest(own, beside).and_then(|index| self.beside.get(index));
        match at.and_then(|at| Some((at, at.handle()?))) {
            Some((at, handle)) => Place::shared(&at.open, Some(handle)),
            None => Place::shared(&self.own, None),
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Perhaps within a runtime, where nothing may be waited for.
        self.take().for_each(Runtime::shutdown_background);
    }
}

/// Which of the threads beside serves the next connection; `None`: the host's own.
fn emptiest(own: usize, beside: impl Iterator<Item = usize>) -> Option<usize> {
    let (index, open) = beside.enumerate().min_by_key(|(_, open)| *open)?;
    (own >= OWN && open < own).then_some(index)
}

// === impl Beside ===

impl Beside {
    /// Where its tasks run; begins it if need be. `None`: there is no such thread, and was none before.
    fn handle(&self) -> Option<Handle> {
        let runtime = self.runtime.get_or_init(|| {
            self.begin().inspect_err(|error| {
                tracing::warn!(%error, "no further thread for connections: the host's own serves them all");
            })
            .ok()
        });
        runtime.as_ref().map(|runtime| runtime.handle().clone())
    }

    fn begin(&self) -> io::Result<Runtime> {
        let number = self.number;
        // Of one worker, and yet of this kind: what takes long can be handed over in it.
        let mut builder = Builder::new_multi_thread();
        builder
            .worker_threads(1)
            .thread_name(format!("serve-{number}"))
            .thread_keep_alive(IDLE_THREAD)
            .on_thread_start(move || near::belongs_to(number))
            .enable_all();
        // It panics where the system gives it no thread, and whoever accepts connections must go on.
        let begun = catch_unwind(AssertUnwindSafe(|| builder.build()));
        begun.unwrap_or_else(|_| Err(io::Error::other("the system gives no further thread")))
    }

    /// How many connections it serves; where there is no such thread, more than any other.
    fn open(&self) -> usize {
        let is_lost = self.runtime.get().is_some_and(Option::is_none);
        if is_lost { usize::MAX } else { self.open.load(Ordering::Relaxed) }
    }
}

// === impl Place ===

impl Place {
    fn shared(open: &Open, at: Option<Handle>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { open: Some(Arc::clone(open)), at, elsewhere: 0, enough: None }
    }

    fn is_bound(&self) -> bool {
        self.open.is_none()
    }

    /// A call came that is served best there.
    pub(super) fn calls(&mut self, best: Best) {
        let fits = match best {
            Best::Own => self.is_bound(),
            Best::Any => !self.is_bound(),
        };
        self.elsewhere = if fits { 0 } else { self.elsewhere.saturating_add(1) };
    }

    /// Whether it ought to be elsewhere.
    pub(super) fn is_left(&self) -> bool {
        self.enough.is_some_and(|enough| self.elsewhere >= enough)
    }

    /// Where its connection is served, if not on the host's own runtime.
    pub(super) fn at(&self) -> Option<&Handle> {
        self.at.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(open) = &self.open {
            open.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Best, IN_A_ROW, OWN, Place, Threads, emptiest};

    #[test]
    fn the_first_connections_stay_and_the_rest_is_spread_until_all_have_as_many() {
        let threads = Threads::new(2);
        let mut many: Vec<_> = (0..OWN + 6).map(|_| threads.place()).collect();
        let beside = |number: usize, many: &[Place]| {
            let name = threads.beside[number].runtime.get().and_then(Option::as_ref).unwrap().handle().id();
            many.iter().filter(|place| place.at().is_some_and(|at| at.id() == name)).count()
        };
        assert!(many[..OWN].iter().all(|place| place.at().is_none()));
        assert_eq!((beside(0, &many), beside(1, &many)), (3, 3), "what is above {OWN}");
        many.extend((0..2 * OWN).map(|_| threads.place()));
        assert_eq!((beside(0, &many), beside(1, &many)), (OWN + 2, OWN + 2), "a third each of all");
        drop(many);
        assert!(threads.place().at().is_none(), "those that are closed do not count");
        assert!(Threads::new(0).place().at().is_none());
    }

    #[test]
    fn a_thread_that_could_not_begin_is_not_asked_again() {
        let threads = Threads::new(2);
        threads.beside[0].runtime.set(None).unwrap();
        let many: Vec<_> = (0..OWN + 4).map(|_| threads.place()).collect();
        let numbers = many.iter().filter(|place| place.at().is_some()).count();
        assert_eq!((numbers, threads.beside[1].open()), (4, 4), "the other one takes its part");
    }

    #[test]
    fn with_one_beside_only_those_are_shared_that_call_over_http() {
        let threads = Threads::new(1);
        let mut many: Vec<_> = (0..2 * OWN + 2).map(|_| threads.place()).collect();
        assert!(many.iter().all(|place| place.at().is_none()));
        let call = |place: &mut Place, best| {
            place.calls(best);
            if place.is_left()
                && let Some(next) = threads.moves(place)
            {
                *place = next;
            }
        };
        for _ in 0..IN_A_ROW {
            for place in &mut many {
                assert!(place.at().is_none(), "one call is not enough");
                call(place, Best::Any);
            }
        }
        let beside = |many: &[Place]| many.iter().filter(|place| place.at().is_some()).count();
        assert_eq!((beside(&many[..OWN]), beside(&many)), (0, OWN + 1), "a half each, the first ones here");
        let last = many.last_mut().unwrap();
        let few = std::iter::repeat_n(Best::Own, usize::from(2 * IN_A_ROW - 1)).chain([Best::Any]);
        few.cycle().take(100).for_each(|best| call(last, best));
        assert!(last.at().is_some(), "not in a row");
        (0..2 * IN_A_ROW).for_each(|_| call(last, Best::Own));
        assert!(last.at().is_none() && last.is_bound());
        assert_eq!(threads.own.load(super::Ordering::Relaxed), OWN + 1, "it counts nowhere");
        drop(many);
        assert_eq!(threads.beside[0].open(), 0);
    }

    #[test]
    fn with_more_beside_nobody_moves() {
        let threads = Threads::new(2);
        let mut place = threads.place();
        for best in [Best::Own, Best::Any] {
            (0..=u8::MAX).for_each(|_| place.calls(best));
            assert!(!place.is_left());
        }
    }

    #[test]
    fn who_moves_often_needs_more_to_move_again() {
        let threads = Threads::new(1);
        let _first: Vec<_> = (0..OWN).map(|_| threads.shared()).collect();
        let (mut place, mut needed) = (threads.place(), Vec::new());
        for best in [Best::Any, Best::Own].into_iter().cycle().take(8) {
            let mut calls = 0;
            while !place.is_left() {
                place.calls(best);
                calls += 1;
            }
            place = threads.moves(&mut place).expect("another thread");
            needed.push(calls);
        }
        assert_eq!(needed, [4, 8, 16, 32, 64, 128, 128, 128]);
    }

    #[test]
    fn nobody_is_sent_where_there_are_more() {
        assert_eq!(emptiest(OWN, [1, 0].into_iter()), Some(1));
        assert_eq!(emptiest(OWN - 1, [1, 0].into_iter()), None, "the first ones stay");
        assert_eq!(emptiest(OWN + 1, [OWN, OWN + 1].into_iter()), Some(0));
        assert_eq!(emptiest(OWN + 1, [OWN + 1, OWN + 2].into_iter()), None);
        assert_eq!(emptiest(1000, [].into_iter()), None);
        assert_eq!(emptiest(0, [0].into_iter()), None);
    }
}
