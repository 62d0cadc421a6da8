//! The requests of one connection that wait for their answer: the one table that callers, reader and writer share.
//!
//! A std mutex guards it for a few instructions, never over an await. Ids are our own increasing integers and are never
//! used again, so an answer that is unknown, late or a duplicate finds nothing and is dropped; whoever took it counts it.

mod given_up;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::value::RawValue;
use tokio::sync::oneshot;
use tokio::time::Instant;
use wharf_core::splice;
use wharf_core::spread::ByNumber;
use wharf_plugin_api::{CallError, CallErrorKind, Client, Delivery, Id, Reply, Request, Scope, jsonrpc};

use self::given_up::GivenUp;
use super::unlinked::InFlight;
use super::{Outbox, not_delivered, queue_full};

/// Requests in flight on one connection. The router's limits are far below; this bounds the table whatever they say.
pub(crate) const MAX_IN_FLIGHT: usize = 8192;

type Answer = Result<Reply, CallError>;

/// The table.
#[derive(Default)]
pub(crate) struct Pending {
    table: Mutex<Table>,
    /// An answer comes by this table only: once it was taken out, nothing else ends the request so that it is tried again.
    is_only_way: bool,
}

#[derive(Default)]
struct Table {
    last: u64,
    entries: ByNumber<Entry>,
    /// What the plugin may still work on though nobody waits for it.
    given_up: GivenUp,
    ended: Option<Arc<str>>,
}

struct Entry {
    reply: oneshot::Sender<Answer>,
    scope: Arc<dyn Scope>,
    sent: bool,
}

/// What became of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It went to who asked for it.
    ByCaller,
    /// Its call was given up meanwhile; it was dropped.
    Late,
    /// It answers nothing; it was dropped.
    ByNobody,
}

/// Calls that may be meant, and the newest of them.
#[derive(Default)]
struct Meant<'a> {
    calls: usize,
    newest: Option<(u64, &'a Arc<dyn Scope>)>,
}

/// A caller's place in the table. Dropped before the answer, it tells the plugin that nobody waits any more.
pub(crate) struct Ticket {
    pending: Arc<Pending>,
    id: u64,
    reply: oneshot::Receiver<Answer>,
    /// `None` for what must not be cancelled (`initialize`).
    outbox: Option<Arc<dyn Outbox>>,
    /// The answer has come: whoever sends one takes the place out of the table first.
    is_over: bool,
    /// The answer, if its caller read it itself.
    read: Option<Reply>,
}

/// Where a message was read.
#[derive(Default)]
pub(crate) struct Stream<'a> {
    /// The call that the stream belongs to, where it belongs to one.
    pub(crate) call: Option<&'a Arc<dyn Scope>>,
    /// The place of the request that it answers, where it answers one.
    pub(crate) ticket: Option<&'a mut Ticket>,
}

// === impl Pending ===

