//! The attempts of a call, until one is answered or no other is allowed. This is the one layer that tries again.

use std::sync::Arc;

use tokio::time::Instant;
use wharf_core::settle::{Verdict, settle};
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
        let (mut attempt, mut tried) = (0, Vec::new());
        loop {
            let picked = self.pick(lane, &tried, patience, scope.time().until()).await?;
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

    pub(super) async fn attempt(
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
}
