//! The host's events as a stream that a client can join again where it left (`Last-Event-ID`).

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use bytes::Bytes;
use futures_util::{Stream, stream};
use http::{HeaderMap, HeaderName};
use serde_json::json;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio_util::sync::CancellationToken;
use wharf_core::Code;

use super::Edge;
use crate::events::{Event, EventBus, Subscription};
use crate::serve::guard::single;
use crate::serve::problem::{Answer, Problem};
use crate::serve::sse::{self, KEEP_ALIVE, PULSE, frame};

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

struct Feed {
    ready: VecDeque<Bytes>,
    live: broadcast::Receiver<Arc<Event>>,
    ending: CancellationToken,
}

/// `GET /api/v1/events`
pub(super) async fn stream(State(edge): State<Edge>, headers: HeaderMap) -> Answer {
    let bad = || Problem::new(Code::BadRequest, "Last-Event-ID is not the number of an event");
    let text = single(&headers, &LAST_EVENT_ID).map_err(|()| bad())?;
    let after = text.map(|text| text.trim().parse::<u64>().map_err(|_| bad())).transpose()?;
    Ok(sse::respond(feed(edge.host.events(), after, edge.tasks.ending().clone())))
}

fn feed(
    bus: &EventBus,
    after: Option<u64>,
    ending: CancellationToken,
) -> impl Stream<Item = Bytes> + Send + use<> {
    let Subscription { missed, live } = join(bus, after);
    // A first frame at once, so that a client knows that it is connected before anything happens.
    let mut ready = VecDeque::from([PULSE]);
    if let (Some(after), Some(first)) = (after, missed.first()) {
        let lost = first.id.saturating_sub(after.saturating_add(1));
        if first.id <= after || lost > 0 {
            ready.push_back(lag((first.id > after).then_some(lost)));
        }
    }
    ready.extend(missed.iter().map(|event| event_frame(event)));
    stream::unfold(Feed { ready, live, ending }, next)
}

/// An id that lies ahead of all events is one of an earlier run of the host: everything is new to its client.
fn join(bus: &EventBus, after: Option<u64>) -> Subscription {
    let joined = bus.subscribe(after);
    let Some(after) = after.filter(|after| *after > 0 && joined.missed.is_empty()) else { return joined };
    let all = bus.subscribe(Some(0));
    if all.missed.last().is_some_and(|last| last.id >= after) { joined } else { all }
}

async fn next(mut feed: Feed) -> Option<(Bytes, Feed)> {
    if let Some(bytes) = feed.ready.pop_front() {
        return Some((bytes, feed));
    }
    let bytes = tokio::select! {
        () = feed.ending.cancelled() => return None,
        event = feed.live.recv() => match event {
            Ok(event) => event_frame(&event),
            Err(RecvError::Lagged(lost)) => lag(Some(lost)),
            Err(RecvError::Closed) => return None,
        },
        () = tokio::time::sleep(KEEP_ALIVE) => PULSE,
    };
    Some((bytes, feed))
}

fn event_frame(event: &Event) -> Bytes {
    // Plain data: this does not fail.
    frame(event.kind, Some(&event.id), &serde_json::to_vec(event).unwrap_or_default())
}

/// Tells how many events the client did not get; `null` where the host was started anew since.
fn lag(lost: Option<u64>) -> Bytes {
    frame("lag", None, json!({"lost": lost}).to_string().as_bytes())
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt;
    use tokio_util::sync::CancellationToken;

    use super::feed;
    use crate::events::EventBus;

    fn bus(events: usize) -> EventBus {
        let bus = EventBus::default();
        for n in 0..events {
            bus.publish("plugin.state", n.into());
        }
        bus
    }

    /// All that is sent until the edge ends, which it does once `count` frames after the greeting are there.
    async fn frames(bus: &EventBus, after: Option<u64>, count: usize) -> Vec<String> {
        let mut feed = Box::pin(feed(bus, after, CancellationToken::new()));
        let mut out = Vec::new();
        for _ in 0..=count {
            out.push(String::from_utf8(feed.next().await.unwrap().to_vec()).unwrap());
        }
        assert_eq!(out.remove(0), ": keep-alive\n\n");
        out
    }

    #[tokio::test]
    async fn a_client_joins_where_it_left() {
        let bus = bus(3);
        let sent = frames(&bus, Some(1), 2).await;
        assert!(sent[0].starts_with("id: 2\nevent: plugin.state\ndata: {\"id\":2,"), "{}", sent[0]);
        assert!(sent[1].starts_with("id: 3\n"), "{}", sent[1]);
    }

    #[tokio::test]
    async fn what_is_lost_is_told() {
        let ring = bus(1024 + 5);
        let sent = frames(&ring, Some(2), 2).await;
        assert_eq!(sent[0], "event: lag\ndata: {\"lost\":3}\n\n");
        assert!(sent[1].starts_with("id: 6\n"), "{}", sent[1]);
        let restarted = frames(&bus(2), Some(900), 3).await;
        assert_eq!(restarted[0], "event: lag\ndata: {\"lost\":null}\n\n");
        assert!(restarted[1].starts_with("id: 1\n"), "{}", restarted[1]);
    }

    #[tokio::test]
    async fn a_slow_reader_is_told_and_goes_on() {
        let bus = bus(0);
        let mut feed = Box::pin(feed(&bus, None, CancellationToken::new()));
        feed.next().await.unwrap();
        for n in 0..1024 + 7 {
            bus.publish("catalog.changed", n.into());
        }
        assert_eq!(feed.next().await.unwrap(), "event: lag\ndata: {\"lost\":7}\n\n");
        assert!(feed.next().await.unwrap().starts_with(b"id: 8\n"));
    }

    #[tokio::test(start_paused = true)]
    async fn it_lives_in_silence_and_ends_with_the_edge() {
        let (bus, ending) = (bus(0), CancellationToken::new());
        let mut feed = Box::pin(feed(&bus, None, ending.clone()));
        assert_eq!(feed.next().await.unwrap(), ": keep-alive\n\n");
        assert_eq!(feed.next().await.unwrap(), ": keep-alive\n\n");
        ending.cancel();
        assert!(feed.next().await.is_none());
    }
}
