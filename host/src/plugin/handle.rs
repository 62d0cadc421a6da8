//! A plugin: its set of instances, its last proof and its log, under one handle.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::watch;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::Manifest;
use wharf_core::{Moment, PluginId};

use super::core::PluginCore;
use super::gate::Gate;
use super::instance::{Command, InstanceHandle, Snapshot};
use super::memory::Record;
use super::own::Owned;
use super::pins::Pins;
use super::prove::Proof;
use super::retries::Retries;
use super::services::Services;
use super::sleep::sleeps;
use super::upgrade::Upgrading;
use crate::manifest::Problem;
use crate::process::logs::LogBook;

/// A plugin of the host.
pub(crate) struct PluginHandle {
    pub(crate) core: Arc<PluginCore>,
    pub(super) services: Arc<Services>,
    pub(crate) path: PathBuf,
    pub(crate) created: Moment,
    pub(super) manifest: ArcSwapOption<Manifest>,
    problems: ArcSwap<Vec<Problem>>,
    pub(crate) gate: Arc<Gate>,
    pub(super) turn: AtomicUsize,
    pub(super) pins: Pins,
    /// The replicas that its manifest declares.
    pub(super) own_replicas: AtomicU32,
    /// What its calls may be tried again.
    pub(crate) retries: Retries,
    /// Instances that a smaller `replicas` made surplus; their places are taken again only when they are gone.
    pub(super) surplus: Mutex<Vec<InstanceHandle>>,
    /// The versions of it that run beside each other.
    pub(super) upgrading: Mutex<Upgrading>,
    /// The instances of single sessions.
    pub(super) owned: Arc<Owned>,
    /// Why it was taken away, once it was.
    retired: OnceLock<&'static str>,
    /// True when nothing of it is left, after it was retired.
    gone: watch::Sender<bool>,
}

// === impl PluginHandle ===

impl PluginHandle {
    /// A plugin whose manifest is in `path`, without instances yet.
    pub(crate) fn new(services: &Arc<Services>, id: PluginId, path: PathBuf, log: Arc<LogBook>) -> Self {
        Self {
            core: Arc::new(PluginCore::new(id, log)),
            services: Arc::clone(services),
            path,
            created: services.clock.now(),
            manifest: ArcSwapOption::empty(),
            problems: ArcSwap::default(),
            gate: Gate::new(&services.alarm),
            turn: AtomicUsize::new(0),
            pins: Pins::default(),
            own_replicas: AtomicU32::new(1),
            retries: Retries::default(),
            surplus: Mutex::default(),
            upgrading: Mutex::default(),
            owned: Arc::default(),
            retired: OnceLock::new(),
            gone: watch::Sender::new(false),
        }
    }

    /// What is known of it from an earlier run of the host.
    pub(crate) fn remember(&self, record: Record) {
        self.core.record.store(Some(Arc::new(record)));
    }

    /// Whether a call finds all that it needs: it serves, or sleeps and is known to have worked.
    pub(crate) fn is_ready(&self) -> bool {
        let known = self.core.record.load().is_some();
        self.best().is_some_and(|now| now.state == State::Ready || (known && sleeps(&now)))
    }

    /// Gives all instances an operator's word, and returns when their snapshots show it.
    pub(crate) async fn operate(&self, event: &Event) {
        self.before_operator(event);
        for instance in self.instances().iter() {
            instance.operate(event.clone()).await;
        }
        for own in self.owned() {
            own.handle.operate(event.clone()).await;
        }
    }

    /// Ends all instances for good, for this reason. [`PluginHandle::gone`] tells when nothing is left; until then they can
    /// be seen.
    pub(crate) fn retire(&self, why: &'static str) {
        // Only once.
        self.retired.set(why).ok();
        let mut roster = self.core.roster.load().to_vec();
        roster.append(&mut self.give_up_upgrade());
        roster.append(&mut self.owned.retire());
        let gone = self.gone.clone();
        // Those that may end their calls first may not any more.
        roster.append(&mut self.surplus());
        for instance in roster.iter() {
            self.send(instance, Command::Retire(why));
        }
        let span = tracing::info_span!(parent: None, "retire", plugin = %self.core.id);
        self.services.tasks.spawn(span, async move {
            for instance in roster.iter() {
                instance.commands.closed().await;
            }
            gone.send_replace(true);
        });
    }

