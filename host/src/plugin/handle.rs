//! A plugin: its set of instances, its last proof and its log, under one handle.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::watch;
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::Manifest;
use wharf_core::pick::{Candidate, pick};
use wharf_core::{InstanceNo, Moment, PluginId};
use wharf_plugin_api::Link;

use super::core::PluginCore;
use super::gate::Gate;
use super::instance::{Command, InFlight, InstanceHandle, Setup, Snapshot};
use super::prove::Proof;
use super::services::Services;
use super::supervisor::supervise;
use crate::manifest::Problem;
use crate::process::logs::LogBook;

/// A plugin of the host.
pub(crate) struct PluginHandle {
    pub(crate) core: Arc<PluginCore>,
    services: Arc<Services>,
    pub(crate) path: PathBuf,
    pub(crate) created: Moment,
    manifest: ArcSwapOption<Manifest>,
    problems: ArcSwap<Vec<Problem>>,
    pub(crate) gate: Gate,
    turn: AtomicUsize,
    /// True when nothing of it is left, after it was retired.
    gone: watch::Sender<bool>,
}

/// An instance that takes a call, counted in as long as this lives.
pub(crate) struct Picked {
    pub(crate) n: InstanceNo,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) instance: InstanceHandle,
    _inflight: InFlight,
}

// === impl PluginHandle ===

impl PluginHandle {
    /// A plugin whose manifest is in `path`, without instances yet.
    pub(crate) fn new(services: &Arc<Services>, id: PluginId, path: PathBuf, log: Arc<LogBook>) -> Self {
        let core = PluginCore {
            id,
            log,
            proof: ArcSwapOption::empty(),
            changed: watch::Sender::new(0),
            roster: ArcSwap::default(),
        };
        Self {
            core: Arc::new(core),
            services: Arc::clone(services),
            path,
            created: services.clock.now(),
            manifest: ArcSwapOption::empty(),
            problems: ArcSwap::default(),
            gate: Gate::default(),
            turn: AtomicUsize::new(0),
            gone: watch::Sender::new(false),
        }
    }

    /// Runs by this setup from now on. Instances that are there are ended and started anew; what was stopped by an operator
    /// stays stopped. `after` is the end of what had this id before.
    pub(crate) fn configure(&self, setup: &Setup, enabled: bool, after: Option<&watch::Receiver<bool>>) {
        let limits = &setup.manifest.limits;
        self.gate.configure(limits.concurrency.saturating_mul(setup.manifest.replicas), limits.queue);
        self.manifest.store(Some(Arc::clone(&setup.manifest)));
        let before = self.core.roster.load_full();
        let wanted = setup.manifest.replicas as usize;
        let mut roster: Vec<InstanceHandle> = before.iter().take(wanted).cloned().collect();
        for instance in &roster {
            self.send(instance, Command::Configure(setup.clone()));
        }
        for surplus in before.iter().skip(wanted) {
            self.send(surplus, Command::Retire);
        }
        for n in roster.len()..wanted {
            let n = InstanceNo(u32::try_from(n).unwrap_or(u32::MAX));
            roster.push(supervise(&self.core, &self.services, n, setup.clone(), enabled, after.cloned()));
        }
        self.core.roster.store(Arc::new(roster));
        self.core.bump();
    }

    /// Gives all instances an operator's word, and returns when their snapshots show it.
    pub(crate) async fn operate(&self, event: &Event) {
        for instance in self.instances().iter() {
            instance.operate(event.clone()).await;
        }
    }

    /// Ends all instances for good. [`PluginHandle::gone`] tells when nothing is left.
    pub(crate) fn retire(&self) {
        let roster = self.core.roster.swap(Arc::default());
        let gone = self.gone.clone();
        for instance in roster.iter() {
            self.send(instance, Command::Retire);
        }
        let span = tracing::info_span!(parent: None, "retire", plugin = %self.core.id);
        self.services.tasks.spawn(span, async move {
            for instance in roster.iter() {
                instance.commands.closed().await;
            }
            gone.send_replace(true);
        });
    }

    /// True once nothing of a retired plugin is left.
    pub(crate) fn gone(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
    }

    /// Sends without waiting for a busy supervisor.
    fn send(&self, instance: &InstanceHandle, command: Command) {
        let commands = instance.commands.clone();
        let span = tracing::info_span!(parent: None, "command", plugin = %self.core.id);
        // A supervisor that is gone needs no command.
        self.services.tasks.spawn(span, async move { commands.send(command).await.ok() });
    }

    pub(crate) fn manifest(&self) -> Option<Arc<Manifest>> {
        self.manifest.load_full()
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

    pub(crate) fn proof(&self) -> Option<Arc<Proof>> {
        self.core.proof.load_full()
    }

    /// A change of any of its instances.
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.core.changed.subscribe()
    }

    /// The best of its instances' states, with the snapshot it comes from.
    pub(crate) fn best(&self) -> Option<Arc<Snapshot>> {
        self.instances().iter().map(InstanceHandle::now).min_by_key(|snapshot| snapshot.state)
    }

    /// Its state.
    pub(crate) fn state(&self) -> State {
        self.best().map_or(State::Misconfigured, |snapshot| snapshot.state)
    }

    /// Picks an instance for a call and counts the call in.
    pub(crate) fn pick(&self) -> Option<Picked> {
        let balance = self.manifest.load().as_ref().map(|manifest| manifest.balance).unwrap_or_default();
        let instances = self.core.roster.load();
        let snapshots: Vec<Arc<Snapshot>> = instances.iter().map(InstanceHandle::now).collect();
        let candidates: Vec<Candidate> = snapshots
            .iter()
            .zip(instances.iter())
            .map(|(s, i)| Candidate { state: s.state, linked: s.link.is_some(), inflight: i.load.inflight() })
            .collect();
        let position = pick(&candidates, balance, self.turn.fetch_add(1, Ordering::Relaxed))?;
        let instance = instances.get(position)?.clone();
        let link = snapshots.get(position)?.link.clone()?;
        Some(Picked { n: instance.n, link, _inflight: instance.load.enter(), instance })
    }

    /// Whether its tools stand in the catalog: from the first proof until it is withdrawn.
    pub(crate) fn is_listed(&self) -> bool {
        let withdrawn = matches!(
            self.state(),
            State::Disabled | State::Stopped | State::Quarantined | State::Fatal | State::Misconfigured
        );
        !withdrawn && self.core.proof.load().is_some()
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
