//! The plain way of a call: one request by HTTP/1.1, whole and of a length that it tells, to one of the routes that carry
//! calls; and its answer, whole as well. Such requests are all that most connections ever see, so they are read and answered
//! here, with little in between. All else is hyper's: the first request that is not plain, or whose answer is not, goes there
//! with its connection, which stays.
//!
//! ```text
//! read -> look -> door -> answer -> write      plain
//!           \--------------\-> unread -> hyper  a request, or an answer, that is not
//! ```
//!
//! Nothing is decided here that hyper might decide otherwise: what is read differently by anybody is not plain. Grammar is
//! `httparse`'s, as it is for hyper.

mod look;
mod reply;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use axum::response::Response;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use self::look::{Look, MOST};
use self::reply::Reply;
use super::auth::Via;
use super::body::DEADLINE;
use super::door::{Connection, Door, Received};
use super::drain::Drain;
use super::framing::Watched;
use crate::apart::apart;
use crate::turn::step_back;

/// Stands for a request that was read already, where hyper is to answer it.
const STAND_IN: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";

/// A connection that carried only plain requests up to now.
pub(super) struct Plain<'c, T> {
    pub(super) stream: Watched<T>,
    pub(super) door: &'c Door,
    pub(super) via: Via,
    pub(super) came_by: Connection<'c>,
    pub(super) drain: &'c Drain,
    /// Whether it is to end, behind the request in flight.
    pub(super) ends: &'c AtomicBool,
    /// What came and is not looked at yet.
    bytes: BytesMut,
}

/// A connection that is plain no more.
pub(super) struct Handed<T> {
    pub(super) stream: Watched<T>,
    /// The answer to its first request.
    pub(super) answer: Option<Response>,
}

/// What was seen in what came.
enum Seen<'d> {
    /// A call, and what came behind it.
    Call(Received<'d>, Bytes),
    /// The beginning of one that is so long.
    Part(Bytes, usize),
    /// Something else.
    Other(Bytes),
}

/// What became of it.
enum Done {
    Answered(Response, Bytes),
    Part(Bytes, usize),
    Other(Bytes),
}

// === impl Plain ===

impl<'c, T: AsyncRead + AsyncWrite + Unpin> Plain<'c, T> {
    pub(super) fn new(
        stream: Watched<T>,
        (door, via, came_by): (&'c Door, Via, Connection<'c>),
        drain: &'c Drain,
        ends: &'c AtomicBool,
    ) -> Self {
        Self { stream, door, via, came_by, drain, ends, bytes: BytesMut::new() }
    }

    /// Serves it as long as it is plain; `None`: it is over.
    pub(super) async fn serve(mut self) -> io::Result<Option<Handed<T>>> {
        if !self.door.has_calls() {
            return Ok(Some(self.hand_over(Bytes::new(), None)));
        }
        loop {
            if self.bytes.is_empty() && !self.more().await? {
                return self.close().await;
            }
            let bytes = self.bytes.split().freeze();
            match self.done(bytes).await? {
                None => return self.close().await,
                Some(Done::Other(bytes)) => return Ok(Some(self.hand_over(bytes, None))),
                Some(Done::Part(bytes, length)) => {
                    self.stream.head_ended();
                    self.put_before(&bytes);
                    let is_there = tokio::time::timeout(DEADLINE, self.up_to(length)).await;
                    if !is_there.unwrap_or(Ok(false))? {
                        // Who takes so long, or leaves it at that, is told so there.
                        let bytes = self.bytes.split().freeze();
                        return Ok(Some(self.hand_over(bytes, None)));
                    }
                }
                Some(Done::Answered(response, behind)) => {
                    self.stream.head_ended();
                    let reply = match Reply::of(response) {
                        Ok(reply) => reply,
                        Err(response) => return Ok(Some(self.hand_over(behind, Some(response)))),
                    };
                    self.put_before(&behind);
                    self.write(reply).await?;
                    if !self.bytes.is_empty() {
                        // Requests that came all at once are no reason to keep others waiting.
                        step_back().await;
                    }
                }
            }
        }
    }

