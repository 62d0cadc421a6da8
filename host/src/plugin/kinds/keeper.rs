//! Keeps the contract of an open connection: whatever ends it, everything of it is ended, and then its end is told once.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::{
    CallError, Cause, CauseKind, Full, Hello, Inbox, Link, Notification, Reply, Request, Scope, async_trait,
};

/// A link whose `close` ends all that stands behind it.
pub(super) struct KeptLink {
    inner: Arc<dyn Link>,
    close: CancellationToken,
    gone: watch::Receiver<bool>,
}

/// Where a keeper tells that a connection is of no more use, before it ends what is left.
pub(super) struct Told {
    inbox: Arc<dyn Inbox>,
}

/// Gives the link of a connection that `keep` ends: it gets the wish to close and resolves, with the cause, when nothing is
/// left.
pub(super) fn kept<F>(
    inner: Arc<dyn Link>,
    inbox: Arc<dyn Inbox>,
    tasks: &crate::tasks::Tasks,
    keep: impl FnOnce(CancellationToken, Told) -> F,
) -> Arc<dyn Link>
where
    F: Future<Output = Cause> + Send + 'static,
{
    let close = CancellationToken::new();
    let (left, gone) = watch::channel(false);
    let keeping = keep(close.clone(), Told { inbox: Arc::clone(&inbox) });
    tasks.spawn(tracing::Span::current(), async move {
        inbox.closed(keeping.await);
        left.send_replace(true);
    });
    Arc::new(KeptLink { inner, close, gone })
}

// === impl Told ===

impl Told {
    /// Nothing can be said to the plugin any more. An end that the host asked for is no news to it.
    pub(super) fn lost(self, cause: &Cause) {
        if cause.kind != CauseKind::Requested {
            self.inbox.lost(cause.clone());
        }
    }
}

#[async_trait]
impl Link for KeptLink {
    fn hello(&self) -> &Hello {
        self.inner.hello()
    }

    async fn request(&self, request: Request, scope: Arc<dyn Scope>) -> Result<Reply, CallError> {
        self.inner.request(request, scope).await
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
