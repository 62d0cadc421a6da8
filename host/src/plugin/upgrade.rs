//! Upgrades carried out: a version that is launched otherwise starts beside the one that serves, and takes its place when it
//! has proven itself. What is decided is decided by [`wharf_core::upgrade`]; what its instances do, by their supervisors.
//!
//! A lock is held for a few instructions, never over an await. One task looks on while an upgrade is under way.

mod look;
mod tell;
#[cfg(test)]
mod tests;

use std::sync::{Arc, MutexGuard, PoisonError};

use tokio::sync::watch;
use wharf_core::lifecycle::{self, State};
use wharf_core::manifest::{Dialect, Kind, Manifest, PortChoice, Start, Way};
use wharf_core::upgrade::{Effect, Event, Terms, Upgrade};
use wharf_core::{InstanceNo, Revision};

use super::PluginHandle;
use super::drift::tell_drift;
use super::instance::{Beginning, Command, InstanceHandle, Setup};
use super::report::remember;
use super::roster::Wanted;
pub(super) use tell::Lists;

/// The versions of one plugin.
#[derive(Default)]
pub(super) struct Upgrading {
    machine: Upgrade,
    /// What takes the calls is launched from this.
    serving: Option<Setup>,
    /// The last contents that were read, taken or not.
    newest: Option<Setup>,
    enabled: bool,
    /// Plugins that had this id before.
    leaving: Vec<watch::Receiver<bool>>,
    /// Instances of the version that proves itself.
    fresh: Vec<InstanceHandle>,
    /// So many of them must serve.
    needed: usize,
    /// Instances of the version that took the calls before, and what they are launched from.
    warm: Vec<InstanceHandle>,
    warm_setup: Option<Setup>,
    /// How often those on trial had been restarted before they took over.
    restarts: Vec<(InstanceNo, u64)>,
    /// What the new version lists beside the old one.
    lists: Option<Arc<Lists>>,
    /// A task looks on.
    watched: bool,
}

impl PluginHandle {
    /// Goes by this setup from now on. What must be launched otherwise is started beside what serves, and takes over when it
    /// has proven itself; what cannot run twice, and what does not serve, is replaced where it stands. `leaving`: plugins that
    /// had this id before.
    pub(crate) fn configure(
        self: &Arc<Self>,
        setup: &Setup,
        enabled: bool,
        leaving: &[watch::Receiver<bool>],
    ) {
        let (mut guard, mut setup) = (self.upgrading(), setup.clone());
        let up = &mut *guard;
        (up.enabled, up.leaving) = (enabled, leaving.to_vec());
        let otherwise = |than: &Setup| setup.manifest.launches_otherwise(&than.manifest);
        let first = up.serving.is_none();
        if first || !up.serving.as_ref().is_some_and(otherwise) {
            // Nothing that runs needs another launch for it.
            self.step(up, Event::Back);
            setup.revision = up.machine.serving();
            (up.serving, up.newest) = (Some(setup.clone()), Some(setup.clone()));
            self.in_place(&setup, false, enabled, leaving);
        } else if let Some(to) = up.machine.proving()
            && !up.newest.as_ref().is_some_and(otherwise)
        {
            setup.revision = to;
            let wanted = wanted(up, &setup, false);
            up.fresh = self.arrange(&up.fresh, &self.instances(), &wanted);
            up.newest = Some(setup);
        } else {
            up.newest = Some(setup);
            self.begin_upgrade(up);
        }
    }

    /// What it is launched from has changed on the disk, and the manifest has not. What is stopped is launched from it when it
    /// is started.
    pub(crate) fn renewed(self: &Arc<Self>) {
        let mut guard = self.upgrading();
        let wanted = self.instances().iter().any(|instance| instance.now().wanted);
        if wanted && guard.newest.is_some() {
            self.begin_upgrade(&mut guard);
        }
    }

