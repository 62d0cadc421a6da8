//! What to do with a message from a plugin, whatever carried it: the one place that decides.
//!
//! Answers complete their callers, progress goes to the call it belongs to, what belongs to no call goes to the inbox,
//! and what the plugin asks is answered by a task of its own, never where messages are read.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use wharf_core::ask::{Capability, Declared};
use wharf_core::frame::Edges;
use wharf_core::splice;
use wharf_plugin_api::jsonrpc::{self, EnvelopeError, Message};
use wharf_plugin_api::{
    CallError, CallErrorKind, Client, Delivery, Era, Id, Inbox, Notification, Reply, Request, RpcError, Scope,
};

use super::pending::{Pending, Stream, Taken};
use super::plain;
use super::unlinked::{self, Answers, Hears};
use super::{Options, Outbox, modern, shortened};
use crate::tasks::on_bytes;

/// What a plugin may ask at once.
const MAX_ASKS: usize = 64;
/// How long the host's own answer may take, where it has no client to ask.
const ASK_TIMEOUT: Duration = Duration::from_secs(60);

/// The one revision with batches: who speaks it must be able to receive them.
const BATCHES: &str = "2025-03-26";
/// Messages in a batch.
const MAX_BATCH: usize = 1024;

/// Takes the messages of one connection.
pub(crate) struct Incoming {
    pending: Arc<Pending>,
    inbox: Arc<dyn Inbox>,
    outbox: Arc<dyn Outbox>,
    options: Options,
    room: Arc<Semaphore>,
    /// What the plugin asked and may take back.
    asked: Mutex<HashMap<Id, CancellationToken>>,
    /// Ends the tasks that answer.
    closing: CancellationToken,
    /// Whether the peer may send batches.
    batches: AtomicBool,
    /// Whether the peer is modern: it asks nothing, and says for which request it speaks.
    modern: AtomicBool,
}

impl Incoming {
    pub(crate) fn new(
        pending: Arc<Pending>,
        inbox: Arc<dyn Inbox>,
        outbox: Arc<dyn Outbox>,
        options: Options,
        closing: CancellationToken,
    ) -> Self {
        let room = Arc::new(Semaphore::new(MAX_ASKS));
        Self {
            pending,
            inbox,
            outbox,
            options,
            room,
            asked: Mutex::default(),
            closing,
            batches: AtomicBool::new(false),
            modern: AtomicBool::new(false),
        }
    }

    /// Takes one message, or a batch where the revision has them. `call` is the call on whose stream it came, where a stream belongs to a call.
    ///
    /// # Errors
    /// If the text is no message.
    pub(crate) fn take(
        self: &Arc<Self>,
        text: &str,
        call: Option<&Arc<dyn Scope>>,
    ) -> Result<(), EnvelopeError> {
        self.take_from(text, Stream { call, ticket: None })
    }

    /// The same from the stream that answers the request of a ticket: its answer is put into the ticket.
    ///
    /// # Errors
    /// Likewise.
    pub(crate) fn take_from(self: &Arc<Self>, text: &str, mut from: Stream<'_>) -> Result<(), EnvelopeError> {
        on_bytes(text.len(), || {
            if self.batches.load(Ordering::Relaxed) && text.trim_ascii_start().starts_with('[') {
                return self.batch(text, &mut from);
            }
            self.one(text, &mut from)
        })
    }

    /// The handshake has settled on a revision.
    pub(crate) fn settled(&self, revision: &str) {
        self.batches.store(revision == BATCHES, Ordering::Relaxed);
        self.modern.store(Era::of(revision) == Era::Modern, Ordering::Relaxed);
    }

