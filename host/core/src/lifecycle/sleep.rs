//! An instance that runs only while it is used: it goes to sleep, and a call wakes it.

use wharf_plugin_api::{Cause, CauseKind};

use super::event::{Context, Effect};
use super::machine::{Machine, Phase, Wanted};

impl Machine {
    /// No further call is let in; if none slipped in before that, [`super::Event::Idle`] ends it. If one did,
    /// [`super::Event::Wake`] lets calls in again: none fails because the instance was about to sleep.
    pub(super) fn sleep(&mut self, cx: Context) -> Vec<Effect> {
        let Phase::Serving { ready_since, .. } = self.phase else { return Vec::new() };
        // On probation it has to show that it stays up.
        if self.wanted != Wanted::Up || !self.policy.lazy || self.quarantined {
            return Vec::new();
        }
        self.wanted = Wanted::Asleep;
        self.cause = Some(Cause::new(CauseKind::Lazy, "nobody used it for a while; the next call starts it"));
        self.phase = Phase::Draining { ready_since, deadline: cx.now + self.policy.drain };
        vec![Effect::Suspend(self.generation)]
    }

    pub(super) fn wake(&mut self, cx: Context) -> Vec<Effect> {
        if self.wanted != Wanted::Asleep {
            return Vec::new();
        }
        self.wanted = Wanted::Up;
        match self.phase {
            Phase::Resting { .. } => self.begin(cx),
            Phase::Draining { ready_since, .. } => {
                self.cause = None;
                self.phase = Phase::Serving { ready_since, degraded: false, misses: 0, hits: 0 };
                vec![Effect::Serve(self.generation)]
            }
            // It begins anew when nothing of it is left.
            Phase::Preparing { .. }
            | Phase::Fetching { .. }
            | Phase::Opening { .. }
            | Phase::Proving { .. }
            | Phase::Serving { .. }
            | Phase::Ending { .. } => Vec::new(),
        }
    }
}
