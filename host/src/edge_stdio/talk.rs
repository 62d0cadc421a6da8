//! One client whose messages come one by one and whose answers go out over one queue: a pipe, or HTTP+SSE of 2024-11-05.
//! Modern requests stand for themselves; legacy ones belong to the one session that `initialize` opened.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;
use wharf_core::splice;
use wharf_plugin_api::{Id, Reply, RpcError};

use crate::mcp::failure::INVALID_REQUEST;
use crate::mcp::ladder::{self, Classified, LegacyBody, LegacyMessage, ModernMessage, Rejection};
use crate::mcp::{Answered, Exchange, Feed, Mcp, ModernRequest, Session, Visitor};
use crate::tasks::Tasks;

/// Requests of one client in flight. The bound of a session, and as much for requests without one.
const IN_FLIGHT: u32 = 128;
/// No JSON.
const PARSE_ERROR: i64 = -32700;
/// The code of "too many at once".
const OVERLOADED: i64 = -32010;
/// The one revision that knows batches.
const BATCHES: &str = "2025-03-26";
const CANCELLED: &str = "notifications/cancelled";
/// The request that has no end of its own.
pub(crate) const LISTEN: &str = "subscriptions/listen";

/// A client's side of the talk. Dropped, all that belongs to it is ended.
#[derive(Debug)]
pub(crate) struct Talk {
    mcp: Mcp,
    visitor: Visitor,
    tasks: Tasks,
    out: mpsc::Sender<Bytes>,
    room: Arc<Semaphore>,
    session: Mutex<Option<Arc<Session>>>,
    modern: Arc<Mutex<HashMap<Id, Modern>>>,
    over: CancellationToken,
}

/// A modern request in flight.
#[derive(Clone, Debug)]
struct Modern {
    /// Cancelled by its client: no answer.
    cancelled: CancellationToken,
    /// Only a subscription is closed: it gets an answer.
    closed: Option<CancellationToken>,
}

/// No critical section can panic half way, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Talk ===

impl Talk {
    pub(crate) fn new(mcp: Mcp, visitor: Visitor, tasks: Tasks, out: mpsc::Sender<Bytes>) -> Self {
        Self {
            mcp,
            visitor,
            tasks,
            out,
            room: Arc::new(Semaphore::new(IN_FLIGHT as usize)),
            session: Mutex::default(),
            modern: Arc::default(),
            over: CancellationToken::new(),
        }
    }

    /// Fires when nothing more comes, and ends all when it is fired.
    pub(crate) fn over(&self) -> &CancellationToken {
        &self.over
    }

    pub(crate) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    /// Takes a message, or several. Waits for nothing but the begin of a session.
    pub(crate) async fn take(&self, bytes: &[u8]) {
        match ladder::classify(None, bytes) {
            Err(rejection) => self.reject(&rejection),
            Ok(Classified::Modern(ModernMessage::Request(request))) => self.modern(request),
            Ok(Classified::Modern(ModernMessage::Notification { method, params })) => {
                self.cancel_modern(&method, params.as_deref());
            }
            Ok(Classified::Legacy(LegacyBody::One(message))) => self.legacy(message).await,
            Ok(Classified::Legacy(LegacyBody::Batch(messages))) => self.batch(messages).await,
        }
    }

    /// Answers what is no message.
    pub(crate) fn refuse_line(&self, why: &str) {
        self.reject(&Rejection { id: None, error: RpcError::new(PARSE_ERROR, why) });
    }

    /// No more comes in: waits for the answers in flight, at most `within`, then ends all.
    pub(crate) async fn finish(&self, within: Duration) {
        let closed: Vec<_> =
            locked(&self.modern).values().filter_map(|modern| modern.closed.clone()).collect();
        closed.iter().for_each(CancellationToken::cancel);
        let all = self.room.acquire_many(IN_FLIGHT);
        if !within.is_zero() && tokio::time::timeout(within, all).await.is_err() {
            tracing::info!("requests were still in flight when their client's time was over");
        }
        self.end();
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        self.over.cancel();
        if let Some(session) = locked(&self.session).take() {
            session.end();
        }
    }

    // --- legacy ---

