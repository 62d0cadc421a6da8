//! MCP over streamable HTTP: every message is a POST, and answers come as JSON or as an event stream. In the legacy era there
//! are sessions, and a GET stream brings what belongs to no call. `sse-post` shares all of it but for what [`Flavor`] says.
//!
//! It must not know who else talks to the server, nor when to try again: but for one new session, where the server has
//! refused a request for the old one and so cannot have run it.

mod exchange;
mod listen;
mod loss;
mod modern;
mod resume;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{oneshot, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, Full, Hello, Inbox, Link, Notification, Reply,
    Request, Scope, async_trait,
};

pub(crate) use self::exchange::Trouble;
use self::listen::Listener;
pub(crate) use self::modern::connect_by_era;
use self::session::Session;
use super::handshake::{self, HostScope};
use super::incoming::Incoming;
use super::modern::mirrored::Mirrored;
use super::pending::Pending;
use super::posts::{self, Poster, Posts};
use super::web::{self, Endpoint};
use super::{Connected, Lost, LostSender, Options, Outbox, not_delivered, sse_post};

/// How long the end of a session may take.
const DELETE_TIMEOUT: Duration = Duration::from_secs(2);

/// Which of the dialects that post every message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavor {
    /// Streamable HTTP, legacy era.
    Http,
    /// Streamable HTTP, modern era.
    Modern,
    /// POST /sse with `x-session-id`.
    SsePost,
}

/// What all parts of one connection share.
pub(crate) struct Core {
    flavor: Flavor,
    endpoint: Endpoint,
    options: Options,
    pending: Arc<Pending>,
    /// Shared, so that a call takes the current one as it is.
    session: watch::Sender<Arc<Session>>,
    closing: CancellationToken,
    posts: posts::Queue,
    /// What the schemas of a modern server's tools say about headers.
    mirrored: Mirrored,
    lost: Mutex<Option<LostSender>>,
    /// Asks the listener to say when it has read what is there.
    listener: Mutex<Option<Listener>>,
}

/// One connection: the shared part, and where its messages go.
#[derive(Clone)]
pub(crate) struct Wire {
    core: Arc<Core>,
    incoming: Arc<Incoming>,
    /// Takes cancellations.
    outbox: Arc<dyn Outbox>,
}

struct HttpLink {
    hello: Hello,
    wire: Wire,
    _closing: DropGuard,
}

