//! Finds and kills what a killed shim has left: processes with the launch's mark, of its session, and what descends from
//! those. The host being a sub-reaper, they have become its children, and it reaps exactly those that it killed: every
//! other child belongs to somebody else in this program.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid as NixPid;
use wharf_plugin_api::ExitReport;

use super::proc::{self, Pid};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// What came of it.
#[derive(Debug, Default)]
pub(super) struct Swept {
    /// How the main process ended, if it was ours to reap.
    pub(super) main: Option<ExitReport>,
    /// Two looks in a row have found nothing.
    pub(super) gone: bool,
    /// What was there at the last look.
    pub(super) left: Vec<Pid>,
}

/// Kills and reaps until two looks in a row find nothing, at most `budget`. Blocks.
pub(super) fn until_gone(main: Pid, marker: &str, budget: Duration) -> Swept {
    let end = Instant::now() + budget;
    let mut swept = Swept::default();
    let mut known = HashSet::from([main]);
    let mut quiet = 0;
    while quiet < 2 || !known.is_empty() {
        // Reaping comes first: a zombie has an id and a session, but nothing to kill.
        known.retain(|pid| match reap(*pid) {
            Reaping::Report(report) => {
                if *pid == main {
                    swept.main = Some(report);
                }
                false
            }
            Reaping::NotYet => true,
            // Not our child yet: a parent of its own is still dying.
            Reaping::NotOurs => proc::stat(*pid).is_some(),
        });
        known.extend(zombies(main));
        swept.left = leftovers(main, marker);
        for pid in &swept.left {
            // Gone already is as good as killed.
            signal::kill(NixPid::from_raw(*pid), Signal::SIGKILL).ok();
            known.insert(*pid);
        }
        quiet = if swept.left.is_empty() { quiet + 1 } else { 0 };
        swept.gone = quiet >= 2;
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    swept
}

/// Everything that belongs to the launch and lives.
fn leftovers(main: Pid, marker: &str) -> Vec<Pid> {
    let own = NixPid::this().as_raw();
    let belongs = |pid: Pid| {
        let stat = proc::stat(pid)?;
        let ours = !stat.zombie && (stat.session == main || proc::environment_has(pid, marker));
        ours.then_some(pid)
    };
    let roots: Vec<Pid> = proc::all().filter(|pid| *pid != own).filter_map(belongs).collect();
    let mut found: HashSet<Pid> = roots.iter().copied().collect();
    found.extend(roots.iter().flat_map(|root| proc::descendants(*root)));
    found.into_iter().filter(|pid| proc::stat(*pid).is_some_and(|stat| !stat.zombie)).collect()
}

/// Our children that ended before we saw them alive.
fn zombies(main: Pid) -> impl Iterator<Item = Pid> {
    let own = NixPid::this().as_raw();
    let is_one = move |pid: &Pid| {
        proc::stat(*pid).is_some_and(|stat| stat.zombie && stat.parent == own && stat.session == main)
    };
    proc::all().filter(is_one)
}

enum Reaping {
    Report(ExitReport),
    NotYet,
    NotOurs,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "states of a traced process, which none of ours is")]
fn reap(pid: Pid) -> Reaping {
    match waitpid(NixPid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
        Ok(WaitStatus::Exited(_, code)) => {
            Reaping::Report(ExitReport { code: Some(code), ..ExitReport::default() })
        }
        Ok(WaitStatus::Signaled(_, signal, _)) => {
            Reaping::Report(ExitReport { signal: Some(signal as i32), ..ExitReport::default() })
        }
        Ok(_) | Err(Errno::EINTR) => Reaping::NotYet,
        Err(_) => Reaping::NotOurs,
    }
}