    /// The last manifest that was read, whether it is served by or not.
    pub(crate) fn newest(&self) -> Option<Arc<Manifest>> {
        self.upgrading().newest.as_ref().map(|newest| Arc::clone(&newest.manifest))
    }

    /// The newest setup is launched, beside or in place.
    fn begin_upgrade(self: &Arc<Self>, up: &mut Upgrading) {
        let Some(manifest) = up.newest.as_ref().map(|newest| Arc::clone(&newest.manifest)) else { return };
        let beside = up.enabled && runs_beside(&manifest) && self.how_many_serve() > 0;
        let health = &manifest.health;
        let fetching = if manifest.fetches() { health.prepare_timeout.0 } else { std::time::Duration::ZERO };
        let terms =
            Terms { beside, proof: health.start_timeout.0 + fetching, trial: manifest.upgrade.trial.0 };
        up.lists = None;
        self.step(up, Event::Changed(terms));
        if up.machine.next_deadline().is_some() && !std::mem::replace(&mut up.watched, true) {
            let span = tracing::info_span!(parent: None, "upgrade", plugin = %self.core.id);
            self.services.tasks.spawn(span, Arc::clone(self).look_on());
        }
    }

    /// An operator's word comes: the newest contents count from now on.
    pub(super) fn before_operator(&self, event: &lifecycle::Event) {
        let ends = [
            (matches!(event, lifecycle::Event::Stop), "stop"),
            (matches!(event, lifecycle::Event::Restart), "restart"),
            (matches!(event, lifecycle::Event::Drain), "drain"),
            (matches!(event, lifecycle::Event::Disable), "disable"),
        ];
        if let Some((_, word)) = ends.into_iter().find(|(is, _)| *is) {
            self.step(&mut self.upgrading(), Event::Operator(word));
        }
    }

    /// The plugin is taken away. Returns the instances that stand beside those of the roster.
    pub(super) fn give_up_upgrade(&self) -> Vec<InstanceHandle> {
        let mut up = self.upgrading();
        self.step(&mut up, Event::Gone);
        // Whoever looks on sees that it is over.
        self.core.bump();
        let fresh = std::mem::take(&mut up.fresh);
        fresh.into_iter().chain(std::mem::take(&mut up.warm)).collect()
    }

    /// The instances beside those that take the calls: of a version that proves itself, of one that is warm, and what is
    /// ending.
    pub(crate) fn beside(&self) -> Vec<InstanceHandle> {
        let up = self.upgrading();
        let surplus = self.surplus().clone();
        let ending = surplus.into_iter().filter(|one| !one.commands.is_closed());
        up.fresh.iter().chain(&up.warm).cloned().chain(ending).collect()
    }

