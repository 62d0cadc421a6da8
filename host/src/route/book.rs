//! The book of calls: those that run, the last of those that ended, and those of earlier runs that the journal told of.
//!
//! A call has a place by its number, in a ring: to be entered costs one lock that nobody else wants at that moment, to end
//! costs nothing here. A call that still runs when its place is needed again is put aside.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use wharf_core::CallId;
use wharf_core::journal::{Outcome, RecoveredCall};

use super::trace::{CallTrace, End};
use super::view::{CallView, Shown};
use crate::alarm::Times;

/// Calls that are remembered, whatever they came to.
const RING: usize = 2048;
/// Calls that may have run and were not answered; they are remembered for longer.
const LOST: usize = 1024;
/// The most that are told at once.
pub(crate) const MOST_LISTED: usize = 1000;

/// The calls of one host.
#[derive(Debug)]
pub(crate) struct Book {
    run: u32,
    ring: Box<[Mutex<Option<Arc<CallTrace>>>]>,
    /// Calls that run for so long that their place was needed.
    aside: Mutex<HashMap<u64, Arc<CallTrace>>>,
    /// How many these are, for who need not look.
    set_aside: AtomicUsize,
    lost: Mutex<VecDeque<Arc<CallTrace>>>,
    earlier: HashMap<CallId, RecoveredCall>,
}

/// Which calls are asked for.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of this plugin.
    pub plugin: Option<String>,
    /// With this outcome; `running` is one too.
    pub outcome: Option<String>,
    /// At most so many, the newest.
    pub limit: Option<usize>,
}

impl Book {
    /// The book of the run `run`, with what the journal told of earlier ones.
    pub(crate) fn new(run: u32, earlier: Vec<RecoveredCall>) -> Self {
        Self {
            run,
            ring: std::iter::repeat_with(Mutex::default).take(RING).collect(),
            aside: Mutex::default(),
            set_aside: AtomicUsize::new(0),
            lost: Mutex::default(),
            earlier: earlier.into_iter().map(|call| (call.call, call)).collect(),
        }
    }

    /// Enters a call that begins. It takes the memory of the call whose place it takes, if nobody else looks at that one: the
    /// oldest is in no cache any more, and to fetch its memory and that of another would be twice the work.
    pub(super) fn enter(&self, call: CallTrace) -> Arc<CallTrace> {
        let Some(place) = self.place(call.about.id.n()) else { return Arc::new(call) };
        let mut place = lock(place);
        if let Some(held) = &mut *place {
            if let Some(before) = Arc::get_mut(held)
                && before.has_ended_mut()
            {
                *before = call;
                return Arc::clone(held);
            }
            // Before its place is another's: whoever looks here first and aside then finds it.
            if !held.has_ended() {
                self.put_aside(held);
            }
        }
        let call = Arc::new(call);
        let before = place.replace(Arc::clone(&call));
        drop(place);
        drop(before);
        call
    }

    fn put_aside(&self, call: &Arc<CallTrace>) {
        let n = call.about.id.n();
        let mut aside = lock(&self.aside);
        aside.insert(n, Arc::clone(call));
        // Before the look: one that ends behind it finds that there is something to take out.
        self.set_aside.store(aside.len(), Ordering::Release);
        // It may have ended before it was there to be taken out.
        if call.has_ended() {
            aside.remove(&n);
            self.set_aside.store(aside.len(), Ordering::Release);
        }
    }

    /// A call has ended so.
    pub(super) fn close(&self, call: &Arc<CallTrace>, end: End) {
        let lost = call.was_handed_over() && matches!(end.outcome, Outcome::Unknown | Outcome::Cancelled);
        call.ends(end);
        if self.set_aside.load(Ordering::Acquire) > 0 {
            let mut aside = lock(&self.aside);
            aside.remove(&call.about.id.n());
            self.set_aside.store(aside.len(), Ordering::Release);
        }
        if lost {
            let mut lost = lock(&self.lost);
            if lost.len() >= LOST {
                lost.pop_front();
            }
            lost.push_back(Arc::clone(call));
        }
    }

