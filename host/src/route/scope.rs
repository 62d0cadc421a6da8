//! What belongs to one call while it is at a plugin.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;
use wharf_core::ask::{Capability, Declared, needed};
use wharf_core::trace_context;
use wharf_plugin_api::{
    CallError, Caller, Notification, Reply, Request, RpcError, Scope, Trace, async_trait,
};

use super::allowance::Allowance;
use super::resolved::Resolved;
use super::seat::Seat;
use super::served::Client;
use super::spec::CallEvent;
use super::trace::CallTrace;
use crate::eager::eagerly;
use crate::late;
use crate::plugin::Ask;
use crate::plugin::asking::TooMany;
use crate::plugin::asks::Asks;
use crate::plugin::gate::Held;
use crate::plugin::own::Lane;

/// The scope of one call, over all its attempts.
#[derive(Debug)]
pub(crate) struct CallScope {
    caller: Caller,
    time: Allowance,
    sent: AtomicBool,
    /// That the present attempt is handed over is put into a batch that will be written down.
    noted: AtomicBool,
    trace: Arc<CallTrace>,
    /// Where the call goes.
    to: Arc<Resolved>,
    lane: Lane,
    events: Option<late::Sender<CallEvent>>,
    progress: bool,
    /// `None`: nobody can be asked.
    asks: Option<Asks>,
    pub(super) seat: Seat,
    asked: AtomicBool,
    undeclared: Mutex<Vec<Capability>>,
    /// Which trace of its caller's it is part of.
    context: Option<Trace>,
}

/// The call waits for its client, as long as one of these lives.
struct Away<'a>(&'a CallScope);

impl Drop for Away<'_> {
    fn drop(&mut self) {
        self.0.seat.asked();
    }
}

impl CallScope {
    pub(crate) fn new(
        caller: Caller,
        time: Allowance,
        ((events, asks), progress): (Client, bool),
        (to, lane): (Arc<Resolved>, Lane),
        (trace, context): (Arc<CallTrace>, Option<Trace>),
    ) -> Self {
        let [sent, noted, asked] = [(); 3].map(|()| AtomicBool::new(false));
        let undeclared = Mutex::default();
        let seat = Seat::default();
        Self {
            caller,
            time,
            sent,
            noted,
            trace,
            to,
            lane,
            events,
            progress,
            asks,
            seat,
            asked,
            undeclared,
            context,
        }
    }

    /// A question of the plugin, which is part of the trace as well; a plugin that says so itself knows better.
    fn traced(&self, request: Request) -> Request {
        let Some(context) = &self.context else { return request };
        let params = trace_context::with_default(request.params.as_deref(), context).map(Into::into);
        Request { params: params.or(request.params), ..request }
    }

    /// Resolves when the call has to make room, because its client does not answer.
    pub(crate) async fn sent_away(&self) {
        match &self.asks {
            Some(asks) => asks.sent_away().await,
            None => std::future::pending().await,
        }
    }

    /// The plugin owes it nothing any more: its places are another's.
    pub(super) fn leaves(&self) {
        self.give(self.seat.leaves());
    }

    fn give(&self, place: Option<Held>) {
        if let Some(held) = place {
            self.to.plugin.gate_of(&self.lane).leave(held);
        }
    }

    /// What is remembered of the call.
    pub(crate) fn trace(&self) -> &Arc<CallTrace> {
        &self.trace
    }

