//! What belongs to one call while it is at a plugin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use tokio::sync::mpsc;
use wharf_plugin_api::{CallError, Caller, Notification, Reply, Request, RpcError, Scope, async_trait};

use super::spec::CallEvent;

/// The scope of one call, over all its attempts.
#[derive(Debug)]
pub(crate) struct CallScope {
    caller: Caller,
    deadline: Instant,
    sent: AtomicBool,
    events: Option<mpsc::Sender<CallEvent>>,
}

impl CallScope {
    pub(crate) fn new(caller: Caller, deadline: Instant, events: Option<mpsc::Sender<CallEvent>>) -> Self {
        Self { caller, deadline, sent: AtomicBool::new(false), events }
    }

    /// Whether a byte of it was handed over.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }
}

#[async_trait]
impl Scope for CallScope {
    fn sent(&self) {
        self.sent.store(true, Ordering::Release);
    }

    fn listens(&self) -> bool {
        self.events.is_some()
    }

    fn event(&self, notification: Notification) {
        let Some(events) = &self.events else { return };
        if events.try_send(CallEvent::Notification(notification)).is_err() {
            // A listener that is slower than the plugin misses some; the plugin and the answer never wait for it.
            tracing::debug!("a progress event was dropped: its listener is slow or gone");
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        let text = format!("the caller of this call cannot answer {}", request.method);
        Ok(Reply::Error(RpcError::new(RpcError::METHOD_NOT_FOUND, text)))
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> Instant {
        self.deadline
    }
}
