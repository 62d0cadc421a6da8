//! MCP over HTTP+SSE as of 2024-11-05: one GET stream brings every message, its first event names where to post ours.
//!
//! The stream's end is the end of the connection: this dialect cannot resume. The address to post to must be of the same
//! origin, or a server could have our headers sent to someone else.

use std::sync::Arc;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Method, Uri};
use http_body_util::Full;
use reqwest::Url;
use tokio_util::sync::{CancellationToken, DropGuard};
use wharf_core::sse::Event;
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Delivery, Full as QueueFull, Hello, Inbox, Link,
    Notification, Reply, Request, Scope, Trace, async_trait, jsonrpc,
};

use super::handshake::{self, HostScope};
use super::incoming::Incoming;
use super::messages::{Messages, is_message};
use super::pending::{Pending, encode};
use super::posts::{self, Poster, Posts};
use super::strikes::Strikes;
use super::web::{self, Endpoint};
use super::{Connected, Lost, LostSender, Options, Outbox, not_delivered};

struct SseLink {
    hello: Hello,
    wire: Arc<Wire>,
    _closing: DropGuard,
}

/// What the handshake, the link and its tasks share.
struct Wire {
    endpoint: Endpoint,
    /// Where messages are posted.
    target: Uri,
    options: Options,
    pending: Arc<Pending>,
    posts: posts::Queue,
    closing: CancellationToken,
}

