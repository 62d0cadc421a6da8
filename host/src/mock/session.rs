//! One client's session: what it asked and what we asked it. The same for every dialect; knows no wire.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use wharf_plugin_api::jsonrpc::{self, Id, Reply};

use super::frame::{Frame, Outlet};

/// How long a frame waits for a client that does not read.
const PUSH_DEADLINE: Duration = Duration::from_secs(5);

/// How far the handshake is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Nothing came yet, or what came was refused.
    New,
    /// initialize came.
    Opening,
    /// initialize was answered.
    Ready,
}

/// A session. Dropped by its dialect when the client goes.
pub(crate) struct Session {
    pub(crate) id: String,
    /// Where goes what belongs to no request.
    pub(crate) push: Outlet,
    stage: watch::Sender<Stage>,
    running: Mutex<HashMap<Id, CancellationToken>>,
    asked: Mutex<HashMap<Id, oneshot::Sender<Reply>>>,
    next: AtomicU64,
}

impl Session {
    pub(crate) fn new(push: Outlet) -> std::io::Result<Arc<Self>> {
        let mut random = [0_u8; 16];
        getrandom::fill(&mut random).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Arc::new(Self {
            id: random.iter().map(|b| format!("{b:02x}")).collect(),
            push,
            stage: watch::Sender::new(Stage::New),
            running: Mutex::default(),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
        }))
    }

    pub(crate) fn set(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Whether the handshake is done. If it is under way, waits for it: a client may send all it has in one go.
    pub(crate) async fn is_ready(&self) -> bool {
        let settled =
            self.stage.subscribe().wait_for(|stage| *stage != Stage::Opening).await.map(|stage| *stage);
        settled.is_ok_and(|stage| stage == Stage::Ready)
    }

    /// Registers a request that can be cancelled. `None` if its id is in use.
    pub(crate) fn start(&self, id: &Id) -> Option<CancellationToken> {
        let mut running = lock(&self.running);
        if running.contains_key(id) {
            return None;
        }
        let token = CancellationToken::new();
        running.insert(id.clone(), token.clone());
        Some(token)
    }

    pub(crate) fn finish(&self, id: &Id) {
        lock(&self.running).remove(id);
    }

    pub(crate) fn cancel(&self, id: &Id) {
        if let Some(token) = lock(&self.running).get(id) {
            token.cancel();
        }
    }

    pub(crate) fn cancel_all(&self) {
        lock(&self.running).values().for_each(CancellationToken::cancel);
    }

    /// Asks the client, over `out`. `None` if it does not answer in time or is gone.
    pub(crate) async fn ask(
        &self,
        out: &Outlet,
        method: &str,
        params: Option<&Value>,
        wait: Duration,
    ) -> Option<Reply> {
        let id = Id::text(&format!("mock-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        let (tx, rx) = oneshot::channel();
        lock(&self.asked).insert(id.clone(), tx);
        let params = params.and_then(|p| serde_json::value::to_raw_value(p).ok());
        let asked = push(out, Frame::Message(jsonrpc::request(&id, method, params.as_deref()))).await;
        let reply = if asked { tokio::time::timeout(wait, rx).await.ok().and_then(Result::ok) } else { None };
        lock(&self.asked).remove(&id);
        reply
    }

    /// The client answers what we asked. Answers to nothing are said on stderr.
    pub(crate) fn answered(&self, id: Option<&Id>, reply: Reply) {
        let asked = id.and_then(|id| lock(&self.asked).remove(id));
        // The asker may have given up meanwhile, which is its own business.
        if asked.is_none_or(|tx| tx.send(reply).is_err()) {
            super::note("the client answered what nobody asked");
        }
    }
}

/// Sends a frame, bounded in time. `false` if the client is gone or does not read.
pub(crate) async fn push(out: &Outlet, frame: Frame) -> bool {
    match out.send_timeout(frame, PUSH_DEADLINE).await {
        Ok(()) => true,
        Err(mpsc::error::SendTimeoutError::Closed(_)) => false,
        Err(mpsc::error::SendTimeoutError::Timeout(_)) => {
            super::note("dropped a message: the client does not read");
            false
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
