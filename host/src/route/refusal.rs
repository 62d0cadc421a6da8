//! Why a call was not let in, not tried, or not answered, in words that say what helps.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;
use wharf_core::lifecycle::State;
use wharf_core::manifest::Rate;
use wharf_core::pick::Outlook;
use wharf_core::{Code, Moment, PluginId};
use wharf_plugin_api::{CallError, CallErrorKind, Delivery};

use super::call::Call;
use super::calls::Saturated;
use super::failure::Failure;
use crate::clock::Clock;
use crate::plugin::PluginHandle;
use crate::plugin::gate::{Gate, Refused};
use crate::plugin::own::{Lane, MOST};

impl Call {
    pub(super) fn refused(&self, refused: Refused, gate: &Gate, deadline: Instant) -> Failure {
        let (most, queue_full) =
            (self.to.manifest.limits.concurrency, &self.to.plugin.gate.turned_away.queue_full);
        let detail = match refused {
            Refused::Waited => return self.waited(gate, deadline),
            Refused::Full { queue } => {
                format!(
                    "{most} calls run per instance and {queue} wait already (limits.concurrency, limits.queue)"
                )
            }
            Refused::Share { most, queue } => format!(
                "others wait for this plugin too: {most} calls of one caller are the most then that may wait among {queue} (limits.queue)"
            ),
        };
        queue_full.fetch_add(1, Ordering::Relaxed);
        self.full(detail, gate)
    }

    /// It waited until then and its turn did not come.
    pub(super) fn waited(&self, gate: &Gate, deadline: Instant) -> Failure {
        self.to.plugin.gate.turned_away.waited.fetch_add(1, Ordering::Relaxed);
        if deadline <= Instant::now() {
            let detail = "its time passed while it waited for its turn; nothing was handed over";
            let error = CallError::new(CallErrorKind::Timeout, Delivery::Queued, detail);
            return self.failed(Code::Deadline, &error);
        }
        let wait = self.to.manifest.limits.queue_wait;
        self.full(format!("its turn did not come within {wait} (limits.queue_wait)"), gate)
    }

    pub(super) fn too_many(&self, rate: Rate, wait: Duration) -> Failure {
        self.to.plugin.gate.turned_away.rate_limited.fetch_add(1, Ordering::Relaxed);
        let (who, plugin) = (&self.spec.caller.principal, &self.to.plugin.core.id);
        let detail =
            format!("the caller {who:?} began more than {rate} calls of plugin {plugin:?} (limits.rate)");
        let (delivery, retry_after) = (Some(Delivery::Queued), Some(wait));
        Failure { delivery, retry_after, ..self.failure(Code::RateLimited, detail) }
    }

    pub(super) fn overloaded(&self, full: Saturated) -> Failure {
        let Failure { detail, retry_after, .. } = full.into();
        let delivery = Some(Delivery::Queued);
        Failure { delivery, retry_after, ..self.failure(Code::Overloaded, detail) }
    }

    pub(super) fn crowded(&self) -> Failure {
        let detail = format!(
            "{MOST} sessions have an instance of this plugin already; one must end first (isolation = \"session\")"
        );
        Failure { delivery: Some(Delivery::Queued), ..self.failure(Code::Overloaded, detail) }
    }

    fn full(&self, detail: String, gate: &Gate) -> Failure {
        // Whoever waits now has been served, or sent away, when the longest wait is over.
        let longest = self.to.manifest.limits.queue_wait.0;
        let retry_after = Some(gate.likely_free_in().map_or(longest, |free| free.min(longest)));
        Failure { delivery: Some(Delivery::Queued), retry_after, ..self.failure(Code::QueueFull, detail) }
    }

    pub(super) fn unavailable(&self, lane: &Lane) -> Failure {
        let failure = unavailable_in(&self.to.plugin, lane, self.to.routing.clock);
        Failure {
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id),
            delivery: Some(Delivery::Queued),
            ..failure
        }
    }

    pub(super) fn failed(&self, code: Code, error: &CallError) -> Failure {
        // What a plugin says may hold its secrets, and be of any length.
        let mut detail = match self.to.plugin.retired() {
            Some(why) => format!("plugin {:?} was taken away during the call: {why}", self.to.plugin.core.id),
            None => self.to.plugin.core.clean(&error.detail),
        };
        if code == Code::OutcomeUnknown {
            detail
                .push_str(". The call was handed over, so the tool may have run; check before you repeat it");
        }
        if code == Code::Deadline {
            let most = self.to.manifest.limits.max_timeout;
            detail.push_str(&format!(". More time can be asked for, up to limits.max_timeout ({most})"));
        }
        Failure { delivery: Some(error.delivery), kind: Some(error.kind), ..self.failure(code, detail) }
    }

    pub(super) fn failure(&self, code: Code, detail: String) -> Failure {
        Failure {
            plugin: Some(self.spec.plugin.as_str().into()),
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id),
            ..Failure::new(code, detail)
        }
    }
}

/// What is being tried at this moment is known so soon.
const SOON: Duration = Duration::from_millis(100);

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
    if let Some((until, why)) = plugin.shut_in(lane) {
        return left_alone(plugin, (until, plugin.awaited_in(lane)), why.as_deref(), clock);
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
        retry_after: next.map(|wait| wait.max(SOON)).or(soon),
        ..Failure::new(Code::PluginUnavailable, detail)
    }
}

/// The breakers of its instances keep calls from it. `until`: when the first is tried again, and when another may be up.
fn left_alone(
    plugin: &PluginHandle,
    until: (Moment, Option<Moment>),
    why: Option<&str>,
    clock: Clock,
) -> Failure {
    let id: &PluginId = &plugin.core.id;
    let why = plugin.core.clean(why.unwrap_or("its calls failed"));
    let wait = until.1.map_or(until.0, |up| until.0.min(up)) - clock.now();
    let detail = format!(
        "plugin {id:?} is left alone for now, for too many of its calls failed (its breaker is open): {why}. It is tried \
         again by itself. Remedy: `wharf logs {id}` tells what it says; `wharf restart {id}` starts it anew"
    );
    Failure {
        plugin: Some(id.as_str().into()),
        retry_after: Some(wait.max(SOON)),
        ..Failure::new(Code::PluginUnavailable, detail)
    }
}
