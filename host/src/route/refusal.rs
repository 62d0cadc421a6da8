//! Why a call was not let in, not tried, or not answered, in words that say what helps.

use std::time::Duration;

use wharf_core::lifecycle::State;
use wharf_core::pick::Outlook;
use wharf_core::{Code, Moment, PluginId};
use wharf_plugin_api::{CallError, Delivery};

use super::call::Call;
use super::failure::Failure;
use crate::clock::Clock;
use crate::plugin::PluginHandle;
use crate::plugin::own::{Lane, MOST};

impl Call {
    pub(super) fn waited(&self) -> Failure {
        let wait = self.manifest.limits.queue_wait;
        self.full(format!("its turn did not come within {wait} (limits.queue_wait)"))
    }

    pub(super) fn crowded(&self) -> Failure {
        let detail = format!(
            "{MOST} sessions have an instance of this plugin already; one must end first (isolation = \"session\")"
        );
        Failure { delivery: Some(Delivery::Queued), ..self.failure(Code::Overloaded, detail) }
    }

    pub(super) fn full(&self, detail: String) -> Failure {
        let retry_after = Some(Duration::from_secs(1));
        Failure { delivery: Some(Delivery::Queued), retry_after, ..self.failure(Code::QueueFull, detail) }
    }

    pub(super) fn unavailable(&self, lane: &Lane) -> Failure {
        let failure = unavailable_in(&self.plugin, lane, self.routing.clock);
        Failure {
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id.clone()),
            delivery: Some(Delivery::Queued),
            ..failure
        }
    }

    pub(super) fn failed(&self, code: Code, error: &CallError) -> Failure {
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

    pub(super) fn failure(&self, code: Code, detail: String) -> Failure {
        Failure {
            plugin: Some(self.spec.plugin.as_str().into()),
            tool: self.spec.tool.as_deref().map(Into::into),
            call_id: Some(self.id.clone()),
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
        retry_after: next.map(|wait| wait.max(Duration::from_secs(1))).or(soon),
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