    async fn legacy(&self, message: LegacyMessage) {
        match message {
            LegacyMessage::Request { id, method, params } if method == "initialize" => {
                self.initialize(id, params).await;
            }
            LegacyMessage::Request { id, method, params } => {
                let session = locked(&self.session).clone();
                match session {
                    Some(session) => self.request(&session, id, &method, params),
                    None => self.without_session(&id, &method),
                }
            }
            LegacyMessage::Notification { method, params } => {
                let taken = self.cancel_modern(&method, params.as_deref());
                if let Some(session) = locked(&self.session).as_ref().filter(|_| !taken) {
                    session.notification(&method, params);
                }
            }
            LegacyMessage::Response { id, reply } => {
                if let Some(session) = &*locked(&self.session) {
                    session.response(id.as_ref(), reply);
                }
            }
        }
    }

    /// One after the other; only a session knows whether it may be.
    async fn batch(&self, messages: Vec<LegacyMessage>) {
        let allowed = locked(&self.session).as_ref().is_some_and(|session| session.revision() == BATCHES);
        if !allowed {
            let text = "only sessions of 2025-03-26 know batches; send each message by itself";
            return self.reject(&Rejection { id: None, error: RpcError::new(INVALID_REQUEST, text) });
        }
        for message in messages {
            self.legacy(message).await;
        }
    }

    async fn initialize(&self, id: Id, params: Option<Arc<RawValue>>) {
        if locked(&self.session).is_some() {
            let text = "the session was opened already; open a connection of its own for another one";
            return self.fail(&id, RpcError::new(INVALID_REQUEST, text));
        }
        match self.mcp.initialize(self.visitor.clone(), params).await {
            Err(error) => self.fail(&id, error),
            Ok((session, reply)) => {
                // Two at the same time: the first one stays.
                if let Some(second) = self.keep(&session) {
                    second.end();
                    let error = RpcError::new(INVALID_REQUEST, "the session was opened already");
                    return self.fail(&id, error);
                }
                self.say(Answered::new(&id, &reply).message);
                self.follow(session);
            }
        }
    }

    /// Takes a session, or gives it back.
    fn keep(&self, session: &Arc<Session>) -> Option<Arc<Session>> {
        let mut kept = locked(&self.session);
        if kept.is_some() || self.over.is_cancelled() {
            return Some(Arc::clone(session));
        }
        *kept = Some(Arc::clone(session));
        None
    }

    /// Lets out what the session says beside its requests. Its end is the end of the talk.
    fn follow(&self, session: Arc<Session>) {
        let (out, over) = (self.out.clone(), self.over.clone());
        self.tasks.spawn(tracing::debug_span!("feed"), async move {
            tokio::select! {
                () = drain(session.feed(), &out) => {}
                () = over.cancelled() => {}
            }
            over.cancel();
        });
    }

    fn request(&self, session: &Arc<Session>, id: Id, method: &str, params: Option<Arc<RawValue>>) {
        let Some(permit) = self.permit(&id) else { return };
        let exchange = session.request(id, method, params);
        self.carry(exchange, permit, CancellationToken::new(), None);
    }

    /// Before there is a session a client may ask whether we live, and nothing else.
    fn without_session(&self, id: &Id, method: &str) {
        if method == "ping" {
            let empty = to_raw_value(&json!({})).map(Reply::Result);
            return self.say(empty.ok().and_then(|reply| Answered::new(id, &reply).message));
        }
        let text =
            "there is no session: send `initialize`, or a request with the envelope of a modern revision";
        self.fail(id, RpcError::new(INVALID_REQUEST, text));
    }

    // --- modern ---

    fn modern(&self, request: ModernRequest) {
        let id = request.id.clone();
        let Some(permit) = self.permit(&id) else { return };
        let closed = (request.method == LISTEN).then(CancellationToken::new);
        let entry = Modern { cancelled: CancellationToken::new(), closed: closed.clone() };
        let cancelled = entry.cancelled.clone();
        {
            let mut modern = locked(&self.modern);
            if modern.contains_key(&id) {
                drop(modern);
                let text = "a request with this id is in flight already";
                return self.fail(&id, RpcError::new(INVALID_REQUEST, text));
            }
            modern.insert(id.clone(), entry);
        }
        let exchange = self.mcp.modern(self.visitor.clone(), request);
        let entry = Entry { id: id.clone(), table: Arc::clone(&self.modern), _permit: permit };
        self.carry(exchange, entry, cancelled, closed.map(|closed| (id, closed)));
    }