    /// Why it was taken away, if it was.
    pub(crate) fn retired(&self) -> Option<&'static str> {
        self.retired.get().copied()
    }

    /// True once nothing of a retired plugin is left.
    pub(crate) fn gone(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
    }

    /// Sends without waiting for a busy supervisor; commands arrive in the order in which they are sent.
    pub(super) fn send(&self, instance: &InstanceHandle, command: Command) {
        match instance.commands.try_send(command) {
            // A supervisor that is gone needs no command.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(command)) => {
                tracing::warn!(plugin = %self.core.id, n = instance.n.0, "a supervisor is behind with its commands");
                let commands = instance.commands.clone();
                let span = tracing::info_span!(parent: None, "command", plugin = %self.core.id);
                self.services.tasks.spawn(span, async move { commands.send(command).await.ok() });
            }
        }
    }

    pub(crate) fn manifest(&self) -> Option<Arc<Manifest>> {
        self.manifest.load_full()
    }

    /// The same, for a look.
    pub(crate) fn manifest_now(&self) -> arc_swap::Guard<Option<Arc<Manifest>>> {
        self.manifest.load()
    }

    pub(crate) fn set_problems(&self, problems: Vec<Problem>) {
        self.problems.store(Arc::new(problems));
    }

    pub(crate) fn problems(&self) -> Arc<Vec<Problem>> {
        self.problems.load_full()
    }

    pub(crate) fn instances(&self) -> Arc<Vec<InstanceHandle>> {
        self.core.roster.load_full()
    }

    /// How many they are.
    pub(crate) fn instance_count(&self) -> usize {
        self.core.roster.load().len()
    }

    /// What it declares and what it lists, of one version.
    pub(crate) fn offered(&self) -> Option<(Arc<Manifest>, Arc<Proof>)> {
        self.core.between(|| Some((self.manifest()?, self.proof()?)))
    }

    pub(crate) fn proof(&self) -> Option<Arc<Proof>> {
        self.core.record.load().as_ref().map(|record| Arc::clone(&record.proof))
    }

    /// A change of any of its instances.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }

    /// The best of its instances' states, with the snapshot it comes from.
    pub(crate) fn best(&self) -> Option<Arc<Snapshot>> {
        self.instances().iter().map(InstanceHandle::now).min_by_key(|snapshot| snapshot.state)
    }

    /// Its state. One that was taken away is stopping until nothing of it is left.
    pub(crate) fn state(&self) -> State {
        if self.retired().is_some() {
            return State::Stopping;
        }
        self.best().map_or(State::Misconfigured, |snapshot| snapshot.state)
    }

    /// Whether its tools stand in the catalog: from the first proof until it is withdrawn. A try in quarantine publishes
    /// nothing until it serves.
    pub(crate) fn is_listed(&self) -> bool {
        let listed = |now: &Snapshot| match now.state {
            State::Ready | State::Degraded | State::Draining => true,
            State::Starting | State::Preparing | State::Backoff | State::Stopping => {
                now.wanted && !now.quarantined
            }
            State::Stopped => now.wanted,
            State::Disabled | State::Quarantined | State::Fatal | State::Misconfigured => false,
        };
        self.core.record.load().is_some() && self.instances().iter().any(|instance| listed(&instance.now()))
    }

    /// Whether `/readyz` waits for it.
    pub(crate) fn is_required(&self) -> bool {
        self.manifest.load().as_ref().is_some_and(|manifest| manifest.required)
    }
}

impl std::fmt::Debug for PluginHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PluginHandle")
            .field("id", &self.core.id)
            .field("state", &self.state())
            .finish_non_exhaustive()
    }
}