    fn away(&self) -> Away<'_> {
        // Only what was handed over is asked about, and it goes nowhere else after that.
        self.seat.asks();
        Away(self)
    }

    /// The time that it has.
    pub(crate) fn time(&self) -> &Allowance {
        &self.time
    }

    /// Whether a byte of it was handed over.
    pub(crate) fn was_sent(&self) -> bool {
        self.sent.load(Ordering::Acquire)
    }

    /// Whether its client was asked anything. Such a call goes to no other instance any more.
    pub(crate) fn has_asked(&self) -> bool {
        self.asked.load(Ordering::Acquire)
    }

    /// What was asked for and not declared. Told once, at the end.
    pub(crate) fn undeclared(&self) -> Vec<Capability> {
        std::mem::take(&mut self.undeclared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Notes a question that the caller's client cannot be asked, and refuses it.
    fn lacks(&self, capability: Capability) -> RpcError {
        let mut undeclared = self.undeclared.lock().unwrap_or_else(PoisonError::into_inner);
        if !undeclared.contains(&capability) {
            undeclared.push(capability);
        }
        refused(format!("the client of this call did not declare the capability {}", capability.as_str()))
    }
}

/// The answer to what cannot be asked.
fn refused(text: String) -> RpcError {
    RpcError::new(RpcError::METHOD_NOT_FOUND, text)
}

#[async_trait]
impl Scope for CallScope {
    fn answered(&self) {
        eagerly(|| self.give(self.seat.answered()));
    }

    fn sent(&self) {
        self.sent.store(true, Ordering::Release);
        if !self.noted.swap(false, Ordering::Relaxed) {
            let mut entry = Vec::with_capacity(128);
            self.note(&mut entry);
            self.noted.store(false, Ordering::Relaxed);
            // Where it cannot be written, the call goes on: the journal says so.
            self.to.routing.journal.append(&entry).ok();
        }
    }

    fn note(&self, batch: &mut Vec<u8>) {
        self.noted.store(true, Ordering::Relaxed);
        self.trace.sends();
        self.trace.note(batch);
    }

    fn listens(&self) -> bool {
        self.events.is_some()
    }

    fn wants_progress(&self) -> bool {
        self.events.is_some() && self.progress
    }

    fn event(&self, notification: Notification) {
        if notification.method == "notifications/progress" {
            self.time.progress();
        }
        let Some(events) = &self.events else { return };
        if events.try_send(CallEvent::Notification(notification)).is_err() {
            // A listener that is slower than the plugin misses some; the plugin and the answer never wait for it.
            tracing::debug!("a progress event was dropped: its listener is slow or gone");
        }
    }

    async fn ask(&self, request: Request) -> Result<Reply, CallError> {
        let Some(capability) = needed(&request.method, request.params.as_deref()) else {
            return Ok(Reply::Error(refused(format!("no client can be asked {}", request.method))));
        };
        if !Declared::of(&self.caller.client.capabilities).has(capability) {
            return Ok(Reply::Error(self.lacks(capability)));
        }
        let nobody = || Reply::Error(refused("the caller of this call can no longer be asked".to_owned()));
        let (reply, answered) = oneshot::channel();
        let Some(asks) = &self.asks else { return Ok(nobody()) };
        let gate = self.to.plugin.gate_of(&self.lane);
        let _asked = match gate.asking().ask(asks, gate.may_ask(), self.to.peace()) {
            Ok(asked) => asked,
            Err(TooMany { most }) => {
                tracing::warn!(most, "a question was refused: too many calls wait for their clients");
                let text = format!(
                    "{most} calls of this plugin wait for their clients' answers already; try again later"
                );
                return Ok(Reply::Error(RpcError::new(RpcError::INTERNAL, text)));
            }
        };
        self.asked.store(true, Ordering::Release);
        let (_asking, _away) = (self.time.ask(&self.trace.bell), self.away());
        if !asks.put(Ask { request: self.traced(request), reply }).await {
            return Ok(nobody());
        }
        Ok(answered.await.unwrap_or_else(|_| nobody()))
    }

    fn is_attended(&self) -> bool {
        self.asks.as_ref().is_none_or(Asks::is_attended)
    }

    fn trace(&self) -> Option<&Trace> {
        self.context.as_ref()
    }

    fn caller(&self) -> &Caller {
        &self.caller
    }

    fn deadline(&self) -> Instant {
        self.time.latest().into_std()
    }
}