    /// Whether it was the cancellation of a modern request.
    fn cancel_modern(&self, method: &str, params: Option<&RawValue>) -> bool {
        let id = params.filter(|_| method == CANCELLED).and_then(|params| splice::field(params, "requestId"));
        let Some(id) = id.and_then(Id::from_raw) else { return false };
        let found = locked(&self.modern).get(&id).map(|modern| modern.cancelled.clone());
        found.inspect(CancellationToken::cancel).is_some()
    }

    // --- both ---

    /// Lets an exchange go on by itself, until one of the two who may end it does.
    fn carry<K: Send + 'static>(
        &self,
        exchange: Exchange,
        keep: K,
        cancelled: CancellationToken,
        closed: Option<(Id, CancellationToken)>,
    ) {
        let (out, over) = (self.out.clone(), self.over.clone());
        self.tasks.spawn(tracing::debug_span!("exchange"), async move {
            let last = tokio::select! {
                last = run(exchange, &out) => last,
                last = closing(closed) => last,
                () = cancelled.cancelled() => None,
                () = over.cancelled() => None,
            };
            // The id is free, and the room, before the client can know.
            drop(keep);
            if let Some(message) = last {
                out.send(message).await.ok();
            }
        });
    }

    fn permit(&self, id: &Id) -> Option<OwnedSemaphorePermit> {
        let permit = Arc::clone(&self.room).try_acquire_owned().ok();
        if permit.is_none() {
            let text =
                format!("{IN_FLIGHT} requests of this client are in flight already; wait for their answers");
            self.fail(id, RpcError::new(OVERLOADED, text));
        }
        permit
    }

    fn reject(&self, rejection: &Rejection) {
        self.say(rejection.answered().message);
    }

    fn fail(&self, id: &Id, error: RpcError) {
        self.say(Answered::new(id, &Reply::Error(error)).message);
    }

    /// Never waits: whoever reads the client's messages says this.
    fn say(&self, message: Option<Bytes>) {
        let Some(message) = message else { return };
        if self.out.try_send(message).is_err() {
            tracing::warn!("an answer was dropped: the client sends and does not read");
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.end();
    }
}

/// Takes a request out of the table when it is over.
struct Entry {
    id: Id,
    table: Arc<Mutex<HashMap<Id, Modern>>>,
    _permit: OwnedSemaphorePermit,
}

impl Drop for Entry {
    fn drop(&mut self) {
        locked(&self.table).remove(&self.id);
    }
}

/// Lets out what an exchange says; returns its answer.
async fn run(exchange: Exchange, out: &mpsc::Sender<Bytes>) -> Option<Bytes> {
    let Exchange { mut events, mut answer } = exchange;
    let answered = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => out.send(event).await.ok()?,
            answered = &mut answer => break answered,
        }
    };
    while let Ok(event) = events.try_recv() {
        out.send(event).await.ok()?;
    }
    answered.message
}

async fn drain(mut feed: Feed, out: &mpsc::Sender<Bytes>) {
    while let Some(message) = feed.next().await {
        if out.send(message).await.is_err() {
            return;
        }
    }
}

async fn closing(closed: Option<(Id, CancellationToken)>) -> Option<Bytes> {
    let Some((id, closed)) = closed else { return std::future::pending().await };
    closed.cancelled().await;
    self::closed(&id).message
}

/// A subscription ends with an empty result, so that its client knows an end from a broken connection.
pub(crate) fn closed(id: &Id) -> Answered {
    let result = json!({
        "resultType": "complete",
        "_meta": { "io.modelcontextprotocol/subscriptionId": id },
    });
    match to_raw_value(&result) {
        Ok(result) => Answered::new(id, &Reply::Result(result)),
        Err(error) => Answered::new(id, &Reply::Error(RpcError::new(RpcError::INTERNAL, error.to_string()))),
    }
}