/// Connects to a server of streamable HTTP, in the era of the options.
///
/// # Errors
/// Why there is no working connection.
pub(crate) async fn connect(
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Cause> {
    connect_by_era(endpoint, inbox, options).await.map_err(Trouble::cause)
}

/// Does the legacy handshake, for either flavour of it, with the status of a refusal kept apart.
pub(crate) async fn open(
    flavor: Flavor,
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Trouble> {
    let (wire, lost) = Wire::new(flavor, endpoint, inbox, options);
    let hello = wire.open_session(wire.core.options.handshake_deadline).await?;
    if flavor == Flavor::Http {
        let span = tracing::debug_span!("http listen", plugin = %wire.core.options.label);
        let (answering, answered) = oneshot::channel();
        drop(wire.core.options.tasks.spawn(span, listen::run(wire.clone(), answering)));
        tokio::time::timeout(listen::FIRST_ANSWER, answered).await.ok();
    }
    Ok(wire.connected(hello, lost))
}

// === impl Wire ===

impl Wire {
    /// A connection on which nothing has been said yet.
    fn new(flavor: Flavor, endpoint: Endpoint, inbox: Arc<dyn Inbox>, options: Options) -> (Self, Lost) {
        let (lost_sender, lost) = Lost::channel();
        let core = Arc::new(Core {
            flavor,
            endpoint,
            pending: Arc::default(),
            session: watch::channel(Arc::default()).0,
            closing: options.tasks.ending().child_token(),
            posts: posts::Queue::default(),
            mirrored: Mirrored::default(),
            lost: Mutex::new(Some(lost_sender)),
            listener: Mutex::default(),
            options,
        });
        let outbox: Arc<dyn Outbox> = Arc::new(Posts(Arc::clone(&core)));
        let (pending, options, closing) =
            (Arc::clone(&core.pending), core.options.clone(), core.closing.clone());
        let incoming = Arc::new(Incoming::new(pending, inbox, Arc::clone(&outbox), options, closing));
        (Self { core, incoming, outbox }, lost)
    }

    /// The connection, once its handshake is done.
    fn connected(self, hello: Hello, lost: Lost) -> Connected {
        self.incoming.settled(&hello.revision);
        let closing = self.core.closing.clone().drop_guard();
        Connected { link: Arc::new(HttpLink { hello, wire: self, _closing: closing }), lost, shown: true }
    }

    /// Sends a request; if the server refuses it for its session, once more on a new one.
    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        if self.core.closing.is_cancelled() {
            return Err(not_delivered("the connection is closed"));
        }
        if self.core.flavor == Flavor::Modern {
            return self.stateless(request, scope).await;
        }
        let session = Arc::clone(&self.core.session.borrow());
        let first = self.exchange(&session, &request, &scope, None).await;
        let Err(Trouble::Session(_)) = first else { return first.map_err(Trouble::call_error) };
        Box::pin(async {
            let session = self.restored(session.epoch).await?;
            self.exchange(&session, &request, &scope, None).await.map_err(Trouble::call_error)
        })
        .await
    }
}

// === impl Core ===

impl Core {
    /// The connection is of no more use.
    fn lose(&self, cause: Cause) {
        let lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        let why = cause.detail.clone();
        if let Some(lost) = lost {
            lost.send(cause).ok();
        }
        self.pending.end(&why);
        self.closing.cancel();
    }

    /// Posts what wants no answer, and waits until the server has taken it.
    async fn post_on(&self, session: &Session, message: Vec<u8>) -> Result<(), CallError> {
        let response = web::send(&self.endpoint.server, self.message(session, message)).await?;
        if !response.status().is_success() {
            return Err(web::refused(response).await.call_error());
        }
        web::finish(response.into_body(), &self.options.tasks);
        Ok(())
    }

    /// Tells the server, which may not listen, that a session is of no more use.
    async fn end_session(&self, session: &Session) {
        if self.flavor != Flavor::Http || session.id.is_none() {
            return;
        }
        let deleted = web::send(&self.endpoint.server, self.delete(session));
        if let Ok(Ok(response)) = tokio::time::timeout(DELETE_TIMEOUT, deleted).await {
            web::finish(response.into_body(), &self.options.tasks);
        }
    }

    /// The same, without waiting.
    fn leave(self: &Arc<Self>, session: Arc<Session>) {
        let core = Arc::clone(self);
        let span = tracing::debug_span!("http delete", plugin = %core.options.label);
        drop(self.options.tasks.spawn(span, async move { core.end_session(&session).await }));
    }
}

impl Poster for Core {
    fn posts(&self) -> &posts::Queue {
        &self.posts
    }

    fn options(&self) -> &Options {
        &self.options
    }

    async fn post(&self, message: Vec<u8>) -> Result<(), CallError> {
        let session = Arc::clone(&self.session.borrow());
        self.post_on(&session, message).await
    }

    /// The others have none: a response stream that is dropped is their cancellation.
    fn notifies(&self) -> bool {
        self.flavor == Flavor::Http
    }
}

// === impl HttpLink ===

#[async_trait]
impl Link for HttpLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, mut request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        if self.wire.core.flavor == Flavor::SsePost {
            request = match sse_post::translated(request) {
                sse_post::Asked::Call(request) => request,
                sse_post::Asked::Health => {
                    scope.sent();
                    return Box::pin(sse_post::ping(&self.wire.core.endpoint)).await;
                }
                sse_post::Asked::Unknown(error) => return Ok(Reply::Error(error)),
            }
        }
        self.wire.request(request, scope).await
    }

    fn notify(&self, notification: Notification) -> Result<(), Full> {
        if self.wire.core.closing.is_cancelled() {
            return Err(Full);
        }
        if !self.wire.core.notifies() {
            tracing::debug!(method = %notification.method, "this dialect has no notifications");
            return Ok(());
        }
        Posts(Arc::clone(&self.wire.core)).notify(&notification)
    }

    /// Ends the session at the server.
    async fn close(&self) {
        let core = &self.wire.core;
        let first = !core.closing.is_cancelled();
        core.lose(Cause::new(CauseKind::Requested, "the host closed the connection"));
        let session = Arc::clone(&core.session.borrow());
        if !first {
            return;
        }
        core.end_session(&session).await;
    }
}

fn session_error(detail: impl Into<String>) -> CallError {
    // The server has refused the request for its session: it did not run.
    CallError::new(CallErrorKind::Session, Delivery::NotDelivered, detail)
}

#[cfg(test)]
mod tests;
