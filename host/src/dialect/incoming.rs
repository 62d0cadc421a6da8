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
use wharf_core::splice;
use wharf_plugin_api::jsonrpc::{self, EnvelopeError, Message};
use wharf_plugin_api::{Id, Inbox, Notification, Reply, Request, RpcError, Scope};

use super::pending::Pending;
use super::{Options, Outbox};

/// What a plugin may ask at once.
const MAX_ASKS: usize = 64;
/// How long an answer may take that belongs to no call.
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
        }
    }

    /// Takes one message, or a batch where the revision has them. `call` is the call on whose stream it came, where a stream belongs to a call.
    ///
    /// # Errors
    /// If the bytes are no message.
    pub(crate) fn take(
        self: &Arc<Self>,
        bytes: &[u8],
        call: Option<&Arc<dyn Scope>>,
    ) -> Result<(), EnvelopeError> {
        if self.batches.load(Ordering::Relaxed) && bytes.trim_ascii_start().starts_with(b"[") {
            return self.batch(bytes, call);
        }
        self.one(bytes, call)
    }

    /// The handshake has settled on a revision.
    pub(crate) fn settled(&self, revision: &str) {
        self.batches.store(revision == BATCHES, Ordering::Relaxed);
    }

    /// Takes each message of a batch. An element that is no message is noted, and the others are taken all the same.
    fn batch(self: &Arc<Self>, bytes: &[u8], call: Option<&Arc<dyn Scope>>) -> Result<(), EnvelopeError> {
        let messages = splice::items(bytes, MAX_BATCH).filter(|messages| !messages.is_empty());
        let messages =
            messages.ok_or(EnvelopeError::Shape("an empty batch, one that is too long, or no JSON"))?;
        let all = messages.len();
        let mut bad = None;
        let mut taken = 0;
        for message in messages {
            match self.one(message.get().as_bytes(), call) {
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

    fn one(self: &Arc<Self>, bytes: &[u8], call: Option<&Arc<dyn Scope>>) -> Result<(), EnvelopeError> {
        match jsonrpc::parse(bytes)? {
            Message::Response { id, reply } => self.pending.answered(id.as_ref(), reply),
            Message::Notification { method, params } => self.notification(&method, params, call),
            Message::Request { id, method, params } => {
                let request = Request { method: method.into_owned().into(), params: params.map(shared) };
                self.request(id, request, call.cloned());
            }
        }
        Ok(())
    }

    /// The plugin starts anew on the same connection: what it offers is to be read again.
    pub(crate) fn lists_changed(&self) {
        self.inbox.event(Notification::bare("notifications/tools/list_changed"));
    }

    /// Progress belongs to the call whose id is its token; the token stays in the params, it is the link's own and says
    /// nothing to the caller. Everything else belongs to the stream's call, or to none.
    fn notification(&self, method: &str, params: Option<&RawValue>, call: Option<&Arc<dyn Scope>>) {
        let id = |key| params.and_then(|params| splice::field(params, key)).and_then(Id::from_raw);
        let scope = match method {
            "notifications/progress" => {
                id("progressToken").and_then(|token| self.pending.scope(token.as_u64()?))
            }
            "notifications/cancelled" => {
                if let Some(cancel) = id("requestId").and_then(|id| self.asked().remove(&id)) {
                    cancel.cancel();
                    return;
                }
                call.cloned()
            }
            "notifications/message" => call.cloned(),
            _ => None,
        };
        let notification = Notification { method: method.to_owned().into(), params: params.map(shared) };
        match scope {
            Some(scope) => scope.event(notification),
            None => self.inbox.event(notification),
        }
    }

    fn request(self: &Arc<Self>, id: Id, request: Request, call: Option<Arc<dyn Scope>>) {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else {
            let error = RpcError::new(RpcError::INTERNAL, format!("more than {MAX_ASKS} requests at once"));
            if !self.outbox.try_send(written(&id, &Reply::Error(error))) {
                tracing::debug!(plugin = %self.options.label, "no room to refuse a request of the plugin");
            }
            return;
        };
        let cancel = self.closing.child_token();
        self.asked().insert(id.clone(), cancel.clone());
        let span = tracing::debug_span!("ask", plugin = %self.options.label, method = %request.method);
        let this = Arc::clone(self);
        // Tracked by `Tasks`; nobody needs its handle.
        drop(self.options.tasks.spawn(span, this.answer(id, request, call, cancel, room)));
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
        let known = match request.method.as_ref() {
            "ping" => raw("{}"),
            "roots/list" => raw(r#"{"roots":[]}"#),
            _ => None,
        };
        if let Some(result) = known {
            return Reply::Result(result);
        }
        let asked = match call {
            Some(scope) => {
                let until = Instant::from_std(scope.deadline());
                tokio::time::timeout_at(until, scope.ask(request)).await
            }
            None => tokio::time::timeout(ASK_TIMEOUT, self.inbox.ask(request)).await,
        };
        match asked {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => Reply::Error(RpcError::new(RpcError::INTERNAL, error.detail)),
            Err(_) => Reply::Error(RpcError::new(RpcError::INTERNAL, "nobody answered in time")),
        }
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<Id, CancellationToken>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn written(id: &Id, reply: &Reply) -> Vec<u8> {
    let mut bytes = jsonrpc::response(id, reply);
    jsonrpc::single_line(&mut bytes);
    bytes
}

fn shared(params: &RawValue) -> Arc<RawValue> {
    params.to_owned().into()
}

fn raw(text: &str) -> Option<Box<RawValue>> {
    RawValue::from_string(text.to_owned()).ok()
}
