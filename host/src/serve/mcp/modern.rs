//! Streamable HTTP of 2026-07-28: each request by itself, and its end of the connection is its end.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::{Id, Reply, RpcError};

use super::McpEdge;
use super::head;
use crate::edge_stdio::talk::{LISTEN, closed};
use crate::held::Taker;
use crate::late;
use crate::mcp::{Answered, Exchange, First, ModernRequest, Visitor};
use crate::serve::answer::Outgoing;
use crate::serve::problem::Problem;
use crate::serve::sse::{self, KEEP_ALIVE, PULSE, frame};
use crate::tasks::Tasks;

/// Answers a request. Dropped, it is cancelled. It is taken up before anything is waited for: what an async function is handed
/// is in memory twice.
pub(super) fn answer(
    edge: &McpEdge,
    visitor: Visitor,
    request: ModernRequest,
    taker: &Arc<Taker>,
) -> impl Future<Output = Result<Outgoing, Problem>> {
    let about = (request.id.clone(), request.method == LISTEN);
    let mut exchange = edge.mcp.modern(visitor, request);
    async move {
        let begun = match exchange.first(&mut edge.patience.lasts(KEEP_ALIVE)).await {
            First::Answered(answered) => return Ok(at_once(exchange.events, answered)),
            First::Said(event) => frame("message", None, &event),
            // From here on it is told that we live.
            First::Nothing => PULSE,
        };
        let begun = stream::iter([begun]);
        let live = Live::new(&edge.tasks, Arc::clone(taker), exchange, about);
        Ok(sse::respond(begun.chain(live.frames())).into())
    }
}

/// JSON, unless something was said in the very last moment.
fn at_once(mut events: late::Receiver<Bytes>, answered: Answered) -> Outgoing {
    let mut said: Vec<Bytes> = std::iter::from_fn(|| events.try_recv().ok()).collect();
    if said.is_empty() {
        return head::answered(answered);
    }
    said.extend(answered.message);
    sse::respond(stream::iter(said).map(|message| frame("message", None, &message))).into()
}

/// A stream of messages and the answer they precede.
struct Live {
    /// `None` once it is over.
    call: Option<Running>,
    /// The message after which nothing comes.
    last: Option<Bytes>,
    events: late::Receiver<Bytes>,
    id: Id,
    /// Fires when the host ends, for what has no end of its own.
    ending: Option<CancellationToken>,
}

/// The answer's task. Dropped, it is ended. It runs by itself: a client that reads slowly stretches no deadline.
struct Running(JoinHandle<Answered>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Live {
    /// The answer counts for its client from the moment it is there.
    fn new(tasks: &Tasks, taker: Arc<Taker>, exchange: Exchange, (id, is_listen): (Id, bool)) -> Self {
        let Exchange { events, answer } = exchange;
        let answer = async move {
            let Answered { message, kind } = answer.await;
            Answered { message: message.map(|message| taker.hold(message)), kind }
        };
        let call = Running(tasks.spawn(tracing::Span::current(), answer));
        let ending = is_listen.then(|| tasks.ending().clone());
        Self { call: Some(call), last: None, events, id, ending }
    }

    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut live| async move { live.next().await.map(|frame| (frame, live)) })
    }

    async fn next(&mut self) -> Option<Bytes> {
        if let Some(Running(call)) = &mut self.call {
            let ending = self.ending.clone();
            // Not biased: a flood of events must not hide the end.
            tokio::select! {
                Some(event) = self.events.recv() => return Some(frame("message", None, &event)),
                answered = call => {
                    let lost = |error| lost(&self.id, &error);
                    self.last = answered.unwrap_or_else(lost).message;
                    self.call = None;
                }
                () = fired(ending) => {
                    self.last = closed(&self.id).message;
                    self.call = None;
                }
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(PULSE),
            }
        }
        if let Ok(event) = self.events.try_recv() {
            return Some(frame("message", None, &event));
        }
        self.last.take().map(|message| frame("message", None, &message))
    }
}

async fn fired(ending: Option<CancellationToken>) {
    match ending {
        Some(ending) => ending.cancelled().await,
        None => std::future::pending().await,
    }
}

