//! The attempts of a call, until one is answered or no other is allowed. This is the one layer that tries again: what a link
//! repeats by itself was refused, and ran nothing.

use std::sync::Arc;

use tokio::time::Instant;
use wharf_core::settle::{Attempt, Verdict, code, settle};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery, Reply, Request, Scope};

use super::answer::proper;
use super::call::Call;
use super::failure::Failure;
use super::scope::CallScope;
use crate::plugin::own::Lane;
use crate::plugin::picking::Picked;
use crate::plugin::services::roll;

impl Call {
    pub(super) async fn attempts(
        &self,
        lane: &Lane,
        request: Request,
        scope: &Arc<CallScope>,
        mut patience: Instant,
    ) -> Result<(Picked, Reply), Failure> {
        let (mut before, mut tried) = (0, Vec::new());
        // The first attempt that may have run: whatever comes later, the call's fate is not known.
        let mut lost: Option<CallError> = None;
        self.plugin.retries.count_call();
        loop {
            let picked = match self.pick(lane, &tried, patience, scope.time().until()).await {
                Ok(picked) => picked,
                Err(failure) => return Err(self.after(lost.as_ref(), failure)),
            };
            let era = picked.link.hello().era();
            let answered = self.attempt(&picked, request.clone(), scope).await;
            let error = match answered.and_then(|reply| proper(reply, era, &request.method)) {
                Ok(reply) => {
                    picked.answered();
                    if let (Some(_), Reply::Result(result)) = (self.manifest.idle_stop, &reply) {
                        self.plugin.core.tasks.note(result);
                    }
                    return Ok((picked, reply));
                }
                Err(error) => error,
            };
            let limits = &self.manifest.limits;
            picked.failed(&error, limits.timeout(self.spec.timeout), limits.call_timeout.0);
            tried.push(picked.n);
            drop(picked);
            match self.next(&error, before, scope) {
                Verdict::Again(delay) => tokio::time::sleep(delay).await,
                Verdict::Fail(code) => return Err(self.after(lost.as_ref(), self.failed(code, &error))),
            }
            if error.delivery == Delivery::Unknown {
                lost.get_or_insert(error);
            }
            before += 1;
            patience = scope.time().until().min(Instant::now() + self.manifest.limits.queue_wait.0);
        }
    }

    /// What comes after a failed attempt. Another one is taken from the plugin's budget.
    fn next(&self, error: &CallError, before: u32, scope: &CallScope) -> Verdict {
        let retry = &self.manifest.retry;
        let attempt = Attempt {
            before,
            remaining: scope.time().until().saturating_duration_since(Instant::now()),
            retry,
            repeatable: self.may_repeat(scope),
            roll: roll(),
        };
        match settle(error, &attempt) {
            Verdict::Again(_) if !self.plugin.retries.take(retry.budget, self.routing.clock.now()) => {
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

    pub(super) async fn attempt(
        &self,
        picked: &Picked,
        request: Request,
        scope: &Arc<CallScope>,
    ) -> Result<Reply, CallError> {
        scope.goes_to(&picked.instance.load);
        self.begins(picked, scope);
        let as_scope: Arc<dyn Scope> = Arc::<CallScope>::clone(scope);
        let outcome = tokio::select! {
            biased;
            outcome = picked.link.request(request, as_scope) => outcome,
            () = scope.time().over(&scope.trace().bell, &self.routing.alarm) => {
                let delivery = if scope.was_sent() { Delivery::Unknown } else { Delivery::NotDelivered };
                Err(CallError::new(CallErrorKind::Timeout, delivery, "no answer before the deadline"))
            }
            () = scope.sent_away() => {
                let detail = "the plugin asked its client, which did not answer before others needed its place";
                Err(CallError::new(CallErrorKind::Cancelled, Delivery::Unknown, detail))
            }
        };
        outcome.inspect_err(|error| self.fails(error, scope))
    }
}
