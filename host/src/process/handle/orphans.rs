//! What a shim may leave: looked at while it lives, ended by the host when it is dead.

use std::sync::Arc;
use std::time::Duration;

use nix::libc;
use tokio::time::{sleep, timeout};
use wharf_plugin_api::ExitReport;

use super::{Guard, KILL_PATIENCE, Phase, SWEEP_AGAIN, SWEEP_BUDGET, SWEEP_SHORT};
use crate::process::sweep::Swept;
use crate::process::wire::HOST_STREAM;
use crate::tasks::Tasks;

impl Guard {
    /// Looks below the shim, in the background.
    pub(super) fn look(&mut self, tasks: &Tasks) {
        if self.looking.is_none() {
            let (shim, mut traces) = (self.shim.pid(), self.guarded.traces.clone());
            self.looking = Some(tasks.blocking(move || {
                traces.look(shim);
                traces
            }));
        }
    }

    /// Takes what the look has found, if it is done by now or is waited for.
    pub(super) async fn looked(&mut self, wait: bool) {
        if let Some(looking) = self.looking.take_if(|looking| wait || looking.is_finished())
            && let Ok(Ok(traces)) = timeout(KILL_PATIENCE, looking).await
        {
            self.guarded.traces = traces;
        }
    }

    pub(super) fn tell_of_shim(&self) {
        tracing::warn!(self.by_us, "the shim was killed; the host kills what it has left");
        let launch = &self.guarded.launch;
        let line = if self.by_us {
            "the helper process of this plugin did not end its process tree in time; the host has killed it and ends the tree"
        } else {
            "the helper process of this plugin was killed from outside; its process tree is ended"
        };
        launch.log.append(launch.instance, launch.generation, HOST_STREAM, line);
    }

    /// The shim is gone and cannot say that nothing is left: the host looks itself. True when nothing is left, false if
    /// the host ends before that.
    pub(super) async fn clean_up_after_shim(&mut self, tasks: &Tasks) -> bool {
        self.looked(true).await;
        // Reaped first: only then are its orphans ours to reap.
        timeout(KILL_PATIENCE, self.shim.keeper.wait()).await.ok();
        let (bounds, main) = (self.guarded.bounds.clone(), self.guarded.pid);
        tasks.blocking(move || bounds.end_members(main)).await.ok();
        let mut swept = self.swept(SWEEP_BUDGET, tasks).await;
        self.tell_exited(swept.main.take(), tasks).await;
        if !swept.gone {
            tracing::error!(left = ?swept.left, "processes of the plugin survive being killed");
        }
        while !swept.gone {
            tokio::select! {
                () = tasks.ending().cancelled() => return false,
                () = sleep(SWEEP_AGAIN) => {}
            }
            swept = self.swept(SWEEP_SHORT, tasks).await;
        }
        true
    }

    /// A sweep that failed (the host is ending) has not shown that nothing is left.
    pub(super) async fn swept(&self, budget: Duration, tasks: &Tasks) -> Swept {
        let (sweep, traces) = (Arc::clone(&self.sweep), self.guarded.traces.clone());
        tasks.blocking(move || sweep(&traces, budget)).await.unwrap_or_default()
    }

    /// How the main process ended, if the shim has not told it.
    pub(super) async fn tell_exited(&self, reaped: Option<ExitReport>, tasks: &Tasks) {
        if self.known_report().is_none() {
            let uptime = self.since.elapsed();
            let report =
                reaped.unwrap_or(ExitReport { signal: Some(libc::SIGKILL), ..ExitReport::default() });
            let whom = if self.by_us { "by the host: it did not end its tree" } else { "from outside" };
            let note = Some(format!("its helper process was killed {whom}"));
            let report = ExitReport { uptime, note: note.filter(|_| report.signal.is_some()), ..report };
            let report = self.explained(report, true, tasks).await;
            self.phase.send_replace(Phase::Exited(report));
        }
    }
}
