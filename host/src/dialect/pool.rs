//! Connections to one HTTP server, kept for the next request.
//!
//! A connection has no task of its own: whoever waits for its answer drives it, and so no other task is woken between a
//! request and its answer. In between it is looked after by nobody: one that its server has closed meanwhile gives back the
//! request that is put on it, for it is read before anything is written. It must not know what is asked.

mod bell;
mod lane;
mod wanted;

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Response, Uri};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::client::conn::http1;
use hyper_rustls::HttpsConnector;
use tokio::sync::Semaphore;
use tower_service::Service;

use self::lane::{Asked, Lane, Sending, Sent};
use self::wanted::{LEFT, Wanted};
use super::way::Way;
use crate::near::Near;
use crate::tasks::Tasks;

/// How old idle connections are is counted in these: a request need not read the clock for it.
const TICK: Duration = Duration::from_secs(1);
/// Common servers close an idle connection after 5 s; one that we close first is never found closed by a request.
const IDLE: u64 = 4;
/// Idle connections to one server, of each serving thread.
const KEPT: usize = 256;
/// While a server has no more connections than these, one that another serving thread has left is used before a new one is
/// made: it may serve no more at a time. With more of them that would cost each call a change of threads.
const FEW: usize = 4;

type Reason = Box<dyn Error + Send + Sync>;

/// How connections come about, and whose tasks look after them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct HttpClient {
    connector: HttpsConnector<Way>,
    tasks: Tasks,
}

/// A server and the connections to it. Cheap to clone; clones share their connections.
#[derive(Clone)]
pub(crate) struct Server(Arc<Pool>);

struct Pool {
    client: HttpClient,
    /// Where connections lead.
    place: Uri,
    /// Of each serving thread, as a connection tells the thread that made it when there is something to read.
    idle: Near<Mutex<Waiting>>,
    /// Connections that there are, idle or not.
    open: Arc<AtomicUsize>,
    /// Requests that wait for one, of all serving threads.
    waiting: AtomicUsize,
    /// How many more may come about for nobody.
    left: Arc<Semaphore>,
}

/// Connections that nobody uses, and the requests that wait for one.
#[derive(Default)]
struct Waiting {
    /// The one that was used last is the last.
    all: Vec<Idle>,
    /// Who waits for one that is given back: it goes there first.
    wanted: Wanted,
    /// Somebody counts, and closes those that are not used for long.
    is_tidied: bool,
    /// Ticks so far.
    now: u64,
}

struct Idle {
    /// The tick at which it was given back.
    since: u64,
    lane: Box<Lane>,
}

/// The body of a response, which drives its connection and gives it back at the end.
pub(crate) struct Body {
    incoming: Incoming,
    /// `None` once the connection is over, or is given back.
    driven: Option<Box<Lane>>,
    pool: Weak<Pool>,
}

/// A request under way. It is small: it stands in every call.
pub(crate) struct Exchange<'a> {
    pool: &'a Arc<Pool>,
    way: On<'a>,
}

enum On<'a> {
    /// The connection that was there.
    Lane(Sending),
    /// Whichever takes it. Rare, and large.
    Any(Pin<Box<dyn Future<Output = Result<Response<Body>, Unanswered>> + Send + 'a>>),
}

/// Why there is no response.
#[derive(Debug)]
pub(crate) enum Unanswered {
    /// There is no connection: nothing was sent.
    Connect(Reason),
    /// It broke.
    Broke(hyper::Error),
}

impl fmt::Debug for HttpClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpClient").finish_non_exhaustive()
    }
}

// === impl HttpClient ===

impl HttpClient {
    pub(crate) fn new(connector: HttpsConnector<Way>, tasks: Tasks) -> Self {
        Self { connector, tasks }
    }

    /// The server of this address. Its connections are its own.
    pub(crate) fn server(&self, place: Uri) -> Server {
        let (idle, open, waiting) = (Near::default(), Arc::default(), AtomicUsize::new(0));
        let left = Arc::new(Semaphore::new(LEFT));
        Server(Arc::new(Pool { client: self.clone(), place, idle, open, waiting, left }))
    }
}

// === impl Server ===

impl Server {
    /// Where its tasks run.
    pub(crate) fn tasks(&self) -> &Tasks {
        &self.0.client.tasks
    }

    /// Sends a request, whose headers say all that the server must be told, and waits for the head of its response.
    pub(crate) fn request(&self, mut request: Asked) -> Exchange<'_> {
        if request.uri().authority().is_some() {
            *request.uri_mut() = path(request.uri());
        }
        // It is put on its connection here, and is not moved through all that waits for the answer.
        let way = match self.0.take() {
            Some(lane) => On::Lane(lane.send(request)),
            None => On::Any(Box::pin(self.0.ask(request))),
        };
        Exchange { pool: &self.0, way }
    }
}

// === impl Exchange ===

