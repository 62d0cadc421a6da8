//! The streams of legacy sessions, so that a client that lost a connection goes on where it was (`Last-Event-ID`).
//!
//! Keyed by session and dropped with it. Stream 0 of a session is its feed, the others are of its requests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, stream};

use super::kept::Kept;
use super::track::{Reader, Track};
use crate::mcp::{Feed, Session};
use crate::serve::sse::{KEEP_ALIVE, PULSE};
use crate::tasks::Tasks;

/// Streams of a session that are over and still kept, by number and by size: those that were read to their end go first, the
/// oldest of them before. The newest is kept whatever its size.
const FINISHED: usize = 32;
const FINISHED_BYTES: usize = 4 << 20;
/// The first revision whose clients understand an event without a message.
const PRIMED: &str = "2025-11-25";
/// The number of the feed.
const FEED: u64 = 0;

/// The streams of all sessions. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    sessions: Arc<Mutex<HashMap<Arc<str>, Arc<Tracks>>>>,
    kept: Kept,
    tasks: Tasks,
}

/// Those of one session.
#[derive(Debug)]
pub(super) struct Tracks {
    session: Arc<Session>,
    feed: Arc<Track>,
    requests: Mutex<Requests>,
    kept: Kept,
    tasks: Tasks,
}

#[derive(Debug, Default)]
struct Requests {
    last: u64,
    tracks: VecDeque<Arc<Track>>,
}

/// No critical section can panic half way, so a poisoned lock is as good as any.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Streams ===

impl Streams {
    pub(super) fn new(tasks: Tasks) -> Self {
        Self { sessions: Arc::default(), kept: Kept::default(), tasks }
    }

    /// Those of a session, which are dropped when it ends.
    pub(super) fn of(&self, session: &Arc<Session>) -> Arc<Tracks> {
        let mut sessions = locked(&self.sessions);
        if let Some(tracks) = sessions.get(session.id()) {
            return Arc::clone(tracks);
        }
        let id: Arc<str> = session.id().into();
        let tracks = Arc::new(Tracks {
            session: Arc::clone(session),
            feed: Arc::new(Track::new(FEED, self.kept.clone())),
            requests: Mutex::default(),
            kept: self.kept.clone(),
            tasks: self.tasks.clone(),
        });
        sessions.insert(Arc::clone(&id), Arc::clone(&tracks));
        drop(sessions);
        let (all, ended, ending) =
            (Arc::clone(&self.sessions), session.ended().clone(), self.tasks.ending().clone());
        self.tasks.spawn(tracing::debug_span!("session streams"), async move {
            tokio::select! {
                () = ended.cancelled() => {}
                () = ending.cancelled() => {}
            }
            locked(&all).remove(&id);
        });
        tracks
    }
}

// === impl Tracks ===

impl Tracks {
    pub(super) fn tasks(&self) -> &Tasks {
        &self.tasks
    }

    /// A stream for a request. One whose session has ended is made all the same, and forgotten with it.
    pub(super) fn open(&self) -> Arc<Track> {
        let mut requests = locked(&self.requests);
        requests.last += 1;
        let track = Arc::new(Track::new(requests.last, self.kept.clone()));
        requests.tracks.push_back(Arc::clone(&track));
        track
    }

    /// Nothing comes any more on a stream.
    pub(super) fn finish(&self, track: &Arc<Track>) {
        track.finish();
        locked(&self.requests).tidy();
    }

