//! Instances that belong to one client's session each (`isolation = "session"`): begun by the session's first call, supervised
//! like any other, ended with the session.
//!
//! They stand beside the shared instances: what is listed, and how the plugin as a whole is doing, is told by those alone.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, watch};
use wharf_core::manifest::Isolation;
use wharf_core::pick::Outlook;
use wharf_core::{InstanceNo, Slot};
use wharf_plugin_api::Caller;

use super::PluginHandle;
use super::gate::Gate;
use super::instance::{Beginning, Command, InstanceHandle, Predecessors, Setup, Snapshot};
use super::picking::{Choice, Picked, outlook_of, serves};
use super::supervisor::supervise;
use super::visit::Visit;

/// Sessions that may have an instance of one plugin at the same time: each is a process.
pub(crate) const MOST: usize = 64;
/// Their numbers begin here, above all shared ones.
const FIRST: u32 = 1000;

/// The instance of one session.
#[derive(Debug)]
pub(crate) struct Own {
    pub(crate) handle: InstanceHandle,
    pub(crate) visit: Arc<Visit>,
    pub(crate) gate: Arc<Gate>,
}

/// The instances of all sessions, and what a new one is launched from.
#[derive(Debug, Default)]
pub(super) struct Owned(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    setup: Option<Setup>,
    /// Plugins that had this id before.
    leaving: Vec<watch::Receiver<bool>>,
    all: Vec<Arc<Own>>,
    retired: bool,
}

/// Which instances may take a call.
#[derive(Clone, Debug)]
pub(crate) enum Lane {
    /// Those that all callers share.
    Shared,
    /// The one of the caller's session.
    Own(Arc<Own>),
}

/// As many sessions as may be have an instance already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Crowded;

// === impl Owned ===

impl Owned {
    fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// All that live, in the order of their numbers.
    pub(super) fn all(&self) -> Vec<Arc<Own>> {
        let mut all = self.with(|state| state.all.clone());
        all.sort_by_key(|own| own.handle.n);
        all
    }

    /// No more of them from now on. Returns those that are left.
    pub(super) fn retire(&self) -> Vec<InstanceHandle> {
        self.with(|state| {
            state.retired = true;
            state.all.iter().map(|own| own.handle.clone()).collect()
        })
    }
}

impl State {
    /// The lowest number that nothing living has.
    fn free(&self) -> InstanceNo {
        let taken = |n: &u32| self.all.iter().any(|own| own.handle.n.0 == *n);
        InstanceNo((FIRST..).find(|n| !taken(n)).unwrap_or(u32::MAX))
    }
}

// === impl PluginHandle ===

impl PluginHandle {
    /// Which instances may take a call of this caller. Begins the session's own one, if it has none yet.
    pub(crate) fn lane(&self, caller: &Caller) -> Result<Lane, Crowded> {
        if self.manifest.load().as_ref().is_none_or(|manifest| manifest.isolation != Isolation::Session) {
            return Ok(Lane::Shared);
        }
        let visit = caller.session.as_deref().and_then(|session| self.services.visits.find(session));
        let Some(visit) = visit else { return Ok(Lane::Shared) };
        // A plugin that is switched off or stopped is so for every session: the shared instances say why.
        let wanted = self.instances().iter().any(|instance| instance.now().wanted);
        self.owned.with(|state| {
            if let Some(own) = state.all.iter().find(|own| Arc::ptr_eq(&own.visit, &visit)) {
                return Ok(Lane::Own(Arc::clone(own)));
            }
            let Some(setup) = state.setup.clone().filter(|_| wanted && !state.retired) else {
                return Ok(Lane::Shared);
            };
            if state.all.len() >= MOST {
                return Err(Crowded);
            }
            let before = Predecessors { plugins: state.leaving.clone(), instance: None };
            let own = self.begin(setup, state.free(), visit, before);
            state.all.push(Arc::clone(&own));
            Ok(Lane::Own(own))
        })
    }

