//! The end of the edge: what is in flight is answered, and until that is done connections are kept and accepted. What comes on
//! them meanwhile is refused in order, and not by a broken connection; and a client can still answer what a plugin asks it.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::Response;
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::held::Taker;
use crate::tasks::Tasks;

/// Between two looks whether calls are still in flight.
const LOOK: Duration = Duration::from_millis(20);

/// The requests in flight.
#[derive(Debug, Default)]
pub(super) struct Drain {
    busy: AtomicUsize,
    left: Notify,
    /// What comes now is not waited for.
    ends: AtomicBool,
    /// Cancelled when idle connections are closed too.
    quiet: CancellationToken,
}

/// A request in flight, until this is dropped. One that came after the end began is none.
#[derive(Debug)]
pub(super) struct Busy<'a>(Option<&'a Drain>);

/// Why a connection ends that its client does not end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// Its client leaves too much waiting.
    AtOnce,
    /// Connections are to be closed, each behind the request that is in flight.
    InTime,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        if let Some(drain) = self.0
            && drain.busy.fetch_sub(1, Ordering::AcqRel) == 1
        {
            drain.left.notify_waiters();
        }
    }
}

impl Drain {
    /// Counts a request in.
    pub(super) fn enter(&self) -> Busy<'_> {
        // Who is told that the host ends, again and again, must not keep it from ending.
        if self.has_begun() {
            return Busy(None);
        }
        self.busy.fetch_add(1, Ordering::AcqRel);
        Busy(Some(self))
    }

    /// Whether the end has begun. Asked for every answer; a cancellation token would take a lock that all threads share.
    pub(super) fn has_begun(&self) -> bool {
        self.ends.load(Ordering::Acquire)
    }

    /// Has the client of an answer find another way, once the end has begun.
    pub(super) fn tell(&self, mut answer: Response) -> Response {
        if self.has_begun() && answer.status() != StatusCode::SWITCHING_PROTOCOLS {
            answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Resolves when a connection is over. Both reasons as one: each request looks at what this waits for.
    pub(super) async fn over(&self, taker: &Taker) -> Over {
        tokio::select! {
            biased;
            () = taker.must_go() => Over::AtOnce,
            () = self.quiet.cancelled() => Over::InTime,
        }
    }

    /// Cancelled then.
    pub(super) fn closing(&self) -> &CancellationToken {
        &self.quiet
    }

    /// Ends the edge: waits until no request is in flight, nor any of the `calls` whose requests have their heads or came by
    /// a pipe; has all connections closed then, and waits for the tasks; at most `budget` for all. Returns how many tasks were
    /// left.
    pub(super) async fn end(&self, tasks: &Tasks, budget: Duration, calls: impl Fn() -> usize) -> usize {
        let end = Instant::now() + budget;
        self.ends.store(true, Ordering::Release);
        tasks.ending().cancel();
        let idle = async {
            loop {
                let left = self.left.notified();
                if self.busy.load(Ordering::Acquire) == 0 {
                    break;
                }
                left.await;
            }
            while calls() > 0 {
                tokio::time::sleep(LOOK).await;
            }
        };
        // Whatever is left has its connection's time.
        tokio::time::timeout_at(end, idle).await.ok();
        self.quiet.cancel();
        tasks.end(end.saturating_duration_since(Instant::now())).await
    }
}
