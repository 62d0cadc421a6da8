//! This machine, as the processes of one host are started on it: what it allows, and what is written down of what runs.

mod view;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use wharf_core::manifest::{Limits, Sandbox};
use wharf_plugin_api::Cause;

pub use self::view::MachineView;
use super::cgroup::{self, Cgroups, Stay};
use super::ledger::Ledger;
pub use super::ledger::Leftovers;
use super::level::Level;
use super::plan::{self, InForce, Own, Plan, Wanted};
use super::probe::{Probe, probe};
use crate::tasks::Tasks;

/// What a host knows of the machine. Found out once, before the first plugin starts.
#[derive(Debug)]
pub struct Machine {
    probe: Probe,
    ledger: Ledger,
    /// What was changed in the host's own control group, until the host ends.
    stay: Mutex<Option<Stay>>,
    /// What is in force for what runs, by its main process.
    running: Mutex<BTreeMap<u32, Weak<InForce>>>,
}

impl Machine {
    /// Finds out what the machine allows, and ends what an earlier host with the same state folder has left. `at_most`: no
    /// surer containment than this is used. The caller owns the folder: no other host runs on it.
    pub async fn find_out(state: Option<&Path>, at_most: Option<Level>, tasks: &Tasks) -> Arc<Self> {
        // First: the processes of the probe would be others in our own group.
        let place = tasks.blocking(cgroup::take_place).await;
        let groups = async {
            match place {
                Ok(Ok(place)) => tasks.blocking(move || cgroup::find_out(place)).await,
                Ok(Err(why)) => Ok(Cgroups::nothing(&why)),
                Err(error) => Err(error),
            }
        };
        let (groups, probe) = tokio::join!(groups, probe(at_most));
        // Only a panic, or the host's end.
        let groups = groups.unwrap_or_else(|error| Cgroups::nothing(&error.to_string()));
        Self::with(probe, groups, state, tasks).await
    }

    /// Likewise, but without control groups: where they are somebody else's business, and to see what holds without them.
    pub async fn find_out_without_groups(
        state: Option<&Path>,
        at_most: Option<Level>,
        tasks: &Tasks,
    ) -> Arc<Self> {
        let groups = Cgroups::nothing("the host was told to use no control groups");
        Self::with(probe(at_most).await, groups, state, tasks).await
    }

    async fn with(probe: Probe, cgroups: Cgroups, state: Option<&Path>, tasks: &Tasks) -> Arc<Self> {
        let stay = Mutex::new(Some(Stay::new(&cgroups.changes)));
        let cgroup_kill = cgroups.kill.as_ref().map(drop).map_err(Clone::clone);
        let probe = Probe { cgroup_kill, cgroups, ..probe };
        let ledger = Ledger::new(state.map(|state| state.join("run")));
        let machine = Arc::new(Self { probe, ledger, stay, running: Mutex::default() });
        let sweeping = Arc::clone(&machine);
        // Only a panic, or the host's end.
        let left = tasks.blocking(move || sweeping.ledger.sweep()).await.unwrap_or_default();
        if left.processes > 0 {
            tracing::warn!(left.processes, left.instances, "ended what an earlier host has left running");
        }
        machine
    }

    /// One that allows nothing and writes nothing down, for tests that start no process.
    #[cfg(test)]
    pub(crate) fn bare() -> Arc<Self> {
        let (probe, ledger) = (Probe::nothing("not tried"), Ledger::new(None));
        Arc::new(Self { probe, ledger, stay: Mutex::default(), running: Mutex::default() })
    }

    /// Undoes what was changed of this machine for the host's processes: none of them runs any more. Blocks for a moment.
    pub(crate) fn close(&self) {
        drop(self.stay.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// How processes are kept from outliving the host.
    #[must_use]
    pub fn level(&self) -> Level {
        self.probe.level()
    }

    /// What would be in force for an instance with such limits and such a sandbox.
    ///
    /// # Errors
    /// If they demand what this machine does not give.
    pub fn in_force(&self, limits: &Limits, sandbox: &Sandbox, port: Option<u16>) -> Result<InForce, Cause> {
        let nowhere = Path::new("/");
        let own = Own { program: nowhere, cwd: nowhere, plugin_dir: nowhere, data_dir: nowhere };
        let (_, in_force) = self.plan(&Wanted { limits, sandbox, own, port })?;
        Ok(InForce { planned: true, ..in_force })
    }

    /// What is in force for a process that it has launched, by its id, while that runs: what came of the plan at its launch.
    #[must_use]
    pub fn in_force_of(&self, pid: u32) -> Option<Arc<InForce>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).get(&pid)?.upgrade()
    }

    /// Remembers it for as long as somebody holds it.
    pub(super) fn launched(&self, pid: u32, in_force: &Arc<InForce>) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|_, in_force| in_force.strong_count() > 0);
        running.insert(pid, Arc::downgrade(in_force));
    }

    pub(super) fn plan(&self, wanted: &Wanted<'_>) -> Result<(Plan, InForce), Cause> {
        plan::plan(&self.probe, wanted)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
