//! What leaves the mock, before a dialect puts it on a wire. Knows neither sockets nor methods.

use std::convert::Infallible;
use std::ops::DerefMut;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;
use tokio::sync::mpsc;

/// How many frames wait for the wire.
pub(crate) const QUEUE: usize = 64;

/// The size of the pieces in which a huge line is made, so that it never stands in memory.
pub(crate) const PIECE: usize = 64 * 1024;

/// One thing to put on the wire.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A JSON-RPC message that answers nothing: a notification or a request of ours.
    Message(Vec<u8>),
    /// The answer to the request whose outlet this is.
    Reply(Vec<u8>),
    /// What is no message at all.
    Raw(Vec<u8>),
    /// A line of so many bytes, between others.
    Huge { head: Vec<u8>, total: u64, tail: Vec<u8> },
    /// The end: nothing after it reaches the wire.
    Close,
}

/// Where frames go.
pub(crate) type Outlet = mpsc::Sender<Frame>;

impl Frame {
    /// A line of so many bytes that is no message.
    pub(crate) fn huge(total: u64) -> Self {
        Self::Huge { head: Vec::new(), total, tail: Vec::new() }
    }
}

/// What stands before a huge line, its pieces, and what stands after it.
pub(crate) fn around(head: Vec<u8>, total: u64, tail: Vec<u8>) -> impl Iterator<Item = Bytes> + Send {
    let one = |bytes: Vec<u8>| std::iter::once(Bytes::from(bytes));
    one(head).chain(pieces(total)).chain(one(tail))
}

/// The pieces of a huge line.
pub(crate) fn pieces(total: u64) -> impl Iterator<Item = Bytes> + Send {
    let piece = Bytes::from(vec![b'x'; PIECE]);
    let mut left = total;
    std::iter::from_fn(move || {
        let now = left.min(PIECE as u64);
        left -= now;
        (now > 0).then(|| piece.slice(..usize::try_from(now).unwrap_or(PIECE)))
    })
}

/// One SSE event. A payload of several lines becomes several `data:` lines, as the format wants it.
pub(crate) fn event(name: &str, data: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + name.len() + 32);
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    for line in data.split(|b| *b == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
    out
}

/// A body of SSE events: `first`, then what comes from `frames` until it ends. `keep` lives as long as the body.
pub(crate) fn sse_body<R, K>(first: Option<Vec<u8>>, frames: R, keep: K) -> Body
where
    R: DerefMut<Target = mpsc::Receiver<Frame>> + Send + 'static,
    K: Send + 'static,
{
    type Pieces = Box<dyn Iterator<Item = Bytes> + Send>;
    struct State<R, K> {
        frames: R,
        pieces: Option<Pieces>,
        _keep: K,
    }
    let opening = first.map(|bytes| Box::new(std::iter::once(Bytes::from(bytes))) as Pieces);
    Body::from_stream(stream::unfold(State { frames, pieces: opening, _keep: keep }, async |mut state| {
        if let Some(piece) = state.pieces.as_mut().and_then(Iterator::next) {
            return Some((Ok::<_, Infallible>(piece), state));
        }
        state.pieces = None;
        let out = match state.frames.recv().await? {
            Frame::Message(bytes) | Frame::Reply(bytes) | Frame::Raw(bytes) => event("message", &bytes),
            Frame::Huge { head, total, tail } => {
                let end = std::iter::once(Bytes::from_static(b"\n\n"));
                state.pieces = Some(Box::new(around(head, total, tail).chain(end)));
                b"data: ".to_vec()
            }
            Frame::Close => return None,
        };
        Some((Ok(Bytes::from(out)), state))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_lines_stay_one_event() {
        assert_eq!(event("message", b"{\n}"), b"event: message\ndata: {\ndata: }\n\n");
    }

    #[test]
    fn a_huge_line_has_the_size_asked_for_in_small_pieces() {
        let total = 3 * PIECE as u64 + 7;
        let sizes: Vec<usize> = pieces(total).map(|p| p.len()).collect();
        assert_eq!(sizes, [PIECE, PIECE, PIECE, 7]);
    }

    #[tokio::test]
    async fn a_body_ends_at_close() {
        let (tx, rx) = mpsc::channel(4);
        tx.send(Frame::Message(b"1".to_vec())).await.unwrap();
        tx.send(Frame::Close).await.unwrap();
        tx.send(Frame::Message(b"2".to_vec())).await.unwrap();
        let body =
            axum::body::to_bytes(sse_body(Some(b"first".to_vec()), Box::new(rx), ()), 1000).await.unwrap();
        assert_eq!(&body[..], b"firstevent: message\ndata: 1\n\n");
    }
}
