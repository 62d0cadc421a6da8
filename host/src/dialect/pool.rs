//! Connections to HTTP servers, kept for the next request.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, and so no other task is woken between a
//! request and its answer. In between it is looked after by nobody; one that its server has closed meanwhile is found out
//! when it is taken. It must not know what is asked.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri};
use http_body_util::Full;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower_service::Service;

use super::way::Way;
use super::web::located;
use crate::tasks::Tasks;

/// Common servers close an idle connection after 5 s; one that we close first is never found closed by a request.
const IDLE: Duration = Duration::from_secs(4);
/// Idle connections to one server.
const KEPT: usize = 256;

type Io = MaybeHttpsStream<TokioIo<TcpStream>>;
type Driven = Pin<Box<Connection<Io, Full<Bytes>>>>;
type Reason = Box<dyn Error + Send + Sync>;

/// The client of all HTTP dialects. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct HttpClient(Arc<Pool>);

struct Pool {
    connector: HttpsConnector<Way>,
    /// Where connections go instead of where the address says.
    at: Option<SocketAddr>,
    idle: Mutex<Waiting>,
    tasks: Tasks,
}

/// Connections that nobody uses.
#[derive(Default)]
struct Waiting {
    all: Vec<Idle>,
    /// Somebody closes those that are not used for long.
    is_tidied: bool,
}

struct Idle {
    to: Place,
    since: Instant,
    lane: Lane,
}

/// Whom a connection is to.
#[derive(Clone, PartialEq, Eq)]
struct Place(Option<Scheme>, Option<Authority>);

/// A connection and its entrance.
struct Lane {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it is over.
    connection: Option<Driven>,
}

/// The body of a response, which drives its connection and gives it back at the end.
pub(crate) struct Body {
    incoming: Incoming,
    /// `None` once the connection is over, or is given back.
    driven: Option<(Lane, Place)>,
    pool: Weak<Pool>,
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There is no connection: nothing was sent.
    Connect(Reason),
    /// It broke.
    Broke(hyper::Error),
}

/// How a request went on one connection.
enum Sent {
    Answered(Response<Incoming>),
    /// It was closed before anything was sent.
    Unsent(Request<Full<Bytes>>),
    Failed(hyper::Error),
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

// === impl HttpClient ===

impl HttpClient {
    pub(crate) fn new(connector: HttpsConnector<Way>, at: Option<SocketAddr>, tasks: Tasks) -> Self {
        Self(Arc::new(Pool { connector, at, idle: Mutex::default(), tasks }))
    }

    /// Where its tasks run.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.tasks
    }