    /// A call of this run, if it is remembered.
    pub(crate) fn find(&self, id: &CallId) -> Option<Arc<CallTrace>> {
        if id.run() != self.run {
            return None;
        }
        let is_it = |call: &&Arc<CallTrace>| call.about.id == *id;
        let placed = self.place(id.n()).and_then(|place| lock(place).as_ref().filter(is_it).cloned());
        placed
            .or_else(|| lock(&self.aside).get(&id.n()).cloned())
            .or_else(|| lock(&self.lost).iter().rev().find(is_it).cloned())
    }

    /// Whether a call still runs, or is unknown of an earlier run: the journal keeps what it says of it.
    pub(crate) fn is_open(&self, id: &CallId) -> bool {
        match self.find(id) {
            Some(call) => !call.has_ended(),
            None => self.earlier.get(id).is_some_and(|call| call.outcome == Outcome::Unknown),
        }
    }

    /// What is known of a call.
    pub(crate) fn view(&self, id: &CallId) -> Option<CallView> {
        let own = self.find(id).map(|call| CallView::of(&call, Shown::All));
        own.or_else(|| self.earlier.get(id).map(CallView::recovered))
    }

    /// The calls that are wanted, newest first.
    pub(crate) fn list(&self, wanted: &Wanted) -> Vec<CallView> {
        let limit = wanted.limit.unwrap_or(100).min(MOST_LISTED);
        let mut own: Vec<Arc<CallTrace>> = self.ring.iter().filter_map(|place| lock(place).clone()).collect();
        own.extend(lock(&self.aside).values().cloned());
        own.extend(lock(&self.lost).iter().cloned());
        own.sort_by_key(|call| std::cmp::Reverse(call.about.id.n()));
        own.dedup_by_key(|call| call.about.id.n());
        let mut earlier: Vec<&RecoveredCall> = self.earlier.values().collect();
        earlier.sort_by(|a, b| (b.sent_at, &b.call).cmp(&(a.sent_at, &a.call)));
        let of_plugin = |plugin: &str| wanted.plugin.as_deref().is_none_or(|wanted| wanted == plugin);
        let of_outcome = |outcome: &str| wanted.outcome.as_deref().is_none_or(|wanted| wanted == outcome);
        // What is not shown is not looked at: to show a call may mean to hash what it was asked with.
        let own =
            own.iter().filter(|call| of_plugin(call.about.plugin.as_str()) && of_outcome(call.outcome()));
        let earlier = earlier.into_iter().filter(|call| of_plugin(&call.plugin));
        own.map(|call| CallView::of(call, Shown::InBrief))
            .chain(earlier.map(CallView::recovered).filter(|view| of_outcome(view.outcome)))
            .take(limit)
            .collect()
    }

    fn place(&self, n: u64) -> Option<&Mutex<Option<Arc<CallTrace>>>> {
        self.ring.get(usize::try_from(n).unwrap_or_default() % RING)
    }
}

/// The deadlines of the calls that run.
impl Times for Book {
    fn come(&self, now: Instant) -> Option<Instant> {
        let placed = self.ring.iter().filter_map(|place| lock(place).as_ref()?.bell.come(now)).min();
        let aside = lock(&self.aside).values().filter_map(|call| call.bell.come(now)).min();
        placed.into_iter().chain(aside).min()
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::{Future, poll_fn};
    use std::pin::pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};
    use std::time::Duration;

    use tokio::time::Instant;
    use wharf_core::journal::Outcome;
    use wharf_core::{CallId, PluginId};
    use wharf_plugin_api::Delivery;

    use super::{Book, LOST, RING, Wanted};
    use crate::clock::Clock;
    use crate::route::audit::Remembered;
    use crate::route::spec::Edge;
    use crate::route::trace::{About, CallTrace, End};
    use crate::woken::Woken;

    fn call(book: &Book, n: u64) -> Arc<CallTrace> {
        let about = About {
            id: CallId::new(1, n),
            plugin: PluginId::new("p").unwrap(),
            tool: None,
            method: "tools/call".into(),
            principal: "me".into(),
            edge: Edge::Rest,
            durable: false,
            trace_id: None,
            keyed: false,
            arguments: Remembered::Nothing,
        };
        book.enter(CallTrace::new(about, Clock::start(), Instant::now()))
    }

