//! What a call waits for before it is handed over, beside its turn: an instance that takes it. Bounded.

use std::time::Duration;

use tokio::time::Instant;
use wharf_core::InstanceNo;
use wharf_core::lifecycle::State;

use super::call::Call;
use super::failure::Failure;
use crate::plugin::own::Lane;
use crate::plugin::picking::{Choice, Picked};

impl Call {
    /// Counts the call against its caller's rate.
    pub(super) fn within_rate(&self) -> Result<(), Failure> {
        let Some(rate) = self.manifest.limits.rate else { return Ok(()) };
        let counted = self.plugin.gate.rates.count(&self.spec.caller.principal);
        counted.map_err(|wait| self.too_many(rate, wait))
    }

    /// How long a call that waits for its client is left in peace by those that wait for their turn.
    pub(super) fn peace(&self) -> Duration {
        self.manifest.limits.queue_wait.0 / 2
    }

    /// An instance that takes the call; waits until then for one that has a free place, or is about to be ready. For the
    /// start of a lazy one it waits until the call's own deadline. `tried`: where the call was tried already.
    pub(super) async fn pick(
        &self,
        lane: &Lane,
        tried: &[InstanceNo],
        until: Instant,
        deadline: Instant,
    ) -> Result<Picked, Failure> {
        let choice = Choice { caller: &self.spec.caller, tried };
        if let Some(picked) = self.plugin.pick_in(lane, &choice) {
            return Ok(picked);
        }
        // Rare, and larger than all that a call holds that need not wait here.
        Box::pin(async {
            tokio::select! {
                biased;
                picked = self.freed(lane, &choice, until, deadline) => picked,
                never = self.plugin.gate_of(lane).asking().press(self.peace()) => match never {},
            }
        })
        .await
    }

    pub(super) async fn freed(
        &self,
        lane: &Lane,
        choice: &Choice<'_>,
        patience: Instant,
        deadline: Instant,
    ) -> Result<Picked, Failure> {
        let (mut changes, freed) = (self.plugin.changes(), self.plugin.freed_in(lane));
        loop {
            changes.mark_unchanged();
            if let Some(picked) = self.plugin.pick_in(lane, choice) {
                return Ok(picked);
            }
            self.plugin.wake(lane);
            let until = if self.plugin.is_cold(lane) { deadline } else { patience };
            let left = until.saturating_duration_since(Instant::now());
            let awaited = self.plugin.awaited_in(lane).map(|at| at - self.routing.clock.now());
            if awaited.is_none_or(|wait| wait >= left) {
                let state = self.plugin.best_in(lane).map(|best| best.state);
                let serves = awaited.is_some() && matches!(state, Some(State::Ready | State::Degraded));
                let gate = self.plugin.gate_of(lane);
                return Err(if serves { self.waited(gate, deadline) } else { self.unavailable(lane) });
            }
            tokio::select! {
                // Nobody changes a plugin that is gone: the wait ends by the time.
                _ = changes.changed() => {}
                () = freed.notified() => {}
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }
}
