//! A legacy session of a client with us.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::{Id, Reply, RpcError};

use super::exchange::Exchange;

/// A session. It ends when its client says so, when nothing was heard of it for too long, or with the host.
#[derive(Debug)]
pub(crate) struct Session {
    id: Arc<str>,
    revision: String,
    ended: CancellationToken,
}

/// What a session says that belongs to no request of its client.
#[derive(Debug)]
pub(crate) struct Feed(Arc<Session>);

impl Session {
    /// Its id: unguessable, of visible ASCII.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The revision that both sides settled on.
    pub(crate) fn revision(&self) -> &str {
        &self.revision
    }

    /// Resolves when the session has ended.
    pub(crate) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// Ends it, and all that belongs to it.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    /// A request of the client.
    pub(crate) fn request(self: &Arc<Self>, id: Id, method: &str, params: Option<Arc<RawValue>>) -> Exchange {
        drop(params);
        Exchange::refused(&id, RpcError::new(RpcError::METHOD_NOT_FOUND, format!("no method {method}")))
    }

    /// A notification of the client.
    pub(crate) fn notification(&self, method: &str, params: Option<Arc<RawValue>>) {
        let _ = (method, params);
    }

    /// The client's answer to something that it was asked.
    pub(crate) fn response(&self, id: Option<&Id>, reply: Reply) {
        let _ = (id, reply);
    }

    /// Takes the feed; who took it before finds it ended. What was said while nobody listened is kept, within a bound.
    pub(crate) fn feed(self: &Arc<Self>) -> Feed {
        Feed(Arc::clone(self))
    }
}

impl Feed {
    /// The next message, whole and on one line; `None` when the session has ended, or another took the feed.
    pub(crate) async fn next(&mut self) -> Option<Bytes> {
        self.0.ended.cancelled().await;
        None
    }
}