    /// Waits for bytes; whether there are any more.
    async fn more(&mut self) -> io::Result<bool> {
        poll_fn(|cx| {
            let polled = self.poll_more(cx)?;
            if polled.is_pending() && self.ends.load(Ordering::Acquire) {
                return Poll::Ready(Ok(false));
            }
            polled.map(Ok)
        })
        .await
    }

    /// Waits until so many are there; whether they are.
    async fn up_to(&mut self, length: usize) -> io::Result<bool> {
        while self.bytes.len() < length {
            if !poll_fn(|cx| self.poll_more(cx)).await? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Whether more came; not that the client has closed its side.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        look::with_room(|room| {
            let mut into = ReadBuf::new(room);
            self.stream.poll_by_itself(cx, &mut into).map_ok(|()| {
                self.bytes.extend_from_slice(into.filled());
                !into.filled().is_empty()
            })
        })
    }

    /// Looks at what came and answers it; `None`: its client has gone, and with it what was done for it.
    async fn done(&mut self, bytes: Bytes) -> io::Result<Option<Done>> {
        let (door, via, came_by, drain) = (self.door, self.via, self.came_by, self.drain);
        let mut work = pin!(async move {
            let _busy = drain.enter();
            let seen = apart(|| seen(door, via, came_by, bytes)).await;
            match seen {
                Seen::Call(call, behind) => Done::Answered(drain.tell(call.await), behind),
                Seen::Part(bytes, length) => Done::Part(bytes, length),
                Seen::Other(bytes) => Done::Other(bytes),
            }
        });
        poll_fn(|cx| {
            if let Poll::Ready(done) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(Some(done)));
            }
            while self.bytes.len() < MOST {
                match self.poll_more(cx)? {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => return Poll::Ready(Ok(None)),
                    Poll::Pending => break,
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Puts back what was taken to be looked at, or came behind that.
    fn put_before(&mut self, bytes: &Bytes) {
        if bytes.is_empty() {
            return;
        }
        let behind = std::mem::replace(&mut self.bytes, BytesMut::from(&bytes[..]));
        self.bytes.extend_from_slice(&behind);
    }

    async fn write(&mut self, Reply { head, body }: Reply) -> io::Result<()> {
        if body.is_empty() {
            self.stream.write_all(&head).await?;
        } else {
            self.stream.write_all_buf(&mut head.as_slice().chain(body)).await?;
        }
        self.stream.flush().await
    }

    async fn close(mut self) -> io::Result<Option<Handed<T>>> {
        poll_fn(|cx| Pin::new(&mut self.stream).poll_shutdown(cx)).await?;
        Ok(None)
    }

    /// Gives it to hyper, with these bytes before those that came since, and the answer to what stands there first.
    fn hand_over(mut self, bytes: Bytes, answer: Option<Response>) -> Handed<T> {
        let stand_in = if answer.is_some() { STAND_IN } else { &[] };
        self.stream.unread([stand_in, &bytes, &self.bytes].concat().into());
        Handed { stream: self.stream, answer }
    }
}

/// Looks at what came, and begins to answer it if it is a call.
async fn seen<'d>(door: &'d Door, via: Via, came_by: Connection<'d>, bytes: Bytes) -> Seen<'d> {
    let (call, behind) = {
        let Some(look) = Look::of(&bytes) else {
            return Seen::Other(bytes);
        };
        if bytes.len() < look.length {
            let length = look.length;
            return Seen::Part(bytes, length);
        }
        let body = bytes.slice(look.head..look.length);
        (look.call(door, via, came_by, body).await, bytes.slice(look.length..))
    };
    Seen::Call(call, behind)
}

#[cfg(test)]
mod tests;
