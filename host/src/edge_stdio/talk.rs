//! One client whose messages come one by one and whose answers go out over one queue: a pipe, or HTTP+SSE of 2024-11-05.
//! Modern requests stand for themselves; legacy ones belong to the one session that `initialize` opened.

mod flights;

use std::borrow::Cow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use tokio_util::sync::CancellationToken;
use wharf_core::splice;
use wharf_plugin_api::{Id, Reply, RpcError};

use self::flights::{Flights, Lane};
use super::out::Out;
use crate::mcp::failure::INVALID_REQUEST;
use crate::mcp::ladder::{self, Classified, LegacyBody, LegacyMessage, ModernMessage, Rejection};
use crate::mcp::{Answered, Feed, Mcp, ModernRequest, Params, Session, Visitor};
use crate::tasks::Tasks;

/// No JSON.
const PARSE_ERROR: i64 = -32700;
/// The one revision that knows batches.
const BATCHES: &str = "2025-03-26";
const NO_SESSION: &str =
    "there is no session: send `initialize`, or a request with the envelope of a modern revision";
const CANCELLED: &str = "notifications/cancelled";
/// The request that has no end of its own.
pub(crate) const LISTEN: &str = "subscriptions/listen";

/// A client's side of the talk. Dropped, all that belongs to it is ended.
#[derive(Debug)]
pub(crate) struct Talk {
    mcp: Mcp,
    visitor: Visitor,
    tasks: Tasks,
    out: Out,
    session: Mutex<Option<Arc<Session>>>,
    flights: Flights,
}

/// No critical section can panic half way, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Talk ===

impl Talk {
    pub(crate) fn new(mcp: Mcp, visitor: Visitor, tasks: Tasks, out: Out) -> Self {
        let flights = Flights::new(tasks.clone(), out.clone());
        Self { mcp, visitor, tasks, out, session: Mutex::default(), flights }
    }

    /// Fires when nothing more comes, and ends all when it is fired.
    pub(crate) fn over(&self) -> &CancellationToken {
        self.flights.over()
    }

    pub(crate) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    /// Takes a message, or several. Waits for the begin of a session, and for room: a client that sends more than is done
    /// is not read on.
    pub(crate) async fn take(&self, bytes: &[u8]) {
        self.take_with(bytes, |_| ()).await;
    }

    /// The same, where what came with the message says more of its requests: `put` adds it to their params.
    pub(crate) async fn take_with(&self, bytes: &[u8], put: impl Fn(&mut Option<Params>)) {
        match ladder::classify(None, bytes) {
            Err(rejection) => self.reject(&rejection).await,
            Ok(Classified::Modern(ModernMessage::Request(mut request))) => {
                put(&mut request.params);
                self.modern(request).await;
            }
            Ok(Classified::Modern(ModernMessage::Notification { method, params })) => {
                self.cancel(&method, params.as_deref());
            }
            Ok(Classified::Legacy(mut body)) => {
                body.requests().for_each(put);
                match body {
                    LegacyBody::One(message) => self.legacy(message).await,
                    LegacyBody::Batch(messages) => self.batch(messages).await,
                }
            }
        }
    }

    /// Answers what is no message.
    pub(crate) async fn refuse_line(&self, why: &str) {
        self.reject(&Rejection { id: None, error: RpcError::new(PARSE_ERROR, why) }).await;
    }

    /// No more comes in. A plugin that waits for an answer of the client is told so, or it would wait in vain.
    pub(crate) fn falls_silent(&self) {
        if let Some(session) = &*locked(&self.session) {
            session.falls_silent();
        }
    }

    /// No more comes in: waits for the answers in flight, at most `within`, then ends all.
    pub(crate) async fn finish(&self, within: Duration) {
        self.flights.finish(within).await;
        self.end();
    }

