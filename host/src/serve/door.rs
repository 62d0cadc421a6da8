//! What every request passes, whatever its route: framing, guard, token, an id, a net for panics, one line of access log.
//! Knows no route.
//!
//! A plain function around the router and not a stack of layers: it costs nothing per request, and reads top to bottom.

use std::any::Any;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, CONNECTION, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::Full;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use wharf_core::Code;

use super::answer::{Answering, Outgoing, Tagged, known};
use super::auth::{Auth, Principal, Via};
use super::framing::{Serving, Verdict};
use super::guard::Guard;
use super::heads::{Asked, Few, Heads};
use super::hot::{Hot, Way};
use super::problem::Problem;
use super::request_id::{RequestId, RequestIds};
use super::spare;
use super::taking::{counted, is_small};
use crate::apart::apart;
use crate::held::Taker;

/// The way in.
#[derive(Debug)]
pub(crate) struct Door {
    guard: Guard,
    auth: Auth,
    router: TowerToHyperService<Router>,
    /// Without it all requests go through the router.
    hot: Option<Hot>,
    ids: RequestIds,
}

/// What a request came by.
#[derive(Clone, Copy)]
pub(crate) struct Connection<'a> {
    pub(crate) verdict: &'a Verdict,
    pub(crate) taker: &'a Arc<Taker>,
    /// Only for what works when all other connections are taken.
    pub(crate) is_spare: bool,
}

/// What is still known of a request when its answer is there.
struct About {
    via: Via,
    serving: Serving,
    /// For the log, if that wants to know.
    began: Option<Instant>,
    method: http::Method,
    path: Box<str>,
    id: RequestId,
    /// For a page that may read the answer.
    reader: Option<Box<[(HeaderName, HeaderValue); 6]>>,
    /// No other request comes on this connection.
    is_last: bool,
}

/// What was waited for, or its panic.
type Answered = Result<Result<Outgoing, Problem>, Box<dyn Any + Send>>;

/// A request of which all is known that its answer needs. Resolves to that.
pub(super) struct Received<'d> {
    /// Until then.
    about: Option<About>,
    answering: Answering<'d>,
    connection: Connection<'d>,
}

impl Door {
    pub(super) fn new(guard: Guard, auth: Auth, router: Router, hot: Option<Hot>) -> Self {
        Self { guard, auth, router: TowerToHyperService::new(router), hot, ids: RequestIds::new() }
    }

