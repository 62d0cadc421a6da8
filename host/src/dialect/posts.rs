//! The way out of the HTTP dialects for what is no request: notifications, cancellations and answers, each a POST.
//!
//! What is said without waiting is queued, and a bounded number of tasks posts it: many calls may be given up at once
//! because the server hangs, and each of them must be told. It must not know how a message is posted.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use wharf_plugin_api::{CallError, Full, Notification, jsonrpc};

use super::pending::MAX_IN_FLIGHT;
use super::{Options, Outbox};

/// Tasks that post what is queued.
const POSTERS: usize = 32;
/// Notifications of the host find no room beyond this; the rest of the queue is for cancellations.
const MAX_NOTIFICATIONS: usize = 256;
/// As many calls as can be given up at once, and then some.
const MAX_QUEUED: usize = MAX_IN_FLIGHT + MAX_NOTIFICATIONS;
/// How long one POST may take.
const POST_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection that can post.
pub(crate) trait Poster: Send + Sync + 'static {
    /// What waits to be posted.
    fn posts(&self) -> &Queue;

    fn options(&self) -> &Options;

    /// Posts one message and waits until the server has taken it.
    fn post(&self, message: Vec<u8>) -> impl Future<Output = Result<(), CallError>> + Send;

    /// Whether the dialect knows notifications at all.
    fn notifies(&self) -> bool {
        true
    }
}

/// What waits to be posted, and how many tasks are at it.
#[derive(Default)]
pub(crate) struct Queue(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Vec<u8>>,
    posters: usize,
}

/// The outbox of a connection that posts.
pub(crate) struct Posts<P>(pub(crate) Arc<P>);

impl<P: Poster> Posts<P> {
    /// Queues a notification of the host.
    ///
    /// # Errors
    /// If too much waits already.
    pub(crate) fn notify(&self, notification: &Notification) -> Result<(), Full> {
        let mut bytes = jsonrpc::notification(&notification.method, notification.params.as_deref());
        jsonrpc::single_line(&mut bytes);
        if self.queue(bytes, MAX_NOTIFICATIONS) { Ok(()) } else { Err(Full) }
    }

    fn queue(&self, message: Vec<u8>, most: usize) -> bool {
        if !self.0.notifies() {
            return true;
        }
        {
            let mut waiting = self.0.posts().waiting();
            if waiting.messages.len() >= most {
                return false;
            }
            waiting.messages.push_back(message);
            if waiting.posters >= POSTERS {
                return true;
            }
            waiting.posters += 1;
        }
        let poster = Arc::clone(&self.0);
        let options = self.0.options();
        let span = tracing::debug_span!("http posts", plugin = %options.label);
        let ending = options.tasks.ending().clone();
        drop(options.tasks.spawn(span, async move {
            tokio::select! {
                () = ending.cancelled() => {}
                () = drain(&*poster) => {}
            }
        }));
        true
    }
}

/// Posts until nothing waits.
async fn drain<P: Poster>(poster: &P) {
    while let Some(message) = poster.posts().next() {
        post_bounded(poster, message).await;
    }
}

async fn post_bounded<P: Poster>(poster: &P, message: Vec<u8>) -> bool {
    let posted = tokio::time::timeout(POST_TIMEOUT, poster.post(message)).await;
    let ok = matches!(posted, Ok(Ok(())));
    if !ok {
        tracing::debug!(plugin = %poster.options().label, ?posted, "a notification or answer did not arrive");
    }
    ok
}

// === impl Queue ===

impl Queue {
    /// The next message; `None` is the end of the task that asks.
    fn next(&self) -> Option<Vec<u8>> {
        let mut waiting = self.waiting();
        let next = waiting.messages.pop_front();
        if next.is_none() {
            waiting.posters -= 1;
        }
        next
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Posts ===

impl<P: Poster> Outbox for Posts<P> {
    fn try_send(&self, message: Vec<u8>) -> bool {
        self.queue(message, MAX_QUEUED)
    }

    /// Posts an answer. How many there are at once is bounded by what a plugin may ask at once.
    fn send(&self, message: Vec<u8>) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(post_bounded(&*self.0, message))
    }
}
