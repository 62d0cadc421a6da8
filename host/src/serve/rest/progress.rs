//! A call as a stream of events: what the plugin says during it, then `result` or `error`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use wharf_core::catalog::Tool;
use wharf_plugin_api::Notification;
use wharf_plugin_api::jsonrpc;

use super::calls;
use crate::route::{CallEvent, Failure, Settled};
use crate::serve::problem::Problem;
use crate::serve::sse::{KEEP_ALIVE, PULSE, frame};

/// Events that wait for a slow client; the router drops what does not fit.
pub(super) const QUEUE: usize = 64;

type Outcome = Result<Settled, Failure>;

struct Live {
    /// `None` once it is over.
    call: Option<Pin<Box<dyn Future<Output = Outcome> + Send>>>,
    /// The frame after which nothing comes.
    last: Option<Bytes>,
    events: mpsc::Receiver<CallEvent>,
    tool: Arc<Tool>,
}

/// The frames of a call. Dropping the stream drops the call.
pub(super) fn stream(
    call: impl Future<Output = Outcome> + Send + 'static,
    events: mpsc::Receiver<CallEvent>,
    tool: Arc<Tool>,
) -> impl Stream<Item = Bytes> + Send + 'static {
    stream::unfold(Live { call: Some(Box::pin(call)), last: None, events, tool }, next)
}

async fn next(mut live: Live) -> Option<(Bytes, Live)> {
    if let Some(call) = &mut live.call {
        // Not biased: a flood of events must not keep the call from being polled.
        tokio::select! {
            Some(event) = live.events.recv() => return Some((event_frame(event), live)),
            outcome = call => {
                live.last = Some(outcome_frame(&live.tool, outcome));
                live.call = None;
            }
            () = tokio::time::sleep(KEEP_ALIVE) => return Some((PULSE, live)),
        }
    }
    // What was said before the answer comes before the answer.
    if let Ok(event) = live.events.try_recv() {
        return Some((event_frame(event), live));
    }
    live.last.take().map(|last| (last, live))
}

fn event_frame(event: CallEvent) -> Bytes {
    match event {
        CallEvent::Accepted(id) => frame("accepted", None, format!(r#"{{"call_id":"{id}"}}"#).as_bytes()),
        CallEvent::Notification(Notification { method, params }) => {
            let params = params.as_deref();
            let raw = params.map_or("{}", RawValue::get).as_bytes();
            match &*method {
                "notifications/progress" => frame("progress", None, raw),
                "notifications/message" => frame("log", None, raw),
                _ => frame("notification", None, &jsonrpc::notification(&method, params)),
            }
        }
    }
}

fn outcome_frame(tool: &Tool, outcome: Outcome) -> Bytes {
    let answer = outcome.map_err(Problem::from).and_then(|settled| calls::answer(tool, settled));
    match answer {
        Ok(body) => frame("result", None, &body),
        Err(problem) => frame("error", None, &problem.to_json()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::StreamExt;
    use serde_json::value::RawValue;
    use tokio::sync::mpsc;
    use wharf_core::{CallId, Code};
    use wharf_plugin_api::{Notification, Reply};

    use super::super::calls::tests::{settled, tool};
    use super::{QUEUE, stream};
    use crate::route::{CallEvent, Failure};

    fn notification(method: &'static str, json: &str) -> CallEvent {
        let params = RawValue::from_string(json.to_owned()).unwrap();
        CallEvent::Notification(Notification { method: method.into(), params: Some(params.into()) })
    }

    async fn all(frames: impl futures_util::Stream<Item = bytes::Bytes>) -> String {
        frames.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect::<Vec<_>>().await.concat()
    }

    #[tokio::test]
    async fn events_come_in_order_and_the_result_last() {
        let (sender, events) = mpsc::channel(QUEUE);
        let call = async move {
            sender.send(CallEvent::Accepted(CallId::new(1, 2))).await.unwrap();
            sender.send(notification("notifications/progress", "{\"progress\":1}")).await.unwrap();
            sender.send(notification("notifications/message", "{\"data\":\n\"x\"}")).await.unwrap();
            sender.send(notification("notifications/other", "{}")).await.unwrap();
            Ok(settled(Reply::Result(RawValue::from_string("{\r\n}".into()).unwrap())))
        };
        let sent = all(stream(call, events, Arc::new(tool()))).await;
        let expected = "event: accepted\ndata: {\"call_id\":\"c-00000001-2\"}\n\n\
            event: progress\ndata: {\"progress\":1}\n\n\
            event: log\ndata: {\"data\": \"x\"}\n\n\
            event: notification\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/other\",\"params\":{}}\n\n\
            event: result\ndata: {\"call_id\":\"c-00000001-2\",\"plugin\":\"p\",\"instance\":3,\"duration_ms\":4,\"result\":{  }}\n\n";
        assert_eq!(sent, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_and_a_failure_ends_the_stream() {
        let (_sender, events) = mpsc::channel(QUEUE);
        let call = async {
            tokio::time::sleep(super::KEEP_ALIVE * 5 / 2).await;
            Err(Failure::new(Code::Deadline, "late"))
        };
        let sent = all(stream(call, events, Arc::new(tool()))).await;
        assert_eq!(sent.matches(": keep-alive\n\n").count(), 2, "{sent}");
        assert!(sent.contains("event: error\ndata: {") && sent.contains("\"code\":\"deadline\""), "{sent}");
    }

    #[tokio::test]
    async fn dropping_the_stream_drops_the_call() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let (_sender, events) = mpsc::channel(QUEUE);
        let call = async move {
            let _alive = alive;
            std::future::pending().await
        };
        let frames = Box::pin(stream(call, events, Arc::new(tool())));
        drop(frames);
        assert!(gone.recv().await.is_none());
    }
}