    /// Answers one request. Dropping the future drops the work of its route.
    ///
    /// It is held for as long as a call is waited for, by each of many connections, and what does not fit into a cache is
    /// fetched anew for every call. So all that is needed up to then stands apart, in memory that the next request takes over
    /// at once, and this is small.
    pub(crate) fn handle<'d, B>(
        &'d self,
        via: Via,
        connection: Connection<'d>,
        request: Request<B>,
    ) -> impl Future<Output = Response> + Send + use<'d, B>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let received = apart(|| self.received(via, connection, request));
        // By value: its memory is free from there on.
        async move { received.await.await.into_response() }
    }

    /// Begins to answer a call whose body is there, by headers that were looked through.
    pub(super) async fn call<'d>(
        &'d self,
        via: Via,
        connection: Connection<'d>,
        (asked, way): (&Asked<'_>, Way<'_>),
        body: Bytes,
    ) -> Received<'d> {
        let about = self.about(via, connection, asked, None);
        let begins = pin!(async {
            self.let_in(connection, asked)?;
            let principal = self.who(via, connection, asked)?;
            let hot = self.hot.as_ref().ok_or_else(|| Problem::new(Code::NotFound, "no calls are served"))?;
            pin!(hot.begin(way, (asked.heads, Full::new(body)), principal, connection.taker)).await
        });
        about.beginning(connection, begins).await
    }

    /// All up to where a call is waited for; of what the router answers, all.
    async fn received<'d, B>(
        &'d self,
        via: Via,
        connection: Connection<'d>,
        request: Request<B>,
    ) -> Received<'d>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<axum::BoxError>,
    {
        let (mut head, body) = request.into_parts();
        let extensions = std::mem::take(&mut head.extensions);
        let heads = &Heads::of(&head.headers);
        let (uri, headers) = (&head.uri, &head.headers);
        let asked = &Asked { method: &head.method, path: uri.path(), authority: uri.authority(), heads };
        let reader = self.guard.reader(headers).map(|origin| Box::new(cors(origin.clone(), headers)));
        let about = self.about(via, connection, asked, reader);
        let begins = pin!(async {
            self.let_in(connection, asked)?;
            if is_preflight(asked.method, headers) && self.guard.reader(headers).is_some() {
                return Ok(known(http::StatusCode::NO_CONTENT.into_response()));
            }
            let principal = self.who(via, connection, asked)?;
            if let Some((hot, way)) = self.hot.as_ref().zip(Way::of(asked.method, asked.path)) {
                return pin!(hot.begin(way, (heads, body), principal, connection.taker)).await;
            }
            let mut request = Request::from_parts(head.clone(), Body::new(body));
            *request.extensions_mut() = extensions;
            request.extensions_mut().insert(principal);
            request.extensions_mut().insert(Arc::clone(connection.taker));
            // Apart: the router's future is larger than that of a call.
            let answered: Result<Response, Infallible> = Box::pin(self.router.call(request)).await;
            answered.map(known).map_err(|never| match never {})
        });
        about.beginning(connection, begins).await
    }

    fn about(
        &self,
        via: Via,
        connection: Connection<'_>,
        asked: &Asked<'_>,
        reader: Option<Box<[(HeaderName, HeaderValue); 6]>>,
    ) -> About {
        About {
            via,
            serving: connection.verdict.serve(),
            began: tracing::enabled!(tracing::Level::DEBUG).then(Instant::now),
            // Apart from the head, whose parts keep all alive that was read with them.
            method: asked.method.clone(),
            path: asked.path.into(),
            id: self.ids.of(asked.heads.has(Few::Named).then_some(asked.heads.all)),
            reader,
            is_last: asked.heads.has(Few::Encoded) || connection.is_spare,
        }
    }

    /// Refuses what must not be looked at any further.
    fn let_in(&self, connection: Connection<'_>, asked: &Asked<'_>) -> Result<(), Problem> {
        if connection.verdict.is_twice() {
            return Err(Problem::new(
                Code::BadRequest,
                "the request has both Content-Length and Transfer-Encoding",
            ));
        }
        self.guard.check(asked)
    }

    /// Says who asks, or refuses.
    fn who(&self, via: Via, connection: Connection<'_>, asked: &Asked<'_>) -> Result<Principal, Problem> {
        let principal = self.auth.check(via, asked)?;
        if connection.is_spare && !spare::serves(asked.method, asked.path) {
            return Err(spare::refused());
        }
        Ok(principal)
    }

    /// Whether a call with this head is not refused for what it says, nor for want of room.
    pub(super) fn welcomes(
        &self,
        via: Via,
        connection: Connection<'_>,
        (asked, way): (&Asked<'_>, Way<'_>),
    ) -> bool {
        self.let_in(connection, asked).is_ok()
            && self.who(via, connection, asked).is_ok()
            && self.hot.as_ref().is_some_and(|hot| hot.welcomes(way, asked.heads))
    }

    /// Whether any route carries calls.
    pub(super) fn has_calls(&self) -> bool {
        self.hot.is_some()
    }
}

