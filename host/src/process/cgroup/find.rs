//! Finds out which control groups can be used, by making one and putting a process into it.
//!
//! Version 2 lets a group hand controllers down only while it holds no process itself (but for the root of all). Where the
//! host is alone in its group, as a service manager that delegates one leaves it, the host moves into a leaf of its own;
//! where others are beside it, they are left in peace, and the controllers are not used.

use std::fs;
use std::io;
use std::path::Path;

use super::attempt;
use super::groups::write;
use super::layout::{Mount, mounts};
use super::{Cgroups, GroupPlan, Hierarchy, Setting, Version};
use crate::process::probe::Tried;

/// The folders of groups begin so, and no other does.
pub(super) const PREFIX: &str = "wharf-";
/// Where the host puts itself.
const LEAF: &str = "wharf-host";
/// What limits need.
const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// What is looked at.
struct Ground {
    mountinfo: String,
    /// `/proc/self/cgroup`.
    membership: String,
    pid: u32,
    /// The name of the folder of this host's groups.
    name: String,
}

/// Whether a group can be made so, and how it can be killed.
type Attempt<'a> = &'a dyn Fn(&GroupPlan, attempt::Aim) -> Tried;

/// Tries everything. Blocks for a fraction of a second.
pub(in crate::process) fn find_out() -> Cgroups {
    let ground = match Ground::here() {
        Ok(ground) => ground,
        Err(error) => {
            return Cgroups::nothing(&format!("the system does not tell its control groups: {error}"));
        }
    };
    find(&ground, &attempt::attempt)
}

fn find(ground: &Ground, attempt: Attempt<'_>) -> Cgroups {
    let mounts = mounts(&ground.mountinfo, &ground.membership);
    let unified = mounts.iter().find(|mount| mount.version == Version::V2);
    let delegated = unified.map(|mount| delegated(mount, ground));
    let one = |controller| {
        let hierarchy = hierarchy(controller, &mounts, delegated.as_ref(), ground)?;
        let plan = GroupPlan { hierarchy, settings: sample(controller, &mounts), kills: false };
        attempt(&plan, attempt::Aim::Join).map(|()| plan.hierarchy)
    };
    let kill = || {
        let mount = unified.ok_or("no control groups of version 2 are mounted")?;
        // Where controllers are handed down, groups with processes must be beside each other.
        let (base, controllers) = match &delegated {
            Some(Ok((base, controllers))) => (base.as_path(), controllers.clone()),
            Some(Err(_)) | None => (mount.own.as_path(), Vec::new()),
        };
        let hierarchy = Hierarchy { version: Version::V2, parent: base.join(&ground.name), controllers };
        let plan = GroupPlan { hierarchy, settings: Vec::new(), kills: true };
        attempt(&plan, attempt::Aim::Kill).map(|()| plan.hierarchy)
    };
    let [memory, pids, cpu] = CONTROLLERS.map(one);
    Cgroups { memory, pids, cpu, kill: kill() }
}

/// The hierarchy that has a controller: the kernel keeps each in one only.
fn hierarchy(
    controller: &'static str,
    mounts: &[Mount],
    delegated: Option<&Result<(std::path::PathBuf, Vec<&'static str>), String>>,
    ground: &Ground,
) -> Result<Hierarchy, String> {
    if let Some(mount) = v1(controller, mounts) {
        let parent = mount.own.join(&ground.name);
        return Ok(Hierarchy { version: Version::V1, parent, controllers: Vec::new() });
    }
    match delegated {
        None => Err("no control groups are mounted".to_owned()),
        Some(Err(why)) => Err(why.clone()),
        Some(Ok((base, controllers))) if controllers.contains(&controller) => {
            let (parent, controllers) = (base.join(&ground.name), controllers.clone());
            Ok(Hierarchy { version: Version::V2, parent, controllers })
        }
        Some(Ok(_)) => Err(format!("the {controller} controller is not delegated to the host")),
    }
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

/// Below which group ours are made in version 2, and with which controllers: what can be handed down is.
fn delegated(mount: &Mount, ground: &Ground) -> Result<(std::path::PathBuf, Vec<&'static str>), String> {
    let mut base = mount.own.clone();
    if base.file_name().is_some_and(|name| name == LEAF) {
        // An earlier host of this program has moved us.
        base.pop();
    }
    let words = |file: &str| fs::read_to_string(base.join(file)).unwrap_or_default();
    let has = |text: &str, one: &str| text.split_ascii_whitespace().any(|word| word == one);
    let (offered, enabled) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let wanted: Vec<_> = CONTROLLERS.into_iter().filter(|one| has(&offered, one)).collect();
    let missing: Vec<_> = wanted.iter().copied().filter(|one| !has(&enabled, one)).collect();
    if wanted.is_empty() {
        return Ok((base, wanted));
    }
    if !missing.is_empty() {
        // Only the root of all lacks this file, and only it may hold processes and hand down.
        if base.join("cgroup.type").exists() {
            leave(&base, ground.pid)?;
        }
        let control = base.join("cgroup.subtree_control");
        let refused = |error: io::Error| format!("{} cannot be written: {error}", control.display());
        for one in missing {
            write(&control, &format!("+{one}")).map_err(refused)?;
        }
    }
    Ok((base, wanted))
}

/// Moves the host into a leaf, if it is alone in its group.
fn leave(base: &Path, pid: u32) -> Result<(), String> {
    let members = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
    let own = pid.to_string();
    let others = members.lines().filter(|line| *line != own).count();
    if others > 0 {
        return Err(format!(
            "{others} other processes are in the host's control group, so it can hand nothing down"
        ));
    }
    if members.trim().is_empty() {
        return Ok(());
    }
    let leaf = base.join(LEAF);
    let moved = match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => write(&leaf.join("cgroup.procs"), &own),
    };
    moved.map_err(|error| format!("the host cannot move into a group of its own: {error}"))
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
            name: format!("{PREFIX}{pid}-{:08x}", u32::from_le_bytes(random)),
        })
    }
}

#[cfg(test)]
mod tests;
