//! A call from admission to answer, as one future that owns all it needs. Dropping it cancels the call at the plugin.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;
use wharf_core::catalog::Tool;
use wharf_core::lifecycle::State;
use wharf_core::manifest::Manifest;
use wharf_core::pick::Outlook;
use wharf_core::settle::{Verdict, settle};
use wharf_core::{CallId, Code, PluginId};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Reply, Request, Scope};

use super::allowance::Allowance;
use super::answer::proper;
use super::failure::Failure;
use super::request;
use super::scope::CallScope;
use super::spec::{CallEvent, CallSpec, Settled};
use crate::clock::Clock;
use crate::events::EventBus;
use crate::plugin::gate::Refused;
use crate::plugin::handle::Picked;
use crate::plugin::own::{Crowded, Lane, MOST};
use crate::plugin::services::roll;
use crate::plugin::{PluginHandle, Snapshot};

/// A call that is resolved: it knows its plugin, and its tool if it has one.
pub(crate) struct Call {
    pub(crate) id: CallId,
    pub(crate) spec: CallSpec,
    pub(crate) plugin: Arc<PluginHandle>,
    pub(crate) manifest: Arc<Manifest>,
    pub(crate) tool: Option<Arc<Tool>>,
    pub(crate) clock: Clock,
    pub(crate) events: Arc<EventBus>,
}

impl Call {
    /// Runs the call to its one end.
    pub(crate) async fn run(self) -> Result<Settled, Failure> {
        let (events, started) = (Arc::clone(&self.events), Instant::now());
        let (id, plugin, tool) = (self.id.clone(), self.spec.plugin.clone(), self.spec.tool.clone());
        let outcome = self.settled(started).await;
        events.tell("call.finished", || {
            let (instance, failed) = match &outcome {
                Ok(settled) => (Some(settled.instance), None),
                Err(failure) => (None, Some(failure.code)),
            };
            json!({
                "call_id": id, "plugin": plugin, "tool": tool, "instance": instance, "error": failed,
                "duration_ms": started.elapsed().as_secs_f64() * 1000.0,
            })
        });
        outcome
    }

    async fn settled(mut self, started: Instant) -> Result<Settled, Failure> {
        let deadline = started + self.manifest.limits.timeout(self.spec.timeout);
        let request = request::build(&self.spec, self.tool.as_ref().map(|tool| tool.upstream.as_str()))
            .map_err(|error| {
                self.failure(Code::BadRequest, format!("the arguments are not valid JSON: {error}"))
            })?;
        let events = self.spec.events.take();
        if let Some(events) = &events {
            // Room for it was made by whoever listens; one who is gone misses nothing.
            events.try_send(CallEvent::Accepted(self.id.clone())).ok();
        }
        let (caller, asks) = (self.spec.caller.clone(), self.spec.asks.take());
        // Only who can be asked may take longer than was given.
        let latest = asks.as_ref().map_or(deadline, |_| started + self.manifest.limits.max_timeout.0);
        let time = Allowance::new(deadline, latest);
        let lane = self.plugin.lane(&self.spec.caller).map_err(|_: Crowded| self.crowded())?;
        let gate = self.plugin.gate_of(&lane);
        let asker = gate.asking().asker(gate.may_ask(), self.peace());
        let scope = Arc::new(CallScope::new(
            caller,
            time,
            (events, self.spec.progress),
            asks,
            asker,
            self.spec.presence.clone(),
        ));
        // One wait for the turn and for the plugin together.
        let patience = deadline.min(started + self.manifest.limits.queue_wait.0);
        let turn = if self.plugin.is_cold(&lane) {
            // What it waits for is a start.
            self.plugin.wake(&lane);
            deadline
        } else {
            patience
        };
        let _permit = self.admit(&lane, turn).await?;
        let (picked, reply) = self.attempts(&lane, request, &scope, patience).await?;
        let (instance, era) = (picked.n, picked.link.hello().era());
        let undeclared = scope.undeclared();
        Ok(Settled { call_id: self.id, instance, duration: started.elapsed(), reply, era, undeclared })
    }

