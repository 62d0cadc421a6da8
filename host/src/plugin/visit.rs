//! The sessions of clients that may have instances of their own, and what such an instance asks its client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use wharf_core::ask::{Declared, needed};
use wharf_plugin_api::{Client, Reply, Request, RpcError};

/// How long a client may take to answer what a plugin asks outside of calls: there may be a person behind it.
const ANSWER_WITHIN: Duration = Duration::from_secs(600);

/// What a plugin asks of a client (sampling, elicitation, roots). Whoever drops it refuses; a `reply` that is closed was
/// taken back by the plugin, or its call has ended.
#[derive(Debug)]
pub struct Ask {
    /// The request, as the plugin sent it.
    pub request: Request,
    /// Takes the client's answer.
    pub reply: oneshot::Sender<Reply>,
}

/// A client's session at the host, as its own instances know it.
#[derive(Debug)]
pub(crate) struct Visit {
    pub(crate) session: Arc<str>,
    pub(crate) client: Arc<Client>,
    asks: mpsc::Sender<Ask>,
    /// Cancelled when the session has ended.
    pub(crate) ended: CancellationToken,
}

/// The sessions that are open.
#[derive(Debug, Default)]
pub(crate) struct Visits(Mutex<HashMap<Arc<str>, Arc<Visit>>>);

impl Visits {
    /// A session begins.
    pub(crate) fn join(&self, session: Arc<str>, client: Arc<Client>, asks: mpsc::Sender<Ask>) -> Arc<Visit> {
        let visit = Visit { session: Arc::clone(&session), client, asks, ended: CancellationToken::new() };
        let visit = Arc::new(visit);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(before) = all.insert(session, Arc::clone(&visit)) {
            // One id stands for one session; whoever had it before has left without a word.
            before.ended.cancel();
        }
        visit
    }

    /// A session has ended.
    pub(crate) fn leave(&self, visit: &Arc<Visit>) {
        visit.ended.cancel();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&visit.session).is_some_and(|now| Arc::ptr_eq(now, visit)) {
            all.remove(&visit.session);
        }
    }

    /// How many are open.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// An open session.
    pub(crate) fn find(&self, session: &str) -> Option<Arc<Visit>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(session).cloned()
    }
}

impl Visit {
    /// Asks the session's client what its own instance asks outside of calls.
    pub(crate) async fn ask(&self, request: Request) -> Reply {
        let Some(capability) = needed(&request.method, request.params.as_deref()) else {
            return refused(format!("no client can be asked {}", request.method));
        };
        if !Declared::of(&self.client.capabilities).has(capability) {
            return refused(format!("the client did not declare the capability {}", capability.as_str()));
        }
        let (reply, answered) = oneshot::channel();
        let asking = async {
            self.asks.send(Ask { request, reply }).await.ok()?;
            answered.await.ok()
        };
        let nobody = || refused("the client can no longer be asked".to_owned());
        tokio::select! {
            answer = tokio::time::timeout(ANSWER_WITHIN, asking) => match answer {
                Ok(answer) => answer.unwrap_or_else(nobody),
                Err(_) => refused(format!("no answer within {} s", ANSWER_WITHIN.as_secs())),
            },
            () = self.ended.cancelled() => nobody(),
        }
    }

    /// Enough of its id to tell it from others, and too little to speak for it.
    pub(crate) fn short(&self) -> String {
        self.session.chars().take(8).collect()
    }
}

fn refused(text: String) -> Reply {
    Reply::Error(RpcError::new(RpcError::METHOD_NOT_FOUND, text))
}
