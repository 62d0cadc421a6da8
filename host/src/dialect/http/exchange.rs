//! One request over HTTP: the POST, the messages of its response, and what a failure says.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::Full;
use wharf_core::sse::Event;
use wharf_plugin_api::jsonrpc::{self, Message};
use wharf_plugin_api::{CallError, CallErrorKind, Cause, CauseKind, Delivery, Id, Reply, Request, Scope};

use super::resume::Place;
use super::session::Session;
use super::{Core, Flavor, Wire, handshake, loss, session_error};
use crate::dialect::messages::{Messages, is_message};
use crate::dialect::modern::{self, DISCOVER, Look, envelope, headers};
use crate::dialect::pending::{Stream, Ticket, encode};
use crate::dialect::strikes::Strikes;
use crate::dialect::web::{self, Refused};
use crate::turn::step_back;

const MCP_SESSION_ID: HeaderName = HeaderName::from_static("mcp-session-id");
const MCP_PROTOCOL_VERSION: HeaderName = HeaderName::from_static("mcp-protocol-version");
const X_SESSION_ID: HeaderName = HeaderName::from_static("x-session-id");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("text/event-stream");
const EITHER: HeaderValue = HeaderValue::from_static("application/json, text/event-stream");

/// Why an exchange gave no answer.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// The call failed.
    Call(CallError),
    /// The server does not know the session; it did not run the request.
    Session(Refused),
    /// The server refused with a status.
    Status(Refused),
    /// The handshake failed.
    Cause(Cause),
}

/// What an event on the stream of a request comes to.
enum Heard {
    /// The answer.
    Answer(Result<Reply, CallError>),
    /// Another message.
    Message,
    /// Nothing, and why.
    Garbage(String),
}

impl Wire {
    /// Posts `request` and reads until its answer is there. For `initialize` the session's id is put into `given`.
    pub(super) async fn exchange(
        &self,
        session: &Session,
        request: &Request,
        scope: &Arc<dyn Scope>,
        given: Option<&mut Option<HeaderValue>>,
    ) -> Result<Reply, Trouble> {
        let core = &self.core;
        let opening = request.method == handshake::INITIALIZE;
        let outbox = (!opening).then(|| Arc::clone(&self.outbox));
        let mut ticket = core.pending.open(Arc::clone(scope), outbox)?;
        let look = core.look(request);
        let Some(message) = core.encoded(ticket.id(), (request, &look), &**scope) else {
            return Ok(Reply::Error(envelope::no_object()));
        };
        // Requests that came together go out together: the server, and whoever asked, is then woken for many at once.
        step_back().await;
        if !core.options.sent(&core.pending, ticket.id()) {
            return Ok(ticket.answer().await?);
        }
        // The response is not kept while anything is waited for: each call would have room for it until its end.
        let opened = {
            let response = tokio::select! {
                biased;
                response = web::send(&core.endpoint.server, core.call(session, (request, &look), (message, &**scope))) => {
                    response.inspect_err(|error| ticket.not_running(error))?
                }
                answer = ticket.answer() => return Ok(answer?),
            };
            if response.status().is_success() {
                if let Some(given) = given
                    && let Some(id) = response.headers().get(core.session_header())
                {
                    *given = Some(id.clone());
                }
                Ok(Messages::of(response, core.options.max_message))
            } else {
                // What is rare takes no room in what every call moves around.
                Err(Box::pin(web::refused(response)))
            }
        };
        let messages = match opened {
            Ok(messages) => messages,
            Err(refused) => {
                let refused = refused.await;
                ticket.not_running(&refused.call_error());
                if request.method == DISCOVER && refused.is_passing() {
                    // Whoever says so, in whatever words: it is not said of the era.
                    ticket.settled();
                    return Err(Trouble::Status(refused));
                }
                return core.refusal(session, ticket.id(), refused).inspect(|_| ticket.settled());
            }
        };
        // What comes with the handshake belongs to no call.
        let scope = (!opening).then_some(scope);
        Ok(self.read(session, messages, &mut ticket, scope).await?)
    }

