//! The requests of one connection that wait for their answer: the one table that callers, reader and writer share.
//!
//! A std mutex guards it for a few instructions, never over an await. Ids are our own increasing integers and are never
//! used again, so an answer that is unknown, late or a duplicate finds nothing and is dropped and counted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wharf_core::ask::{Capability, Declared, TOGETHER};
use wharf_core::splice;
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Id, Reply, Request, Scope, jsonrpc};

use super::unlinked::InFlight;
use super::{Outbox, not_delivered, queue_full};

/// Requests in flight on one connection. The router's limits are far below; this bounds the table whatever they say.
pub(crate) const MAX_IN_FLIGHT: usize = 8192;

type Answer = Result<Reply, CallError>;

/// The table.
#[derive(Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
    unmatched: AtomicU64,
}

#[derive(Default)]
struct Table {
    last: u64,
    entries: HashMap<u64, Entry>,
    ended: Option<Arc<str>>,
}

struct Entry {
    reply: oneshot::Sender<Answer>,
    scope: Arc<dyn Scope>,
    sent: bool,
    /// What the plugin asked this caller and has no answer to, and when it asked last.
    open: usize,
    asked: Option<Instant>,
}

/// A question that a caller has. Dropped when it is answered or taken back.
pub(crate) struct Asking {
    pending: Arc<Pending>,
    id: u64,
}

/// A caller's place in the table. Dropped before the answer, it tells the plugin that nobody waits any more.
pub(crate) struct Ticket {
    pending: Arc<Pending>,
    id: u64,
    reply: oneshot::Receiver<Answer>,
    /// `None` for what must not be cancelled (`initialize`).
    outbox: Option<Arc<dyn Outbox>>,
}

// === impl Pending ===

impl Pending {
    /// Inserts a caller. `outbox` takes the cancellation if the caller gives up.
    pub(crate) fn open(
        self: &Arc<Self>,
        scope: Arc<dyn Scope>,
        outbox: Option<Arc<dyn Outbox>>,
    ) -> Result<Ticket, CallError> {
        let (tx, rx) = oneshot::channel();
        let mut table = self.table();
        if let Some(why) = &table.ended {
            return Err(not_delivered(&**why));
        }
        if table.entries.len() >= MAX_IN_FLIGHT {
            return Err(queue_full());
        }
        table.last += 1;
        let id = table.last;
        table.entries.insert(id, Entry { reply: tx, scope, sent: false, open: 0, asked: None });
        drop(table);
        Ok(Ticket { pending: Arc::clone(self), id, reply: rx, outbox })
    }

    /// The first byte of request `id` is about to be handed over. False: its caller is gone, do not send it.
    ///
    /// The scope is told under the lock: a caller that goes now takes its entry out either before, and then nothing is
    /// sent, or after, and then it knows that something was.
    pub(crate) fn sent(&self, id: u64) -> bool {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(&id) else { return false };
        entry.sent = true;
        entry.scope.sent();
        true
    }

    /// The plugin answered `id`. An answer to what was never sent is none.
    pub(crate) fn answered(&self, id: Option<&Id>, reply: Reply) {
        let entry = id.and_then(Id::as_u64).and_then(|id| {
            let mut table = self.table();
            table.entries.get(&id)?.sent.then_some(())?;
            table.entries.remove(&id)
        });
        match entry {
            // A caller that has just gone needs no answer.
            Some(entry) => drop(entry.reply.send(Ok(reply))),
            None => {
                self.unmatched.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(?id, "an answer that nobody waits for");
            }
        }
    }

    /// The answer to `id` is of no use.
    pub(crate) fn failed(&self, id: u64, error: CallError) {
        let entry = {
            let mut table = self.table();
            if table.entries.get(&id).is_some_and(|entry| entry.sent) {
                table.entries.remove(&id)
            } else {
                None
            }
        };
        if let Some(entry) = entry {
            entry.reply.send(Err(error)).ok();
        }
    }

    /// The scope of a request in flight, by the progress token that is its id.
    pub(crate) fn scope(&self, token: u64) -> Option<Arc<dyn Scope>> {
        self.table().entries.get(&token).filter(|entry| entry.sent).map(|entry| Arc::clone(&entry.scope))
    }

