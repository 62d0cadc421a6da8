//! A call from admission to answer, as one future that owns all it needs. Dropping it cancels the call at the plugin.

use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::time::Instant;
use wharf_core::{CallId, Code};
use wharf_plugin_api::Request;

use super::entered::Entered;
use super::failure::Failure;
use super::idempotency::{Begins, Taken};
use super::request;
use super::resolved::Resolved;
use super::served::{Client, Served, Times};
use super::spec::{CallEvent, CallSpec, Edge, Settled};
use super::timing::Timing;
use super::trace::CallTrace;
use crate::apart::apart;
use crate::plugin::gate::CallerKey;
use crate::plugin::own::Crowded;
use crate::turn::step_back;

/// A call that is resolved: it knows its plugin, and its tool if it has one.
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) spec: CallSpec,
    pub(crate) to: Arc<Resolved>,
}

impl Call {
    /// Runs the call to its one end. It stays where it is: what is handed on by value is kept once more by each step.
    pub(crate) fn run(&mut self) -> impl Future<Output = Result<Settled, Failure>> + Send {
        let is_over_http = self.to.is_over_http();
        // One async block would keep room for the outcome beside all that the call needs up to then.
        self.settles().then(move |outcome| async move {
            if is_over_http && outcome.is_ok() {
                // All is written down. Answers that came together go out together, as those of a pipe are read together.
                step_back().await;
            }
            outcome
        })
    }

    async fn settles(&mut self) -> Result<Settled, Failure> {
        let claimed = match self.claim() {
            None => None,
            Some(Begins::Runs(taken)) => Some(taken),
            Some(Begins::Ends(outcome)) => return *outcome,
        };
        let client = (self.spec.events.take(), self.spec.asks.take());
        let (call, started) = (&*self, Instant::now());
        let routing = &*call.to.routing;
        let mut entered = Entered::new(call, started);
        let timing = Timing::of(call, started);
        // In flight until its end is written down, too: who waits for the calls waits for that.
        let inside = routing.calls.enter();
        let outcome = {
            // From here on, and not from where it was claimed: of a call that is left it is given back before the call is closed.
            let mut taken = claimed;
            let outcome = match &inside {
                Err(full) => {
                    drop(client);
                    Some(Err(call.overloaded(*full)))
                }
                Ok(_) => {
                    let trace = entered.trace();
                    let answered = pin!(call.answered(started, trace, taken.as_deref_mut(), client));
                    trace.unless_taken_back(answered).await
                }
            };
            // However it ended, its key is given back before it is closed.
            if let (Some(taken), Some(outcome)) = (taken.take(), &outcome) {
                taken.ends(outcome);
            }
            // Not before the call is dropped: up to then it could still be handed over.
            outcome.unwrap_or_else(|| Err(entered.taken_back()))
        };
        timing.end(&outcome);
        if let Some(settled) = entered.ends(&outcome) {
            Box::pin(call.write_end(settled)).await;
        }
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
                "duration_ms": trace.begun().elapsed().as_secs_f64() * 1000.0, "trace_id": trace.about.trace_id,
            })
        });
        outcome
    }

    async fn answered(
        &self,
        started: Instant,
        trace: &Arc<CallTrace>,
        taken: Option<&mut Taken>,
        client: Client,
    ) -> Result<Settled, Failure> {
        self.within_rate()?;
        let request = self.request()?;
        trace.weighs(request.params.as_ref().map_or(0, |params| params.get().len()));
        // No client of MCP is told of it: its queue is made by the first that it hears.
        let hears_id = matches!(self.spec.edge, Edge::Direct | Edge::Rest);
        if let Some(events) = client.0.as_ref().filter(|_| hears_id) {
            // Room for it was made by whoever listens; one who is gone misses nothing.
            events.try_send(CallEvent::Accepted(self.id)).ok();
        }
        let limits = &self.to.manifest.limits;
        let deadline = started + limits.timeout(self.spec.timeout);
        // One wait for the turn and for the plugin together.
        let patience = deadline.min(started + limits.queue_wait.0);
        let lane = self.to.plugin.lane(&self.spec.caller).map_err(|_: Crowded| self.crowded())?;
        let gate = self.to.plugin.gate_of(&lane);
        let turn = if self.to.plugin.is_cold(&lane) {
            // What it waits for is a start.
            self.to.plugin.wake(&lane);
            deadline
        } else {
            patience
        };
        let entering = gate.enter(CallerKey::of(&self.spec.caller), started, turn, self.to.peace());
        let pass = entering.await.map_err(|refused| self.refused(refused, gate, deadline))?;
        if self.spec.durable {
            Box::pin(self.write_down(trace)).await?;
        }
        let times = Times { started, patience, deadline };
        let waited = pass.waited();
        let served = Served::new(self, &lane, request, times, client, trace);
        served.scope.seat.enters(pass.into_held());
        if let Some(taken) = taken {
            taken.goes_with(&served.scope);
        }
        let settled = apart(|| async move { served.run().await }).await?;
        let ran = settled.duration.saturating_sub(waited);
        gate.pace.took(ran);
        self.to.routing.calls.pace.took(ran);
        Ok(settled)
    }

    fn request(&self) -> Result<Request, Failure> {
        let upstream = self.to.tool.as_ref().map(|tool| tool.upstream.as_str());
        let built = request::build(&self.spec, upstream, self.context().as_ref());
        built.map_err(|error| {
            self.failure(Code::BadRequest, format!("the arguments are not valid JSON: {error}"))
        })
    }
}