    async fn admit(&self, lane: &Lane, until: Instant) -> Result<impl Drop + use<>, Failure> {
        self.plugin.gate_of(lane).enter(until, self.peace()).await.map_err(|refused| match refused {
            Refused::Full { queue } => {
                let most = self.manifest.limits.concurrency;
                self.full(format!("{most} calls run per instance and {queue} wait already (limits.concurrency, limits.queue)"))
            }
            Refused::Waited => self.waited(),
        })
    }

    /// How long a call that waits for its client is left in peace by those that wait for their turn.
    fn peace(&self) -> Duration {
        self.manifest.limits.queue_wait.0 / 2
    }

    fn waited(&self) -> Failure {
        let wait = self.manifest.limits.queue_wait;
        self.full(format!("its turn did not come within {wait} (limits.queue_wait)"))
    }

    fn crowded(&self) -> Failure {
        let detail = format!(
            "{MOST} sessions have an instance of this plugin already; one must end first (isolation = \"session\")"
        );
        Failure { delivery: Some(Delivery::Queued), ..self.failure(Code::Overloaded, detail) }
    }

    fn full(&self, detail: String) -> Failure {
        let retry_after = Some(Duration::from_secs(1));
        Failure { delivery: Some(Delivery::Queued), retry_after, ..self.failure(Code::QueueFull, detail) }
    }

    async fn attempts(
        &self,
        lane: &Lane,
        request: Request,
        scope: &Arc<CallScope>,
        mut patience: Instant,
    ) -> Result<(Picked, Reply), Failure> {
        let mut attempt = 0;
        loop {
            let picked = self.pick(lane, patience, scope.time().until()).await?;
            let era = picked.link.hello().era();
            let answered = self.attempt(&picked, request.clone(), scope).await;
            let error = match answered.and_then(|reply| proper(reply, era, &request.method)) {
                Ok(reply) => {
                    picked.instance.load.count_answer();
                    if let (Some(_), Reply::Result(result)) = (self.manifest.idle_stop, &reply) {
                        self.plugin.core.tasks.note(result);
                    }
                    return Ok((picked, reply));
                }
                Err(error) => error,
            };
            drop(picked);
            let deadline = scope.time().until();
            let remaining = deadline.saturating_duration_since(Instant::now());
            match settle(&error, attempt, remaining, &self.manifest.retry, roll()) {
                Verdict::Again(delay) => tokio::time::sleep(delay).await,
                Verdict::Fail(code) => return Err(self.failed(code, &error)),
            }
            attempt += 1;
            patience = deadline.min(Instant::now() + self.manifest.limits.queue_wait.0);
        }
    }

    async fn attempt(
        &self,
        picked: &Picked,
        request: Request,
        scope: &Arc<CallScope>,
    ) -> Result<Reply, CallError> {
        scope.goes_to(&picked.instance.load);
        let as_scope: Arc<dyn Scope> = Arc::<CallScope>::clone(scope);
        tokio::select! {
            biased;
            outcome = picked.link.request(request, as_scope) => outcome,
            () = scope.time().over() => {
                let delivery = if scope.was_sent() { Delivery::Unknown } else { Delivery::NotDelivered };
                Err(CallError::new(CallErrorKind::Timeout, delivery, "no answer before the deadline"))
            }
            () = scope.sent_away() => {
                let detail = "the plugin asked its client, which did not answer before others needed its place";
                Err(CallError::new(CallErrorKind::Cancelled, Delivery::Unknown, detail))
            }
        }
    }

    /// An instance that takes the call; waits until then for one that has a free place, or is about to be ready. For the
    /// start of a lazy one it waits until the call's own deadline.
    async fn pick(&self, lane: &Lane, until: Instant, deadline: Instant) -> Result<Picked, Failure> {
        if let Some(picked) = self.plugin.pick_in(lane) {
            return Ok(picked);
        }
        tokio::select! {
            biased;
            picked = self.freed(lane, until, deadline) => picked,
            never = self.plugin.gate_of(lane).asking().press(self.peace()) => match never {},
        }
    }

