//! Tries groups on a process of ours: a shim that nobody gives anything to do.
//!
//! One process goes from group to group: a program takes longer to start than all groups to be made, and the kernel is quicker
//! to put a process into a group when it did so a moment ago.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::groups::{Groups, write};
use super::{GroupPlan, Unmade};
use crate::process::exe;
use crate::process::probe::Tried;
use crate::process::wire::SHIM_WORD;

/// How long a killed process may take to end.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(2);

/// What the group is wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Aim {
    /// A process can be put into it.
    Join,
    /// And is killed with it.
    Kill,
}

/// Attempts, one after the other. What they made goes when it is dropped, and their process before that.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    trial: Option<Trial>,
    /// Of each attempt: the process is in one of them, or in one of each hierarchy.
    made: Vec<Groups>,
}

/// The process that is put into groups.
#[derive(Debug)]
struct Trial {
    child: Child,
    /// It waits for a request until this ends.
    _control: UnixStream,
}

// === impl Attempts ===

impl Attempts {
    /// Makes such a group and uses it.
    pub(super) fn attempt(&mut self, plan: &GroupPlan, aim: Aim) -> Tried {
        let name = format!("try{}", self.made.len());
        let (groups, unmade) = Groups::make(std::slice::from_ref(plan), &name);
        let tried = match unmade.into_iter().next() {
            Some(Unmade { why, .. }) => Err(io::Error::other(why)),
            None => self.used(plan, &name, aim, &groups),
        };
        self.made.push(groups);
        tried.map_err(|error| {
            format!("a control group in {} is of no use: {error}", plan.hierarchy.parent.display())
        })
    }

    fn used(&mut self, plan: &GroupPlan, name: &str, aim: Aim, groups: &Groups) -> io::Result<()> {
        let mut trial = match self.trial.take() {
            Some(trial) => trial,
            None => Trial::start()?,
        };
        let (procs, pid) = (plan.dir(name).join("cgroup.procs"), trial.child.id().to_string());
        let mut used = write(&procs, &pid).and_then(|()| is_in(&procs, &pid));
        if aim == Aim::Kill {
            used = used.and_then(|()| trial.killed(groups));
        } else {
            self.trial = Some(trial);
        }
        used
    }
}

impl Drop for Attempts {
    fn drop(&mut self) {
        // No group goes that somebody is in.
        self.trial = None;
        for groups in &mut self.made {
            groups.remove();
        }
    }
}

fn is_in(procs: &std::path::Path, pid: &str) -> io::Result<()> {
    match fs::read_to_string(procs)?.lines().any(|line| line == pid) {
        true => Ok(()),
        false => Err(io::Error::other("a process that was put into it is not in it")),
    }
}

// === impl Trial ===

impl Trial {
    fn start() -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new(exe::path().map_err(io::Error::other)?);
        command.arg0("wharf").arg(SHIM_WORD).env_clear().current_dir("/").stdin(OwnedFd::from(theirs));
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self { child, _control: control })
    }

    fn killed(&mut self, groups: &Groups) -> io::Result<()> {
        groups.kill();
        let end = Instant::now() + PATIENCE;
        while self.child.try_wait()?.is_none() {
            if Instant::now() >= end {
                return Err(io::Error::other("its processes live on when it is killed"));
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
