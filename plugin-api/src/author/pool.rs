//! A thread per job, up to a bound; further jobs wait in a bounded queue. Threads end when nothing waits.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

pub(super) type Job = Box<dyn FnOnce() + Send>;

#[derive(Clone)]
pub(super) struct Pool(Arc<Inner>);

struct Inner {
    threads: usize,
    waiting: usize,
    state: Mutex<State>,
    idle: Condvar,
}

#[derive(Default)]
struct State {
    queue: VecDeque<Job>,
    running: usize,
}

/// Why a job was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refused {
    #[error("too many calls wait already; try again when some have ended")]
    Full,
    #[error("the system refuses to start a thread; try again when it has room")]
    NoThread,
}

impl Pool {
    pub(super) fn new(threads: usize, waiting: usize) -> Self {
        let (state, idle) = (Mutex::default(), Condvar::new());
        Self(Arc::new(Inner { threads: threads.max(1), waiting, state, idle }))
    }

    pub(super) fn submit(&self, job: Job) -> Result<(), Refused> {
        let mut state = self.0.lock();
        if state.running >= self.0.threads && state.queue.len() >= self.0.waiting {
            return Err(Refused::Full);
        }
        state.queue.push_back(job);
        if state.running >= self.0.threads {
            return Ok(());
        }
        let inner = Arc::clone(&self.0);
        match thread::Builder::new().name("tool".into()).spawn(move || inner.work()) {
            Ok(_) => state.running += 1,
            // A thread that runs will take it; without one nobody would.
            Err(_) if state.running > 0 => {}
            Err(_) => {
                state.queue.pop_back();
                return Err(Refused::NoThread);
            }
        }
        Ok(())
    }

    /// Waits until nothing runs or waits, at most `budget`. Returns how many jobs are left.
    pub(super) fn wait_idle(&self, budget: Duration) -> usize {
        let waited = self.0.idle.wait_timeout_while(self.0.lock(), budget, |s| s.running + s.queue.len() > 0);
        let state = waited.unwrap_or_else(PoisonError::into_inner).0;
        state.running + state.queue.len()
    }
}

impl Inner {
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let Some(job) = state.queue.pop_front() else {
                state.running -= 1;
                self.idle.notify_all();
                return;
            };
            drop(state);
            // A job reports its own panics; this only keeps the count right, whatever happens.
            catch_unwind(AssertUnwindSafe(job)).ok();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
