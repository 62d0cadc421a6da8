//! HTTP+SSE of 2024-11-05: `GET /sse` is the connection, `POST /messages` its other direction. The session ends with the
//! stream. Kept for old clients; the specification has left it behind.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Extension;
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Uri};
use serde::Deserialize;
use tokio::sync::mpsc;
use wharf_core::Code;

use super::head::{Refusal, Visit};
use super::told::Told;
use super::{McpEdge, accepted};
use crate::edge_stdio::DRAIN_AT_END;
use crate::edge_stdio::out::Out;
use crate::edge_stdio::talk::Talk;
use crate::held::Taker;
use crate::serve::body::JsonBody;
use crate::serve::heads::Heads;
use crate::serve::problem::{Answer, Problem};
use crate::serve::sse::{self, KEEP_ALIVE, PULSE, frame};
use crate::serve::taking::taker_of;
use crate::serve::trace::Traced;
use crate::tasks::Tasks;

/// Connections at a time; each is one of the edge's connections anyway.
const MOST: usize = 512;
/// Messages on their way out of one.
const QUEUE: usize = 64;

/// The open connections, by an unguessable id. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub(super) struct OldSessions(Arc<Mutex<HashMap<String, Arc<Talk>>>>);

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    #[serde(rename = "sessionId")]
    session: String,
}

/// `GET /sse`
pub(super) async fn open(
    State(edge): State<McpEdge>,
    Visit(visitor): Visit,
    taker: Option<Extension<Arc<Taker>>>,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    if let Err(refusal) = Told::of(&Heads::of(&headers)).accepts_stream() {
        return Ok(refusal.into_response());
    }
    let taker = taker_of(taker, edge.mcp.held());
    let (out, messages) = Out::new(Arc::clone(&taker), QUEUE);
    let talk = Arc::new(Talk::new(edge.mcp.clone(), visitor, edge.tasks.clone(), out));
    let id = edge.old.add(&talk)?;
    let path = uri.path().strip_suffix("/sse").unwrap_or_default();
    let endpoint = format!("event: endpoint\ndata: {path}/messages?sessionId={id}\n\n");
    let open = Open { id, all: edge.old.clone(), talk, messages };
    edge.tasks.spawn(
        tracing::debug_span!("old connection"),
        end(Arc::clone(&open.talk), taker, edge.tasks.clone()),
    );
    let first = stream::iter([Bytes::from(endpoint)]);
    Ok(sse::respond(first.chain(open.frames())))
}

/// `POST /messages?sessionId=..`
pub(super) async fn message(
    State(edge): State<McpEdge>,
    Visit(visitor): Visit,
    which: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
    headers: HeaderMap,
    JsonBody(body): JsonBody,
) -> Answer {
    let Query(Which { session }) =
        which.map_err(|error| Problem::new(Code::BadRequest, error.to_string()))?;
    let talk = edge.old.find(&session).filter(|talk| *talk.visitor() == visitor);
    let Some(talk) = talk else { return Ok(Refusal::no_session(None).into_response()) };
    let traced = Traced::of(&headers);
    talk.take_with(&body.unwrap_or_default(), |params| traced.put(params)).await;
    let response: Response = accepted();
    Ok(response)
}

/// Ends a talk with the host: answers in flight are waited for, and go out meanwhile.
async fn end(talk: Arc<Talk>, taker: Arc<Taker>, tasks: Tasks) {
    tokio::select! {
        () = tasks.ending().cancelled() => talk.finish(DRAIN_AT_END).await,
        () = talk.over().cancelled() => {}
        // The connection is cut at the same time. Who still sends to the session learns that there is none.
        () = taker.must_go() => talk.end(),
    }
}

// === impl OldSessions ===

impl OldSessions {
    fn locked(&self) -> MutexGuard<'_, HashMap<String, Arc<Talk>>> {
        // No critical section can panic half way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, talk: &Arc<Talk>) -> Result<String, Problem> {
        let mut secret = [0; 16];
        getrandom::fill(&mut secret).map_err(|error| {
            Problem::new(Code::Internal, format!("the system gives no randomness: {error}"))
        })?;
        let id = format!("{:032x}", u128::from_be_bytes(secret));
        let mut all = self.locked();
        if all.len() >= MOST {
            return Err(Problem::new(
                Code::Overloaded,
                format!("{MOST} of these connections are open already"),
            ));
        }
        all.insert(id.clone(), Arc::clone(talk));
        Ok(id)
    }

    fn find(&self, id: &str) -> Option<Arc<Talk>> {
        self.locked().get(id).cloned()
    }
}

