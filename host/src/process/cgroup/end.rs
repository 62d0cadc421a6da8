//! Ends what is in a group, where nobody else does it: after the shim was killed, and what an earlier host has left.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid as NixPid;

use super::Groups;
use super::groups::{removed, with_all_below, write};
use crate::process::proc::{self, Pid};

/// How long it may take.
const BUDGET: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);

/// Kills all that is in the groups, until they are empty, and reaps what of it has become ours: but for `main`, whose end
/// somebody wants to know. Finds those too that have left their session and wiped their environment. Blocks.
pub(in crate::process) fn members_ended(groups: &Groups, main: Pid) {
    let end = Instant::now() + BUDGET;
    let mut killed = HashSet::new();
    loop {
        let left = kill_all(groups.dirs());
        killed.extend(left.iter().copied().chain(dead_of(groups)).filter(|pid| *pid != main));
        killed.retain(|pid| !is_reaped(*pid));
        if (left.is_empty() && killed.is_empty()) || Instant::now() >= end {
            return;
        }
        std::thread::sleep(PAUSE);
    }
}

/// Ends and removes the groups that an earlier host has left, which takes until `end` or a moment longer. Returns how many
/// processes it killed, and whether nothing is left.
pub(in crate::process) fn clear(dirs: &[PathBuf], end: Instant) -> (usize, bool) {
    let (mut killed, mut gone) = (HashSet::new(), true);
    for dir in dirs.iter().filter(|dir| is_one_of_ours(dir) && dir.is_dir()) {
        let end = end.min(Instant::now() + BUDGET);
        loop {
            let left = kill_all(std::iter::once(dir.as_path()));
            if left.is_empty() || Instant::now() >= end {
                break;
            }
            killed.extend(left);
            std::thread::sleep(PAUSE);
        }
        gone &= removed(dir);
    }
    (killed.len(), gone)
}

/// A path comes from a file: nothing is touched that does not look like what we make.
fn is_one_of_ours(dir: &Path) -> bool {
    let parent = dir.parent().and_then(Path::file_name).and_then(|name| name.to_str());
    dir.is_absolute()
        && parent.is_some_and(|name| name.starts_with(super::find::PREFIX))
        && dir.join("cgroup.procs").is_file()
}

/// Kills once what is in the groups and in those below them; returns what that was.
fn kill_all<'a>(dirs: impl Iterator<Item = &'a Path>) -> Vec<Pid> {
    let mut all = Vec::new();
    for dir in dirs.flat_map(with_all_below) {
        let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
        // A zero is a process that this PID namespace does not see; only the group as a whole can be killed then.
        let found: Vec<Pid> = text.lines().filter_map(|line| line.parse().ok()).collect();
        if write(&dir.join("cgroup.kill"), "1").is_err() {
            for pid in found.iter().filter(|pid| **pid > 0) {
                // Gone already is as good as killed.
                kill(NixPid::from_raw(*pid), Signal::SIGKILL).ok();
            }
        }
        all.extend(found);
    }
    all
}

/// Our children that ended in a group of version 2 before we saw them there.
fn dead_of(groups: &Groups) -> Vec<Pid> {
    let names: HashSet<String> =
        groups.dirs().filter_map(|dir| Some(dir.file_name()?.to_str()?.to_owned())).collect();
    let own = NixPid::this().as_raw();
    let was_in = |pid: &Pid| {
        let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        names.iter().any(|name| text.lines().any(|line| line.split('/').any(|one| one == name)))
    };
    let is_dead = |pid: &Pid| proc::stat(*pid).is_some_and(|stat| stat.zombie && stat.parent == own);
    proc::all().filter(is_dead).filter(was_in).collect()
}

/// Reaps it if it is ours. True when nothing of it is left, whoever reaped it.
fn is_reaped(pid: Pid) -> bool {
    // Not our child yet, if its parent is still dying: it is asked again then.
    waitpid(NixPid::from_raw(pid), Some(WaitPidFlag::WNOHANG)).ok();
    proc::stat(pid).is_none()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Instant;

    use super::clear;

    #[test]
    fn only_what_looks_like_a_group_of_ours_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        let all = ["other/mark", "wharf-1-2/mark"].map(|name| dir.path().join(name));
        all.iter().for_each(|path| fs::create_dir_all(path).unwrap());
        fs::write(all[0].join("cgroup.procs"), std::process::id().to_string()).unwrap();
        assert_eq!(clear(&all, Instant::now()), (0, true));
        assert!(all.iter().all(|path| path.is_dir()));
    }
}
