use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, TryLockError};
use std::task::Context;

use wharf_plugin_api::{CallError, Caller, Id, Notification, Reply, Request, RpcError, Scope, async_trait};

use super::{Pending, Stream, Taken};
use crate::dialect::testkit::Call;
use crate::woken::Woken;

/// Looks, when it is told that its request is sent or answered, and when it is let go, whether the table is held.
struct Witness {
    pending: Arc<Pending>,
    held: AtomicU32,
    answered_free: AtomicU32,
    away: AtomicBool,
    dropped_free: Arc<AtomicU32>,
    caller: Caller,
}

impl Witness {
    fn new(pending: &Arc<Pending>, principal: &str) -> Arc<Self> {
        Arc::new(Self {
            pending: Arc::clone(pending),
            held: AtomicU32::new(0),
            answered_free: AtomicU32::new(0),
            away: AtomicBool::new(false),
            dropped_free: Arc::default(),
            caller: Caller::new(principal),
        })
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        if self.pending.table.try_lock().is_ok() {
            self.dropped_free.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[async_trait]
impl Scope for Witness {
    fn sent(&self) {
        if matches!(self.pending.table.try_lock(), Err(TryLockError::WouldBlock)) {
            self.held.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn answered(&self) {
        if self.pending.table.try_lock().is_ok() {
            self.answered_free.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn listens(&self) -> bool {
        false
    }

    fn event(&self, _notification: Notification) {}

    async fn ask(&self, _request: Request) -> Result<Reply, CallError> {
        std::future::pending().await
    }

    fn is_attended(&self) -> bool {
        !self.away.load(Ordering::Relaxed)
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
}

#[test]
fn no_caller_can_go_between_being_sent_and_knowing_it() {
    let pending = Arc::<Pending>::default();
    let witness = Witness::new(&pending, "tester");
    let ticket = pending.open(Arc::clone(&witness) as Arc<dyn Scope>, None).expect("room");
    assert!(pending.sent(ticket.id(), &mut Vec::new()));
    assert_eq!(witness.held.load(Ordering::Relaxed), 1);
    let id = ticket.id();
    drop(ticket);
    assert!(!pending.sent(id, &mut Vec::new()), "who is gone is not sent");
}

#[test]
fn a_call_is_told_once_that_its_answer_was_read() {
    let calls = Calls(Arc::new(Pending::of_one_stream()));
    let mut called = calls.call("one");
    let answer = |reply: &str| Reply::Error(RpcError::new(-1, reply));
    let id = called.ticket.id();
    assert_eq!(calls.0.answered(Some(&Id::number(id)), answer("first")), Taken::ByCaller);
    assert_eq!(called.witness.answered_free.load(Ordering::Relaxed), 1, "nobody has looked at it yet");
    calls.0.answered(Some(&Id::number(id)), answer("second"));
    assert_eq!(called.witness.answered_free.load(Ordering::Relaxed), 1);
    assert!(called.ticket.arrived().is_some());
}

#[test]
fn where_a_request_may_end_by_another_way_only_its_caller_is_told() {
    let calls = Calls::default();
    let called = calls.call("one");
    let answer = Reply::Error(RpcError::new(-1, "the answer"));
    assert_eq!(calls.0.answered(Some(&Id::number(called.ticket.id())), answer), Taken::ByCaller);
    assert_eq!(called.witness.answered_free.load(Ordering::Relaxed), 0);
}

/// A pending table, and calls of it whose clients come and go.
#[derive(Default)]
struct Calls(Arc<Pending>);

struct Called {
    witness: Arc<Witness>,
    ticket: super::Ticket,
}

impl Calls {
    fn call(&self, principal: &str) -> Called {
        let witness = Witness::new(&self.0, principal);
        let ticket = self.0.open(Arc::clone(&witness) as Arc<dyn Scope>, None).expect("room");
        assert!(self.0.sent(ticket.id(), &mut Vec::new()));
        Called { witness, ticket }
    }

    fn meant(&self) -> (usize, *const ()) {
        let (now, newest) = self.0.calls(|_| true);
        (now.calls, newest.map_or(std::ptr::null(), |newest| Arc::as_ptr(&newest).cast()))
    }
}

impl Called {
    fn away(&self, is_away: bool) {
        self.witness.away.store(is_away, Ordering::Relaxed);
    }

    fn address(&self) -> *const () {
        Arc::as_ptr(&self.witness).cast()
    }
}

#[test]
fn a_call_whose_client_is_away_is_meant_only_if_no_other_can_be() {
    let calls = Calls::default();
    let (first, second) = (calls.call("one"), calls.call("one"));
    assert_eq!(calls.meant().0, 2, "one that has a question open may ask another");
    first.away(true);
    assert_eq!(calls.meant(), (1, second.address()));
    second.away(true);
    assert_eq!(calls.meant().0, 2, "either may be meant");
    drop(second);
    assert_eq!(calls.meant(), (1, first.address()));
    let _third = calls.call("one");
    assert_eq!(calls.meant().0, 1);
    first.away(false);
    assert_eq!(calls.meant().0, 2, "its client is back");
}

#[test]
fn a_call_whose_client_is_away_counts_where_another_is_someone_elses() {
    let calls = Calls::default();
    let first = calls.call("one");
    first.away(true);
    let second = calls.call("another");
    assert_eq!(calls.meant(), (2, second.address()));
    drop(second);
    let _third = calls.call("one");
    assert_eq!(calls.meant().0, 1);
}

#[test]
fn who_reads_its_own_answer_is_not_woken_for_it() {
    let pending = Arc::<Pending>::default();
    let call = || Call::new(false) as Arc<dyn Scope>;
    let mut own = pending.open(call(), None).expect("room");
    let mut other = pending.open(call(), None).expect("room");
    let answer = |text: &str| Reply::Error(RpcError::new(1, text));
    for ticket in [&own, &other] {
        assert!(pending.sent(ticket.id(), &mut Vec::new()));
    }
    let (own_id, other_id) = (Id::number(own.id()), Id::number(other.id()));
    let (woken, waker) = Woken::task();
    assert!(pin!(own.answer()).poll(&mut Context::from_waker(&waker)).is_pending());
    let mut stream = Stream { call: None, ticket: Some(&mut own) };
    // What is for somebody else, or for nobody, goes the way of all.
    let back = stream.answered(Some(&other_id), answer("other")).expect("it is not its own");
    assert_eq!(pending.answered(Some(&other_id), back), Taken::ByCaller);
    assert!(stream.answered(None, answer("nameless")).is_some());
    assert!(stream.answered(Some(&own_id), answer("own")).is_none());
    let again = stream.answered(Some(&own_id), answer("again")).expect("it has one");
    assert_eq!(pending.answered(Some(&own_id), again), Taken::ByNobody);
    assert_eq!(woken.times(), 0);
    for (ticket, said) in [(&mut own, "own"), (&mut other, "other")] {
        let Some(Ok(Reply::Error(error))) = ticket.arrived() else { panic!("there is an answer") };
        assert_eq!(error.message, said);
    }
}

#[test]
fn a_scope_that_nobody_else_has_is_let_go_outside_of_the_table() {
    for is_sent in [false, true] {
        let pending = Arc::new(Pending::default());
        let scope = Witness::new(&pending, "a");
        let freed = Arc::clone(&scope.dropped_free);
        let ticket = pending.open(scope, None).unwrap();
        assert!(!is_sent || pending.sent(ticket.id(), &mut Vec::new()));
        drop(ticket);
        assert_eq!(freed.load(Ordering::Relaxed), 1, "sent: {is_sent}");
    }
}
