//! A call from admission to answer, as one future that owns all it needs. Dropping it cancels the call at the plugin.

use std::pin::pin;
use std::sync::Arc;

use serde_json::json;
use tokio::time::Instant;
use wharf_core::catalog::Tool;
use wharf_core::manifest::Manifest;
use wharf_core::{CallId, Code};

use super::allowance::Allowance;
use super::entered::Entered;
use super::failure::Failure;
use super::idempotency::{Begins, Taken};
use super::request;
use super::routing::Routing;
use super::scope::CallScope;
use super::spec::{CallEvent, CallSpec, Edge, Settled};
use super::timing::Timing;
use super::trace::CallTrace;
use crate::late;
use crate::plugin::PluginHandle;
use crate::plugin::asks::Asks;
use crate::plugin::own::Crowded;

/// A call that is resolved: it knows its plugin, and its tool if it has one.
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) spec: CallSpec,
    pub(crate) plugin: Arc<PluginHandle>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) routing: Arc<Routing>,
}

impl Call {
    /// Runs the call to its one end. It stays where it is: what is handed on by value is kept once more by each step.
    pub(crate) async fn run(&mut self) -> Result<Settled, Failure> {
        let claimed = match self.claim() {
            None => None,
            Some(Begins::Runs(taken)) => Some(taken),
            Some(Begins::Ends(outcome)) => return *outcome,
        };
        let (events, asks) = (self.spec.events.take(), self.spec.asks.take());
        let (call, started) = (&*self, Instant::now());
        let routing = &*call.routing;
        let mut entered = Entered::new(call, started);
        let timing = Timing::of(call, started);
        let trace = entered.trace();
        // In flight until its end is written down, too: who waits for the calls waits for that.
        let inside = routing.calls.enter();
        // From here on, and not from where it was claimed: of a call that is left it is given back before the call is closed.
        let mut taken = claimed;
        let outcome = match &inside {
            Err(full) => {
                drop((events, asks));
                Some(Err(call.overloaded(*full)))
            }
            Ok(_) => {
                let answered = pin!(call.answered(started, trace, taken.as_mut(), (events, asks)));
                trace.unless_taken_back(answered).await
            }
        };
        // However it ended, its key is given back before it is closed.
        if let (Some(taken), Some(outcome)) = (taken.take(), &outcome) {
            taken.ends(outcome);
        }
        // Not before the call is dropped: up to then it could still be handed over.
        let outcome = outcome.unwrap_or_else(|| Err(entered.taken_back()));
        timing.end(&outcome);
        entered.ends(&outcome).await;
        drop(inside);
        let trace = entered.trace();
        routing.events.tell("call.finished", || {
            let (instance, failed) = match &outcome {
                Ok(settled) => (Some(settled.instance), None),
                Err(failure) => (None, Some(failure.code)),
            };
            json!({
                "call_id": trace.about.id, "plugin": trace.about.plugin, "tool": trace.tool_name(),
                "instance": instance, "error": failed,
                "duration_ms": started.elapsed().as_secs_f64() * 1000.0, "trace_id": trace.about.trace_id,
            })
        });
        outcome
    }

    async fn answered(
        &self,
        started: Instant,
        trace: &Arc<CallTrace>,
        taken: Option<&mut Taken>,
        (events, asks): (Option<late::Sender<CallEvent>>, Option<Asks>),
    ) -> Result<Settled, Failure> {
        self.within_rate()?;
        let deadline = started + self.manifest.limits.timeout(self.spec.timeout);
        let context = self.spec.trace.as_ref().and_then(|trace| trace.told());
        let upstream = self.tool.as_ref().map(|tool| tool.upstream.as_str());
        let request = request::build(&self.spec, upstream, context.as_ref()).map_err(|error| {
            self.failure(Code::BadRequest, format!("the arguments are not valid JSON: {error}"))
        })?;
        trace.weighs(request.params.as_ref().map_or(0, |params| params.get().len()));
        // No client of MCP is told of it: its queue is made by the first that it hears.
        let hears_id = matches!(self.spec.edge, Edge::Direct | Edge::Rest);
        if let Some(events) = events.as_ref().filter(|_| hears_id) {
            // Room for it was made by whoever listens; one who is gone misses nothing.
            events.try_send(CallEvent::Accepted(self.id)).ok();
        }
        let caller = self.spec.caller.clone();
        let limits = &self.manifest.limits;
        // Where the caller set no time, progress that it hears of begins it anew.
        let idle = (self.spec.timeout.is_none() && events.is_some()).then_some(limits.call_timeout.0);
        // Only who can be asked, or told of progress, may take longer than was given.
        let longer = asks.is_some() || idle.is_some();
        let latest = if longer { started + limits.max_timeout.0 } else { deadline };
        let time = Allowance::new(deadline, latest).renewed_by_progress(idle);
        let lane = self.plugin.lane(&self.spec.caller).map_err(|_: Crowded| self.crowded())?;
        let gate = self.plugin.gate_of(&lane);
        let asker = gate.asking().asker(gate.may_ask(), self.peace());
        let listens = (events, self.spec.progress);
        let record = (Arc::clone(trace), self.routing.journal.clone(), context);
        let scope = CallScope::new(caller, time, listens, asks, asker, self.spec.presence.clone(), record);
        let scope = Arc::new(scope);
        if let Some(taken) = taken {
            taken.goes_with(&scope);
        }
        // One wait for the turn and for the plugin together.
        let patience = deadline.min(started + self.manifest.limits.queue_wait.0);
        let turn = if self.plugin.is_cold(&lane) {
            // What it waits for is a start.
            self.plugin.wake(&lane);
            deadline
        } else {
            patience
        };
        let pass = self.admit(gate, started, turn, deadline).await?;
        if self.spec.durable {
            self.write_down(scope.trace()).await?;
        }
        let (picked, reply) = self.attempts(&lane, request, &scope, patience).await?;
        let now = Instant::now();
        let duration = now.saturating_duration_since(started);
        let ran = duration.saturating_sub(pass.waited());
        gate.pace.took(ran);
        self.routing.calls.pace.took(ran);
        let (instance, era) = (picked.n, picked.link.hello().era());
        // Whoever is next finds room at the instance.
        drop(picked);
        pass.ends(now);
        let undeclared = scope.undeclared();
        Ok(Settled { call_id: self.id, instance, duration, reply, era, undeclared, replayed: false })
    }
}
