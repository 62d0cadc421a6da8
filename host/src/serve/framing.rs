//! Watches a connection's bytes for a request that frames its body twice: `Content-Length` and `Transfer-Encoding`.
//!
//! hyper takes such a request by its transfer encoding and drops the other header, so no route can see it; a proxy in front
//! may have read it the other way and let a second request through inside of its body. This reader follows the heads of the
//! requests until the first one with a transfer encoding, which is also the last one of its connection: the door closes it.
//! It also ends a connection whose client takes nothing of what it is sent, or does not come to the end of a head; and closes
//! one whose request was not read to its end only when the client had a chance to read the answer: else the answer would be
//! lost in a reset. Knows the framing of HTTP/1.1 requests and nothing else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::held::Taker;

/// Bytes of a line that are kept: enough for the longest name we look for and any length.
const KEPT: usize = 64;
/// From the first byte of a head, and of a connection, to the end of the head.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(10);
/// A client that takes no byte for so long holds a connection for nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// How long, and for how many bytes, a request that was refused is read on before the connection is closed.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 64 * 1024 * 1024;

/// Tells whether the connection's request with a transfer encoding also had a length.
#[derive(Clone, Debug, Default)]
pub(crate) struct Verdict(Arc<AtomicBool>);

/// A stream that is watched as it is read.
#[derive(Debug)]
pub(crate) struct Watched<T> {
    inner: T,
    scan: Scan,
    verdict: Verdict,
    /// Is told what becomes of writes.
    taker: Arc<Taker>,
    /// Runs while a head is read, and before the first one. Between two requests there is no hurry.
    head: Option<Pin<Box<Sleep>>>,
    /// Runs while a write waits.
    stall: Option<Pin<Box<Sleep>>>,
    /// Runs once our side is closed while the client still sends.
    linger: Option<Linger>,
}

#[derive(Debug)]
struct Linger {
    until: Pin<Box<Sleep>>,
    left: usize,
}

/// Where the reader stands.
#[derive(Debug)]
enum Scan {
    Head { line: Vec<u8>, any: bool, length: Option<u64>, twice: bool, chunked: bool },
    Body(u64),
    Done,
}

/// What was found in some bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Fed {
    /// A request is framed twice.
    twice: bool,
    /// A head came to its end.
    head_ended: bool,
}

// === impl Verdict ===