    fn end(outcome: Outcome) -> End {
        End { outcome, code: None, delivery: Delivery::Answered, after: Duration::ZERO, bytes_out: 0 }
    }

    #[test]
    fn what_runs_is_never_forgotten_and_what_ended_is_bounded() {
        let book = Book::new(1, Vec::new());
        let long = call(&book, 1);
        long.sends();
        for n in 2..3 * RING as u64 {
            let call = call(&book, n);
            book.close(&call, end(Outcome::Answered));
        }
        assert!(book.is_open(&CallId::new(1, 1)), "it was put aside");
        assert!(book.find(&CallId::new(1, 2)).is_none(), "it is long ago");
        let running = Wanted { outcome: Some("running".to_owned()), ..Wanted::default() };
        assert_eq!(book.list(&running).len(), 1);
        book.close(&long, end(Outcome::Unknown));
        assert!(!book.is_open(&CallId::new(1, 1)));
        assert_eq!(
            book.view(&CallId::new(1, 1)).unwrap().outcome,
            "unknown",
            "such a one is kept for longer"
        );
        assert!(book.list(&running).is_empty());
        for n in 0..2 * LOST as u64 {
            let call = call(&book, 10_000_000 + n);
            call.sends();
            book.close(&call, end(Outcome::Unknown));
        }
        assert!(book.view(&CallId::new(1, 1)).is_none());
        assert!(
            book.list(&Wanted { limit: Some(usize::MAX), ..Wanted::default() }).len() <= super::MOST_LISTED
        );
    }

    #[test]
    fn a_call_takes_the_memory_of_the_oldest_unless_somebody_looks_at_it() {
        let book = Book::new(1, Vec::new());
        let before: Vec<_> = (0..3).map(|n| call(&book, n)).collect();
        for call in &before[..2] {
            book.close(call, end(Outcome::Answered));
        }
        let places: Vec<_> = before.iter().map(Arc::as_ptr).collect();
        let looked_at = Arc::clone(&before[1]);
        drop(before);
        let later: Vec<_> = (0..3).map(|n| call(&book, RING as u64 + n)).collect();
        let same: Vec<_> =
            later.iter().zip(places).map(|(call, before)| Arc::as_ptr(call) == before).collect();
        assert_eq!(same, [true, false, false], "the last one still runs");
        assert_eq!((later[0].about.id.n(), looked_at.about.id.n()), (RING as u64, 1));
        assert!(later[0].outcome() == "running" && book.is_open(&CallId::new(1, 2)));
    }

    #[test]
    fn the_newest_come_first_and_those_of_another_run_are_not_ours() {
        let book = Book::new(1, Vec::new());
        for n in 1..10 {
            call(&book, n);
        }
        let list = book.list(&Wanted { limit: Some(2), ..Wanted::default() });
        assert_eq!(list.iter().map(|view| view.call_id.n()).collect::<Vec<_>>(), [9, 8]);
        assert!(book.find(&CallId::new(2, 1)).is_none());
        assert!(book.list(&Wanted { plugin: Some("q".to_owned()), ..Wanted::default() }).is_empty());
    }

    /// The bell may ring between the call's look at it and the end of the poll.
    #[test]
    fn whoever_polls_a_call_is_woken_by_its_bell_at_once_and_who_polled_it_before_is_not() {
        let trace = call(&Book::new(1, Vec::new()), 1);
        let ((old, first), (new, second)) = (Woken::task(), Woken::task());
        let mut polls = 0;
        let mut call = pin!(poll_fn(|_| {
            polls += 1;
            if polls == 2 {
                trace.bell.ring();
            }
            Poll::<()>::Pending
        }));
        let mut run = pin!(trace.unless_taken_back(call.as_mut()));
        for task in [&first, &second] {
            assert!(run.as_mut().poll(&mut Context::from_waker(task)).is_pending());
        }
        assert_eq!((old.times(), new.times()), (0, 1));
    }
}