    /// Sends a request and waits for the head of its response.
    pub(crate) async fn request(
        &self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Body>, Unanswered> {
        let url = request.uri().clone();
        let to = Place(url.scheme().cloned(), url.authority().cloned());
        if !request.headers().contains_key(HOST)
            && let Some(host) = host(&url)
        {
            request.headers_mut().insert(HOST, host);
        }
        *request.uri_mut() = path(&url);
        loop {
            let (mut lane, is_new) = match self.0.take(&to) {
                Some(lane) => (lane, false),
                None => (self.0.connect(url.clone()).await?, true),
            };
            match lane.send(request).await {
                Sent::Answered(response) => {
                    let pool = Arc::downgrade(&self.0);
                    return Ok(response.map(|incoming| Body { incoming, driven: Some((lane, to)), pool }));
                }
                Sent::Unsent(back) if !is_new => request = back,
                Sent::Unsent(_) => {
                    return Err(Unanswered::Connect("the server closed the connection at once".into()));
                }
                Sent::Failed(error) => return Err(Unanswered::Broke(error)),
            }
        }
    }
}

/// The value of `Host`, without a port that goes without saying.
fn host(url: &Uri) -> Option<HeaderValue> {
    let host = url.host()?;
    let default = if url.scheme() == Some(&Scheme::HTTPS) { 443 } else { 80 };
    let port = url.port_u16().filter(|port| *port != default);
    let named = port.map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::from_str(&named).ok()
}

/// What a server is sent of an address.
fn path(url: &Uri) -> Uri {
    let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

// === impl Pool ===

impl Pool {
    async fn connect(&self, url: Uri) -> Result<Lane, Unanswered> {
        let url = self.at.map_or_else(|| url.clone(), |at| located(&url, at));
        let mut connector = self.connector.clone();
        let broken = |error: Reason| Unanswered::Connect(error);
        poll_fn(|cx| connector.poll_ready(cx)).await.map_err(broken)?;
        let io = connector.call(url).await.map_err(broken)?;
        let (sender, connection) = http1::handshake(io).await.map_err(|error| broken(error.into()))?;
        Ok(Lane { sender, connection: Some(Box::pin(connection)) })
    }

    /// The connection that was used last, if it still stands.
    fn take(&self, to: &Place) -> Option<Lane> {
        loop {
            let mut found = {
                let mut idle = self.idle();
                let at = idle.all.iter().rposition(|idle| idle.to == *to)?;
                idle.all.remove(at)
            };
            if found.since.elapsed() < IDLE && found.lane.stands() {
                return Some(found.lane);
            }
        }
    }

    fn keep(self: &Arc<Self>, to: Place, lane: Lane) {
        let mut idle = self.idle();
        if idle.all.iter().filter(|other| other.to == to).count() < KEPT {
            idle.all.push(Idle { to, since: Instant::now(), lane });
        }
        let was_tidied = std::mem::replace(&mut idle.is_tidied, true);
        drop(idle);
        if !was_tidied {
            // It ends when nothing is idle, or nobody has this client any more.
            let ending = self.tasks.ending().clone();
            let (span, pool) = (tracing::debug_span!(parent: None, "tidy"), Arc::downgrade(self));
            let tidying = async move { ending.run_until_cancelled(tidy(pool)).await };
            drop(self.tasks.spawn(span, tidying));
        }
    }

    fn idle(&self) -> MutexGuard<'_, Waiting> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what was not used for long.
async fn tidy(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(IDLE).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        let old: Vec<Idle> = idle.all.extract_if(.., |idle| idle.since.elapsed() >= IDLE).collect();
        // Under the lock: whoever keeps the next one sees that somebody is needed again.
        idle.is_tidied = !idle.all.is_empty();
        let goes_on = idle.is_tidied;
        drop(idle);
        drop(old);
        if !goes_on {
            return;
        }
    }
}

// === impl Lane ===

impl Lane {
    /// Whether a request can be sent on it.
    fn stands(&mut self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        self.drives(&mut cx) && self.sender.is_ready()
    }

    /// Drives the connection. False: it is over.
    fn drives(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(connection) = &mut self.connection else { return false };
        let lives = connection.as_mut().poll(cx).is_pending();
        if !lives {
            self.connection = None;
        }
        lives
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Sent {
        let mut sending = pin!(self.sender.try_send_request(request));
        let connection = &mut self.connection;
        let sent = poll_fn(|cx| {
            if let Poll::Ready(sent) = sending.as_mut().poll(cx) {
                return Poll::Ready(sent);
            }
            if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
                // How it ended, the request is told: what it had not taken yet it gives back when it is dropped.
                *connection = None;
            }
            sending.as_mut().poll(cx)
        });
        match sent.await {
            Ok(response) => Sent::Answered(response),
            Err(mut failed) => match failed.take_message() {
                Some(request) => Sent::Unsent(request),
                None => Sent::Failed(failed.into_error()),
            },
        }
    }
}

// === impl Body ===

impl Body {
    /// Nothing of the response is left to read: the connection can be used again.
    fn give_back(&mut self, cx: &mut Context<'_>) {
        let Some((mut lane, to)) = self.driven.take() else { return };
        let Some(pool) = self.pool.upgrade() else { return };
        if lane.drives(cx) && lane.sender.is_ready() {
            pool.keep(to, lane);
        }
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let mut frame = Pin::new(&mut self.incoming).poll_frame(cx);
        if frame.is_pending()
            && let Some((lane, _)) = &mut self.driven
        {
            if !lane.drives(cx) {
                self.driven = None;
            }
            frame = Pin::new(&mut self.incoming).poll_frame(cx);
        }
        let frame = ready!(frame);
        if frame.is_none() || self.incoming.is_end_stream() {
            self.give_back(cx);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

// === impl Unanswered ===

impl fmt::Display for Unanswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(reason) => reason.fmt(f),
            Self::Broke(error) => error.fmt(f),
        }
    }
}

impl Error for Unanswered {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Connect(reason) => reason.source(),
            Self::Broke(error) => error.source(),
        }
    }
}

#[cfg(test)]
mod tests;