    /// Reads messages until the ticket's answer is there, on this stream, on one that goes on with it, or on another.
    async fn read(
        &self,
        session: &Session,
        mut messages: Messages,
        ticket: &mut Ticket,
        scope: Option<&Arc<dyn Scope>>,
    ) -> Result<Reply, CallError> {
        let mut strikes = Strikes::default();
        let mut place = Place::default();
        loop {
            let next = tokio::select! {
                biased;
                next = messages.next() => next,
                answer = ticket.answer() => return answer,
            };
            place.read_to(&messages);
            let dropped = match next {
                Ok(Some(event)) if is_message(&event) => {
                    place.advanced();
                    if scope.is_some_and(|scope| scope.listens()) {
                        Box::pin(self.caught_up()).await;
                    }
                    match self.hear(&event, ticket, scope, messages.is_document()) {
                        Heard::Answer(answer) => {
                            messages.finish(&self.core.options.tasks);
                            return answer;
                        }
                        Heard::Message => {
                            strikes.message();
                            continue;
                        }
                        Heard::Garbage(dropped) => dropped,
                    }
                }
                Ok(Some(_)) => continue,
                Err(error) if error.kind == CallErrorKind::Protocol => {
                    self.unreadable(error, &mut messages, ticket)?
                }
                ended @ (Ok(None) | Err(_)) => {
                    let why = place.ended(ended.err());
                    messages = tokio::select! {
                        biased;
                        resumed = Box::pin(self.resumed(session, &mut place, why)) => resumed?,
                        answer = ticket.answer() => return answer,
                    };
                    continue;
                }
            };
            goes_on(dropped, &messages, ticket, (&mut place, &mut strikes))?;
        }
    }

    /// Takes note of what could not be read, and says what it was.
    ///
    /// # Errors
    /// If it was the answer.
    fn unreadable(
        &self,
        error: CallError,
        messages: &mut Messages,
        ticket: &mut Ticket,
    ) -> Result<String, CallError> {
        self.core.options.note("wharf", &format!("dropped from the HTTP response: {}", error.detail));
        if messages.take_dropped_answer() == Some(ticket.id()) {
            // What still comes of it is of no use, and may never end.
            ticket.settled();
            return Err(error);
        }
        Ok(error.detail)
    }

    /// Takes an event from the stream of the ticket's request. `last` if nothing comes after it.
    fn hear(&self, event: &Event, ticket: &mut Ticket, scope: Option<&Arc<dyn Scope>>, last: bool) -> Heard {
        let taken = self.take(event, Stream { call: scope, ticket: Some(&mut *ticket) });
        if let Some(answer) = ticket.arrived() {
            return Heard::Answer(answer);
        }
        if let Some(reply) = nameless(&event.data) {
            ticket.settled();
            return Heard::Answer(Ok(reply));
        }
        match taken {
            Some(why) => Heard::Garbage(why),
            None if last => Heard::Garbage("the answer carries another request's id".to_owned()),
            None => Heard::Message,
        }
    }

    /// Takes the message of an event; returns why it is none.
    pub(super) fn take(&self, event: &Event, from: Stream<'_>) -> Option<String> {
        let error = self.incoming.take_from(&event.data, from).err()?;
        self.core.options.note("wharf", &format!("dropped from the HTTP response: {error}"));
        Some(error.to_string())
    }
}

impl Core {
    /// Where a request has what is to be said of it elsewhere; a legacy one is not looked at.
    fn look(&self, request: &Request) -> Look {
        if self.flavor == Flavor::Modern { modern::look(request) } else { Look::none() }
    }

    /// The message of a request; `None` if its params are none that can be sent.
    fn encoded(&self, id: u64, (request, look): (&Request, &Look), scope: &dyn Scope) -> Option<Vec<u8>> {
        match self.flavor {
            Flavor::Http | Flavor::SsePost => Some(encode(id, request, scope.wants_progress())),
            Flavor::Modern => envelope::encode(id, (request, look), scope),
        }
    }

    /// The POST of a request.
    fn call(
        &self,
        session: &Session,
        (request, look): (&Request, &Look),
        (message, scope): (Vec<u8>, &dyn Scope),
    ) -> http::Request<Full<Bytes>> {
        let mut post = self.post(session, message);
        web::trace(scope.trace(), post.headers_mut());
        if self.flavor == Flavor::Modern {
            headers::standard((request, look), post.headers_mut());
            self.mirrored.put(request, post.headers_mut());
        }
        post
    }

    /// The POST of a message that is no request.
    pub(super) fn message(&self, session: &Session, message: Vec<u8>) -> http::Request<Full<Bytes>> {
        let mut post = self.post(session, message);
        if self.flavor == Flavor::Modern {
            headers::leave(post.headers_mut());
        }
        post
    }

    fn post(&self, session: &Session, message: Vec<u8>) -> http::Request<Full<Bytes>> {
        let mut headers = session.posting.clone().unwrap_or_else(|| self.posting(session));
        // Its place is free for the length of this message, which hyper puts in: the map need not grow for it.
        headers.remove(CONTENT_LENGTH);
        web::with_headers(Method::POST, &self.endpoint.target, headers, Full::from(message))
    }

