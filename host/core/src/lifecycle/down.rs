//! The way down: to end what is alive, and what follows when it is gone.

use std::time::Duration;

use wharf_plugin_api::{Cause, CauseKind};

use super::event::{Context, Effect};
use super::machine::{Machine, Phase, Wanted};
use super::state::State;
use crate::manifest::RestartPolicy;
use crate::moment::Moment;

/// Between two tries in quarantine, plus or minus a fifth.
const QUARANTINE: Duration = Duration::from_secs(300);

impl Machine {
    /// Begins to end what is alive.
    pub(super) fn end(&mut self, failure: Option<Cause>, cx: Context) -> Vec<Effect> {
        let generation = self.generation;
        let (effects, ready_for) = match &self.phase {
            Phase::Preparing { .. } | Phase::Fetching { .. } | Phase::Opening { .. } => {
                (vec![Effect::CancelOpen(generation)], None)
            }
            Phase::Proving { .. } => (vec![Effect::Close(generation)], None),
            Phase::Serving { ready_since, .. } => {
                (vec![Effect::Suspend(generation), Effect::Close(generation)], Some(cx.now - *ready_since))
            }
            Phase::Draining { ready_since, .. } => {
                (vec![Effect::Close(generation)], Some(cx.now - *ready_since))
            }
            Phase::Resting { .. } | Phase::Ending { .. } => return Vec::new(),
        };
        if let Some(effect) = effects.last().copied() {
            self.phase = Phase::Ending { effect, failure, ready_for, remind: cx.now + self.policy.stop };
        }
        effects
    }