/// An open stream. Dropped, its session ends.
struct Open {
    id: String,
    all: OldSessions,
    talk: Arc<Talk>,
    messages: mpsc::Receiver<Bytes>,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.all.locked().remove(&self.id);
        self.talk.end();
    }
}

impl Open {
    fn frames(self) -> impl Stream<Item = Bytes> + Send {
        stream::unfold(self, |mut open| async move {
            let over = open.talk.over().clone();
            let frame = tokio::select! {
                // What was said before the end goes out before the end.
                biased;
                Some(message) = open.messages.recv() => frame("message", None, &message),
                () = over.cancelled() => return None,
                () = tokio::time::sleep(KEEP_ALIVE) => PULSE,
            };
            Some((frame, open))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::body::Body;
    use futures_util::StreamExt;
    use http::Request;
    use hyper::service::Service;
    use hyper_util::service::TowerToHyperService;
    use serde_json::json;

    use crate::mcp::modern::testkit::{Kit, call};
    use crate::serve::mcp::{McpEdge, routes};
    use crate::serve::sse::KEEP_ALIVE;
    use crate::tasks::Tasks;

    #[tokio::test]
    async fn a_stream_that_nobody_reads_ends_when_too_much_waits_in_it() {
        let (kit, tasks) = (Kit::new().await, Tasks::default());
        let routes = TowerToHyperService::new(routes(McpEdge::new(kit.mcp.clone(), tasks.clone())));
        let asked = Request::get("/sse").header("accept", "text/event-stream").body(Body::empty()).unwrap();
        let mut events = routes.call(asked).await.unwrap().into_body().into_data_stream();
        let first = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
        let endpoint = first.trim().split_once("data: ").unwrap().1;
        for id in 0..14 {
            let mut params = call("old__echo", &json!({}));
            params["arguments"] = json!({ "text": "x".repeat(3 << 20) });
            let message = json!({ "jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params });
            let posted = Request::post(endpoint).header("content-type", "application/json");
            let posted = posted.body(Body::from(message.to_string())).unwrap();
            assert_eq!(routes.call(posted).await.unwrap().status(), 202);
        }
        tokio::time::pause();
        let cut = async {
            while kit.mcp.held().cut_off() == 0 {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        tokio::time::timeout(KEEP_ALIVE, cut).await.expect("it is held for ever");
        // Its connection is cut at the same time; here there is none, and the stream comes to its end.
        events.for_each(|_| async {}).await;
        tasks.end(Duration::from_secs(10)).await;
        assert_eq!(kit.mcp.held().bytes(), 0);
    }

    #[tokio::test]
    async fn a_call_in_flight_is_answered_before_the_stream_ends_with_the_host() {
        let (kit, tasks) = (Kit::new().await, Tasks::default());
        let routes = TowerToHyperService::new(routes(McpEdge::new(kit.mcp.clone(), tasks.clone())));
        let asked = Request::get("/sse").header("accept", "text/event-stream").body(Body::empty()).unwrap();
        let mut events = routes.call(asked).await.unwrap().into_body().into_data_stream();
        let first = String::from_utf8(events.next().await.unwrap().unwrap().to_vec()).unwrap();
        let endpoint = first.trim().split_once("data: ").unwrap().1;
        let message = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": call("old__hang", &json!({})) });
        let posted = Request::post(endpoint).header("content-type", "application/json");
        let posted = posted.body(Body::from(message.to_string())).unwrap();
        assert_eq!(routes.call(posted).await.unwrap().status(), 202);
        kit.legacy.reached.notified().await;
        tasks.ending().cancel();
        let rest = events.map(|chunk| chunk.unwrap().to_vec()).concat();
        let rest = tasks.spawn(tracing::Span::none(), rest);
        // It is read on while the call still runs.
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
        kit.legacy.goes_on.notify_one();
        let rest = String::from_utf8(rest.await.unwrap()).unwrap();
        assert!(rest.contains(r#""id":1"#) && rest.contains("result"), "{rest}");
    }
}
