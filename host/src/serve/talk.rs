//! A connection from its first byte to its last, on the thread where its calls are served best, and on another once that
//! changes. It moves between two requests, as a whole: what it waits for finds its new task, as anything that is polled does.

use std::future::poll_fn;
use std::sync::Weak;
use std::task::Poll;

use futures_util::future::BoxFuture;
use tokio::runtime::Handle;
use tracing::Span;

use super::framing::Verdict;
use super::threads::{Place, Threads};
use crate::near;
use crate::tasks::Tasks;

/// What serves a connection.
pub(super) struct Talk {
    serves: BoxFuture<'static, ()>,
    /// Whether a request is being answered.
    verdict: Verdict,
    /// The host's own runtime.
    home: Handle,
    /// Of all its tasks.
    span: Span,
    /// What it waits for may have been begun on more than one thread.
    has_moved: bool,
}

impl Talk {
    /// One that begins on the host's own runtime, which this is called in.
    pub(super) fn new(serves: BoxFuture<'static, ()>, verdict: Verdict) -> Self {
        let span = tracing::debug_span!("connection", over = "tcp");
        Self { serves, verdict, home: Handle::current(), span, has_moved: false }
    }

    /// Goes on, at this place.
    pub(super) fn go_on(mut self, mut place: Place, threads: Weak<Threads>, tasks: Tasks) {
        let at = place.at().unwrap_or(&self.home).clone();
        let (all, span) = (tasks.clone(), self.span.clone());
        let task = async move {
            if let Some(next) = self.stays(&mut place, &threads).await {
                drop(place);
                self.has_moved = true;
                self.go_on(next, threads, tasks);
            }
        };
        drop(all.spawn_on(&at, span, task));
    }

    /// Serves it to its end, or until another thread is better: its place there.
    async fn stays(&mut self, place: &mut Place, threads: &Weak<Threads>) -> Option<Place> {
        poll_fn(|cx| {
            if self.has_moved && threads.strong_count() == 0 {
                // The timers of a thread that has ended must not be looked at any more, and it may have begun some of these.
                return Poll::Ready(None);
            }
            // What others wished that were polled before.
            near::best();
            if self.serves.as_mut().poll(cx).is_ready() {
                return Poll::Ready(None);
            }
            if let Some(best) = near::best() {
                place.calls(best);
            }
            if !place.is_left() || self.verdict.is_serving() {
                return Poll::Pending;
            }
            match threads.upgrade().and_then(|threads| threads.moves(place)) {
                Some(next) => Poll::Ready(Some(next)),
                None => Poll::Pending,
            }
        })
        .await
    }
}

#[cfg(test)]
mod tests;
