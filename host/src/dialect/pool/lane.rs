//! One connection to a server: a request is put on it, and whoever waits for the answer drives it. It must not know where it
//! waits in between.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Frame, Incoming};
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{Connection, SendRequest};
use hyper_rustls::MaybeHttpsStream;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::bell::Bell;

pub(super) type Asked = Request<Full<Bytes>>;
type Driven = Connection<MaybeHttpsStream<TokioIo<TcpStream>>, Full<Bytes>>;
type Answer = Pin<Box<dyn Future<Output = Result<Response<Incoming>, TrySendError<Asked>>> + Send>>;

/// A connection and its entrance.
pub(super) struct Lane {
    sender: SendRequest<Full<Bytes>>,
    /// `None` once it is over.
    connection: Option<Driven>,
    /// What it is polled with.
    bell: Bell,
    _one: OneOf,
}

/// A request that was put on a connection.
pub(super) struct Sending {
    /// `None` once it is answered.
    lane: Option<Box<Lane>>,
    answer: Answer,
}

/// One of the connections that are counted, until it is dropped.
struct OneOf(Arc<AtomicUsize>);

/// How a request went on one connection.
pub(super) enum Sent {
    Answered(Response<Incoming>, Box<Lane>),
    /// It was closed before anything was sent.
    Unsent(Box<Asked>),
    Failed(hyper::Error),
}

// === impl Lane ===

impl Lane {
    pub(super) fn new(sender: SendRequest<Full<Bytes>>, connection: Driven, all: &Arc<AtomicUsize>) -> Self {
        Self { sender, connection: Some(connection), bell: Bell::new(), _one: OneOf::new(all) }
    }

    /// Puts a request on it. It goes out where its answer is waited for.
    pub(super) fn send(mut self: Box<Self>, request: Asked) -> Sending {
        let answer = Box::pin(self.sender.try_send_request(request));
        Sending { lane: Some(self), answer }
    }

    /// The next of what it brings; it is driven if nothing is there yet.
    pub(super) fn poll_frame(
        &mut self,
        mut incoming: Pin<&mut Incoming>,
        cx: &Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { connection, bell, .. } = self;
        bell.answered(cx, |cx| {
            let frame = incoming.as_mut().poll_frame(cx);
            if frame.is_ready() {
                return frame;
            }
            drives(connection, cx);
            incoming.as_mut().poll_frame(cx)
        })
    }

    /// Its connection is no more.
    pub(super) fn is_over(&self) -> bool {
        self.connection.is_none()
    }

    /// Nobody uses it.
    pub(super) fn leave(&mut self) {
        self.bell.leave();
    }

    /// Whether it can be used again: it is at rest, if it has seen the end of what it brought.
    pub(super) fn is_at_rest(&mut self, cx: &Context<'_>) -> bool {
        let Self { sender, connection, bell, .. } = self;
        sender.is_ready()
            || bell.answered(cx, |cx| Poll::Ready(drives(connection, cx))) == Poll::Ready(true)
                && sender.is_ready()
    }
}

/// Drives a connection. False: it is over.
fn drives(connection: &mut Option<Driven>, cx: &mut Context<'_>) -> bool {
    let Some(driven) = connection else { return false };
    let lives = Pin::new(driven).poll(cx).is_pending();
    if !lives {
        // How it ended, the request is told: what it had not taken yet it gives back when it is dropped.
        *connection = None;
    }
    lives
}

// === impl Sending ===

impl Future for Sending {
    type Output = Sent;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent> {
        let Self { lane, answer } = &mut *self;
        let Some(mut driven) = lane.take() else { return Poll::Pending };
        let Lane { bell, connection, .. } = &mut *driven;
        let answered = bell.answered(cx, |cx| {
            drives(connection, cx);
            answer.as_mut().poll(cx)
        });
        match answered {
            Poll::Pending => {
                *lane = Some(driven);
                Poll::Pending
            }
            Poll::Ready(Ok(response)) => Poll::Ready(Sent::Answered(response, driven)),
            Poll::Ready(Err(mut failed)) => Poll::Ready(match failed.take_message() {
                Some(request) => Sent::Unsent(Box::new(request)),
                None => Sent::Failed(failed.into_error()),
            }),
        }
    }
}

// === impl OneOf ===

impl OneOf {
    fn new(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for OneOf {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