/// A browser asks before it sends a page's request; it sends no token with that.
fn is_preflight(method: &http::Method, headers: &HeaderMap) -> bool {
    method == http::Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a page may send, beside what it always may.
const ALLOWED: &str = "authorization, content-type, last-event-id, x-request-id, \
    idempotency-key, x-attempt, wharf-durable, traceparent, tracestate, baggage, \
    mcp-session-id, mcp-protocol-version, mcp-method, mcp-name";
/// What the names of headers begin with that repeat a tool's arguments; which there are, the page knows.
const ALLOWED_PREFIX: &str = "mcp-param-";

/// What lets a page of `--allow-origin` send its token and read our answers.
fn cors(origin: HeaderValue, asked: &HeaderMap) -> [(HeaderName, HeaderValue); 6] {
    let text = HeaderValue::from_static;
    [
        (ACCESS_CONTROL_ALLOW_ORIGIN, origin),
        (ACCESS_CONTROL_ALLOW_METHODS, text("GET, POST, DELETE")),
        (ACCESS_CONTROL_ALLOW_HEADERS, allowed_headers(asked)),
        (
            ACCESS_CONTROL_EXPOSE_HEADERS,
            text("location, retry-after, x-request-id, mcp-session-id, idempotency-replayed"),
        ),
        (ACCESS_CONTROL_MAX_AGE, text("600")),
        (VARY, text("origin")),
    ]
}

/// With a token there is no wildcard, so each argument's header that is asked for is named.
fn allowed_headers(asked: &HeaderMap) -> HeaderValue {
    let asked = asked.get(ACCESS_CONTROL_REQUEST_HEADERS).and_then(|value| value.to_str().ok());
    let mut out = ALLOWED.to_owned();
    let names = asked.unwrap_or_default().split(',').map(|name| name.trim().to_ascii_lowercase());
    for name in names.filter(|name| name.starts_with(ALLOWED_PREFIX) && HeaderName::try_from(name).is_ok()) {
        out.push_str(", ");
        out.push_str(&name);
    }
    HeaderValue::from_str(&out).unwrap_or(HeaderValue::from_static(ALLOWED))
}

impl Future for Received<'_> {
    type Output = Tagged;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Tagged> {
        let answering = AssertUnwindSafe(|| self.answering.as_mut().poll(cx));
        let answered = match catch_unwind(answering) {
            Ok(polled) => Ok(ready!(polled)),
            Err(panic) => Err(panic),
        };
        let connection = self.connection;
        self.about.take().map_or(Poll::Pending, |about| Poll::Ready(about.put(answered, connection)))
    }
}

impl About {
    /// Begins to answer it. By reference: a future that is handed on by value is copied, with all the room that it has.
    async fn beginning<'d>(
        self,
        connection: Connection<'d>,
        begins: Pin<&mut impl Future<Output = Result<Answering<'d>, Problem>>>,
    ) -> Received<'d> {
        let answering = match AssertUnwindSafe(begins).catch_unwind().await {
            Ok(Ok(answering)) => answering,
            Ok(Err(problem)) => known(problem.into_response()),
            Err(panic) => known(self.panicked(&*panic)),
        };
        Received { about: Some(self), answering, connection }
    }

    /// What was waited for, or its panic, as an answer.
    fn caught(&self, answered: Answered) -> Outgoing {
        match answered {
            Ok(answer) => answer.unwrap_or_else(Outgoing::from),
            Err(panic) => self.panicked(&*panic).into(),
        }
    }

    fn panicked(&self, panic: &(dyn Any + Send)) -> Response {
        let what = panic.downcast_ref::<&str>().copied();
        let what = what.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text");
        let (method, path) = (&self.method, &self.path);
        tracing::error!(%method, %path, panic = what, "a route panicked; this is a bug of wharf");
        Problem::new(Code::Internal, "the request met a bug of wharf; its log has the details")
            .into_response()
    }

    /// What every answer has beside its own.
    fn put(self, answered: Answered, connection: Connection<'_>) -> Tagged {
        let answer = self.caught(answered);
        let Self { via, serving, began, method, path, id, reader, is_last } = self;
        let answer = match answer {
            Outgoing::Json(body) if !is_last && reader.is_none() && is_small(body.len()) => {
                Outgoing::Json(body)
            }
            other @ (Outgoing::Json(_) | Outgoing::Other(_)) => {
                let mut response = other.into_response();
                if is_last {
                    // See `framing`: no second request follows a body whose end another reader could see elsewhere. And a
                    // spare connection is for the next one who needs it.
                    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
                }
                if let Some(headers) = reader {
                    response.headers_mut().extend(*headers);
                }
                Outgoing::Other(response.map(|body| counted(body, connection.taker, serving)))
            }
        };
        if let Some(began) = began {
            tracing::debug!(
                %method, path = &*path, request_id = ?id, ?via, status = answer.status().as_u16(),
                elapsed_us = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX), "request"
            );
        }
        Tagged { answer, id }
    }
}

#[cfg(test)]
mod tests;
