//! Keeps the contract of an open connection: whatever ends it, everything of it is ended, and then its end is told once.
//!
//! A call that a broken connection ends is told why the plugin ended, where that is known soon: a pipe tells nothing but that
//! it ended.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::{
    CallError, CallErrorKind, Cause, CauseKind, Full, Hello, Inbox, Link, Notification, Reply, Request,
    Scope, async_trait,
};

use crate::apart::apart;

/// A link whose `close` ends all that stands behind it.
pub(super) struct KeptLink {
    inner: Arc<dyn Link>,
    close: CancellationToken,
    gone: watch::Receiver<bool>,
    /// Why the connection is of no more use, once that is known.
    lost: watch::Receiver<Option<Cause>>,
    /// How long a call waits for that.
    patience: Duration,
}

/// Where a keeper tells that a connection is of no more use, before it ends what is left.
pub(super) struct Told {
    inbox: Arc<dyn Inbox>,
    lost: watch::Sender<Option<Cause>>,
}

/// Gives the link of a connection that `keep` ends: it gets the wish to close and resolves, with the cause, when nothing is
/// left. A call that the connection failed waits at most for `patience` to be told of the plugin's end.
pub(super) fn kept<F>(
    inner: Arc<dyn Link>,
    inbox: Arc<dyn Inbox>,
    patience: Duration,
    tasks: &crate::tasks::Tasks,
    keep: impl FnOnce(CancellationToken, Told) -> F,
) -> Arc<dyn Link>
where
    F: Future<Output = Cause> + Send + 'static,
{
    let close = CancellationToken::new();
    let (left, gone) = watch::channel(false);
    let (why, lost) = watch::channel(None);
    let keeping = keep(close.clone(), Told { inbox: Arc::clone(&inbox), lost: why });
    tasks.spawn(tracing::Span::current(), async move {
        inbox.closed(keeping.await);
        left.send_replace(true);
    });
    Arc::new(KeptLink { inner, close, gone, lost, patience })
}

// === impl Told ===

impl Told {
    /// Nothing can be said to the plugin any more. An end that the host asked for is no news to it.
    pub(super) fn lost(self, cause: &Cause) {
        if cause.kind != CauseKind::Requested {
            self.inbox.lost(cause.clone());
            self.lost.send_replace(Some(cause.clone()));
        }
    }
}

// === impl KeptLink ===

impl KeptLink {
    /// How far the call got stays as it was.
    async fn explained(&self, error: CallError, until: Instant) -> CallError {
        let until = until.min(Instant::now() + self.patience);
        let mut lost = self.lost.clone();
        // Without an answer its keeper ended it because the host asked for it, or nothing has ended yet.
        let Ok(Ok(cause)) = timeout_at(until, lost.wait_for(Option::is_some)).await else { return error };
        match &*cause {
            Some(Cause { exit: Some(_), detail, .. }) => {
                CallError { detail: format!("the plugin ended: {detail}"), ..error }
            }
            Some(_) | None => error,
        }
    }
}

#[async_trait]
impl Link for KeptLink {
    fn hello(&self) -> &Hello {
        self.inner.hello()
    }

    /// Not an async function: it would hold twice what it is handed on, for as long as the call takes.
    fn request<'l, 'f>(
        &'l self,
        request: Request,
        scope: Arc<dyn Scope>,
    ) -> BoxFuture<'f, Result<Reply, CallError>>
    where
        'l: 'f,
        Self: 'f,
    {
        let until = Instant::from_std(scope.deadline());
        let asked = self.inner.request(request, scope);
        apart(|| async move {
            match asked.await {
                Err(error) if error.kind == CallErrorKind::Connection => {
                    // Apart: it is most of what a call would hold here, and nearly none needs it.
                    Err(Box::pin(self.explained(error, until)).await)
                }
                outcome => outcome,
            }
        })
    }

    fn notify(&self, notification: Notification) -> Result<(), Full> {
        self.inner.notify(notification)
    }

    async fn close(&self) {
        self.close.cancel();
        // A keeper that is gone has ended everything.
        self.gone.clone().wait_for(|gone| *gone).await.ok();
    }
}

#[cfg(test)]
mod tests;
