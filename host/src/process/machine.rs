//! This machine, as the processes of one host are started on it: what it allows, and what is written down of what runs.

use std::path::Path;
use std::sync::Arc;

use wharf_core::manifest::{Limits, Sandbox};
use wharf_plugin_api::Cause;

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
}

impl Machine {
    /// Finds out what the machine allows, and ends what an earlier host with the same state folder has left. `at_most`: no
    /// surer containment than this is used. The caller owns the folder: no other host runs on it.
    pub async fn find_out(state: Option<&Path>, at_most: Option<Level>, tasks: &Tasks) -> Arc<Self> {
        let probe = probe(at_most).await;
        let ledger = Ledger::new(state.map(|state| state.join("run")));
        let machine = Arc::new(Self { probe, ledger });
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
        Arc::new(Self { probe: Probe::nothing("not tried"), ledger: Ledger::new(None) })
    }

    /// How processes are kept from outliving the host.
    #[must_use]
    pub fn level(&self) -> Level {
        self.probe.level()
    }

    /// What is in force for an instance with such limits and such a sandbox.
    ///
    /// # Errors
    /// If they demand what this machine does not give.
    pub fn in_force(&self, limits: &Limits, sandbox: &Sandbox, port: Option<u16>) -> Result<InForce, Cause> {
        let nowhere = Path::new("/");
        let own = Own { program: nowhere, cwd: nowhere, plugin_dir: nowhere, data_dir: nowhere };
        self.plan(&Wanted { limits, sandbox, own, port }).map(|(_, in_force)| in_force)
    }

    pub(super) fn plan(&self, wanted: &Wanted<'_>) -> Result<(Plan, InForce), Cause> {
        plan::plan(&self.probe, wanted)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}