    fn begin(&self, setup: Setup, n: InstanceNo, visit: Arc<Visit>, before: Predecessors) -> Arc<Own> {
        let gate = Gate::new(&self.services.alarm);
        gate.configure(setup.manifest.limits.concurrency, setup.manifest.limits.queue);
        let visitor = Some(Arc::clone(&visit));
        self.core.sessions.fetch_add(1, Ordering::AcqRel);
        let handle =
            supervise(&self.core, &self.services, Slot::new(n), setup, Beginning::Up, before, visitor);
        let own = Arc::new(Own { handle, visit, gate });
        let span = tracing::info_span!(parent: None, "own", plugin = %self.core.id, n = n.0);
        self.services
            .tasks
            .spawn(span, mind(Arc::clone(&own), Arc::clone(&self.owned), Arc::clone(&self.core)));
        own
    }

    /// Likewise for the instances of sessions.
    pub(super) fn configure_own(&self, setup: &Setup, renew: bool, leaving: &[watch::Receiver<bool>]) {
        let all = self.owned.with(|state| {
            state.setup = Some(setup.clone());
            state.leaving = leaving.to_vec();
            state.all.clone()
        });
        for own in all {
            own.gate.configure(setup.manifest.limits.concurrency, setup.manifest.limits.queue);
            let command = match setup.manifest.isolation {
                Isolation::Session => Command::Configure { setup: setup.clone(), renew },
                Isolation::Shared => Command::Retire("all clients share the instances now"),
            };
            self.send(&own.handle, command);
        }
    }

    /// The instances of sessions.
    pub(crate) fn owned(&self) -> Vec<Arc<Own>> {
        self.owned.all()
    }

    /// Picks an instance for a call and counts the call in. `None`: none serves, or all that do are full.
    pub(crate) fn pick_in(&self, lane: &Lane, choice: &Choice<'_>) -> Option<Picked> {
        match lane {
            Lane::Shared => self.pick(choice),
            Lane::Own(own) => own.pick(),
        }
    }

    /// Whether it is worth waiting for one.
    pub(crate) fn outlook_in(&self, lane: &Lane) -> Outlook {
        match lane {
            Lane::Shared => self.outlook(),
            Lane::Own(own) => {
                if own.visit.ended.is_cancelled() {
                    Outlook::Fail
                } else {
                    outlook_of(&own.handle)
                }
            }
        }
    }

    /// The best that stands there.
    pub(crate) fn best_in(&self, lane: &Lane) -> Option<Arc<Snapshot>> {
        match lane {
            Lane::Shared => self.best(),
            Lane::Own(own) => Some(own.handle.now()),
        }
    }

    /// Rung when a call leaves one of them.
    pub(crate) fn freed_in(&self, lane: &Lane) -> Arc<Notify> {
        match lane {
            Lane::Shared => self.freed(),
            Lane::Own(own) => own.handle.load.freed(),
        }
    }

    /// Where calls wait for their turn.
    pub(crate) fn gate_of<'a>(&'a self, lane: &'a Lane) -> &'a Gate {
        match lane {
            Lane::Shared => &self.gate,
            Lane::Own(own) => &own.gate,
        }
    }
}

/// Ends the instance with its session, and forgets it when nothing of it is left.
async fn mind(own: Arc<Own>, owned: Arc<Owned>, core: Arc<super::core::PluginCore>) {
    tokio::select! {
        () = own.visit.ended.cancelled() => {
            // One that has ended already needs no word.
            own.handle.commands.send(Command::Retire("its client's session has ended")).await.ok();
        }
        () = own.handle.commands.closed() => {}
    }
    own.handle.commands.closed().await;
    owned.with(|state| state.all.retain(|other| !Arc::ptr_eq(other, &own)));
    core.sessions.fetch_sub(1, Ordering::AcqRel);
    core.bump();
}

// === impl Own ===

impl Own {
    fn pick(&self) -> Option<Picked> {
        // One that does not serve is not entered: leaving it would wake those that wait for it.
        serves(&self.handle).then(|| Picked::enter(&self.handle, self.gate.concurrency()))?
    }
}