    /// The calls in flight that `count` and that the plugin may speak of, and the newest of them.
    ///
    /// What is still queued it cannot mean. A call that waits for answers it means only if no other is in flight: the
    /// plugin is silent about it until they come.
    pub(crate) fn calls(&self, count: impl Fn(&dyn Scope) -> bool) -> (InFlight, Option<Arc<dyn Scope>>) {
        let table = self.table();
        let at = Instant::now();
        let in_flight = |waiting: bool| {
            let mut now = InFlight::default();
            let mut newest: Option<(u64, &Arc<dyn Scope>)> = None;
            let calls = table.entries.iter().filter(|(_, entry)| entry.sent && entry.scope.is_call());
            for (id, entry) in calls.filter(|(_, entry)| entry.waits(at) == waiting && count(&*entry.scope)) {
                now.calls += 1;
                now.roots |= Declared::of(&entry.scope.caller().client.capabilities).has(Capability::Roots);
                if newest.is_none_or(|(other, _)| other < *id) {
                    newest = Some((*id, &entry.scope));
                }
            }
            (now, newest.map(|(_, scope)| Arc::clone(scope)))
        };
        let working = in_flight(false);
        if working.0.calls > 0 { working } else { in_flight(true) }
    }

    /// The caller of the request with this scope is asked something.
    pub(crate) fn asks(self: &Arc<Self>, scope: &Arc<dyn Scope>) -> Option<Asking> {
        let mut table = self.table();
        let (id, entry) = table.entries.iter_mut().find(|(_, entry)| Arc::ptr_eq(&entry.scope, scope))?;
        entry.open += 1;
        entry.asked = Some(Instant::now());
        Some(Asking { pending: Arc::clone(self), id: *id })
    }

    /// Nothing is sent any more: who is not sent yet, or comes later, is turned away. Answers may still come.
    pub(crate) fn close(&self, why: &str) {
        self.end_where(why, |entry| !entry.sent);
    }

    /// Ends the table: who waits gets an error that says how far it got, who comes later is turned away.
    pub(crate) fn end(&self, why: &str) {
        self.end_where(why, |_| true);
    }