    async fn freed(&self, lane: &Lane, patience: Instant, deadline: Instant) -> Result<Picked, Failure> {
        let (mut changes, freed) = (self.plugin.changes(), self.plugin.freed_in(lane));
        loop {
            changes.mark_unchanged();
            if let Some(picked) = self.plugin.pick_in(lane) {
                return Ok(picked);
            }
            self.plugin.wake(lane);
            let until = if self.plugin.is_cold(lane) { deadline } else { patience };
            let left = until.saturating_duration_since(Instant::now());
            let best = self.plugin.best_in(lane);
            if self.plugin.outlook_in(lane) == Outlook::Fail || self.next_attempt_in(best.as_deref()) >= left
            {
                let state = best.map(|best| best.state);
                let serves = matches!(state, Some(State::Ready | State::Degraded));
                return Err(if serves { self.waited() } else { self.unavailable(lane) });
            }
            tokio::select! {
                // Nobody changes a plugin that is gone: the wait ends by the time.
                _ = changes.changed() => {}
                () = freed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn next_attempt_in(&self, best: Option<&Snapshot>) -> Duration {
        let at = best.and_then(|snapshot| snapshot.next_attempt);
        at.map_or(Duration::ZERO, |at| at - self.clock.now())
    }

    fn unavailable(&self, lane: &Lane) -> Failure {
        let failure = unavailable_in(&self.plugin, lane, self.clock);
        Failure {
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id.clone()),
            delivery: Some(Delivery::Queued),
            ..failure
        }
    }

    fn failed(&self, code: Code, error: &CallError) -> Failure {
        // What a plugin says may hold its secrets, and be of any length.
        let mut detail = match self.plugin.retired() {
            Some(why) => format!("plugin {:?} was taken away during the call: {why}", self.plugin.core.id),
            None => self.plugin.core.clean(&error.detail),
        };
        if code == Code::OutcomeUnknown {
            detail
                .push_str(". The call was handed over, so the tool may have run; check before you repeat it");
        }
        if code == Code::Deadline {
            let most = self.manifest.limits.max_timeout;
            detail.push_str(&format!(". More time can be asked for, up to limits.max_timeout ({most})"));
        }
        Failure { delivery: Some(error.delivery), kind: Some(error.kind), ..self.failure(code, detail) }
    }

    fn failure(&self, code: Code, detail: String) -> Failure {
        Failure {
            plugin: Some(self.spec.plugin.as_str().into()),
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id.clone()),
            ..Failure::new(code, detail)
        }
    }
}

/// Why a plugin takes no call now, and when that may change.
pub(crate) fn unavailable(plugin: &PluginHandle, clock: Clock) -> Failure {
    unavailable_in(plugin, &Lane::Shared, clock)
}

fn unavailable_in(plugin: &PluginHandle, lane: &Lane, clock: Clock) -> Failure {
    let id: &PluginId = &plugin.core.id;
    let best = plugin.best_in(lane);
    let state = best.as_ref().map_or(State::Misconfigured, |snapshot| snapshot.state);
    let cause = best.as_ref().and_then(|snapshot| snapshot.cause.clone());
    let next = best.and_then(|snapshot| snapshot.next_attempt).map(|at| at - clock.now());
    if let Some(why) = plugin.retired() {
        let detail = format!("plugin {id:?} is being ended for good: {why}");
        return Failure { plugin: Some(id.as_str().into()), ..Failure::new(Code::PluginUnavailable, detail) };
    }
    let detail = match (&cause, plugin.problems().first()) {
        (Some(cause), _) => format!("plugin {id:?} is {}: {cause}. Remedy: {}", state.as_str(), cause.remedy),
        (None, Some(problem)) => {
            format!(
                "plugin {id:?} is {}: {}. Remedy: correct {}",
                state.as_str(),
                problem.message,
                plugin.path.display()
            )
        }
        (None, None) => format!("plugin {id:?} is {}", state.as_str()),
    };
    let soon = (plugin.outlook_in(lane) == Outlook::Wait).then_some(Duration::from_secs(1));
    Failure {
        plugin: Some(id.as_str().into()),
        retry_after: next.map(|wait| wait.max(Duration::from_secs(1))).or(soon),
        ..Failure::new(Code::PluginUnavailable, detail)
    }
}