    /// The answer to a client that joins a stream after this event. `None`: nothing is known of it (any more).
    pub(super) fn resume(&self, event: &str) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let (number, after) = event.trim().split_once('-')?;
        let (number, after): (u64, u64) = (number.parse().ok()?, after.parse().ok()?);
        if number == FEED {
            let reader = self.feed.join(Some(after))?;
            return Some(self.frames(reader, Some(self.session.feed())));
        }
        let track = locked(&self.requests).tracks.iter().find(|track| track.number() == number).cloned()?;
        Some(self.frames(track.join(Some(after))?, None))
    }

    /// What the session says that belongs to no request, from now on.
    pub(super) fn feed(&self) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        let reader = self.feed.join(None)?;
        Some(self.frames(reader, Some(self.session.feed())))
    }

    /// A request's stream from its begin.
    pub(super) fn read(&self, track: &Arc<Track>) -> Option<impl Stream<Item = Bytes> + Send + use<>> {
        Some(self.frames(track.join(Some(0))?, None))
    }

    fn frames(&self, reader: Reader, feed: Option<Feed>) -> impl Stream<Item = Bytes> + Send + use<> {
        let first = if self.session.revision() >= PRIMED {
            Some(reader.prime())
        } else {
            // Who opens a feed learns at once that it stands.
            feed.is_some().then_some(PULSE)
        };
        let joined =
            Joined { first, reader, feed, session: Arc::clone(&self.session), tasks: self.tasks.clone() };
        stream::unfold(joined, |mut joined| async move { joined.next().await.map(|frame| (frame, joined)) })
    }
}

impl Requests {
    /// Streams that are over go when there are too many of them. One that is not over is held by the bound on requests.
    fn tidy(&mut self) {
        let done = self.tracks.iter().filter(|track| track.is_done());
        let mut done: Vec<_> = done.map(|track| (!track.is_read(), track.number(), track.bytes())).collect();
        let (mut count, mut bytes) = (done.len(), done.iter().map(|(.., bytes)| bytes).sum::<usize>());
        // The newest.
        done.pop();
        done.sort_unstable();
        for (_, number, size) in done {
            if count <= FINISHED && bytes <= FINISHED_BYTES {
                return;
            }
            self.tracks.retain(|track| track.number() != number);
            (count, bytes) = (count - 1, bytes - size);
        }
    }
}

/// A stream that is being read.
struct Joined {
    first: Option<Bytes>,
    reader: Reader,
    /// Where the messages come from, if not from a request that runs.
    feed: Option<Feed>,
    session: Arc<Session>,
    tasks: Tasks,
}

impl Joined {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.take() {
            return Some(first);
        }
        let Some(feed) = &mut self.feed else { return self.reader.next(self.session.ended()).await };
        loop {
            if let Some(frame) = self.reader.ready() {
                return Some(frame);
            }
            if self.reader.is_over() {
                return None;
            }
            tokio::select! {
                message = feed.next() => self.reader.track().push(&message?),
                () = self.tasks.ending().cancelled() => return None,
                () = tokio::time::sleep(KEEP_ALIVE) => return Some(PULSE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::{FINISHED, FINISHED_BYTES, Requests};
    use crate::serve::mcp::kept::Kept;
    use crate::serve::mcp::track::Track;

    /// A stream that is over; its numbers grow.
    async fn add(requests: &mut Requests, bytes: usize, read: bool) {
        requests.last += 1;
        let track = Arc::new(Track::new(requests.last, Kept::default()));
        track.push(&vec![b'x'; bytes]);
        track.finish();
        let mut reader = track.join(Some(0)).unwrap();
        while read && reader.next(&CancellationToken::new()).await.is_some() {}
        requests.tracks.push_back(track);
        requests.tidy();
    }

    fn numbers(requests: &Requests) -> Vec<u64> {
        requests.tracks.iter().map(|track| track.number()).collect()
    }

    #[tokio::test]
    async fn what_was_read_goes_before_what_was_not_and_the_newest_never() {
        let mut requests = Requests::default();
        add(&mut requests, 10, false).await;
        for _ in 0..FINISHED {
            add(&mut requests, 10, true).await;
        }
        let kept = numbers(&requests);
        assert_eq!((kept.len(), &kept[..2]), (FINISHED, &[1, 3][..]), "the oldest that was read is gone");
        add(&mut requests, FINISHED_BYTES + 1, false).await;
        assert_eq!(numbers(&requests), [34]);
    }
}
