//! Which mechanism holds which limit. Pure.
//!
//! `RLIMIT_AS` is never used: Node.js and other runtimes with a JIT reserve far more addresses than memory, and die without
//! a word where they cannot. Nor is `RLIMIT_NPROC`: it counts all processes of a user, the host's and every plugin's
//! together, and does not bind root.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use wharf_core::manifest::Limits;

use super::{InForce, Wanted};
use crate::process::cgroup::{GroupPlan, Hierarchy, Purpose, Setting, Version};
use crate::process::level::Level;
use crate::process::probe::Probe;

/// The time over which processors are shared out, microseconds.
const PERIOD: u32 = 100_000;
/// The least that the kernel shares out, microseconds.
const LEAST_QUOTA: u32 = 1000;
/// Numbers below this are given out once and then no more until the namespace ends: the kernel reserves them.
const RESERVED_PIDS: u32 = 300;

/// The limits of a launch. The groups are the host's to make; the rest is set by the shim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct LimitsPlan {
    #[serde(skip)]
    pub(crate) groups: Vec<GroupPlan>,
    /// The host looks at the memory of the tree each second.
    #[serde(skip)]
    pub(crate) watchdog: bool,
    /// The files by which the plugin's main process puts itself into its groups.
    pub(crate) join: Vec<PathBuf>,
    /// `pid_max` of its PID namespace.
    pub(crate) pid_max: Option<u32>,
    /// What it would be if the control group for pids cannot be made.
    #[serde(skip)]
    pub(crate) pid_max_otherwise: Option<u32>,
    pub(crate) open_files: Option<u32>,
    /// Bytes.
    pub(crate) file_size: Option<u64>,
}

pub(super) fn plan(probe: &Probe, level: Level, wanted: &Wanted<'_>, in_force: &mut InForce) -> LimitsPlan {
    let limits = wanted.limits;
    let mut plan = LimitsPlan::default();
    let mut holds = |key, by: &str| drop(in_force.limits.insert(key, by.to_owned()));
    if let Some(most) = limits.memory {
        match &probe.cgroups.memory {
            Ok(hierarchy) => {
                plan.group(hierarchy, memory(hierarchy.version, most.0), false);
                holds("memory", hierarchy.version.as_str());
            }
            Err(_) => {
                plan.watchdog = true;
                holds("memory", "watchdog");
            }
        }
    }
    if let Some(most) = limits.cpu
        && let Ok(hierarchy) = &probe.cgroups.cpu
    {
        plan.group(hierarchy, cpu(hierarchy.version, most), false);
        holds("cpu", hierarchy.version.as_str());
    }
    let owned = probe.namespace(level).is_some_and(|namespace| namespace.pid_max.is_ok());
    let numbers = owned.then(|| pid_max(limits.pids));
    if let Ok(hierarchy) = &probe.cgroups.pids {
        plan.group(hierarchy, vec![Setting::needed("pids", "pids.max", limits.pids)], false);
        holds("pids", hierarchy.version.as_str());
        plan.pid_max_otherwise = numbers;
    } else if let Some(numbers) = numbers {
        plan.pid_max = Some(numbers);
        holds("pids", &by_pid_max(numbers));
    }
    plan.open_files = limits.open_files;
    plan.file_size = limits.file_size.map(|most| most.0);
    for (key, is_set) in
        [("open_files", limits.open_files.is_some()), ("file_size", limits.file_size.is_some())]
    {
        if is_set {
            holds(key, "rlimit");
        }
    }
    if level == Level::Cgroup
        && let Ok(hierarchy) = &probe.cgroups.kill
    {
        plan.group(hierarchy, Vec::new(), true);
    }
    in_force.gaps.extend(gaps(probe, limits, &plan));
    plan
}

/// What is wished for and not held.
fn gaps(probe: &Probe, limits: &Limits, plan: &LimitsPlan) -> Vec<String> {
    let mut gaps = Vec::new();
    if let (Some(most), Err(why)) = (limits.cpu, &probe.cgroups.cpu) {
        gaps.push(format!("limits.cpu = {most} is not held: {why}"));
    }
    if let (Err(why), None) = (&probe.cgroups.pids, plan.pid_max) {
        let default = if limits.pids == Limits::default().pids { ", the default," } else { "" };
        gaps.push(format!("limits.pids = {}{default} is not held: {why}", limits.pids));
    }
    gaps
}

/// In version 1 the swap is counted together with the memory, and the kernel kills one process of the group: the host
/// kills the others.
fn memory(version: Version, most: u64) -> Vec<Setting> {
    match version {
        Version::V1 => vec![
            Setting::needed("memory", "memory.limit_in_bytes", most),
            Setting::new(Purpose::Swap, "memory.memsw.limit_in_bytes", most),
        ],
        Version::V2 => vec![
            Setting::needed("memory", "memory.max", most),
            Setting::new(Purpose::Swap, "memory.swap.max", 0),
            Setting::new(Purpose::Ease, "memory.oom.group", 1),
        ],
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is between 0.01 and 1024, checked"
)]
fn cpu(version: Version, most: f64) -> Vec<Setting> {
    let quota = ((most * f64::from(PERIOD)).round() as u32).max(LEAST_QUOTA);
    match version {
        Version::V1 => {
            let file = |name, value| Setting::needed("cpu", name, value);
            vec![file("cpu.cfs_period_us", PERIOD), file("cpu.cfs_quota_us", quota)]
        }
        Version::V2 => vec![Setting::needed("cpu", "cpu.max", format!("{quota} {PERIOD}"))],
    }
}

/// What a namespace with this many numbers bounds: at first all numbers below `pid_max` can be had. Once they have been
/// given out, only those from 300 on are given out again. So `most` processes always find a number, and there are never
/// more than `most` + 299, those among them that got one of the first numbers and still live.
fn pid_max(most: u32) -> u32 {
    most.saturating_add(RESERVED_PIDS)
}

/// For people: what such a `pid_max` lets through.
pub(super) fn by_pid_max(numbers: u32) -> String {
    format!("pid_max (up to {})", numbers.saturating_sub(1))
}

// === impl LimitsPlan ===

impl LimitsPlan {
    /// Needs a group with these settings; in version 2, all of them are one group.
    fn group(&mut self, hierarchy: &Hierarchy, settings: Vec<Setting>, kills: bool) {
        match self.groups.iter_mut().find(|group| group.hierarchy.parent == hierarchy.parent) {
            Some(group) => {
                group.settings.extend(settings);
                group.kills |= kills;
            }
            None => self.groups.push(GroupPlan { hierarchy: hierarchy.clone(), settings, kills }),
        }
    }
}

#[cfg(test)]
mod tests;