/// The task's end without an answer.
fn lost(id: &Id, error: &tokio::task::JoinError) -> Answered {
    tracing::error!(%error, "a request ended without an answer; this is a bug of wharf");
    let text = "the request met a bug of wharf; its log has the details";
    Answered::new(id, &Reply::Error(RpcError::new(RpcError::INTERNAL, text)))
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse;
    use bytes::Bytes;
    use futures_util::StreamExt;
    use http_body_util::BodyExt;
    use tokio::sync::mpsc;
    use wharf_plugin_api::Id;

    use super::{Live, at_once};
    use crate::held::Held;
    use crate::late;
    use crate::mcp::{AnswerKind, Answered, Exchange};
    use crate::tasks::Tasks;

    fn answered(text: &'static str) -> Answered {
        Answered { message: Some(Bytes::from_static(text.as_bytes())), kind: AnswerKind::MissingCapability }
    }

    fn live(tasks: &Tasks, exchange: Exchange, id: Id, is_listen: bool) -> Live {
        Live::new(tasks, Held::default().taker("test"), exchange, (id, is_listen))
    }

    async fn all(live: Live) -> String {
        live.frames()
            .map(|frame| String::from_utf8(frame.to_vec()).unwrap())
            .collect::<Vec<_>>()
            .await
            .concat()
    }

    #[tokio::test]
    async fn an_answer_alone_has_the_status_of_its_kind_and_one_with_events_is_a_stream() {
        let (out, events) = late::queue(1);
        let alone = at_once(events, answered("{}")).into_response();
        assert_eq!(
            (alone.status().as_u16(), alone.headers()["content-type"].as_bytes()),
            (400, &b"application/json"[..])
        );
        drop(out);
        let (out, events) = late::queue(1);
        out.made().send(Bytes::from_static(b"1")).await.unwrap();
        let both = at_once(events, answered("2")).into_response();
        assert_eq!(
            (both.status().as_u16(), both.headers()["x-accel-buffering"].as_bytes()),
            (200, &b"no"[..])
        );
        let body = both.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "event: message\ndata: 1\n\nevent: message\ndata: 2\n\n");
    }

    #[tokio::test]
    async fn an_answer_that_nobody_reads_counts_and_is_given_back() {
        let held = Held::default();
        let exchange = Exchange {
            events: late::queue(1).1,
            answer: Box::pin(std::future::ready(answered("0123456789"))),
        };
        let tasks = Tasks::default();
        let live = Live::new(&tasks, held.taker("test"), exchange, (Id::number(1), false));
        while held.bytes() != 10 {
            tokio::task::yield_now().await;
        }
        drop(live);
        tasks.end(std::time::Duration::from_secs(10)).await;
        assert_eq!(held.bytes(), 0);
    }

    #[tokio::test]
    async fn a_stream_that_is_dropped_ends_its_request() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let answer = Box::pin(async move {
            let _alive = alive;
            std::future::pending().await
        });
        let exchange = Exchange { events: late::queue(1).1, answer };
        drop(live(&Tasks::default(), exchange, Id::number(1), false));
        assert!(gone.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_subscription_ends_with_a_result_when_the_host_does() {
        let tasks = Tasks::default();
        let pending = || Exchange { events: late::queue(1).1, answer: Box::pin(std::future::pending()) };
        let sub = live(&tasks, pending(), Id::text("s"), true);
        tasks.ending().cancel();
        let sent = all(sub).await;
        assert!(sent.contains(r#""id":"s""#) && sent.contains(r#"subscriptionId":"s""#), "{sent}");
        let mut call = live(&tasks, pending(), Id::number(1), false);
        tokio::select! {
            biased;
            _ = call.next() => panic!("a call is not cut off"),
            () = tokio::task::yield_now() => {}
        }
    }

    #[tokio::test]
    async fn a_request_that_panics_is_answered() {
        let exchange = Exchange { events: late::queue(1).1, answer: Box::pin(async { panic!("boom") }) };
        let sent = all(live(&Tasks::default(), exchange, Id::number(1), false)).await;
        assert!(sent.contains("-32603") && !sent.contains("boom"), "{sent}");
    }
}
