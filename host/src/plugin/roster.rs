//! Which instances a plugin has: made, kept and retired as its manifest says. What they are called for is not known here.

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
        self.gate.rates.configure(limits.rate);
        let last = self.manifest.swap(Some(Arc::clone(&setup.manifest)));
        let renew = last.is_none_or(|last| setup.manifest.launches_otherwise(&last));
        let before = self.core.roster.load_full();
        let wanted = setup.manifest.instances() as usize;
        let mut roster: Vec<InstanceHandle> = before.iter().take(wanted).cloned().collect();
        for instance in &roster {
            self.send(instance, Command::Configure { setup: setup.clone(), renew });
        }
        let mut surplus = self.surplus.lock().unwrap_or_else(PoisonError::into_inner);
        surplus.retain(|instance| !instance.commands.is_closed());
        for instance in before.iter().skip(wanted) {
            self.send(instance, Command::Retire("fewer replicas are wanted"));
            surplus.push(instance.clone());
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
        for n in roster.len()..wanted {
            let slot = slot(&setup.manifest, u32::try_from(n).unwrap_or(u32::MAX));
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