impl Pending {
    /// Of a link with one stream for all answers.
    pub(crate) fn of_one_stream() -> Self {
        Self { is_only_way: true, ..Self::default() }
    }

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
        table.entries.insert(id, Entry { reply: tx, scope, sent: false });
        drop(table);
        Ok(Ticket { pending: Arc::clone(self), id, reply: rx, outbox, is_over: false, read: None })
    }

    /// The first byte of request `id` is about to be handed over. False: its caller is gone, do not send it.
    ///
    /// The scope is told under the lock: a caller that goes now takes its entry out either before, and then nothing is
    /// sent, or after, and then it knows that something was. What is to be written down of it before that byte is put into
    /// `notes`.
    pub(crate) fn sent(&self, id: u64, notes: &mut Vec<u8>) -> bool {
        let mut table = self.table();
        let Some(entry) = table.entries.get_mut(&id) else { return false };
        entry.sent = true;
        entry.scope.note(notes);
        entry.scope.sent();
        true
    }

    /// The plugin answered `id`. An answer to what was never sent is none.
    pub(crate) fn answered(&self, id: Option<&Id>, reply: Reply) -> Taken {
        let mut late = false;
        let entry = id.and_then(Id::as_u64).and_then(|id| {
            let mut table = self.table();
            if !table.entries.get(&id).is_some_and(|entry| entry.sent) {
                late = table.given_up.answered(id);
                return None;
            }
            table.entries.remove(&id)
        });
        match entry {
            Some(entry) => {
                // A caller that has just gone needs no answer.
                entry.reply.send(Ok(reply)).ok();
                if self.is_only_way {
                    entry.scope.answered();
                }
                Taken::ByCaller
            }
            None => {
                tracing::debug!(?id, late, "an answer that nobody waits for");
                if late { Taken::Late } else { Taken::ByNobody }
            }
        }
    }

    /// The answer to `id` is of no use. False: nobody waits for it.
    pub(crate) fn failed(&self, id: u64, error: CallError) -> bool {
        let entry = {
            let mut table = self.table();
            if table.entries.get(&id).is_some_and(|entry| entry.sent) {
                table.entries.remove(&id)
            } else {
                None
            }
        };
        entry.map(|entry| entry.reply.send(Err(error)).ok()).is_some()
    }

    /// The scope of a request in flight, by the progress token that is its id.
    pub(crate) fn scope(&self, token: u64) -> Option<Arc<dyn Scope>> {
        self.table().entries.get(&token).filter(|entry| entry.sent).map(|entry| Arc::clone(&entry.scope))
    }

    /// The calls that `count` and that the plugin may speak of, and the newest of them.
    ///
    /// What is still queued it cannot mean. One whose client has left with the questions, and may never come back, is left
    /// out while another works: else an abandoned question would close the plugin to everybody's questions. A tool that asks
    /// on meanwhile, which the protocol allows, can have its question put to the other call then. Both are of one principal:
    /// where they are not, each counts.
    pub(crate) fn calls(&self, count: impl Fn(&dyn Scope) -> bool) -> (InFlight, Option<Arc<dyn Scope>>) {
        let table = self.table();
        let at = Instant::now();
        let (mut working, mut waiting) = (Meant::default(), Meant::default());
        let (mut principal, mut mixed) = (None, false);
        for (id, entry) in table.calls().filter(|(_, entry)| count(&*entry.scope)) {
            let own = &entry.scope.caller().principal;
            mixed |= *principal.get_or_insert(own) != own;
            if entry.scope.is_attended() { &mut working } else { &mut waiting }.add(*id, &entry.scope);
        }
        let meant = match (mixed, working.calls) {
            (true, _) => working.and(waiting),
            (false, 0) => waiting,
            (false, _) => working,
        };
        let given_up = table.given_up.beside(principal.map(|principal| &**principal), at);
        let newest = meant.newest.map(|(_, scope)| Arc::clone(scope));
        (InFlight { calls: meant.calls, given_up }, newest)
    }

    /// The clients of all calls that the plugin has.
    pub(crate) fn clients(&self) -> Vec<Arc<Client>> {
        self.table().calls().map(|(_, entry)| Arc::clone(&entry.scope.caller().client)).collect()
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
            table.given_up.clear();
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

// === impl Stream ===

impl Stream<'_> {
    /// Gives an answer to whom the stream is for. Gives it back if it is for somebody else.
    pub(super) fn answered(&mut self, id: Option<&Id>, reply: Reply) -> Option<Reply> {
        match &mut self.ticket {
            Some(ticket) => ticket.answered(id, reply),
            None => Some(reply),
        }
    }
}

// === impl Table ===

impl Table {
    /// What the plugin was sent for a caller.
    fn calls(&self) -> impl Iterator<Item = (&u64, &Entry)> {
        self.entries.iter().filter(|(_, entry)| entry.sent && entry.scope.is_call())
    }
}

// === impl Meant ===

impl<'a> Meant<'a> {
    fn add(&mut self, id: u64, scope: &'a Arc<dyn Scope>) {
        self.calls += 1;
        if self.newest.is_none_or(|(newest, _)| newest < id) {
            self.newest = Some((id, scope));
        }
    }

    fn and(self, other: Self) -> Self {
        let newest = self.newest.into_iter().chain(other.newest).max_by_key(|(id, _)| *id);
        Self { calls: self.calls + other.calls, newest }
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
        let answer = (&mut self.reply).await;
        self.is_over = answer.is_ok();
        answer.unwrap_or_else(|_| {
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

    /// Its own caller has read the answer: nobody need be told. Gives back what answers something else.
    fn answered(&mut self, id: Option<&Id>, reply: Reply) -> Option<Reply> {
        if id.and_then(Id::as_u64) != Some(self.id) {
            return Some(reply);
        }
        let own = self.pending.table().entries.remove(&self.id);
        let Some(own) = own else { return Some(reply) };
        // Whoever waits for it is who reads, and is not woken by the end of the other half.
        self.reply.close();
        drop(own);
        self.is_over = true;
        self.read = Some(reply);
        None
    }

    /// The answer, if it has come.
    pub(crate) fn arrived(&mut self) -> Option<Answer> {
        if let Some(reply) = self.read.take() {
            return Some(Ok(reply));
        }
        let answer = self.reply.try_recv().ok();
        self.is_over |= answer.is_some();
        answer
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        // Dropped without the lock: it may be the last that has its scope.
        let entry = {
            let mut table = self.pending.table();
            let entry = table.entries.remove(&self.id);
            if let Some(entry) = entry.as_ref().filter(|entry| entry.sent && entry.scope.is_call())
                && self.outbox.is_some()
            {
                table.given_up.add(self.id, Arc::clone(&entry.scope.caller().principal), Instant::now());
            }
            entry
        };
        if entry.is_none_or(|entry| !entry.sent) {
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

/// Writes a request under our id. The token of a caller who wants no progress is replaced as well: it must not be taken
/// for one of ours.
pub(crate) fn encode(id: u64, request: &Request, progress: bool) -> Vec<u8> {
    let given = request.params.as_deref();
    let replaced = (progress || given.is_some_and(splice::may_hold_progress_token))
        .then(|| splice::with_meta_progress_token(given, id))
        .flatten();
    let mut bytes = jsonrpc::request(&Id::number(id), &request.method, replaced.as_deref().or(given));
    jsonrpc::single_line(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests;
