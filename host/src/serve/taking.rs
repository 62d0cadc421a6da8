//! The body of an answer, of which every part counts as held for its connection until it is handed to the system.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Extension;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};

use super::framing::Serving;
use crate::held::{Held, Taker};

/// A part that is smaller is not counted: a connection has few of them at a time, since hyper asks for the next one only
/// when what it has is nearly out.
const SMALL: usize = 16 << 10;

/// The connection of a request. Without a door in front, as in tests of a route, the request has one of its own.
pub(super) fn taker_of(door: Option<Extension<Arc<Taker>>>, held: &Held) -> Arc<Taker> {
    door.map_or_else(|| held.taker("request"), |Extension(taker)| taker)
}

struct Counted {
    body: Body,
    taker: Arc<Taker>,
    /// The request is not answered before its body is.
    _serving: Serving,
}

/// Whether a body of so many bytes goes out uncounted.
pub(super) fn is_small(length: usize) -> bool {
    length < SMALL
}

/// Counts what goes out.
pub(super) fn counted(body: Body, taker: &Arc<Taker>, serving: Serving) -> Body {
    if body.size_hint().upper().is_some_and(|most| most < SMALL as u64) {
        return body;
    }
    Body::new(Counted { body, taker: Arc::clone(taker), _serving: serving })
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let held = |data: Bytes| if data.len() < SMALL { data } else { self.taker.hold(data) };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(held))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