impl Verdict {
    /// Whether both were there.
    pub(crate) fn is_twice(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

// === impl Scan ===

impl Scan {
    fn head() -> Self {
        Self::Head { line: Vec::with_capacity(KEPT), any: false, length: None, twice: false, chunked: false }
    }

    /// Whether there is, or may be, more of a request's body to come.
    fn is_inside(&self) -> bool {
        match self {
            Self::Head { .. } => false,
            Self::Body(_) | Self::Done => true,
        }
    }

    /// Whether a head has begun and is not over.
    fn is_in_head(&self) -> bool {
        match self {
            Self::Head { line, any, .. } => *any || !line.is_empty(),
            Self::Body(_) | Self::Done => false,
        }
    }

    /// Follows `bytes`, until a request is framed twice.
    fn feed(&mut self, mut bytes: &[u8]) -> Fed {
        let mut fed = Fed::default();
        while let Some((first, rest)) = bytes.split_first() {
            match self {
                Self::Done => break,
                Self::Body(left) => {
                    let skip = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= skip as u64;
                    bytes = bytes.get(skip..).unwrap_or_default();
                    if *left == 0 {
                        *self = Self::head();
                    }
                }
                Self::Head { line, .. } if *first != b'\n' => {
                    if line.len() < KEPT {
                        line.push(*first);
                    }
                    bytes = rest;
                }
                Self::Head { .. } => {
                    bytes = rest;
                    let line = self.end_line();
                    fed.head_ended |= line.head_ended;
                    fed.twice = line.twice;
                    if fed.twice {
                        break;
                    }
                }
            }
        }
        fed
    }

    fn end_line(&mut self) -> Fed {
        let Self::Head { line, any, length, twice, chunked } = self else { return Fed::default() };
        let text = line.trim_ascii_end();
        if text.is_empty() {
            // Empty lines before a request line mean nothing.
            if !*any {
                line.clear();
                return Fed::default();
            }
            let both = *chunked && *twice;
            *self = match (*chunked, *length) {
                (true, _) => Self::Done,
                (false, None | Some(0)) => Self::head(),
                (false, Some(left)) => Self::Body(left),
            };
            return Fed { twice: both, head_ended: true };
        }
        let colon = text.iter().position(|b| *b == b':').unwrap_or(text.len());
        let (name, value) = text.split_at(colon);
        if *any && name.eq_ignore_ascii_case(b"transfer-encoding") {
            *chunked = true;
        } else if *any && name.eq_ignore_ascii_case(b"content-length") {
            *twice = true;
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            // What is no number is refused by hyper, and the connection with it.
            *length = std::str::from_utf8(digits).ok().and_then(|digits| digits.parse().ok());
        }
        *any = true;
        line.clear();
        Fed::default()
    }
}

// === impl Watched ===

impl<T> Watched<T> {
    pub(crate) fn new(inner: T, taker: Arc<Taker>) -> (Self, Verdict) {
        let verdict = Verdict::default();
        let head = Some(Box::pin(sleep(HEAD_DEADLINE)));
        let watched = Self {
            inner,
            scan: Scan::head(),
            verdict: verdict.clone(),
            taker,
            head,
            stall: None,
            linger: None,
        };
        (watched, verdict)
    }

    /// The stream by itself: what comes is HTTP no more.
    pub(crate) fn into_inner(self) -> T {
        self.inner
    }

    /// Follows what was read, and ends the read of a head that takes too long.
    fn follow(&mut self, cx: &mut Context<'_>, new: &[u8]) -> io::Result<()> {
        let fed = self.scan.feed(new);
        if fed.twice {
            self.verdict.0.store(true, Ordering::Relaxed);
        }
        if fed.head_ended {
            self.head = None;
        }
        if self.scan.is_in_head() && self.head.is_none() {
            self.head = Some(Box::pin(sleep(HEAD_DEADLINE)));
        }
        match self.head.as_mut().map(|head| head.as_mut().poll(cx)) {
            Some(Poll::Ready(())) => {
                Err(io::Error::new(io::ErrorKind::TimedOut, "the head of a request does not end"))
            }
            Some(Poll::Pending) | None => Ok(()),
        }
    }

    /// Lets the outcome of a write through, unless it has waited too long.
    fn bounded<R>(&mut self, cx: &mut Context<'_>, polled: Poll<io::Result<R>>) -> Poll<io::Result<R>> {
        if polled.is_ready() {
            self.stall = None;
            self.taker.took();
            return polled;
        }
        self.taker.waits();
        let stall = self.stall.get_or_insert_with(|| Box::pin(sleep(STALL)));
        ready!(stall.as_mut().poll(cx));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing of its answer")))
    }
}

impl<T: AsyncRead + Unpin> Watched<T> {
    /// Reads on and forgets, until the body is over, the client closes, or a bound is met.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
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
        let polled = Pin::new(&mut self.inner).poll_read(cx, into);
        let this = &mut *self;
        this.follow(cx, into.filled().get(before..).unwrap_or_default())?;
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
        self.bounded(cx, polled)
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

#[cfg(test)]
mod tests {
    use super::Scan;

    /// The verdict must not depend on how the bytes are cut.
    fn twice(bytes: &str) -> bool {
        let whole = Scan::head().feed(bytes.as_bytes()).twice;
        let mut scan = Scan::head();
        let single = bytes.bytes().fold(false, |found, byte| found | scan.feed(&[byte]).twice);
        assert_eq!(whole, single, "{bytes:?}");
        whole
    }

    #[test]
    fn both_headers_are_seen_in_any_order_and_spelling() {
        for both in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
            "POST / HTTP/1.1\r\nTRANSFER-ENCODING: chunked\r\nHost: x\r\ncontent-length:0\r\n\r\n",
            "\r\n\r\nPOST / HTTP/1.1\nTransfer-Encoding: chunked\nContent-Length: 3\n\n",
            "POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: x\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        ] {
            assert!(twice(both), "{both:?}");
        }
    }

    #[test]
    fn one_header_alone_is_fine_and_bodies_are_not_read_as_heads() {
        let hidden = "POST /x HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let length = hidden.len();
        for fine in [
            "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc".to_owned(),
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{hidden}"),
            format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{hidden}"),
            "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
            "GET / HTTP/1.1\r\nX: Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned(),
        ] {
            assert!(!twice(&fine), "{fine:?}");
        }
    }
}
