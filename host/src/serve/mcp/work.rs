//! Exchanges that outlive the request they came with: the end of a legacy connection is no cancellation.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::future::join_all;

use super::streams::{Streams, Tracks};
use super::track::Track;
use crate::late;
use crate::mcp::{AnswerKind, Answered, Exchange, First, Session};

/// Messages of a batch between its exchanges and its stream.
const QUEUE: usize = 64;

/// An exchange that is waited for by its request. Dropped before its end, it goes on in a task of its own; nobody can join
/// it then, since no event told its client how.
#[derive(Debug)]
pub(super) struct Held<'a> {
    exchange: Option<Exchange>,
    /// Those of its session are looked up when it becomes one.
    streams: &'a Streams,
    session: Arc<Session>,
}

impl<'a> Held<'a> {
    pub(super) fn new(exchange: Exchange, streams: &'a Streams, session: Arc<Session>) -> Self {
        Self { exchange: Some(exchange), streams, session }
    }

    /// Waits for the answer, for something before it, or for `patience` to end.
    pub(super) async fn first(&mut self, patience: &mut (impl Future<Output = ()> + Unpin)) -> First {
        let Some(exchange) = &mut self.exchange else { return First::Nothing };
        match exchange.first(patience).await {
            First::Answered(answered) => self.finish(answered),
            before @ (First::Said(_) | First::Nothing) => before,
        }
    }

    /// The answer is there; it is a stream all the same if something was said in the very last moment.
    fn finish(&mut self, answered: Answered) -> First {
        let Some(mut exchange) = self.exchange.take() else { return First::Answered(answered) };
        match exchange.events.try_recv() {
            Err(_) => First::Answered(answered),
            Ok(event) => {
                exchange.answer = Box::pin(std::future::ready(answered));
                self.exchange = Some(exchange);
                First::Said(event)
            }
        }
    }

    /// Lets it go on by itself and write into a track.
    pub(super) fn stream(mut self, first: Option<Bytes>) -> (Arc<Tracks>, Arc<Track>) {
        let tracks = self.streams.of(&self.session);
        let track = tracks.open();
        if let Some(event) = first {
            track.push(&event);
        }
        if let Some(exchange) = self.exchange.take() {
            go_on(&tracks, exchange, Some(Arc::clone(&track)));
        }
        (tracks, track)
    }
}

fn go_on(tracks: &Arc<Tracks>, exchange: Exchange, track: Option<Arc<Track>>) {
    let (tracks, tasks) = (Arc::clone(tracks), tracks.tasks().clone());
    tasks.spawn(tracing::debug_span!("exchange"), async move {
        // It hears of the end of its session by itself, and its last message says so.
        run(exchange, track.as_deref()).await;
        if let Some(track) = track {
            tracks.finish(&track);
        }
    });
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // What panicked has no answer any more.
        if let Some(exchange) = self.exchange.take().filter(|_| !std::thread::panicking()) {
            tracing::debug!("a client left before its answer; the request goes on");
            go_on(&self.streams.of(&self.session), exchange, None);
        }
    }
}

/// Carries an exchange to its end. Both sides are drained: neither waits for the other.
async fn run(exchange: Exchange, track: Option<&Track>) {
    let write = |message: &[u8]| track.into_iter().for_each(|track| track.push(message));
    let Exchange { mut events, mut answer } = exchange;
    let answered = loop {
        tokio::select! {
            biased;
            Some(event) = events.recv() => write(&event),
            answered = &mut answer => break answered,
        }
    };
    while let Ok(event) = events.try_recv() {
        write(&event);
    }
    if let Some(message) = answered.message {
        write(&message);
    }
}

/// The exchanges of a batch as one. Its answers come as events, since each is a message of its own, and none at the end.
pub(super) fn merged(exchanges: Vec<Exchange>) -> Exchange {
    let (out, events) = late::queue(QUEUE);
    let all = exchanges.into_iter().map(move |exchange| forward(exchange, out.clone()));
    let answer = async move {
        join_all(all).await;
        Answered { message: None, kind: AnswerKind::Handled }
    };
    Exchange { events, answer: Box::pin(answer) }
}

async fn forward(exchange: Exchange, out: late::Sender<Bytes>) {
    let Exchange { mut events, mut answer } = exchange;
    let answered = loop {
        tokio::select! {
            biased;
            // Whoever polls this drains the other end at the same time.
            Some(event) = events.recv() => out.made().send(event).await.unwrap_or_default(),
            answered = &mut answer => break answered,
        }
    };
    while let Ok(event) = events.try_recv() {
        out.made().send(event).await.ok();
    }
    if let Some(message) = answered.message {
        out.made().send(message).await.ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio_util::sync::CancellationToken;

    use super::{merged, run};
    use crate::late;
    use crate::mcp::{AnswerKind, Answered, Exchange};
    use crate::serve::mcp::kept::Kept;
    use crate::serve::mcp::track::Track;

    /// An exchange that says these things and then answers.
    fn exchange(said: &'static [&'static str], answer: Option<&'static str>) -> Exchange {
        let (out, events) = late::queue(1);
        let answer = async move {
            for event in said {
                out.made().send(Bytes::from_static(event.as_bytes())).await.unwrap();
            }
            let message = answer.map(|text| Bytes::from_static(text.as_bytes()));
            Answered { message, kind: AnswerKind::Handled }
        };
        Exchange { events, answer: Box::pin(answer) }
    }

    async fn written(exchange: Exchange) -> Vec<String> {
        let track = Arc::new(Track::new(1, Kept::default()));
        run(exchange, Some(&track)).await;
        track.finish();
        let mut reader = track.join(Some(0)).unwrap();
        let mut out = Vec::new();
        while let Some(frame) = reader.next(&CancellationToken::new()).await {
            let text = String::from_utf8(frame.to_vec()).unwrap();
            out.push(text.lines().find_map(|line| line.strip_prefix("data: ")).unwrap().to_owned());
        }
        out
    }

    #[tokio::test]
    async fn what_is_said_comes_before_the_answer() {
        assert_eq!(written(exchange(&["1", "2", "3"], Some("4"))).await, ["1", "2", "3", "4"]);
        assert_eq!(written(exchange(&["1"], None)).await, ["1"], "a cancelled request has no answer");
    }

    #[tokio::test]
    async fn a_batch_is_over_when_each_of_it_is() {
        let batch =
            merged(vec![exchange(&["1", "2"], Some("3")), exchange(&[], None), exchange(&[], Some("4"))]);
        let mut all = written(batch).await;
        all.sort();
        assert_eq!(all, ["1", "2", "3", "4"]);
    }

    #[tokio::test]
    async fn an_exchange_that_nobody_reads_goes_on() {
        run(exchange(&["1", "2", "3"], Some("4")), None).await;
    }
}
