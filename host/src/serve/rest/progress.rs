//! A call as a stream of events: what the plugin says during it, then `result` or `error`.

use std::future::Future;

use bytes::Bytes;
use futures_util::{Stream, stream};
use serde_json::value::RawValue;
use tokio::task::{JoinError, JoinHandle};
use wharf_core::Code;
use wharf_plugin_api::Notification;
use wharf_plugin_api::jsonrpc;

use crate::late;
use crate::route::CallEvent;
use crate::serve::problem::Problem;
use crate::serve::sse::{KEEP_ALIVE, PULSE, frame};
use crate::tasks::Tasks;

/// Events that wait for a slow client; the router drops what does not fit.
pub(super) const QUEUE: usize = 64;

/// The body of the answer, or what became of the call instead.
type Outcome = Result<Bytes, Problem>;

struct Live {
    /// `None` once it is over.
    call: Option<Running>,
    /// The frame after which nothing comes.
    last: Option<Bytes>,
    /// Frames already.
    events: late::Receiver<Bytes>,
}

/// The call's task. Dropped, it is ended.
struct Running(JoinHandle<Outcome>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The frames of a call. Dropping the stream drops the call. The call runs by itself: a client that reads slowly, or not at
/// all, neither stretches its deadline nor keeps its place among the plugin's calls.
pub(super) fn stream<F: Future<Output = Outcome> + Send + 'static>(
    tasks: &Tasks,
    call: F,
    events: late::Receiver<Bytes>,
) -> impl Stream<Item = Bytes> + Send + use<F> {
    let call = Running(tasks.spawn(tracing::Span::current(), call));
    stream::unfold(Live { call: Some(call), last: None, events }, next)
}

async fn next(mut live: Live) -> Option<(Bytes, Live)> {
    if let Some(Running(call)) = &mut live.call {
        // Not biased: a flood of events must not hide the end.
        tokio::select! {
            Some(event) = live.events.recv() => return Some((event, live)),
            outcome = call => {
                live.last = Some(outcome_frame(outcome.unwrap_or_else(|error| Err(lost(&error)))));
                live.call = None;
            }
            () = tokio::time::sleep(KEEP_ALIVE) => return Some((PULSE, live)),
        }
    }
    // What was said before the answer comes before the answer.
    if let Ok(event) = live.events.try_recv() {
        return Some((event, live));
    }
    live.last.take().map(|last| (last, live))
}

/// The task's end without an outcome.
fn lost(error: &JoinError) -> Problem {
    tracing::error!(%error, "a streamed call ended without an outcome; this is a bug of wharf");
    Problem::new(Code::Internal, "the call met a bug of wharf; its log has the details")
}

/// What is said on the way, for the stream.
pub(super) fn event_frame(event: CallEvent) -> Bytes {
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

fn outcome_frame(outcome: Outcome) -> Bytes {
    match outcome {
        Ok(body) => frame("result", None, &body),
        Err(problem) => frame("error", None, &problem.to_json()),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt;
    use serde_json::value::RawValue;
    use tokio::sync::mpsc;
    use wharf_core::{CallId, Code};
    use wharf_plugin_api::Notification;

    use super::{QUEUE, event_frame, stream};
    use crate::late;
    use crate::route::CallEvent;
    use crate::serve::problem::Problem;
    use crate::tasks::Tasks;

    fn notification(method: &'static str, json: &str) -> CallEvent {
        let params = RawValue::from_string(json.to_owned()).unwrap();
        CallEvent::Notification(Notification { method: method.into(), params: Some(params.into()) })
    }

    async fn all(frames: impl futures_util::Stream<Item = Bytes>) -> String {
        frames.map(|frame| String::from_utf8(frame.to_vec()).unwrap()).collect::<Vec<_>>().await.concat()
    }

    #[tokio::test]
    async fn events_come_in_order_and_the_result_last() {
        let (sender, events) = late::queue(QUEUE);
        let call = async move {
            let said = [
                CallEvent::Accepted(CallId::new(1, 2)),
                notification("notifications/progress", "{\"progress\":1}"),
                notification("notifications/message", "{\"data\":\n\"x\"}"),
                notification("notifications/other", "{}"),
            ];
            for event in said {
                sender.made().send(event_frame(event)).await.unwrap();
            }
            Ok(Bytes::from_static(b"{\r\n}"))
        };
        let sent = all(stream(&Tasks::default(), call, events)).await;
        let expected = "event: accepted\ndata: {\"call_id\":\"c-00000001-2\"}\n\n\
            event: progress\ndata: {\"progress\":1}\n\n\
            event: log\ndata: {\"data\": \"x\"}\n\n\
            event: notification\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/other\",\"params\":{}}\n\n\
            event: result\ndata: {  }\n\n";
        assert_eq!(sent, expected);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_and_a_failure_ends_the_stream() {
        let (_sender, events) = late::queue(QUEUE);
        let call = async {
            tokio::time::sleep(super::KEEP_ALIVE * 5 / 2).await;
            Err(Problem::new(Code::Deadline, "late"))
        };
        let sent = all(stream(&Tasks::default(), call, events)).await;
        assert_eq!(sent.matches(": keep-alive\n\n").count(), 2, "{sent}");
        assert!(sent.contains("event: error\ndata: {") && sent.contains("\"code\":\"deadline\""), "{sent}");
    }

    #[tokio::test]
    async fn dropping_the_stream_drops_the_call() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let (_sender, events) = late::queue(QUEUE);
        let call = async move {
            let _alive = alive;
            std::future::pending().await
        };
        let frames = Box::pin(stream(&Tasks::default(), call, events));
        drop(frames);
        assert!(gone.recv().await.is_none());
    }

    #[tokio::test]
    async fn a_call_ends_whether_or_not_its_client_reads() {
        let (alive, mut gone) = mpsc::channel::<()>(1);
        let (_sender, events) = late::queue(QUEUE);
        let call = async move {
            let _alive = alive;
            Err(Problem::new(Code::Deadline, "late"))
        };
        let frames = stream(&Tasks::default(), call, events);
        assert!(gone.recv().await.is_none(), "the call is over, and nothing was read of it");
        assert!(all(frames).await.contains("\"code\":\"deadline\""));
    }

    #[tokio::test]
    async fn a_call_that_panics_ends_its_stream_with_an_error() {
        let (_sender, events) = late::queue(QUEUE);
        let call = async { panic!("boom") };
        let sent = all(stream(&Tasks::default(), call, events)).await;
        assert!(sent.contains("\"code\":\"internal\"") && !sent.contains("boom"), "{sent}");
    }
}