    /// Ends all.
    pub(crate) fn end(&self) {
        self.over().cancel();
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
            // Whether we live must not wait for what is under way.
            LegacyMessage::Request { id, method, .. } if method == "ping" => {
                let empty = to_raw_value(&json!({})).map(Reply::Result);
                self.say(empty.ok().and_then(|reply| Answered::new(&id, &reply).message)).await;
            }
            LegacyMessage::Request { id, method, params } => {
                let session = locked(&self.session).clone();
                match session {
                    Some(session) => self.request(session, id, method, params).await,
                    None => self.fail(&id, RpcError::new(INVALID_REQUEST, NO_SESSION)).await,
                }
            }
            LegacyMessage::Notification { method, params } => {
                let taken = self.cancel(&method, params.as_deref());
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
            return self.reject(&Rejection { id: None, error: RpcError::new(INVALID_REQUEST, text) }).await;
        }
        for message in messages {
            self.legacy(message).await;
        }
    }

    async fn initialize(&self, id: Id, params: Option<Params>) {
        if locked(&self.session).is_some() {
            let text = "the session was opened already; open a connection of its own for another one";
            return self.fail(&id, RpcError::new(INVALID_REQUEST, text)).await;
        }
        match self.mcp.initialize(self.visitor.clone(), params).await {
            Err(error) => self.fail(&id, error).await,
            Ok((session, reply)) => {
                // Two at the same time: the first one stays.
                if let Some(second) = self.keep(&session) {
                    second.end();
                    let error = RpcError::new(INVALID_REQUEST, "the session was opened already");
                    return self.fail(&id, error).await;
                }
                self.follow(session, Answered::new(&id, &reply).message);
            }
        }
    }

    /// Takes a session, or gives it back.
    fn keep(&self, session: &Arc<Session>) -> Option<Arc<Session>> {
        let mut kept = locked(&self.session);
        if kept.is_some() || self.over().is_cancelled() {
            return Some(Arc::clone(session));
        }
        *kept = Some(Arc::clone(session));
        None
    }

    /// Lets out the answer that opens the session, and then what it says beside its requests. Its end is the end of the
    /// talk.
    fn follow(&self, session: Arc<Session>, opened: Option<Bytes>) {
        let (out, over, ending) = (self.out.clone(), self.over().clone(), self.tasks.ending().clone());
        self.tasks.spawn(tracing::debug_span!("feed"), async move {
            tokio::select! {
                () = drain(opened, session.feed(), &out) => {}
                () = over.cancelled() => {}
            }
            // With the host a session ends before its last answers are out: they are waited for elsewhere.
            if !ending.is_cancelled() {
                over.cancel();
            }
        });
    }

    async fn request(
        &self,
        session: Arc<Session>,
        id: Id,
        method: Cow<'static, str>,
        params: Option<Params>,
    ) {
        let (size, of) = (size(params.as_deref()), id.clone());
        let begin = move || session.request(of, method, params);
        self.flights.take(Lane::Legacy, id, size, begin).await;
    }

    // --- both ---

    async fn modern(&self, request: ModernRequest) {
        let lane = if request.method == LISTEN { Lane::Listen } else { Lane::Modern };
        let (id, size) = (request.id.clone(), size(request.params.as_deref()));
        let (mcp, visitor) = (self.mcp.clone(), self.visitor.clone());
        self.flights.take(lane, id, size, move || mcp.modern(visitor, request)).await;
    }

    /// Whether it was the cancellation of a request in flight.
    fn cancel(&self, method: &str, params: Option<&RawValue>) -> bool {
        let id = params.filter(|_| method == CANCELLED).and_then(|params| splice::field(params, "requestId"));
        id.and_then(Id::from_raw).is_some_and(|id| self.flights.cancel(&id))
    }

    async fn reject(&self, rejection: &Rejection) {
        self.say(rejection.answered().message).await;
    }

    async fn fail(&self, id: &Id, error: RpcError) {
        self.say(Answered::new(id, &Reply::Error(error)).message).await;
    }

    async fn say(&self, message: Option<Bytes>) {
        if let Some(message) = message {
            self.flights.say(message).await;
        }
    }
}

impl Drop for Talk {
    fn drop(&mut self) {
        self.end();
    }
}

async fn drain(opened: Option<Bytes>, mut feed: Feed, out: &Out) {
    let mut next = opened;
    loop {
        if let Some(message) = next.take()
            && out.send(message).await.is_err()
        {
            return;
        }
        next = feed.next().await;
        if next.is_none() {
            return;
        }
    }
}

/// What params hold in memory.
fn size(params: Option<&RawValue>) -> usize {
    params.map_or(0, |params| params.get().len())
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
