//! What comes before a call is handed over, beside its turn: its caller's rate, and the wait for an instance that takes it, which
//! is bounded.

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
        let Some(rate) = self.to.manifest.limits.rate else { return Ok(()) };
        let counted = self.to.plugin.gate.rates.count(&self.spec.caller.principal);
        counted.map_err(|wait| self.too_many(rate, wait))
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
        if let Some(picked) = self.to.plugin.pick_in(lane, &choice) {
            return Ok(picked);
        }
        // Rare, and larger than all that a call holds that need not wait here.
        Box::pin(async {
            tokio::select! {
                biased;
                picked = self.freed(lane, &choice, until, deadline) => picked,
                never = self.to.plugin.gate_of(lane).asking().press(self.to.peace()) => match never {},
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
        let (mut changes, freed) = (self.to.plugin.changes(), self.to.plugin.freed_in(lane));
        loop {
            changes.mark_unchanged();
            if let Some(picked) = self.to.plugin.pick_in(lane, choice) {
                return Ok(picked);
            }
            self.to.plugin.wake(lane);
            let until = if self.to.plugin.is_cold(lane) { deadline } else { patience };
            let left = until.saturating_duration_since(Instant::now());
            let awaited = self.to.plugin.awaited_in(lane).map(|at| at - self.to.routing.clock.now());
            if awaited.is_none_or(|wait| wait >= left) {
                let state = self.to.plugin.best_in(lane).map(|best| best.state);
                let serves = awaited.is_some() && matches!(state, Some(State::Ready | State::Degraded));
                let gate = self.to.plugin.gate_of(lane);
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
