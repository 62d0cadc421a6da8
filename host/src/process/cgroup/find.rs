//! Finds out which control groups can be used, by making one and putting a process into it.
//!
//! Version 2 lets a group hand controllers down only while it holds no process itself (but for the root of all). Where the
//! host is alone in its group, as a service manager that delegates one leaves it, the host moves into a leaf of its own;
//! where others are beside it, they are left in peace, and the controllers are not used. Below systemd a host that is root could
//! take any group; it takes only one that was delegated to it.

use std::cell::RefCell;
use std::fs;
use std::io;

use super::attempt::{Aim, Attempts};
use super::delegate::{CONTROLLERS, Delegated, LEAF, Own, delegated};
use super::layout::{Mount, mounts};
use super::{Cgroups, GroupPlan, Hierarchy, Setting, Version, stale};
use crate::process::probe::Tried;

/// The folders of groups begin so, and no other does.
pub(super) const PREFIX: &str = "wharf-";

/// Where systemd runs, this is there.
const SYSTEMD: &str = "/run/systemd/system";

/// What is looked at.
struct Ground {
    mountinfo: String,
    /// `/proc/self/cgroup`.
    membership: String,
    pid: u32,
    /// The name of the folder of this host's groups.
    name: String,
    /// The groups of version 2 are a service manager's, but for those that it has marked as given away.
    marked_only: bool,
}

/// Whether a group can be made so, and how it can be killed.
type Attempt<'a> = &'a dyn Fn(&GroupPlan, Aim) -> Tried;

/// The host's place among the groups is taken. Whatever it starts from now on is below it, and no stranger in its group.
#[derive(Debug)]
pub(in crate::process) struct Place {
    mounts: Vec<Mount>,
    delegated: Option<Delegated>,
    name: String,
}

/// Takes the host's place. No other process of the host may run by then.
///
/// # Errors
/// Why there is none.
pub(in crate::process) fn take_place() -> Result<Place, String> {
    let ground =
        Ground::here().map_err(|error| format!("the system does not tell its control groups: {error}"))?;
    let is_gone = |pid: u32| !std::path::Path::new("/proc").join(pid.to_string()).exists();
    for mount in mounts(&ground.mountinfo, &ground.membership) {
        stale::remove_empty(&mount.own, is_gone);
        if mount.own.file_name().is_some_and(|name| name == LEAF)
            && let Some(base) = mount.own.parent()
        {
            stale::remove_empty(base, is_gone);
        }
    }
    Ok(place(&ground))
}

fn place(ground: &Ground) -> Place {
    let mounts = mounts(&ground.mountinfo, &ground.membership);
    let unified = mounts.iter().find(|mount| mount.version == Version::V2);
    let delegated = unified
        .map(|mount| delegated(&Own { group: &mount.own, pid: ground.pid, marked_only: ground.marked_only }));
    Place { mounts, delegated, name: ground.name.clone() }
}

/// Tries everything. Blocks for a fraction of a second.
pub(in crate::process) fn find_out(place: Place) -> Cgroups {
    let attempts = RefCell::new(Attempts::default());
    find(place, &|plan, aim| attempts.borrow_mut().attempt(plan, aim))
}

fn find(place: Place, attempt: Attempt<'_>) -> Cgroups {
    let Place { mounts, delegated, name } = place;
    let unified = mounts.iter().find(|mount| mount.version == Version::V2);
    let one = |controller| {
        let hierarchy = hierarchy(controller, &mounts, delegated.as_ref(), &name)?;
        let plan = GroupPlan { hierarchy, settings: sample(controller, &mounts), kills: false };
        attempt(&plan, Aim::Join).map(|()| plan.hierarchy)
    };
    let kill = || {
        let mount = unified.ok_or("no control groups of version 2 are mounted")?;
        // Where controllers are handed down, groups with processes must be beside each other.
        let (base, controllers) = match &delegated {
            Some(it) if !it.controllers.is_empty() => (it.base.as_path(), it.controllers.clone()),
            Some(_) | None => (mount.own.as_path(), Vec::new()),
        };
        let hierarchy = Hierarchy { version: Version::V2, parent: base.join(&name), controllers };
        let plan = GroupPlan { hierarchy, settings: Vec::new(), kills: true };
        attempt(&plan, Aim::Kill).map(|()| plan.hierarchy)
    };
    let [memory, pids, cpu] = CONTROLLERS.map(one);
    let kill = kill();
    let changes = delegated.map(|it| it.changes).unwrap_or_default();
    Cgroups { memory, pids, cpu, kill, changes }
}

/// The hierarchy that has a controller: the kernel keeps each in one only.
fn hierarchy(
    controller: &'static str,
    mounts: &[Mount],
    delegated: Option<&Delegated>,
    name: &str,
) -> Result<Hierarchy, String> {
    if let Some(mount) = v1(controller, mounts) {
        let parent = mount.own.join(name);
        return Ok(Hierarchy { version: Version::V1, parent, controllers: Vec::new() });
    }
    let delegated = delegated.ok_or("no control groups are mounted")?;
    if !delegated.controllers.contains(&controller) {
        return Err(delegated.why_not(controller));
    }
    let (parent, controllers) = (delegated.base.join(name), delegated.controllers.clone());
    Ok(Hierarchy { version: Version::V2, parent, controllers })
}

fn v1<'a>(controller: &str, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts
        .iter()
        .find(|mount| mount.version == Version::V1 && mount.controllers.iter().any(|one| one == controller))
}

/// What is tried to be written. It bounds nothing that the process that tries it needs.
fn sample(controller: &'static str, mounts: &[Mount]) -> Vec<Setting> {
    let version = if v1(controller, mounts).is_some() { Version::V1 } else { Version::V2 };
    let setting = match (controller, version) {
        ("memory", Version::V1) => Setting::needed(controller, "memory.limit_in_bytes", 1u64 << 30),
        ("memory", Version::V2) => Setting::needed(controller, "memory.max", 1u64 << 30),
        ("cpu", Version::V1) => Setting::needed(controller, "cpu.cfs_quota_us", 100_000),
        ("cpu", Version::V2) => Setting::needed(controller, "cpu.max", "100000 100000"),
        _ => Setting::needed(controller, "pids.max", 1000),
    };
    vec![setting]
}

// === impl Ground ===

impl Ground {
    fn here() -> io::Result<Self> {
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let pid = std::process::id();
        Ok(Self {
            mountinfo: fs::read_to_string("/proc/self/mountinfo")?,
            membership: fs::read_to_string("/proc/self/cgroup")?,
            pid,
            marked_only: nix::unistd::geteuid().is_root() && std::path::Path::new(SYSTEMD).is_dir(),
            name: format!("{PREFIX}{pid}-{:08x}", u32::from_le_bytes(random)),
        })
    }
}

#[cfg(test)]
mod tests;