    /// Takes each message of a batch. An element that is no message is noted, and the others are taken all the same.
    fn batch(self: &Arc<Self>, text: &str, from: &mut Stream<'_>) -> Result<(), EnvelopeError> {
        let messages = splice::items(text.as_bytes(), MAX_BATCH).filter(|messages| !messages.is_empty());
        let messages =
            messages.ok_or(EnvelopeError::Shape("an empty batch, one that is too long, or no JSON"))?;
        let all = messages.len();
        let mut bad = None;
        let mut taken = 0;
        for message in messages {
            match self.one(message.get(), from) {
                Ok(()) => taken += 1,
                Err(error) => bad = Some(error),
            }
        }
        match bad {
            Some(error) if taken == 0 => Err(error),
            Some(error) => {
                let lost = all - taken;
                self.options.note("wharf", &format!("dropped {lost} of a batch of {all}: {error}"));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn one(self: &Arc<Self>, text: &str, from: &mut Stream<'_>) -> Result<(), EnvelopeError> {
        let message = match plain::read(text) {
            Ok(message) => message,
            Err(error) => return self.broken(text.as_bytes(), error),
        };
        self.inbox.heard();
        match message {
            Message::Response { id, reply } => {
                let what = "an answer to a request that is not there, or was answered already";
                let Some(reply) = from.answered(id.as_ref(), reply) else { return Ok(()) };
                match self.pending.answered(id.as_ref(), reply) {
                    Taken::ByCaller => {}
                    Taken::Late => self.options.log.count_late(),
                    Taken::ByNobody => self.stray(what, id.as_ref()),
                }
            }
            Message::Notification { method, params } => self.notification(&method, params, from.call),
            Message::Request { id, method, params } => {
                let request = Request { method: method.into_owned().into(), params: params.map(shared) };
                self.request(id, request, from.call.cloned());
            }
        }
        Ok(())
    }

    /// What cannot be read is an answer all the same, if it says whose: its caller need not wait for another one.
    fn broken(&self, bytes: &[u8], error: EnvelopeError) -> Result<(), EnvelopeError> {
        let id = match &error {
            EnvelopeError::Answer { id, .. } => id.as_u64(),
            EnvelopeError::Json(_) => Edges::of(bytes).answers(),
            // Nothing in it says so, or nothing that this version knows of.
            EnvelopeError::Shape(_) | _ => None,
        };
        let failed = |id| {
            self.pending
                .failed(id, CallError::new(CallErrorKind::Protocol, Delivery::Answered, error.to_string()))
        };
        match (id.is_some_and(failed), &error) {
            (true, _) => {
                self.options.note(
                    "wharf",
                    &format!("the answer to request {} is of no use: {error}", id.unwrap_or_default()),
                );
                Ok(())
            }
            (false, EnvelopeError::Answer { id, .. }) => {
                self.stray("a malformed answer to a request that is not there", Some(id));
                Ok(())
            }
            (false, _) => Err(error),
        }
    }

    /// Takes note of what answers nothing of ours. It reaches nobody: ids are ours and are never used again.
    fn stray(&self, what: &str, id: Option<&Id>) {
        let so_far = self.options.log.count_stray();
        // The first, and then ever fewer: a plugin that does nothing else must not fill its log with it.
        if so_far.is_power_of_two() {
            let id = shortened(id.map_or("none", Id::as_str));
            self.options.note("wharf", &format!("dropped {what} (id {id}); {so_far} so far"));
        }
    }

    /// The plugin starts anew on the same connection: what it offers is to be read again.
    pub(crate) fn lists_changed(&self) {
        self.inbox.event(Notification::bare("notifications/tools/list_changed"));
    }

    /// Progress belongs to the call whose id is its token; the token stays in the params, it is the link's own and says
    /// nothing to the caller. Progress and cancellations that find nothing are dropped: to a client their ids would mean
    /// something else. What a modern server tells its subscribers names the request that listens. Everything else
    /// belongs to the stream's call, or to none.
    fn notification(&self, method: &str, params: Option<&RawValue>, call: Option<&Arc<dyn Scope>>) {
        let id = |key| params.and_then(|params| splice::field(params, key)).and_then(Id::from_raw);
        let modern = self.modern.load(Ordering::Relaxed);
        let scope = match method {
            "notifications/progress" => {
                match id("progressToken").and_then(|token| self.pending.scope(token.as_u64()?)) {
                    None => return self.unknown(method),
                    known => known,
                }
            }
            "notifications/cancelled" => {
                if let Some(cancel) = id("requestId").and_then(|id| self.asked().remove(&id)) {
                    cancel.cancel();
                    return;
                }
                if modern && let Some(id) = id("requestId").and_then(|id| id.as_u64()) {
                    return self.unsubscribed(id);
                }
                return self.unknown(method);
            }
            "notifications/message" => call.cloned(),
            _ if modern => modern::subscription(params).and_then(|id| self.pending.scope(id)),
            _ => None,
        };
        let notification = Notification { method: method.to_owned().into(), params: params.map(shared) };
        match scope {
            Some(scope) => scope.event(notification),
            None if method == "notifications/message" => self.message(notification, modern),
            None => self.inbox.event(notification),
        }
    }

    /// A notification about a request that is not there. One that was late is no fault: calls are given up at any time.
    fn unknown(&self, method: &str) {
        tracing::debug!(plugin = %self.options.label, method, "a notification about a request that is not there");
    }

    /// The server ends what a request of ours listens to.
    fn unsubscribed(&self, id: u64) {
        let detail = "the server ended the subscription";
        self.pending.failed(id, CallError::new(CallErrorKind::Connection, Delivery::Answered, detail));
    }

    /// A log message that came on no call's stream. A modern server sends them for calls that want some.
    fn message(&self, notification: Notification, modern: bool) {
        let (now, newest) = self.pending.calls(|scope| !modern || scope.caller().client.log_level.is_some());
        match (unlinked::hears(now, self.shared()), newest) {
            (Hears::Caller, Some(scope)) if scope.listens() => scope.event(notification),
            (Hears::All, _) => self.inbox.event(notification),
            (Hears::Caller | Hears::Log, _) => {
                let params = notification.params.as_deref().map_or("{}", RawValue::get);
                self.options.note("log", params);
            }
        }
    }

    fn request(self: &Arc<Self>, id: Id, request: Request, call: Option<Arc<dyn Scope>>) {
        if self.modern.load(Ordering::Relaxed) {
            let why = format!("a modern server asks nothing; it asked {:?}", shortened(&request.method));
            self.options.note("wharf", &why);
            return self.refuse(&id, RpcError::new(RpcError::METHOD_NOT_FOUND, why));
        }
        // It asks whether we live, not for one of the places; where its answer has no room it waits for some like any other.
        if request.method == "ping" && pong().is_some_and(|pong| self.outbox.try_send(written(&id, &pong))) {
            return;
        }
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            let why = format!("more than {MAX_ASKS} requests at once");
            return self.refuse(&id, RpcError::new(RpcError::INTERNAL, why));
        };
        let cancel = self.closing.child_token();
        self.asked().insert(id.clone(), cancel.clone());
        let span = tracing::debug_span!("ask", plugin = %self.options.label, method = %request.method);
        let this = Arc::clone(self);
        // Tracked by `Tasks`; nobody needs its handle.
        drop(self.options.tasks.spawn(span, this.answer(id, request, call, cancel, room)));
    }

    fn refuse(&self, id: &Id, error: RpcError) {
        if !self.outbox.try_send(written(id, &Reply::Error(error))) {
            tracing::debug!(plugin = %self.options.label, "no room to refuse a request of the plugin");
        }
    }

    async fn answer(
        self: Arc<Self>,
        id: Id,
        request: Request,
        call: Option<Arc<dyn Scope>>,
        cancel: CancellationToken,
        _room: OwnedSemaphorePermit,
    ) {
        let work = async {
            let reply = self.reply(request, call).await;
            if !self.outbox.send(written(&id, &reply)).await {
                tracing::debug!("the connection went before the answer");
            }
        };
        tokio::select! {
            () = cancel.cancelled() => {}
            () = self.options.tasks.ending().cancelled() => {}
            () = work => {}
        }
        self.asked().remove(&id);
    }

    async fn reply(&self, request: Request, call: Option<Arc<dyn Scope>>) -> Reply {
        let none = || Reply::Error(RpcError::new(RpcError::INTERNAL, "no answer can be written"));
        if request.method == "ping" {
            return pong().unwrap_or_else(none);
        }
        let who = match &call {
            Some(scope) if scope.is_call() => (Answers::Caller, call),
            // The host has no roots, whatever it is doing; the one client of the instance may have some.
            Some(_) if request.method == "roots/list" && self.shared() => (Answers::NoRoots, None),
            Some(_) if request.method == "roots/list" => (Answers::Host, None),
            Some(_) => (Answers::Caller, call),
            None => self.meant(&request.method),
        };
        let asked = match who {
            (Answers::NoRoots, _) => {
                return raw(r#"{"roots":[]}"#).map_or_else(none, Reply::Result);
            }
            (Answers::Nobody(why), _) => return Reply::Error(RpcError::new(RpcError::INTERNAL, why)),
            (Answers::Caller, Some(scope)) => {
                let until = Instant::from_std(scope.deadline());
                tokio::time::timeout_at(until, scope.ask(request)).await
            }
            // There may be a person behind it; how long that one may take is the inbox's to say.
            (Answers::Host | Answers::Caller, _) if !self.shared() => Ok(self.inbox.ask(request).await),
            (Answers::Host | Answers::Caller, _) => {
                tokio::time::timeout(ASK_TIMEOUT, self.inbox.ask(request)).await
            }
        };
        match asked {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Error(RpcError::new(RpcError::INTERNAL, error.detail)),
            Err(_) => Reply::Error(RpcError::new(RpcError::INTERNAL, "nobody answered in time")),
        }
    }

    /// Who answers what the plugin asks without a word about which call it means.
    fn meant(&self, method: &str) -> (Answers, Option<Arc<dyn Scope>>) {
        let shared = self.shared();
        let (now, newest) = self.pending.calls(|_| true);
        let answers = if method == "roots/list" {
            // The one that is meant, or all where that is not known.
            let one =
                newest.as_ref().filter(|_| now.calls == 1).map(|scope| has_roots(&scope.caller().client));
            let any = || self.pending.clients().iter().any(|client| has_roots(client));
            unlinked::answers_roots(now, shared, || one.unwrap_or_else(any))
        } else {
            unlinked::answers(now, shared)
        };
        (answers, newest)
    }

    /// Whether several clients use the instance.
    fn shared(&self) -> bool {
        self.options.client.is_none()
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Id, CancellationToken>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn has_roots(client: &Client) -> bool {
    Declared::of(&client.capabilities).has(Capability::Roots)
}

fn written(id: &Id, reply: &Reply) -> Vec<u8> {
    let mut bytes = jsonrpc::response(id, reply);
    jsonrpc::single_line(&mut bytes);
    bytes
}

fn shared(params: &RawValue) -> Arc<RawValue> {
    params.to_owned().into()
}

fn pong() -> Option<Reply> {
    raw("{}").map(Reply::Result)
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}