    fn upgrading(&self) -> MutexGuard<'_, Upgrading> {
        self.upgrading.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, up: &mut Upgrading, event: Event) {
        for effect in up.machine.on(event, self.services.clock.now()) {
            self.carry_out(up, effect);
        }
    }

    fn carry_out(&self, up: &mut Upgrading, effect: Effect) {
        match effect {
            Effect::Start(to) => self.start_beside(up, to),
            Effect::Switch(to) => self.switch(up, to),
            Effect::TakeBack(to) => self.take_back(up, to),
            Effect::EndNew(_) => {
                for one in std::mem::take(&mut up.fresh) {
                    self.dismiss(&one, Command::Retire("it did not take over"));
                }
                self.core.settle(up.machine.serving());
            }
            Effect::EndOld => {
                for one in std::mem::take(&mut up.warm) {
                    self.dismiss(&one, Command::Leave("a newer version has taken over"));
                }
                up.warm_setup = None;
                self.core.settle(up.machine.serving());
            }
            Effect::InPlace(to) => self.replace(up, to, true),
            Effect::Adopt(to) => self.replace(up, to, false),
            Effect::Tell => self.tell_upgrade(up),
        }
        self.core.bump();
    }

    fn start_beside(&self, up: &mut Upgrading, to: Revision) {
        let Some(setup) = up.newest_as(to) else { return };
        let roster = self.instances();
        up.needed = self.how_many_serve().min(setup.manifest.instances() as usize).max(1);
        self.core.versions.mute(Some(to));
        up.fresh = self.arrange(&up.fresh, &roster, &wanted(up, &setup, true));
    }

    /// From here on the new version takes the calls; those in flight go on where they are.
    fn switch(&self, up: &mut Upgrading, to: Revision) {
        let Some(setup) = up.newest_as(to) else { return };
        let (before, fresh) = (self.core.record.load_full(), std::mem::take(&mut up.fresh));
        let first = fresh.first().map(|one| (one.n, one.now().generation));
        up.restarts = fresh.iter().map(|one| (one.n, one.now().restarts)).collect();
        up.warm = self.instances().to_vec();
        up.warm_setup = up.serving.replace(setup.clone());
        self.core.versions.mute(up.warm_setup.as_ref().map(|warm| warm.revision));
        self.open_gate(&setup.manifest);
        self.core.show(to, || {
            self.manifest.store(Some(Arc::clone(&setup.manifest)));
            self.core.roster.store(Arc::new(fresh));
        });
        self.services.catalog_dirty.notify_one();
        self.configure_own(&setup, true, &up.leaving);
        if let (Some(before), Some(now), Some(first)) = (before, self.core.record.load_full(), first) {
            tell_drift(&self.core, &self.services, first, (&before.proof, &now.proof), "upgrade");
        }
        if setup.manifest.start == Start::Lazy {
            remember(&self.core, &self.services);
        }
    }

    /// The old version takes the calls again; it never stopped.
    fn take_back(&self, up: &mut Upgrading, to: Revision) {
        let Some(setup) = up.warm_setup.take() else { return };
        let failed = self.instances();
        let warm = std::mem::take(&mut up.warm);
        up.serving = Some(setup.clone());
        self.core.versions.mute(Some(to));
        self.open_gate(&setup.manifest);
        self.core.show(setup.revision, || {
            self.manifest.store(Some(Arc::clone(&setup.manifest)));
            self.core.roster.store(Arc::new(warm));
        });
        self.services.catalog_dirty.notify_one();
        self.configure_own(&setup, true, &up.leaving);
        for one in failed.iter() {
            self.dismiss(one, Command::Leave("it failed its trial"));
        }
        self.core.settle(setup.revision);
        if setup.manifest.start == Start::Lazy {
            remember(&self.core, &self.services);
        }
    }

    fn replace(&self, up: &mut Upgrading, to: Revision, renew: bool) {
        let Some(setup) = up.newest_as(to) else { return };
        up.serving = Some(setup.clone());
        self.core.settle(to);
        self.in_place(&setup, renew, up.enabled, &up.leaving);
    }

    fn how_many_serve(&self) -> usize {
        self.instances().iter().filter(|one| serves(one)).count()
    }
}

impl Upgrading {
    /// The newest setup, under its number.
    fn newest_as(&mut self, to: Revision) -> Option<Setup> {
        let newest = self.newest.as_mut()?;
        newest.revision = to;
        Some(newest.clone())
    }
}

fn wanted<'a>(up: &'a Upgrading, setup: &'a Setup, renew: bool) -> Wanted<'a> {
    let awake = u32::try_from(up.needed).unwrap_or(u32::MAX);
    Wanted { setup, renew, beginning: Beginning::Up, awake, leaving: &up.leaving }
}

fn serves(instance: &InstanceHandle) -> bool {
    let now = instance.now();
    matches!(now.state, State::Ready | State::Degraded) && now.link.is_some()
}

/// Whether two versions of it can run at the same time: not where each would listen on the same port.
fn runs_beside(manifest: &Manifest) -> bool {
    let own_port = match &manifest.kind {
        Kind::Command(command) => command.dialect == Dialect::Stdio || command.port == Some(PortChoice::Auto),
        Kind::Remote(_) | Kind::Embedded(_) => true,
    };
    own_port && manifest.upgrade.way == Way::Beside
}