impl Future for Exchange<'_> {
    type Output = Result<Response<Body>, Unanswered>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self { pool, way } = &mut *self;
        if let On::Lane(sending) = way {
            match ready!(Pin::new(sending).poll(cx)) {
                Sent::Answered(response, lane) => return Poll::Ready(Ok(pool.answered(response, lane))),
                Sent::Failed(error) => return Poll::Ready(Err(Unanswered::Broke(error))),
                Sent::Unsent(back) => *way = On::Any(Box::pin(pool.ask(*back))),
            }
        }
        match way {
            On::Any(asking) => asking.as_mut().poll(cx),
            On::Lane(_) => Poll::Pending,
        }
    }
}

/// What a server is sent of an address.
pub(crate) fn path(url: &Uri) -> Uri {
    let path = url.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    Uri::from(path)
}

// === impl Pool ===

impl Pool {
    /// Sends a request on one connection after another, and on a new one where none is given back before.
    async fn ask(self: &Arc<Self>, mut request: Asked) -> Result<Response<Body>, Unanswered> {
        let mut has_waited = false;
        loop {
            let (lane, is_new) = match self.take() {
                Some(lane) => (lane, false),
                // A server may close each one that it does not want: once is enough.
                None if has_waited => (self.connect().await?, true),
                None => {
                    has_waited = true;
                    self.freed_or_new().await?
                }
            };
            match lane.send(request).await {
                Sent::Answered(response, lane) => return Ok(self.answered(response, lane)),
                Sent::Unsent(back) if !is_new => request = *back,
                Sent::Unsent(_) => {
                    return Err(Unanswered::Connect("the server closed the connection at once".into()));
                }
                Sent::Failed(error) => return Err(Unanswered::Broke(error)),
            }
        }
    }

    fn answered(self: &Arc<Self>, response: Response<Incoming>, lane: Box<Lane>) -> Response<Body> {
        response.map(|incoming| Body { incoming, driven: Some(lane), pool: Arc::downgrade(self) })
    }

    async fn connect(&self) -> Result<Box<Lane>, Unanswered> {
        let mut connector = self.client.connector.clone();
        let broken = |error: Reason| Unanswered::Connect(error);
        poll_fn(|cx| connector.poll_ready(cx)).await.map_err(broken)?;
        let io = connector.call(self.place.clone()).await.map_err(broken)?;
        let (sender, connection) = http1::handshake(io).await.map_err(|error| broken(error.into()))?;
        Ok(Box::new(Lane::new(sender, connection, &self.open)))
    }

    /// The connection that was used last.
    fn take(&self) -> Option<Box<Lane>> {
        let lane = |idle: &Mutex<Waiting>| {
            let (Idle { since, lane }, now) = {
                let mut idle = lock(idle);
                (idle.all.pop()?, idle.now)
            };
            // Older ones are left to whoever tidies.
            (now - since < IDLE).then_some(lane)
        };
        lane(self.idle.here()).or_else(|| if self.has_few() { self.idle.all().find_map(lane) } else { None })
    }

    fn has_few(&self) -> bool {
        self.open.load(Ordering::Relaxed) <= FEW
    }

    fn keep(self: &Arc<Self>, mut lane: Box<Lane>) {
        lane.leave();
        let Some(lane) = self.give(lane) else { return };
        let mut idle = self.idle();
        if idle.all.len() < KEPT {
            let since = idle.now;
            idle.all.push(Idle { since, lane });
        }
        let was_tidied = std::mem::replace(&mut idle.is_tidied, true);
        drop(idle);
        if !was_tidied {
            // It ends when nothing is idle, or nobody speaks to this server any more.
            let tasks = &self.client.tasks;
            let ending = tasks.ending().clone();
            let (span, pool) = (tracing::debug_span!(parent: None, "tidy"), Arc::downgrade(self));
            let tidying = async move { ending.run_until_cancelled(tidy(pool)).await };
            drop(tasks.spawn(span, tidying));
        }
    }

    /// Of this serving thread.
    fn idle(&self) -> MutexGuard<'_, Waiting> {
        lock(self.idle.here())
    }
}

fn lock(idle: &Mutex<Waiting>) -> MutexGuard<'_, Waiting> {
    idle.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Closes what was not used for long. It stays on the thread whose connections they are.
async fn tidy(pool: Weak<Pool>) {
    loop {
        tokio::time::sleep(TICK).await;
        let Some(pool) = pool.upgrade() else { return };
        let mut idle = pool.idle();
        idle.now += 1;
        let now = idle.now;
        let old: Vec<Idle> = idle.all.extract_if(.., |idle| now - idle.since >= IDLE).collect();
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

// === impl Body ===

impl Body {
    /// Nothing of the response is left to read: the connection can be used again, if it is at rest.
    fn give_back(&mut self, cx: &Context<'_>) {
        let Some(mut lane) = self.driven.take() else { return };
        let Some(pool) = self.pool.upgrade() else { return };
        if lane.is_at_rest(cx) {
            pool.keep(lane);
        }
    }

    /// Whether its connection is over or given back: nothing is to be done for it.
    pub(super) fn is_done(&self) -> bool {
        self.driven.is_none()
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, driven, .. } = &mut *self;
        let incoming = Pin::new(incoming);
        let Some(lane) = driven else { return incoming.poll_frame(cx) };
        let frame = lane.poll_frame(incoming, cx);
        if lane.is_over() {
            *driven = None;
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
