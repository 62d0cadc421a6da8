//! Which instances a plugin has: made, kept and retired as its manifest says. What they are called for is not known here.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::watch;
use wharf_core::lifecycle::State;
use wharf_core::manifest::{Kind, Manifest, Start};
use wharf_core::{InstanceNo, Role, Slot};

use super::PluginHandle;
use super::instance::{Beginning, Command, InstanceHandle, Predecessors, Setup};
use super::supervisor::supervise;

/// What the instances of a version are made with.
pub(super) struct Wanted<'a> {
    pub(super) setup: &'a Setup,
    /// What runs must be started anew.
    pub(super) renew: bool,
    /// How further ones begin.
    pub(super) beginning: Beginning,
    /// How many of them are started without a call, of a lazy plugin.
    pub(super) awake: u32,
    /// Plugins that had this id before.
    pub(super) leaving: &'a [watch::Receiver<bool>],
}

impl PluginHandle {
    /// All instances go by this setup from now on. What must be launched otherwise is started anew once its calls have
    /// ended; what was stopped by an operator stays stopped.
    pub(super) fn in_place(
        &self,
        setup: &Setup,
        renew: bool,
        enabled: bool,
        leaving: &[watch::Receiver<bool>],
    ) {
        self.open_gate(&setup.manifest);
        self.manifest.store(Some(Arc::clone(&setup.manifest)));
        let before = self.core.roster.load_full();
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
        let awake = u32::from(self.core.record.load().is_none());
        let roster = self.arrange(&before, &[], &Wanted { setup, renew, beginning, awake, leaving });
        self.configure_own(setup, renew, leaving);
        self.core.roster.store(Arc::new(roster));
        self.core.bump();
    }

    /// So many calls may run and wait.
    pub(super) fn open_gate(&self, manifest: &Manifest) {
        let limits = &manifest.limits;
        self.gate.configure(limits.concurrency.saturating_mul(manifest.instances()), limits.queue);
        self.gate.rates.configure(limits.rate);
    }

    /// The instances that a setup wants, of those that there are and further ones. `beside`: those of another version, whose
    /// numbers are taken.
    pub(super) fn arrange(
        &self,
        before: &[InstanceHandle],
        beside: &[InstanceHandle],
        wanted: &Wanted<'_>,
    ) -> Vec<InstanceHandle> {
        let Wanted { setup, renew, leaving, .. } = wanted;
        let slots: Vec<Slot> =
            (0..setup.manifest.instances()).map(|nth| slot(&setup.manifest, nth)).collect();
        let stays = |one: &&InstanceHandle| slots.iter().any(|slot| slot.is_like(&one.slot));
        let (kept, left): (Vec<&InstanceHandle>, Vec<_>) = before.iter().partition(stays);
        for instance in &kept {
            self.send(instance, Command::Configure { setup: (*setup).clone(), renew: *renew });
        }
        for instance in left {
            // Its calls may end.
            self.dismiss(instance, Command::Leave("its place is not wanted any more"));
        }
        let surplus = self.surplus().clone();
        let mut roster: Vec<InstanceHandle> = Vec::with_capacity(slots.len());
        for slot in slots {
            if let Some(one) = kept.iter().find(|one| slot.is_like(&one.slot)) {
                roster.push((*one).clone());
                continue;
            }
            let nth = slot.replica;
            // Beside another version nothing waits for the end of a third one.
            let ending = |n: InstanceNo| {
                !beside.is_empty() && surplus.iter().any(|one| one.n == n && !one.commands.is_closed())
            };
            let others = kept.iter().copied().chain(&roster).chain(beside);
            let taken = |n: InstanceNo| others.clone().any(|one| one.n == n) || ending(n);
            let Some(n) = (nth..).chain(0..nth).map(InstanceNo).find(|n| !taken(*n)) else { continue };
            let slot = Slot { n, revision: setup.revision, ..slot };
            let instance = surplus.iter().rev().find(|instance| instance.n == n).cloned();
            let before = Predecessors { plugins: leaving.to_vec(), instance };
            let lazy = setup.manifest.start == Start::Lazy;
            let waits = lazy && wanted.beginning == Beginning::Up && nth >= wanted.awake;
            let beginning = if waits { Beginning::Asleep } else { wanted.beginning };
            let (core, services) = (&self.core, &self.services);
            roster.push(supervise(core, services, slot, (*setup).clone(), beginning, before, None));
        }
        roster
    }

    /// It is not needed any more: what it is told ends it. Its number is taken again only when it is gone, and its generations
    /// go on.
    pub(super) fn dismiss(&self, instance: &InstanceHandle, command: Command) {
        self.send(instance, command);
        let mut surplus = self.surplus();
        surplus.retain(|other| other.n != instance.n || !other.commands.is_closed());
        surplus.push(instance.clone());
    }

    pub(super) fn surplus(&self) -> MutexGuard<'_, Vec<InstanceHandle>> {
        self.surplus.lock().unwrap_or_else(PoisonError::into_inner)
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
        let surplus = self.surplus();
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
