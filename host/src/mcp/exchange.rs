//! One request and what goes back for it: messages on the way, then the answer.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use serde_json::value::RawValue;
use wharf_plugin_api::{Id, Reply, RpcError, jsonrpc};

use crate::late;

/// What a request comes to. Every message in it is one whole JSON-RPC message on one line, without its end.
pub(crate) struct Exchange {
    /// What goes out before the answer: notifications and, to a legacy client, requests. It is said while `answer` is polled,
    /// and at no other time. A transport drains it while it polls `answer`, and once more after that.
    pub(crate) events: late::Receiver<Bytes>,
    /// Resolves, once. A modern request is cancelled by dropping it; a legacy one goes on elsewhere if its transport wants
    /// that (the end of a legacy connection is no cancellation).
    pub(crate) answer: Pin<Box<dyn Future<Output = Answered> + Send>>,
}

/// The most that the future of an answer takes, bytes, beside that of the call.
#[cfg(test)]
pub(crate) const SMALL: usize = 704;

/// What comes of an exchange first.
#[derive(Debug)]
pub(crate) enum First {
    Answered(Answered),
    Said(Bytes),
    /// The time is over that it was waited for.
    Nothing,
}

/// The end of an exchange.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    /// The answer; `None` after a cancellation by the client, which wants none.
    pub(crate) message: Option<Bytes>,
    pub(crate) kind: AnswerKind,
}

/// What a transport may have to say beside the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AnswerKind {
    /// A result, or an error that somebody made who looked at the request.
    Handled,
    /// There is no such method here.
    UnknownMethod,
    /// The client lacks a capability that is needed.
    MissingCapability,
    /// The request itself is wrong.
    BadRequest,
}

// === impl Exchange ===

impl Exchange {
    /// An exchange that is over: an error at once.
    pub(crate) fn refused(id: &Id, error: RpcError) -> Self {
        let answered = Answered::new(id, &Reply::Error(error));
        Self { events: late::queue(1).1, answer: Box::pin(std::future::ready(answered)) }
    }

    /// Waits for the answer, for something before it, or for `patience` to end. What was said together with the answer is
    /// still there.
    pub(crate) async fn first(&mut self, patience: &mut (impl Future<Output = ()> + Unpin)) -> First {
        poll_fn(|cx| {
            if let Poll::Ready(answered) = self.answer.as_mut().poll(cx) {
                return Poll::Ready(First::Answered(answered));
            }
            // Who says something is polled here, so that nothing need wake this task for it.
            match self.events.try_recv() {
                Ok(event) => Poll::Ready(First::Said(event)),
                Err(_) => Pin::new(&mut *patience).poll(cx).map(|()| First::Nothing),
            }
        })
        .await
    }
}

impl fmt::Debug for Exchange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exchange").finish_non_exhaustive()
    }
}

// === impl Answered ===

impl Answered {
    /// An answer whose error code tells what kind it is.
    pub(crate) fn new(id: &Id, reply: &Reply) -> Self {
        let kind = match reply {
            Reply::Result(_) => AnswerKind::Handled,
            Reply::Error(error) => AnswerKind::of(error.code),
        };
        Self::written(jsonrpc::response(id, reply), kind)
    }

    /// A result with more members at its end; see [`jsonrpc::response_with`].
    pub(crate) fn with(id: &Id, result: &RawValue, more: &str) -> Self {
        Self::written(jsonrpc::response_with(id, result, more), AnswerKind::Handled)
    }

    fn written(mut message: Vec<u8>, kind: AnswerKind) -> Self {
        jsonrpc::single_line(&mut message);
        Self { message: Some(message.into()), kind }
    }
}

// === impl AnswerKind ===

impl AnswerKind {
    /// The kind that an error code stands for.
    pub(crate) fn of(code: i64) -> Self {
        match code {
            RpcError::METHOD_NOT_FOUND => Self::UnknownMethod,
            -32021 => Self::MissingCapability,
            -32700 | -32600 | -32020 | -32022 => Self::BadRequest,
            _ => Self::Handled,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn, ready};
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use bytes::Bytes;

    use super::{AnswerKind, Answered, Exchange, First};
    use crate::late;
    use crate::woken::Woken;

    /// An exchange that says so many things at its first poll, and answers at the next one.
    fn exchange(says: usize) -> Exchange {
        let (out, events) = late::queue(8);
        let mut polled = false;
        let answer = poll_fn(move |_| {
            if std::mem::replace(&mut polled, true) {
                return Poll::Ready(());
            }
            (0..says).for_each(|_| out.try_send(Bytes::from_static(b"{}")).unwrap());
            Poll::Pending
        });
        let answer = async move {
            // Who could say something is gone with the answer.
            answer.await;
            Answered { message: None, kind: AnswerKind::Handled }
        };
        Exchange { events, answer: Box::pin(answer) }
    }

    #[test]
    fn nobody_is_woken_by_an_answer_that_comes_as_it_is_polled() {
        let (woken, task) = Woken::task();
        let mut cx = Context::from_waker(&task);
        let mut silent = exchange(0);
        let mut never = pending();
        let mut first = pin!(silent.first(&mut never));
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(matches!(first.as_mut().poll(&mut cx), Poll::Ready(First::Answered(_))));
        assert_eq!(woken.times(), 0);
    }

    #[test]
    fn what_is_said_comes_before_the_answer_and_both_before_patience_ends() {
        let mut cx = Context::from_waker(Waker::noop());
        let (mut talks, mut over) = (exchange(2), ready(()));
        for _ in 0..2 {
            let mut first = pin!(talks.first(&mut over));
            assert!(!matches!(first.as_mut().poll(&mut cx), Poll::Ready(First::Nothing)));
        }
        assert!(talks.events.try_recv().is_ok(), "what was said with the answer is still there");
        let mut silent = exchange(0);
        let mut first = pin!(silent.first(&mut over));
        assert!(matches!(first.as_mut().poll(&mut cx), Poll::Ready(First::Nothing)));
    }
}
