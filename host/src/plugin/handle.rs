//! A plugin: its set of instances, its last proof and its log, under one handle.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, watch};
use wharf_core::lifecycle::{Event, State};
use wharf_core::manifest::{Manifest, Start};
use wharf_core::pick::{Candidate, Outlook, outlook, pick};
use wharf_core::{InstanceNo, Moment, PluginId};
use wharf_plugin_api::Link;

use super::core::PluginCore;
use super::gate::Gate;
use super::instance::{Beginning, Command, InFlight, InstanceHandle, Predecessors, Setup, Snapshot};
use super::memory::Record;
use super::own::Owned;
use super::prove::Proof;
use super::services::Services;
use super::sleep::sleeps;
use super::supervisor::supervise;
use crate::manifest::Problem;
use crate::process::logs::LogBook;

/// A plugin of the host.
pub(crate) struct PluginHandle {
    pub(crate) core: Arc<PluginCore>,
    pub(super) services: Arc<Services>,
    pub(crate) path: PathBuf,
    pub(crate) created: Moment,
    manifest: ArcSwapOption<Manifest>,
    problems: ArcSwap<Vec<Problem>>,
    pub(crate) gate: Gate,
    turn: AtomicUsize,
    /// Instances that a smaller `replicas` made surplus; their places are taken again only when they are gone.
    surplus: Mutex<Vec<InstanceHandle>>,
    /// The instances of single sessions.
    pub(super) owned: Arc<Owned>,
    /// Why it was taken away, once it was.
    retired: OnceLock<&'static str>,
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

// === impl Picked ===

impl Picked {
    pub(super) fn new(instance: InstanceHandle, link: Arc<dyn Link>, inflight: InFlight) -> Self {
        Self { n: instance.n, link, instance, _inflight: inflight }
    }
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
            gate: Gate::default(),
            turn: AtomicUsize::new(0),
            surplus: Mutex::default(),
            owned: Arc::default(),
            retired: OnceLock::new(),
            gone: watch::Sender::new(false),
        }
    }

    /// Goes by this setup from now on. What must be launched otherwise is started anew once its calls have ended; what was
    /// stopped by an operator stays stopped. `leaving`: plugins that had this id before.
    pub(crate) fn configure(&self, setup: &Setup, enabled: bool, leaving: &[watch::Receiver<bool>]) {
        let limits = &setup.manifest.limits;
        self.gate.configure(limits.concurrency.saturating_mul(setup.manifest.replicas), limits.queue);
        let last = self.manifest.swap(Some(Arc::clone(&setup.manifest)));
        let renew = last.is_none_or(|last| setup.manifest.launches_otherwise(&last));
        let before = self.core.roster.load_full();
        let wanted = setup.manifest.replicas as usize;
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
            let n = InstanceNo(u32::try_from(n).unwrap_or(u32::MAX));
            let instance = surplus.iter().rev().find(|instance| instance.n == n).cloned();
            let before = Predecessors { plugins: leaving.to_vec(), instance };
            let waits = lazy && beginning == Beginning::Up && (known || n.0 > 0);
            let beginning = if waits { Beginning::Asleep } else { beginning };
            roster.push(supervise(&self.core, &self.services, n, setup.clone(), beginning, before, None));
        }
        drop(surplus);
        self.configure_own(setup, renew, leaving);
        self.core.roster.store(Arc::new(roster));
        self.core.bump();
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
        roster.append(&mut self.owned.retire());
        let gone = self.gone.clone();
        for instance in roster.iter() {
            self.send(instance, Command::Retire(why));
        }
        roster.append(&mut self.surplus.lock().unwrap_or_else(PoisonError::into_inner));
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

    /// Picks an instance for a call and counts the call in. `None`: none serves, or all that do are full.
    pub(crate) fn pick(&self) -> Option<Picked> {
        let manifest = self.manifest.load();
        let manifest = manifest.as_ref()?;
        let limit = manifest.limits.concurrency as usize;
        let instances = self.core.roster.load();
        // Another round only if the choice was overtaken; then what was chosen is no longer a candidate.
        loop {
            let snapshots: Vec<Arc<Snapshot>> = instances.iter().map(InstanceHandle::now).collect();
            let candidates: Vec<Candidate> = snapshots
                .iter()
                .zip(instances.iter())
                .map(|(snapshot, instance)| {
                    let inflight = instance.load.inflight();
                    Candidate {
                        state: snapshot.state,
                        linked: snapshot.link.is_some() && inflight < limit,
                        inflight,
                    }
                })
                .collect();
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let instance = instances.get(pick(&candidates, manifest.balance, turn)?)?.clone();
            let Some(inflight) = instance.load.enter(limit) else { continue };
            // Counted in before it is looked at again: a drain that begins now waits for this call.
            let Some(link) = instance.now().link.clone() else { continue };
            return Some(Picked::new(instance, link, inflight));
        }
    }

    /// Rung when a call leaves one of its instances.
    pub(crate) fn freed(&self) -> Arc<Notify> {
        Arc::clone(&self.core.freed)
    }

    /// Whether it is worth waiting for it.
    pub(crate) fn outlook(&self) -> Outlook {
        let wait = self
            .instances()
            .iter()
            .map(InstanceHandle::now)
            .any(|now| outlook(now.state, now.wanted) == Outlook::Wait);
        if wait { Outlook::Wait } else { Outlook::Fail }
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
