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
use std::time::Duration;

use axum::response::{IntoResponse as _, Response};
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};

use self::look::{Look, MOST};
use self::reply::Reply;
use super::answer::Tagged;
use super::auth::Via;
use super::door::{Connection, Door, Received};
use super::drain::Drain;
use super::framing::Watched;
use crate::apart::apart;
use crate::turn::step_back;

/// How long a body is waited for that did not come with its head. Then hyper waits, as long as any may take.
const SOON: Duration = Duration::from_secs(1);

/// Stands for a request that was read already, where hyper is to answer it.
const STAND_IN: &[u8] = b"POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";

/// A connection that carried only plain requests up to now.
pub(super) struct Plain<'c, T> {
    stream: Watched<T>,
    door: &'c Door,
    via: Via,
    came_by: Connection<'c>,
    drain: &'c Drain,
    /// Whether it is to end, behind the request in flight.
    ends: &'c AtomicBool,
    /// What came and is to be looked at.
    next: Bytes,
    /// What came since then.
    since: BytesMut,
}

/// A connection that is plain no more.
pub(super) struct Handed<T> {
    pub(super) stream: Watched<T>,
    /// The answer to its first request.
    pub(super) answer: Option<Box<Response>>,
}

/// What was seen in what came.
enum Seen<C> {
    /// A call, and what came behind it.
    Call(C, Bytes),
    /// The beginning of one that is so long.
    Part(Bytes, usize),
    /// Something else.
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
        Self { stream, door, via, came_by, drain, ends, next: Bytes::new(), since: BytesMut::new() }
    }

    /// Serves it as long as it is plain; `None`: it is over.
    pub(super) async fn serve(mut self) -> io::Result<Option<Handed<T>>> {
        if !self.door.has_calls() {
            return Ok(Some(self.hand_over(Bytes::new(), None)));
        }
        loop {
            let next = std::mem::take(&mut self.next);
            let next = if next.is_empty() { self.come().await? } else { next };
            if next.is_empty() {
                return self.close().await;
            }
            match self.seen(next).await? {
                None => {
                    tracing::debug!("a client has gone that waited for an answer");
                    return self.close().await;
                }
                Some(Seen::Other(bytes)) => return Ok(Some(self.hand_over(bytes, None))),
                Some(Seen::Part(bytes, length)) => {
                    let whole = self.up_to(bytes, length).await?;
                    if whole.len() < length {
                        return Ok(Some(self.hand_over(whole, None)));
                    }
                    self.next = whole;
                }
                Some(Seen::Call(answer, behind)) => {
                    let reply = match Reply::of(answer) {
                        Ok(reply) => reply,
                        Err(response) => return Ok(Some(self.hand_over(behind, Some(response)))),
                    };
                    self.write(reply).await?;
                    if !behind.is_empty() {
                        // Requests that came all at once are no reason to keep others waiting.
                        step_back().await;
                    }
                    self.next = behind;
                }
            }
        }
    }

    /// Waits for bytes; none: it is over.
    async fn come(&mut self) -> io::Result<Bytes> {
        if self.since.is_empty() {
            poll_fn(|cx| {
                let polled = self.poll_more(cx);
                let is_over = polled.is_pending() && self.ends.load(Ordering::Acquire);
                if is_over { Poll::Ready(Ok(false)) } else { polled }
            })
            .await?;
        }
        Ok(std::mem::take(&mut self.since).freeze())
    }

    /// Waits until so many bytes are there, which begin with these; fewer: they do not come soon.
    async fn up_to(&mut self, bytes: Bytes, length: usize) -> io::Result<Bytes> {
        // As much in flight as any other.
        let _request = (self.came_by.verdict.serve(), self.drain.enter());
        self.stream.head_ended();
        let since = std::mem::replace(&mut self.since, BytesMut::from(bytes));
        self.since.extend_from_slice(&since);
        let rest = async {
            while self.since.len() < length && poll_fn(|cx| self.poll_more(cx)).await? {}
            Ok::<_, io::Error>(())
        };
        tokio::time::timeout(SOON, rest).await.unwrap_or(Ok(()))?;
        Ok(std::mem::take(&mut self.since).freeze())
    }

    /// Whether more came; not that the client has closed its side.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        look::with_room(|room| {
            let mut into = ReadBuf::new(room);
            self.stream.poll_by_itself(cx, &mut into).map_ok(|()| {
                self.since.extend_from_slice(into.filled());
                !into.filled().is_empty()
            })
        })
    }

    /// Looks at what came and answers it; `None`: its client has closed its side meanwhile, whatever stands behind it. So it
    /// has gone, and with it what was done for it.
    async fn seen(&mut self, bytes: Bytes) -> io::Result<Option<Seen<Tagged>>> {
        let (door, via, came_by, drain) = (self.door, self.via, self.came_by, self.drain);
        let mut work = pin!(async move {
            let _busy = drain.enter();
            match apart(|| look_at(door, via, came_by, bytes)).await {
                Seen::Call(call, behind) => Seen::Call(told(drain, call.await), behind),
                Seen::Part(bytes, length) => Seen::Part(bytes, length),
                Seen::Other(bytes) => Seen::Other(bytes),
            }
        });
        poll_fn(|cx| {
            if let Poll::Ready(seen) = work.as_mut().poll(cx) {
                return Poll::Ready(Ok(Some(seen)));
            }
            // Only a call is waited for, whose head is there.
            self.stream.head_ended();
            while self.since.len() < MOST {
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
    fn hand_over(mut self, bytes: Bytes, answer: Option<Box<Response>>) -> Handed<T> {
        let stand_in = if answer.is_some() { STAND_IN } else { &[] };
        self.stream.unread([stand_in, &bytes, &self.since].concat().into());
        Handed { stream: self.stream, answer }
    }
}

/// The answer, by which a client learns that the end has begun.
fn told(drain: &Drain, answer: Tagged) -> Tagged {
    if !drain.has_begun() {
        return answer;
    }
    Tagged { answer: drain.tell(answer.answer.into_response()).into(), ..answer }
}

/// Looks at what came, and begins to answer it if it is a call.
async fn look_at<'d>(door: &'d Door, via: Via, came_by: Connection<'d>, bytes: Bytes) -> Seen<Received<'d>> {
    let (call, behind) = {
        let Some(look) = Look::of(&bytes) else {
            return Seen::Other(bytes);
        };
        if let Some(body) = bytes.get(look.head..look.length) {
            let body = bytes.slice_ref(body);
            let heads = look.heads();
            let asked = look.asked(&heads);
            // Where it stays: handed on by value it would be copied, with all the room that it has.
            let call = pin!(door.call(via, came_by, (&asked, look.way), body));
            (call.await, bytes.slice(look.length..))
        } else {
            // Who is refused is told so before the body is there.
            let (length, is_welcome) = (look.length, look.is_welcome(door, via, came_by));
            return if is_welcome { Seen::Part(bytes, length) } else { Seen::Other(bytes) };
        }
    };
    Seen::Call(call, behind)
}

#[cfg(test)]
mod tests;
