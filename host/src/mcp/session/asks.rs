//! What plugins ask a client, and its answers: ids of ours, each answered once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use serde_json::value::to_raw_value;
use tokio::sync::oneshot;
use wharf_plugin_api::{Id, Reply, Request, RpcError, jsonrpc};

use super::queue::{Queue, Worth};
use crate::held::Events;
use crate::route::Ask;

/// Questions of one session that are open at a time, at most: a client has people behind it.
const OPEN: usize = 256;

/// The questions of one session.
#[derive(Debug, Default)]
pub(in crate::mcp) struct Asks {
    last: AtomicU64,
    open: Mutex<HashMap<u64, oneshot::Sender<Reply>>>,
    /// The client can answer nothing any more.
    ended: AtomicBool,
    /// Answers to nothing that is open.
    strays: AtomicU64,
}

/// Where a message to the client goes.
#[derive(Clone, Debug)]
pub(in crate::mcp) enum Outlet {
    /// The stream of one request.
    Call(Events),
    /// The session's feed.
    Feed(Arc<Queue>),
}

/// An open question. Dropping it before the answer takes it back, and tells the client so.
#[derive(Debug)]
pub(in crate::mcp) struct Asked {
    asks: Arc<Asks>,
    outlet: Outlet,
    id: u64,
    answer: oneshot::Receiver<Reply>,
}

/// Asks a client what a plugin asks, and gives the plugin the answer; ends when there is one, or when the plugin takes it back.
pub(in crate::mcp) async fn relay(asks: Arc<Asks>, outlet: Outlet, ask: Ask) {
    let Ask { request, mut reply } = ask;
    let mut asked = match asks.ask(&request, &outlet) {
        Ok(asked) => asked,
        Err(refused) => {
            // The plugin may have gone meanwhile.
            reply.send(Reply::Error(refused)).ok();
            return;
        }
    };
    tokio::select! {
        answer = asked.answer() => drop(reply.send(answer)),
        () = reply.closed() => {}
    }
}

impl Asks {
    /// Sends a question to the client.
    ///
    /// # Errors
    /// If it cannot be asked now.
    pub(in crate::mcp) fn ask(
        self: &Arc<Self>,
        request: &Request,
        outlet: &Outlet,
    ) -> Result<Asked, RpcError> {
        let id = self.last.fetch_add(1, Ordering::Relaxed) + 1;
        let (sender, answer) = oneshot::channel();
        {
            let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            // Under the lock: what is opened before the end is closed by it.
            if self.ended.load(Ordering::Relaxed) {
                return Err(gone());
            }
            if open.len() >= OPEN {
                let text = format!("{OPEN} questions wait for the client's answer already");
                return Err(RpcError::new(RpcError::INTERNAL, text));
            }
            open.insert(id, sender);
        }
        let message = jsonrpc::request(&Id::number(id), &request.method, request.params.as_deref());
        if !outlet.push(message) {
            self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
            return Err(RpcError::new(RpcError::INTERNAL, "the client cannot be reached now"));
        }
        Ok(Asked { asks: Arc::clone(self), outlet: outlet.clone(), id, answer })
    }

    /// The client can answer nothing any more: who waits for it is told so, and who comes later.
    pub(super) fn end(&self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        self.ended.store(true, Ordering::Relaxed);
        open.clear();
    }

    /// The client answers. What answers nothing that is open is dropped and counted.
    pub(super) fn answer(&self, id: Option<&Id>, reply: Reply) {
        let known = id
            .and_then(Id::as_u64)
            .and_then(|id| self.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&id));
        let taken = known.is_some_and(|waiting| waiting.send(reply).is_ok());
        if !taken {
            let strays = self.strays.fetch_add(1, Ordering::Relaxed) + 1;
            tracing::debug!(
                id = id.map(Id::as_str),
                strays,
                "a client answered what it was not asked, or no more"
            );
        }
    }

    #[cfg(test)]
    pub(super) fn strays(&self) -> u64 {
        self.strays.load(Ordering::Relaxed)
    }
}

impl Asked {
    /// The client's answer.
    pub(in crate::mcp) async fn answer(&mut self) -> Reply {
        (&mut self.answer).await.unwrap_or_else(|_| Reply::Error(gone()))
    }
}

/// The answer to a question that nobody can answer.
fn gone() -> RpcError {
    RpcError::new(RpcError::INTERNAL, "the client has left; it cannot answer any more")
}

impl Drop for Asked {
    fn drop(&mut self) {
        let open = self.asks.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        if open.is_some() {
            let params = json!({ "requestId": self.id, "reason": "the question was taken back" });
            let params = to_raw_value(&params).ok();
            self.outlet.push(jsonrpc::notification("notifications/cancelled", params.as_deref()));
        }
    }
}

impl Outlet {
    /// Sends a message, on one line. False: it did not fit, or nobody is there.
    pub(in crate::mcp) fn push(&self, mut message: Vec<u8>) -> bool {
        jsonrpc::single_line(&mut message);
        match self {
            Self::Call(out) => out.try_send(message.into()),
            Self::Feed(queue) => queue.push(message.into(), Worth::Word),
        }
    }
}
