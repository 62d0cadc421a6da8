//! A reader of server-sent events, as a browser would read them: just enough for tests.

use std::collections::VecDeque;

use serde_json::Value;

/// One event.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: String,
}

/// An open stream of events.
#[derive(Debug)]
pub(crate) struct Events {
    response: reqwest::Response,
    rest: Vec<u8>,
    ready: VecDeque<Event>,
}

impl Event {
    /// The data as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.data).unwrap_or_else(|e| panic!("not JSON ({e}): {self:?}"))
    }

    fn parse(block: &str) -> Option<Self> {
        let mut event = Self::default();
        let mut data = Vec::new();
        for line in block.lines() {
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => value.clone_into(&mut event.id),
                "event" => value.clone_into(&mut event.name),
                "data" => data.push(value),
                _ => {}
            }
        }
        event.data = data.join("\n");
        (!data.is_empty()).then_some(event)
    }
}

impl Events {
    /// Opens a stream. Fails unless the answer is one.
    pub(crate) async fn open(request: reqwest::RequestBuilder) -> Self {
        let request = request.header("accept", "text/event-stream");
        let response = tokio::time::timeout(super::PATIENCE, request.send())
            .await
            .expect("the host answers in time")
            .expect("the host answers");
        assert_eq!(response.status().as_u16(), 200, "an event stream is opened with 200");
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        assert!(kind.starts_with("text/event-stream"), "content-type {kind}");
        Self::of(response)
    }

    /// The events of an answer that is known to be a stream.
    pub(crate) fn of(response: reqwest::Response) -> Self {
        Self { response, rest: Vec::new(), ready: VecDeque::new() }
    }

    /// The next event; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            let chunk = tokio::time::timeout(super::PATIENCE, self.response.chunk())
                .await
                .expect("an event comes in time")
                .expect("the stream is whole")?;
            self.take(&chunk);
        }
    }

    /// Reads on until an event fits, at most [`PATIENCE`](super::PATIENCE): a stream that is only kept alive does not.
    pub(crate) async fn until(&mut self, what: &str, mut fits: impl FnMut(&Event) -> bool) -> Event {
        let reading = async {
            while let Some(event) = self.next().await {
                if fits(&event) {
                    return event;
                }
            }
            panic!("the stream ended before {what}");
        };
        tokio::time::timeout(super::PATIENCE, reading)
            .await
            .unwrap_or_else(|_| panic!("no event in time: {what}"))
    }

    /// All events up to the end of the stream.
    pub(crate) async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }

    fn take(&mut self, chunk: &[u8]) {
        self.rest.extend_from_slice(chunk);
        while let Some(end) = self.rest.windows(2).position(|pair| pair == b"\n\n") {
            let block: Vec<u8> = self.rest.drain(..end + 2).collect();
            let text = String::from_utf8(block).expect("events are UTF-8");
            self.ready.extend(Event::parse(&text));
        }
    }
}
