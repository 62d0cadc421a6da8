//! Watches a connection's bytes for a request that frames its body twice: `Content-Length` and `Transfer-Encoding`.
//!
//! hyper takes such a request by its transfer encoding and drops the other header, so no route can see it; a proxy in front
//! may have read it the other way and let a second request through inside of its body. This reader follows the heads of the
//! requests until the first one with a transfer encoding, which is also the last one of its connection: the door closes it.
//! It also ends a connection whose client takes nothing of what it is sent, does not come to the end of a head, or asks for
//! nothing for a long time; and closes one whose request was not read to its end only when the client had a chance to read the
//! answer: else the answer would be lost in a reset. Knows the framing of HTTP/1.1 requests and nothing else.
//!
//! Whoever reads whole requests by itself, as [`super::plain`] does, is watched for time alone, and puts back what another is to
//! read: that is followed then.
//!
//! The time between two requests is watched here and not by hyper, whose timer is made anew for each of them.

mod scan;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use self::scan::Scan;
use crate::aside::Aside;
use crate::held::Taker;

/// From the first byte of a head, and of a connection, to the end of the head.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A client that takes no byte for so long holds a connection for nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);
/// From the end of an answer to the end of the next head: clients keep connections for later.
pub(super) const IDLE: Duration = Duration::from_secs(90);

/// How long, and for how many bytes, a request that was refused is read on before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// What the reader of a connection and those who answer on it tell each other.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The connection's request with a transfer encoding also had a length.
    twice: AtomicBool,
    /// Requests that are not answered to the end yet.
    serving: AtomicUsize,
}

/// A request that is being answered: as long as this lives, the client need not ask for anything else.
#[derive(Debug)]
pub(crate) struct Serving(Arc<Shared>);

/// A stream that is watched as it is read.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    /// What was read already, and is to be read again.
    unread: Bytes,
    scan: Scan,
    verdict: Verdict,
    /// Is told what becomes of writes.
    taker: Arc<Taker>,
    /// Runs while a head is read, and before the first one. Between two requests there is no hurry.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Looks now and then whether the client still asks for something.
    idle: Aside<Sleep>,
    /// When it took something last.
    active: Instant,
    /// Runs once our side is closed while the client still sends.
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

// === impl Verdict ===

impl Verdict {
    /// Whether both were there.
    pub(crate) fn is_twice(&self) -> bool {
        self.0.twice.load(Ordering::Relaxed)
    }

    /// Whether a request is being answered.
    pub(super) fn is_serving(&self) -> bool {
        self.0.serving.load(Ordering::Relaxed) > 0
    }

    /// A request is being answered, until what this returns is dropped.
    pub(crate) fn serve(&self) -> Serving {
        self.0.serving.fetch_add(1, Ordering::Relaxed);
        Serving(Arc::clone(&self.0))
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.serving.fetch_sub(1, Ordering::Relaxed);
    }
}

// === impl Watched ===

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, taker: Arc<Taker>, verdict: Verdict) -> Self {
        let head = Some(Box::pin(sleep(HEAD_DEADLINE)));
        Self {
            inner,
            unread: Bytes::new(),
            scan: Scan::head(),
            verdict,
            taker,
            head,
            stall: None,
            idle: Aside::new(sleep(IDLE)),
            active: Instant::now(),
            linger: None,
        }
    }

    /// The stream by itself, and what was not read again of it: what comes is HTTP no more.
    pub(crate) fn into_inner(self) -> (T, Bytes) {
        (self.inner, self.unread)
    }

    /// Reads this again, before all else.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    /// Whoever reads whole requests by itself has come to the end of a head.
    pub(super) fn head_ended(&mut self) {
        self.head = None;
    }

    /// Ends the read of a head that takes too long.
    fn be_quick(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match self.head.as_mut().map(|head| head.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request does not end"))
            }
            Some(Poll::Pending) | None => Ok(()),
        }
    }

    /// Follows what was read, and ends the read of a head that takes too long.
    fn follow(&mut self, cx: &mut Context<'_>, new: &[u8]) -> io::Result<()> {
        let fed = self.scan.feed(new);
        if fed.twice {
            self.verdict.0.twice.store(true, Ordering::Relaxed);
        }
        if fed.head_ended {
            self.head = None;
        }
        if self.scan.is_in_head() && self.head.is_none() {
            self.head = Some(Box::pin(sleep(HEAD_DEADLINE)));
        }
        self.be_quick(cx)
    }

    /// Ends the read of a client that asks for nothing for too long.
    fn be_patient(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while Pin::new(&mut self.idle).poll(cx).is_ready() {
            let is_served = self.verdict.is_serving();
            let since = if is_served { Instant::now() } else { self.active };
            if since.elapsed() >= IDLE {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the client asks for nothing any more"));
            }
            self.idle = Aside::new(sleep_until(since + IDLE));
        }
        Ok(())
    }

    /// Lets the outcome of a write through, unless it has waited too long.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stall = None;
            self.active = Instant::now();
            self.taker.took(self.active);
            return polled;
        }
        self.taker.waits();
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Reads for whoever finds the ends of requests by itself: what comes so is not followed.
    pub(super) fn poll_by_itself(
        &mut self,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        if polled.is_pending() {
            self.be_quick(cx)?;
            self.be_patient(cx)?;
        }
        polled
    }

    /// Reads on and forgets, until the body is over, the client closes, or a bound is met.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let unread = std::mem::take(&mut self.unread);
        self.scan.feed(&unread);
        let mut scratch = [0; 8 * 1024];
        while let Some(linger) = self.linger.as_mut().filter(|linger| linger.left > 0)
            && self.scan.is_inside()
            && linger.until.as_mut().poll(cx).is_pending()
        {
            let mut into = ReadBuf::new(&mut scratch);
            let read = ready!(Pin::new(&mut self.inner).poll_read(cx, &mut into));
            if read.is_err() || into.filled().is_empty() {
                break;
            }
            linger.left = linger.left.saturating_sub(into.filled().len());
            self.scan.feed(into.filled());
        }
        Poll::Ready(())
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        let this = &mut *self;
        let polled = if this.unread.is_empty() {
            Pin::new(&mut this.inner).poll_read(cx, into)
        } else {
            let again = this.unread.split_to(this.unread.len().min(into.remaining()));
            into.put_slice(&again);
            Poll::Ready(Ok(()))
        };
        this.follow(cx, into.filled().get(before..).unwrap_or_default())?;
        if polled.is_pending() {
            this.be_patient(cx)?;
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, bytes);
        self.bounded(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(cx);
        // One that is ready took nothing that a write has not told already.
        if polled.is_ready() { polled } else { self.bounded(cx, polled) }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.linger.is_none() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
            let until = Box::pin(sleep(LINGER));
            self.linger = Some(Linger { until, left: LINGER_BYTES });
        }
        self.poll_linger(cx).map(Ok)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(cx, parts);
        self.bounded(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
