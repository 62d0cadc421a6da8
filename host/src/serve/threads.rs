//! On which thread a connection is served, from its first byte to its last.
//!
//! The host's own runtime serves the first connections, as it looks after the plugins as well: a few callers are answered
//! soonest where their call need not change threads. Where there are more, others are served beside it until each thread has
//! as many, each with timers and connections to HTTP plugins of its own, so that of two calls at the same time neither waits
//! for the other's thread. A thread begins with its first connection: a host that few call has none. Knows no request.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};

use crate::near::{self, BESIDE};
use crate::tasks::IDLE_THREAD;

/// So many connections the host's own runtime serves before others serve any: those of some agents, whose calls then never
/// change threads.
const OWN: usize = 16;

/// The threads of one edge.
#[derive(Debug, Default)]
pub(super) struct Threads {
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

/// A connection's place on a thread, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    open: Open,
    at: Option<Handle>,
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

    /// A place for one more connection.
    pub(super) fn place(&self) -> Place {
        let beside = self.beside.iter().map(Beside::open);
        let own = self.own.load(Ordering::Relaxed);
        let at = emptiest(own, beside).and_then(|index| self.beside.get(index));
        match at.and_then(|at| Some((at, at.handle()?))) {
            Some((at, handle)) => Place::new(&at.open, Some(handle)),
            None => Place::new(&self.own, None),
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
    fn new(open: &Open, at: Option<Handle>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { open: Arc::clone(open), at }
    }

    /// Where its connection is served, if not on the host's own runtime.
    pub(super) fn at(&self) -> Option<&Handle> {
        self.at.as_ref()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::{OWN, Place, Threads, emptiest};

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
    fn nobody_is_sent_where_there_are_more() {
        assert_eq!(emptiest(OWN, [1, 0].into_iter()), Some(1));
        assert_eq!(emptiest(OWN - 1, [1, 0].into_iter()), None, "the first ones stay");
        assert_eq!(emptiest(OWN + 1, [OWN, OWN + 1].into_iter()), Some(0));
        assert_eq!(emptiest(OWN + 1, [OWN + 1, OWN + 2].into_iter()), None);
        assert_eq!(emptiest(1000, [].into_iter()), None);
        assert_eq!(emptiest(0, [0].into_iter()), None);
    }
}
