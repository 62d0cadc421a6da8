//! What operators ask for.

use wharf_plugin_api::{Cause, CauseKind};

use super::counters::Counters;
use super::event::{Context, Effect};
use super::machine::{Machine, Phase, Wanted};

impl Machine {
    pub(super) fn start(&mut self, cx: Context) -> Vec<Effect> {
        if self.is_asleep() && matches!(self.phase, Phase::Draining { .. }) {
            return self.wake(cx);
        }
        let was_up = self.wanted == Wanted::Up;
        self.wanted = Wanted::Up;
        match &mut self.phase {
            Phase::Resting { .. } => {
                self.pardon();
                self.begin(cx)
            }
            Phase::Ending { failure, .. } => {
                *failure = None;
                self.pardon();
                Vec::new()
            }
            // The calls that the drain protects may end; then it begins anew.
            Phase::Draining { .. } => Vec::new(),
            Phase::Preparing { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. } => {
                debug_assert!(was_up, "alive although not wanted");
                Vec::new()
            }
        }
    }

    pub(super) fn restart(&mut self, cx: Context) -> Vec<Effect> {
        if matches!(self.phase, Phase::Resting { .. } | Phase::Ending { .. }) {
            return self.start(cx);
        }
        self.wanted = Wanted::Up;
        self.pardon();
        self.end(None, cx)
    }

    pub(super) fn renew(&mut self, cx: Context) -> Vec<Effect> {
        if self.is_asleep() && matches!(self.phase, Phase::Draining { .. }) {
            // Whoever wakes it now would get the old one.
            self.wanted = Wanted::Up;
        }
        if self.wanted != Wanted::Up {
            return Vec::new();
        }
        let Phase::Serving { ready_since, .. } = self.phase else { return self.restart(cx) };
        self.pardon();
        self.phase = Phase::Draining { ready_since, deadline: cx.now + self.policy.drain };
        vec![Effect::Suspend(self.generation)]
    }

    pub(super) fn down(&mut self, wanted: Wanted, why: &str, cx: Context) -> Vec<Effect> {
        self.wanted = wanted;
        self.cause = Some(Cause::new(CauseKind::Requested, why));
        match &mut self.phase {
            Phase::Resting { .. } => self.rest(None),
            Phase::Ending { failure, .. } => {
                *failure = None;
                Vec::new()
            }
            Phase::Preparing { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Draining { .. } => self.end(None, cx),
        }
    }

    pub(super) fn drain(&mut self, why: &str, cx: Context) -> Vec<Effect> {
        if !matches!(self.phase, Phase::Serving { .. } | Phase::Draining { .. }) {
            return self.down(Wanted::Down, why, cx);
        }
        self.wanted = Wanted::Down;
        self.cause = Some(Cause::new(CauseKind::Requested, why));
        let Phase::Serving { ready_since, .. } = self.phase else { return Vec::new() };
        self.phase = Phase::Draining { ready_since, deadline: cx.now + self.policy.drain };
        vec![Effect::Suspend(self.generation)]
    }

    /// An operator's word clears what was counted.
    pub(super) fn pardon(&mut self) {
        self.counters = Counters::default();
        self.quarantined = false;
        self.after_crash = false;
    }
}