/// Opens the stream and does the handshake.
///
/// # Errors
/// Why there is no working connection.
pub(crate) async fn connect(
    endpoint: Endpoint,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Cause> {
    let deadline = options.handshake_deadline;
    let opening = open(endpoint, inbox, options);
    tokio::time::timeout_at(deadline, opening)
        .await
        .unwrap_or_else(|_| Err(handshake::too_late(handshake::INITIALIZE)))
}

async fn open(endpoint: Endpoint, inbox: Arc<dyn Inbox>, options: Options) -> Result<Connected, Cause> {
    let (mut messages, target) = subscribe(&endpoint, options.max_message).await?;
    let closing = options.tasks.ending().child_token();
    let guard = closing.clone().drop_guard();
    let wire = Arc::new(Wire {
        endpoint,
        target,
        pending: Arc::default(),
        posts: posts::Queue::default(),
        closing,
        options,
    });
    let outbox: Arc<dyn Outbox> = Arc::new(Posts(Arc::clone(&wire)));
    let (pending, closing) = (Arc::clone(&wire.pending), wire.closing.clone());
    let incoming = Arc::new(Incoming::new(pending, inbox, outbox, wire.options.clone(), closing));
    let (lost_sender, mut lost) = Lost::channel();
    let span = tracing::debug_span!("sse", plugin = %wire.options.label);
    let (reader, listener) = (Arc::clone(&wire), Arc::clone(&incoming));
    drop(
        wire.options
            .tasks
            .spawn(span, async move { reader.read(&mut messages, &listener, lost_sender).await }),
    );

    let scope = HostScope::until(wire.options.handshake_deadline);
    let reply = match wire.request(&handshake::initialize(wire.options.client.as_deref()), scope, None).await
    {
        Ok(reply) => reply,
        Err(error) => {
            return Err(lost.already().unwrap_or_else(|| handshake::failed(error, CauseKind::Unreachable)));
        }
    };
    let hello = handshake::hello("sse", reply, None)?;
    incoming.settled(&hello.revision);
    let initialized = wire.post(jsonrpc::notification(handshake::INITIALIZED, None)).await;
    initialized.map_err(|error| handshake::failed(error, CauseKind::Unreachable))?;
    Ok(Connected { link: Arc::new(SseLink { hello, wire, _closing: guard }), lost, shown: true })
}

/// Opens the stream and reads where to post.
async fn subscribe(endpoint: &Endpoint, max: usize) -> Result<(Messages, Uri), Cause> {
    let mut request = endpoint.request(Method::GET, &endpoint.target, Full::default());
    request.headers_mut().insert(ACCEPT, HeaderValue::from_static("text/event-stream"));
    let response = web::send(&endpoint.server, request).await;
    let response = response.map_err(|error| handshake::failed(error, CauseKind::Unreachable))?;
    if !response.status().is_success() {
        return Err(web::refused(response).await.cause());
    }
    let refused = |detail: &str| Cause::new(CauseKind::HandshakeRefused, detail);
    if !web::is_events(&response) {
        return Err(refused("the server's answer to GET is no event stream"));
    }
    let mut messages = Messages::of(response, max);
    loop {
        let event =
            messages.next().await.map_err(|error| handshake::failed(error, CauseKind::Unreachable))?;
        let Some(Event { kind, data }) = event else {
            return Err(refused("the event stream ended without an `endpoint` event"));
        };
        if kind.as_deref() == Some("endpoint") {
            let target = target(endpoint, &data).ok_or_else(|| {
                refused("the server names an endpoint of another origin, or none that is an address")
            })?;
            return Ok((messages, target));
        }
    }
}

/// The address to post to, as the server names it; `None` if it is of another origin. A server that is called by a name
/// may also name the place where it was seen to listen.
fn target(endpoint: &Endpoint, named: &str) -> Option<Uri> {
    let base = Url::parse(&endpoint.url.to_string()).ok()?;
    let place = endpoint.at.map(|at| web::located(&endpoint.url, at).to_string());
    let place = place.and_then(|place| Url::parse(&place).ok());
    let target = base.join(named.trim()).ok()?;
    let same = [Some(base), place].into_iter().flatten().any(|own| own.origin() == target.origin());
    same.then(|| target.as_str().parse().ok()).flatten()
}

// === impl Wire ===

impl Wire {
    /// Reads until the stream is of no more use.
    async fn read(&self, messages: &mut Messages, incoming: &Arc<Incoming>, lost: LostSender) {
        let cause = tokio::select! {
            () = self.closing.cancelled() => Cause::new(CauseKind::Requested, "the host closed the connection"),
            cause = self.receive(messages, incoming) => cause,
        };
        lost.send(cause.clone()).ok();
        self.pending.end(&cause.detail);
        self.closing.cancel();
    }

    async fn receive(&self, messages: &mut Messages, incoming: &Arc<Incoming>) -> Cause {
        let mut strikes = Strikes::default();
        loop {
            let dropped = match messages.next().await {
                Ok(Some(event)) if is_message(&event) => match incoming.take(&event.data, None) {
                    Ok(()) => {
                        strikes.message();
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Ok(Some(_)) => continue,
                Ok(None) => return Cause::new(CauseKind::LinkLost, "the server ended the event stream"),
                Err(error) if error.kind == CallErrorKind::Protocol => error.detail,
                Err(error) => return Cause::new(CauseKind::LinkLost, error.detail),
            };
            self.options.note("wharf", &format!("dropped from the event stream: {dropped}"));
            // Whoever waits for an answer that was too long need not wait for the deadline.
            if let Some(id) = messages.take_dropped_answer() {
                let error = CallError::new(CallErrorKind::Protocol, Delivery::Unknown, dropped.clone());
                self.pending.failed(id, error);
            }
            if let Some(why) = strikes.unreadable(&dropped) {
                return Cause::new(CauseKind::ProtocolGarbage, why);
            }
        }
    }

    async fn request(
        &self,
        request: &Request,
        scope: Arc<dyn Scope>,
        outbox: Option<Arc<dyn Outbox>>,
    ) -> Result<Reply, CallError> {
        if self.closing.is_cancelled() {
            return Err(not_delivered("the connection is closed"));
        }
        let (progress, trace) = (scope.wants_progress(), scope.trace().cloned());
        let mut ticket = self.pending.open(scope, outbox)?;
        let message = encode(ticket.id(), request, progress);
        if !self.options.sent(&self.pending, ticket.id()) {
            return ticket.answer().await;
        }
        tokio::select! {
            biased;
            posted = self.posted(message, trace.as_ref()) => posted.inspect_err(|error| ticket.not_running(error))?,
            // The stream may be faster than the response to the POST.
            answer = ticket.answer() => return answer,
        }
        ticket.answer().await
    }

    async fn posted(&self, message: Vec<u8>, trace: Option<&Trace>) -> Result<(), CallError> {
        let mut request = self.endpoint.request(Method::POST, &self.target, Full::from(message));
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        web::trace(trace, request.headers_mut());
        let response = web::send(&self.endpoint.server, request).await?;
        if !response.status().is_success() {
            return Err(web::refused(response).await.call_error());
        }
        web::finish(response.into_body(), &self.options.tasks);
        Ok(())
    }
}

impl Poster for Wire {
    fn posts(&self) -> &posts::Queue {
        &self.posts
    }

    fn options(&self) -> &Options {
        &self.options
    }

    async fn post(&self, message: Vec<u8>) -> Result<(), CallError> {
        self.posted(message, None).await
    }
}

// === impl SseLink ===

#[async_trait]
impl Link for SseLink {
    fn hello(&self) -> &Hello {
        &self.hello
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        let outbox = Arc::new(Posts(Arc::clone(&self.wire))) as Arc<dyn Outbox>;
        self.wire.request(&request, scope, Some(outbox)).await
    }

    fn notify(&self, notification: Notification) -> Result<(), QueueFull> {
        if self.wire.closing.is_cancelled() {
            return Err(QueueFull);
        }
        Posts(Arc::clone(&self.wire)).notify(&notification)
    }

    /// Drops the stream.
    async fn close(&self) {
        self.wire.closing.cancel();
        self.wire.pending.end("the host closed the connection");
    }
}

#[cfg(test)]
mod tests;