    fn end_where(&self, why: &str, over: impl Fn(&Entry) -> bool) {
        let ended: Vec<Entry> = {
            let mut table = self.table();
            table.ended.get_or_insert_with(|| why.into());
            table.entries.extract_if(|_, entry| over(entry)).map(|(_, entry)| entry).collect()
        };
        for entry in ended {
            let delivery = if entry.sent { Delivery::Unknown } else { Delivery::NotDelivered };
            entry.reply.send(Err(CallError::new(CallErrorKind::Connection, delivery, why))).ok();
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Entry ===

impl Entry {
    /// Whether it goes on only when its questions are answered.
    fn waits(&self, at: Instant) -> bool {
        self.open > 0 && self.asked.is_some_and(|asked| at.duration_since(asked) >= TOGETHER)
    }
}

// === impl Asking ===

impl Drop for Asking {
    fn drop(&mut self) {
        if let Some(entry) = self.pending.table().entries.get_mut(&self.id) {
            entry.open -= 1;
        }
    }
}

// === impl Ticket ===

impl Ticket {
    /// Our id for the request, which is its progress token too.
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    /// Waits for the answer.
    pub(crate) async fn answer(&mut self) -> Answer {
        (&mut self.reply).await.unwrap_or_else(|_| {
            Err(CallError::new(CallErrorKind::Connection, Delivery::Unknown, "the connection was dropped"))
        })
    }

    /// The plugin is known not to work on it: there is nothing to cancel after this failure.
    pub(crate) fn not_running(&mut self, error: &CallError) {
        if error.delivery != Delivery::Unknown || error.kind == CallErrorKind::Protocol {
            self.outbox = None;
        }
    }

    /// The answer came by another way than the table: there is nothing to cancel.
    pub(crate) fn settled(&mut self) {
        self.outbox = None;
    }

    /// The answer, if it has come.
    pub(crate) fn arrived(&mut self) -> Option<Answer> {
        self.reply.try_recv().ok()
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let given_up = self.pending.table().entries.remove(&self.id);
        if !given_up.is_some_and(|entry| entry.sent) {
            return;
        }
        if let Some(outbox) = &self.outbox
            && !outbox.try_send(cancelled(self.id))
        {
            tracing::warn!(id = self.id, "no room to tell the plugin that a request was given up");
        }
    }
}

fn cancelled(id: u64) -> Vec<u8> {
    let params =
        RawValue::from_string(format!(r#"{{"requestId":{id},"reason":"the caller no longer waits"}}"#)).ok();
    jsonrpc::notification("notifications/cancelled", params.as_deref())
}

/// Writes a request under our id. The token of a caller who does not listen is replaced as well: it must not be taken
/// for one of ours.
pub(crate) fn encode(id: u64, request: &Request, listens: bool) -> Vec<u8> {
    let given = request.params.as_deref();
    let replaced = (listens || given.is_some_and(splice::may_hold_progress_token))
        .then(|| splice::with_meta_progress_token(given, id))
        .flatten();
    let mut bytes = jsonrpc::request(&Id::number(id), &request.method, replaced.as_deref().or(given));
    jsonrpc::single_line(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::{Arc, TryLockError};

    use wharf_plugin_api::{CallError, Caller, Notification, Reply, Request, Scope, async_trait};

    use wharf_core::ask::TOGETHER;

    use super::Pending;

    /// Looks, when it is told that its request is sent, whether the table is held.
    struct Witness {
        pending: Arc<Pending>,
        held: AtomicU32,
        caller: Caller,
    }

    #[async_trait]
    impl Scope for Witness {
        fn sent(&self) {
            if matches!(self.pending.table.try_lock(), Err(TryLockError::WouldBlock)) {
                self.held.fetch_add(1, Ordering::Relaxed);
            }
        }

        fn listens(&self) -> bool {
            false
        }

        fn event(&self, _notification: Notification) {}

        async fn ask(&self, _request: Request) -> Result<Reply, CallError> {
            std::future::pending().await
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
        let witness = Arc::new(Witness {
            pending: Arc::clone(&pending),
            held: AtomicU32::new(0),
            caller: Caller::new("tester"),
        });
        let ticket = pending.open(Arc::clone(&witness) as Arc<dyn Scope>, None).expect("room");
        assert!(pending.sent(ticket.id()));
        assert_eq!(witness.held.load(Ordering::Relaxed), 1);
        let id = ticket.id();
        drop(ticket);
        assert!(!pending.sent(id), "who is gone is not sent");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_that_waits_for_answers_is_meant_only_if_no_other_can_be() {
        let pending = Arc::<Pending>::default();
        let call = || {
            let scope: Arc<dyn Scope> = Arc::new(Witness {
                pending: Arc::clone(&pending),
                held: AtomicU32::new(0),
                caller: Caller::new("tester"),
            });
            let ticket = pending.open(Arc::clone(&scope), None).expect("room");
            assert!(pending.sent(ticket.id()));
            (scope, ticket)
        };
        let meant = || pending.calls(|_| true);
        let ((first, _kept), (second, ticket)) = (call(), call());
        assert_eq!(meant().0.calls, 2);
        let asking = pending.asks(&first);
        assert_eq!(meant().0.calls, 2, "what asked just now may ask another question");
        tokio::time::advance(TOGETHER).await;
        let (now, scope) = meant();
        assert!(now.calls == 1 && scope.is_some_and(|scope| Arc::ptr_eq(&scope, &second)));
        let _waits = pending.asks(&second);
        tokio::time::advance(TOGETHER).await;
        assert_eq!(meant().0.calls, 2, "both wait, and either may be meant");
        drop(ticket);
        let (now, scope) = meant();
        assert!(now.calls == 1 && scope.is_some_and(|scope| Arc::ptr_eq(&scope, &first)));
        let (_third, _open) = call();
        assert_eq!(meant().0.calls, 1);
        drop(asking);
        assert_eq!(meant().0.calls, 2, "it was answered and goes on");
    }
}
