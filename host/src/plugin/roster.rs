//! Which instances a plugin has: made, kept and retired as its manifest says. What they are called for is not known here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use tokio::sync::watch;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Kind, Manifest, Start};
use wharf_core::{InstanceNo, Role, Slot};

use super::PluginHandle;
use super::instance::{Beginning, Command, InstanceHandle, Predecessors, Setup};
use super::supervisor::supervise;

impl PluginHandle {
    /// Goes by this setup from now on. What must be launched otherwise is started anew once its calls have ended; what was
    /// stopped by an operator stays stopped. `leaving`: plugins that had this id before.
    pub(crate) fn configure(&self, setup: &Setup, enabled: bool, leaving: &[watch::Receiver<bool>]) {
        let limits = &setup.manifest.limits;
        self.gate.configure(limits.concurrency.saturating_mul(setup.manifest.instances()), limits.queue);
        let last = self.manifest.swap(Some(Arc::clone(&setup.manifest)));
        let renew = last.is_none_or(|last| setup.manifest.launches_otherwise(&last));
        let before = self.core.roster.load_full();
        let slots = (0..setup.manifest.instances()).map(|nth| slot(&setup.manifest, nth)).collect::<Vec<_>>();
        let mut surplus = self.surplus.lock().unwrap_or_else(PoisonError::into_inner);
        surplus.retain(|instance| !instance.commands.is_closed());
        for instance in before.iter() {
            if slots.iter().any(|slot| slot.is_like(&instance.slot)) {
                self.send(instance, Command::Configure { setup: setup.clone(), renew });
            } else {
                // Its calls may end.
                self.send(instance, Command::Dismiss("its place is not wanted any more"));
                surplus.push(instance.clone());
            }
        }
        // Stopped by an operator, as opposed to switched off and now on again.
        let stopped = |instance: &InstanceHandle| {
            let now = instance.now();
            !now.wanted && now.state != State::Disabled
        };
        let beginning = match enabled {
            false => Beginning::Off,
            true if !before.is_empty() && before.iter().all(stopped) => Beginning::Down,
            true => Beginning::Up,
        };
        // A lazy one is started by a call, but what it offers must be known.
        let lazy = setup.manifest.start == Start::Lazy;
        let known = self.core.record.load().is_some();
        let mut roster = Vec::with_capacity(slots.len());
        for slot in slots {
            if let Some(kept) = before.iter().find(|instance| slot.is_like(&instance.slot)) {
                roster.push(kept.clone());
                continue;
            }
            let instance = surplus.iter().rev().find(|instance| instance.n == slot.n).cloned();
            let before = Predecessors { plugins: leaving.to_vec(), instance };
            let waits = lazy && beginning == Beginning::Up && (known || slot.n.0 > 0);
            let beginning = if waits { Beginning::Asleep } else { beginning };
            roster.push(supervise(&self.core, &self.services, slot, setup.clone(), beginning, before, None));
        }
        drop(surplus);
        self.configure_own(setup, renew, leaving);
        self.core.roster.store(Arc::new(roster));
        self.core.bump();
    }
}

impl PluginHandle {
    /// Its manifest declares so many replicas itself.
    pub(crate) fn declare_replicas(&self, own: u32) {
        self.own_replicas.store(own, Ordering::Relaxed);
    }

    /// The replicas that its manifest declares itself, whatever an operator asked for since.
    pub(crate) fn own_replicas(&self) -> u32 {
        self.own_replicas.load(Ordering::Relaxed)
    }

    /// Whether an instance whose place is not wanted any more is still there.
    pub(crate) fn has_surplus(&self) -> bool {
        let surplus = self.surplus.lock().unwrap_or_else(PoisonError::into_inner);
        let is_left = |instance: &InstanceHandle| {
            !instance.commands.is_closed() && instance.now().state != State::Stopped
        };
        surplus.iter().any(is_left)
    }
}

/// The `nth` place that a manifest asks for.
fn slot(manifest: &Manifest, nth: u32) -> Slot {
    let plain = Slot::new(InstanceNo(nth));
    match &manifest.kind {
        Kind::Remote(remote) if remote.targets.len() > 1 => {
            let target = usize::try_from(nth).ok().and_then(|nth| remote.targets.get(nth));
            target.map_or(plain, |target| Slot { priority: target.priority, weight: target.weight, ..plain })
        }
        Kind::Remote(_) | Kind::Command(_) | Kind::Embedded(_) if nth >= manifest.replicas => {
            Slot { role: Role::Standby, ..plain }
        }
        Kind::Remote(_) | Kind::Command(_) | Kind::Embedded(_) => plain,
    }
}
