//! The attempts of a call, until one is answered or no other is allowed. This is the one layer that tries again: what a link
//! repeats by itself was refused, and ran nothing.

use std::sync::Arc;

use tokio::time::Instant;
use wharf_core::settle::{Attempt, Verdict, code, settle};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Reply, Scope};

use super::answer::proper;
use super::call::Call;
use super::failure::Failure;
use super::scope::CallScope;
use super::served::Served;
use crate::plugin::picking::Picked;
use crate::plugin::services::roll;

impl Served<'_> {
    pub(super) async fn attempts(&self) -> Result<(Picked, Reply), Failure> {
        let Self { call, scope, .. } = self;
        let (mut before, mut tried, mut patience) = (0, Vec::new(), self.patience);
        // The first attempt that may have run: whatever comes later, the call's fate is not known.
        let mut lost: Option<CallError> = None;
        call.to.plugin.retries.count_call();
        loop {
            let mut picked = match call.pick(self.lane, &tried, patience, scope.time().until()).await {
                Ok(picked) => picked,
                Err(failure) => return Err(call.after(lost.as_ref(), failure)),
            };
            let answered = self.attempt(&mut picked).await;
            let error = match answered.and_then(|reply| self.proper(reply, &picked)) {
                Ok(reply) => {
                    picked.answered();
                    if let (Some(_), Reply::Result(result)) = (call.to.manifest.idle_stop, &reply) {
                        call.to.plugin.core.tasks.note(result);
                    }
                    return Ok((picked, reply));
                }
                Err(error) => error,
            };
            let limits = &call.to.manifest.limits;
            picked.failed(&error, limits.timeout(call.spec.timeout), limits.call_timeout.0);
            tried.push(picked.n);
            drop(picked);
            scope.seat.leaves_instance();
            match call.next(&error, before, scope) {
                // Rare, and large.
                Verdict::Again(delay) => Box::pin(tokio::time::sleep(delay)).await,
                Verdict::Fail(code) => return Err(call.after(lost.as_ref(), call.failed(code, &error))),
            }
            if error.delivery == Delivery::Unknown {
                lost.get_or_insert(error);
            }
            before += 1;
            patience = scope.time().until().min(Instant::now() + limits.queue_wait.0);
        }
    }

    fn proper(&self, reply: Reply, picked: &Picked) -> Result<Reply, CallError> {
        proper(reply, picked.link.hello().era(), &self.request.method)
    }

    async fn attempt(&self, picked: &mut Picked) -> Result<Reply, CallError> {
        let Self { call, scope, .. } = self;
        if let Some(inflight) = picked.inflight.take() {
            // Whether a trial went well, and whether the call opened a task, is not known before its own task looks at the answer.
            let stays = picked.is_trial() || call.to.manifest.idle_stop.is_some();
            scope.seat.goes_to(inflight, stays);
        }
        call.begins(picked, scope);
        let as_scope: Arc<dyn Scope> = Arc::<CallScope>::clone(scope);
        let outcome = tokio::select! {
            biased;
            outcome = picked.link.request(self.request.clone(), as_scope) => outcome,
            () = scope.time().over(&scope.trace().bell, &call.to.routing.alarm) => {
                let delivery = if scope.was_sent() { Delivery::Unknown } else { Delivery::NotDelivered };
                Err(CallError::new(CallErrorKind::Timeout, delivery, "no answer before the deadline"))
            }
            () = scope.sent_away() => {
                let detail = "the plugin asked its client, which did not answer before others needed its place";
                Err(CallError::new(CallErrorKind::Cancelled, Delivery::Unknown, detail))
            }
        };
        outcome.inspect_err(|error| call.fails(error, scope))
    }
}

impl Call {
    /// What comes after a failed attempt. Another one is taken from the plugin's budget.
    fn next(&self, error: &CallError, before: u32, scope: &CallScope) -> Verdict {
        let retry = &self.to.manifest.retry;
        let attempt = Attempt {
            before,
            remaining: scope.time().until().saturating_duration_since(Instant::now()),
            retry,
            repeatable: self.may_repeat(scope),
            roll: roll(),
        };
        match settle(error, &attempt) {
            Verdict::Again(_) if !self.to.plugin.retries.take(retry.budget, self.to.routing.clock.now()) => {
                tracing::warn!(plugin = %self.spec.plugin, call = %self.id, "not tried again: retry.budget is used up");
                Verdict::Fail(code(error))
            }
            verdict @ (Verdict::Again(_) | Verdict::Fail(_)) => verdict,
        }
    }

    /// The failure of the last attempt. It cannot say that nothing was delivered where an earlier one may have run.
    fn after(&self, lost: Option<&CallError>, failure: Failure) -> Failure {
        match lost {
            Some(lost) if failure.delivery.is_none_or(|delivery| delivery <= Delivery::NotDelivered) => {
                let first = self.failed(code(lost), lost);
                let detail = format!("{}. Another attempt failed: {}", first.detail, failure.detail);
                Failure { detail, retry_after: failure.retry_after, ..first }
            }
            Some(_) | None => failure,
        }
    }
}
