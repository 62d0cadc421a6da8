//! Finds and kills what a killed shim has left: what was seen below it while it lived, processes with the launch's mark, of
//! its session, and what descends from those. The host being a sub-reaper, they have become its children, and it reaps
//! exactly those that it killed: every other child belongs to somebody else in this program.
//!
//! Numbers of processes are used again: one counts only together with the time at which its process began.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::signal::{self, Signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid as NixPid;
use wharf_plugin_api::ExitReport;

use super::proc::{self, Pid, Seen};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// By what the processes of a launch are known.
#[derive(Clone, Debug, Default)]
pub(super) struct Traces {
    /// The main process, whose number is that of the first session. `None` if there was none yet.
    pub(super) main: Option<Main>,
    /// `NAME=value` in the environment of each, unless it has wiped it.
    pub(super) marker: String,
    /// What was below the shim at the looks while it lived.
    pub(super) seen: HashSet<Seen>,
}

/// A main process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Main {
    pub(super) pid: Pid,
    /// When it began. `None` if it had ended before anybody looked.
    pub(super) began: Option<u64>,
}

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
pub(super) fn until_gone(traces: &Traces, budget: Duration) -> Swept {
    let end = Instant::now() + budget;
    let mut swept = Swept::default();
    let main = traces.main.and_then(Main::seen);
    let mut known: HashSet<Seen> = traces.seen.iter().copied().chain(main).collect();
    let mut quiet = 0;
    while quiet < 2 || !known.is_empty() {
        // Reaping comes first: a zombie has an id and a session, but nothing to kill.
        known.retain(|one| match reap(*one) {
            Reaping::Report(report) => {
                if Some(*one) == main {
                    swept.main = Some(report);
                }
                false
            }
            Reaping::NotYet => true,
            // Not our child yet: a parent of its own is still dying.
            Reaping::NotOurs => one.is_there(),
        });
        known.extend(zombies(traces));
        let left = leftovers(traces);
        for one in &left {
            // Gone already is as good as killed.
            signal::kill(NixPid::from_raw(one.pid), Signal::SIGKILL).ok();
        }
        quiet = if left.is_empty() { quiet + 1 } else { 0 };
        swept.left = left.iter().map(|one| one.pid).collect();
        known.extend(left);
        swept.gone = quiet >= 2;
        if Instant::now() >= end {
            break;
        }
        std::thread::sleep(PAUSE);
    }
    swept
}

/// Everything that belongs to the launch and lives.
fn leftovers(traces: &Traces) -> Vec<Seen> {
    let own = NixPid::this().as_raw();
    let session = traces.session();
    let belongs = |pid: &Pid| {
        let Some(stat) = proc::stat(*pid) else { return false };
        let ours = || {
            Some(stat.session) == session
                || traces.seen.contains(&Seen { pid: *pid, began: stat.began })
                || proc::environment_has(*pid, &traces.marker)
        };
        !stat.zombie && ours()
    };
    let roots: Vec<Pid> = proc::all().filter(|pid| *pid != own).filter(belongs).collect();
    let below = roots.iter().flat_map(|root| proc::descendants(*root));
    let found: HashSet<Pid> = roots.iter().copied().chain(below).collect();
    let lives = |pid: Pid| {
        let stat = proc::stat(pid).filter(|stat| !stat.zombie)?;
        Some(Seen { pid, began: stat.began })
    };
    found.into_iter().filter_map(lives).collect()
}

/// Our children that ended before we saw them alive.
fn zombies(traces: &Traces) -> impl Iterator<Item = Seen> {
    let own = NixPid::this().as_raw();
    let session = traces.session();
    let is_one = move |pid: Pid| {
        let stat = proc::stat(pid)?;
        let ours = stat.zombie && stat.parent == own && Some(stat.session) == session;
        ours.then_some(Seen { pid, began: stat.began })
    };
    proc::all().filter_map(is_one)
}

enum Reaping {
    Report(ExitReport),
    NotYet,
    NotOurs,
}

#[allow(clippy::wildcard_enum_match_arm, reason = "states of a traced process, which none of ours is")]
fn reap(one: Seen) -> Reaping {
    if !one.is_there() {
        return Reaping::NotOurs;
    }
    // Should it be reaped between the two lines, its number is not given to a child of ours at once: they count upwards.
    match waitpid(NixPid::from_raw(one.pid), Some(WaitPidFlag::WNOHANG)) {
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

// === impl Traces ===

impl Traces {
    /// Looks below a shim that lives, and forgets what has ended. Blocks for a moment.
    pub(super) fn look(&mut self, shim: Pid) {
        self.seen.retain(|one| one.is_there());
        self.seen.extend(proc::descendants(shim).into_iter().filter_map(Seen::now));
    }

    /// The session of the main process, as long as its number means no other: a number is not given away while it is that
    /// of a session with members.
    fn session(&self) -> Option<Pid> {
        let main = self.main?;
        let ours = proc::stat(main.pid).is_none_or(|stat| Some(stat.began) == main.began);
        ours.then_some(main.pid)
    }
}

// === impl Main ===

impl Main {
    /// The process that has just been told to be it. Blocks for a moment.
    pub(super) fn now(pid: Pid) -> Self {
        Self { pid, began: proc::stat(pid).map(|stat| stat.began) }
    }

    fn seen(self) -> Option<Seen> {
        Some(Seen { pid: self.pid, began: self.began? })
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::{Main, Seen, Traces, proc, until_gone};

    const BUDGET: Duration = Duration::from_secs(20);

    /// The leader of a session of its own.
    fn stranger() -> Child {
        let child = Command::new("setsid").args(["sleep", "1000"]).spawn().unwrap();
        let end = Instant::now() + BUDGET;
        while proc::stat(pid(&child)).unwrap().session != pid(&child) {
            assert!(Instant::now() < end, "it makes no session");
            std::thread::yield_now();
        }
        child
    }

    fn pid(child: &Child) -> i32 {
        i32::try_from(child.id()).unwrap()
    }

    fn traces() -> Traces {
        Traces { marker: "NONE=1".to_owned(), ..Traces::default() }
    }

    #[test]
    fn another_process_with_the_number_of_the_main_one_is_left_alone() {
        let mut child = stranger();
        let began = proc::stat(pid(&child)).unwrap().began;
        for began in [Some(began - 1), None] {
            let main = Some(Main { pid: pid(&child), began });
            assert!(until_gone(&Traces { main, ..traces() }, BUDGET).gone);
            assert!(child.try_wait().unwrap().is_none(), "it lives and is not reaped");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn what_was_seen_is_ended_and_no_other() {
        let (mut other, child) = (stranger(), stranger());
        let seen = Seen::now(pid(&child)).unwrap();
        let older = Seen { began: seen.began - 1, ..seen };
        assert!(until_gone(&Traces { seen: [older].into(), ..traces() }, BUDGET).gone);
        assert!(seen.is_there(), "its number means another process now");
        assert!(until_gone(&Traces { seen: [seen].into(), ..traces() }, BUDGET).gone);
        assert!(!seen.is_there());
        assert!(other.try_wait().unwrap().is_none());
        let all = Traces { seen: [Seen::now(pid(&other)).unwrap()].into(), ..traces() };
        assert!(until_gone(&all, BUDGET).gone);
    }
}