    /// The headers of every POST of a session.
    pub(super) fn posting(&self, session: &Session) -> HeaderMap {
        let accept = if self.flavor == Flavor::SsePost { EVENTS } else { EITHER };
        let mut headers = self.of(session);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(ACCEPT, accept);
        // Keeps a place.
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        if self.flavor == Flavor::Modern {
            headers::room(&mut headers);
        }
        headers
    }

    /// The GET of the stream for what belongs to no call, or of the stream that `after` is from.
    pub(super) fn listen(&self, session: &Session, after: &str) -> http::Request<Full<Bytes>> {
        let mut request = self.bare(Method::GET, session);
        request.headers_mut().insert(ACCEPT, EVENTS);
        if !after.is_empty()
            && let Ok(after) = HeaderValue::from_str(after)
        {
            request.headers_mut().insert(HeaderName::from_static("last-event-id"), after);
        }
        request
    }

    /// The end of a session.
    pub(super) fn delete(&self, session: &Session) -> http::Request<Full<Bytes>> {
        self.bare(Method::DELETE, session)
    }

    fn bare(&self, method: Method, session: &Session) -> http::Request<Full<Bytes>> {
        web::with_headers(method, &self.endpoint.target, self.of(session), Full::default())
    }

    /// The headers of every request of a session.
    fn of(&self, session: &Session) -> HeaderMap {
        let mut headers = self.endpoint.headers.clone();
        if let Some(id) = &session.id {
            headers.insert(self.session_header(), id.clone());
        }
        if let Some(revision) = session.revision.as_ref().filter(|_| self.flavor != Flavor::SsePost) {
            headers.insert(MCP_PROTOCOL_VERSION, revision.clone());
        }
        headers
    }

    fn session_header(&self) -> HeaderName {
        if self.flavor == Flavor::SsePost { X_SESSION_ID } else { MCP_SESSION_ID }
    }

    /// What a response that is no success to request `id` means: its answer, a lost session, or only a status.
    fn refusal(&self, session: &Session, id: u64, refused: Refused) -> Result<Reply, Trouble> {
        let not_let_in = matches!(refused.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if session.revision.is_none() || (self.flavor == Flavor::Modern && not_let_in) {
            // A status is what a probe must see.
            return Err(Trouble::Status(refused));
        }
        let said = refused.response();
        if let Some((Some(answered), reply)) = &said
            && *answered == Id::number(id)
        {
            return Ok(reply.clone());
        }
        if session.id.is_some() && loss::is_session_loss(self.flavor, &refused) {
            return Err(Trouble::Session(refused));
        }
        match said {
            Some((None, reply @ Reply::Error(_))) => Ok(reply),
            Some(_) | None => Err(Trouble::Status(refused)),
        }
    }
}

// === impl Trouble ===

impl Trouble {
    pub(crate) fn call_error(self) -> CallError {
        match self {
            Self::Call(error) => error,
            Self::Session(refused) => session_error(refused.detail()),
            Self::Status(refused) => refused.call_error(),
            Self::Cause(cause) => {
                CallError::new(CallErrorKind::Session, Delivery::NotDelivered, cause.detail)
            }
        }
    }

    pub(crate) fn cause(self) -> Cause {
        match self {
            Self::Call(error) => handshake::failed(error, CauseKind::Unreachable),
            Self::Session(refused) | Self::Status(refused) => refused.cause(),
            Self::Cause(cause) => cause,
        }
    }
}

impl From<CallError> for Trouble {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

impl From<Cause> for Trouble {
    fn from(cause: Cause) -> Self {
        Self::Cause(cause)
    }
}

/// Whether there is anything left to wait for after what was dropped.
///
/// # Errors
/// If there is not.
fn goes_on(
    dropped: String,
    messages: &Messages,
    ticket: &mut Ticket,
    (place, strikes): (&mut Place, &mut Strikes),
) -> Result<(), CallError> {
    let protocol = |why| CallError::new(CallErrorKind::Protocol, Delivery::Unknown, why);
    if messages.is_document() {
        // Nothing comes any more: there is nothing to cancel.
        let error = protocol(dropped);
        ticket.not_running(&error);
        return Err(error);
    }
    place.dropped(&dropped);
    strikes.unreadable(&dropped).map_or(Ok(()), |why| Err(protocol(why)))
}

/// An error without an id: on a response of its own it belongs to the request that was posted.
fn nameless(message: &str) -> Option<Reply> {
    match jsonrpc::parse_text(message) {
        Ok(Message::Response { id: None, reply }) => Some(reply),
        Ok(_) | Err(_) => None,
    }
}