    /// Nothing can be said to it any more. Its end takes its time, but nobody is let in for that time.
    pub(super) fn lost(&mut self, cause: Cause, cx: Context) -> Vec<Effect> {
        match &self.phase {
            Phase::Proving { .. } | Phase::Serving { .. } => self.end(Some(cause), cx),
            // Its end was asked for, and is no failure.
            Phase::Draining { .. } => self.end(None, cx),
            // It ends already, or is not open yet: then its opening tells.
            Phase::Resting { .. }
            | Phase::Preparing { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }

    /// Nothing of the generation is left.
    pub(super) fn gone(&mut self, cause: Cause, cx: Context) -> Vec<Effect> {
        let suspend = matches!(self.phase, Phase::Serving { .. });
        let (failure, ready_for) = match &self.phase {
            Phase::Resting { .. } => return Vec::new(),
            Phase::Preparing { .. } | Phase::Fetching { .. } | Phase::Opening { unheard: true, .. } => {
                (Some(unprepared(cause)), None)
            }
            Phase::Opening { unheard: false, .. } | Phase::Proving { .. } => (Some(cause), None),
            Phase::Serving { ready_since, .. } => (Some(cause), Some(cx.now - *ready_since)),
            Phase::Draining { .. } => (None, None),
            Phase::Ending { failure, ready_for, .. } => {
                // Why we ended it counts; how the process ended completes it.
                let failure = failure.clone().map(|why| Cause { exit: cause.exit.or(why.exit), ..why });
                (failure, *ready_for)
            }
        };
        let mut effects = if suspend { vec![Effect::Suspend(self.generation)] } else { Vec::new() };
        effects.extend(self.settle(failure, ready_for, cx));
        effects
    }

    pub(super) fn settle(
        &mut self,
        failure: Option<Cause>,
        ready_for: Option<Duration>,
        cx: Context,
    ) -> Vec<Effect> {
        match (self.wanted, failure) {
            (Wanted::Asleep | Wanted::Down | Wanted::Disabled, _) => self.rest(None),
            (Wanted::Up, None) => self.begin(cx),
            (Wanted::Up, Some(cause)) => self.failed(cause, ready_for, cx),
        }
    }

    pub(super) fn failed(&mut self, cause: Cause, ready_for: Option<Duration>, cx: Context) -> Vec<Effect> {
        let clean = cause.exit.as_ref().is_some_and(|exit| exit.code == Some(0));
        // Neither says anything of the server.
        let reached = !matches!(cause.kind, CauseKind::Unreachable | CauseKind::PrepareFailed);
        let permanent = cause.is_permanent();
        self.cause = Some(cause);
        if permanent {
            return self.rest(Some((State::Fatal, None)));
        }
        let stay_down = match self.policy.restart.policy {
            RestartPolicy::Always => false,
            RestartPolicy::OnFailure => clean,
            RestartPolicy::Never => true,
        };
        if stay_down {
            // A lazy one that had worked is started by the next call; one that never did would only be started in vain.
            let sleeps = self.policy.lazy && ready_for.is_some();
            self.wanted = if sleeps { Wanted::Asleep } else { Wanted::Down };
            return self.rest(None);
        }
        self.restarts = self.restarts.saturating_add(1);
        self.after_crash = ready_for.is_some() && reached;
        let restart = &self.policy.restart;
        let delay = if reached {
            self.counters.failed(cx.now, ready_for, restart, cx.roll)
        } else {
            self.counters.uncounted(restart, cx.roll)
        };
        self.quarantined |= self.counters.hopeless(cx.now, &self.policy.restart);
        self.quarantined &= !cx.last_serviceable;
        if self.quarantined {
            let delay = QUARANTINE.mul_f64(0.8 + 0.4 * cx.roll);
            return self.rest(Some((State::Quarantined, Some(cx.now + delay))));
        }
        if delay.is_zero() {
            return self.begin(cx);
        }
        self.rest(Some((State::Backoff, Some(cx.now + delay))))
    }

    /// Rests in the given state, or as it is wanted.
    pub(super) fn rest(&mut self, as_state: Option<(State, Option<Moment>)>) -> Vec<Effect> {
        let idle = if self.wanted == Wanted::Disabled { State::Disabled } else { State::Stopped };
        let (as_state, until) = as_state.unwrap_or((idle, None));
        self.phase = Phase::Resting { as_state, until };
        Vec::new()
    }

    pub(super) fn due(&mut self, cx: Context) -> Vec<Effect> {
        let slow = |what: &str, budget: Duration| {
            Some(Cause::new(
                CauseKind::StartTimeout,
                format!("{what} not done after {} s", budget.as_secs_f64()),
            ))
        };
        match &mut self.phase {
            Phase::Resting { .. } => self.begin(cx),
            Phase::Preparing { .. } => {
                let cause = slow("preparation", self.policy.prepare_timeout);
                self.end(cause.map(unprepared), cx)
            }
            // It may be as good as there.
            Phase::Fetching { .. } => {
                self.phase = Phase::Opening { deadline: cx.now + self.policy.start_timeout, unheard: true };
                Vec::new()
            }
            Phase::Opening { unheard: true, .. } => {
                let budget = self.policy.prepare_timeout + self.policy.start_timeout;
                let detail = format!(
                    "its command fetches what it runs, and nothing was heard of the server for {} s",
                    budget.as_secs_f64()
                );
                self.end(Some(Cause::new(CauseKind::PrepareFailed, detail)), cx)
            }
            Phase::Opening { .. } => self.end(slow("handshake", self.policy.start_timeout), cx),
            Phase::Proving { .. } => self.end(slow("lists", self.policy.start_timeout), cx),
            Phase::Serving { .. } => {
                self.pardon();
                Vec::new()
            }
            Phase::Draining { .. } => self.end(None, cx),
            Phase::Ending { effect, remind, .. } => {
                *remind = cx.now + self.policy.stop;
                vec![*effect]
            }
        }
    }
}

/// A failure before the server said a word tells nothing of it, unless no further try can help.
fn unprepared(cause: Cause) -> Cause {
    if cause.is_permanent() || matches!(cause.kind, CauseKind::Unreachable | CauseKind::Requested) {
        return cause;
    }
    let detail = format!("before the server said anything: {}", cause.detail);
    Cause { exit: cause.exit, ..Cause::new(CauseKind::PrepareFailed, detail) }
}
