//! Tries a group on a process of ours: a shim that nobody gives anything to do.

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

/// Makes such a group, uses it, and removes it.
pub(super) fn attempt(plan: &GroupPlan, aim: Aim) -> Tried {
    let (mut groups, unmade) = Groups::make(std::slice::from_ref(plan), "try");
    let tried = match unmade.into_iter().next() {
        Some(Unmade { why, .. }) => Err(io::Error::other(why)),
        None => used(plan, aim, &groups),
    };
    groups.remove();
    tried.map_err(|error| {
        format!("a control group in {} is of no use: {error}", plan.hierarchy.parent.display())
    })
}

fn used(plan: &GroupPlan, aim: Aim, groups: &Groups) -> io::Result<()> {
    // It waits for a request until its socket ends.
    let (_control, theirs) = UnixStream::pair()?;
    let mut command = Command::new(exe::path().map_err(io::Error::other)?);
    command.arg0("wharf").arg(SHIM_WORD).env_clear().current_dir("/").stdin(OwnedFd::from(theirs));
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let used = put_in(plan, &child)
        .and_then(|()| if aim == Aim::Kill { killed(groups, &mut child) } else { Ok(()) });
    child.kill().ok();
    child.wait()?;
    used
}

fn put_in(plan: &GroupPlan, child: &Child) -> io::Result<()> {
    let (procs, pid) = (plan.dir("try").join("cgroup.procs"), child.id().to_string());
    write(&procs, &pid)?;
    match fs::read_to_string(procs)?.lines().any(|line| line == pid) {
        true => Ok(()),
        false => Err(io::Error::other("a process that was put into it is not in it")),
    }
}

fn killed(groups: &Groups, child: &mut Child) -> io::Result<()> {
    groups.kill();
    let end = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() >= end {
            return Err(io::Error::other("its processes live on when it is killed"));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(())
}
