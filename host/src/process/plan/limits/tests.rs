use std::path::{Path, PathBuf};

use wharf_core::manifest::{ByteSize, Limits, Sandbox};

use super::LimitsPlan;
use crate::process::cgroup::{Cgroups, Hierarchy, Version};
use crate::process::plan::{InForce, Own, Wanted};
use crate::process::probe::Probe;

fn planned(probe: &Probe, limits: &Limits) -> (LimitsPlan, InForce) {
    let (at, sandbox) = (Path::new("/"), Sandbox::default());
    let own = Own { program: at, cwd: at, plugin_dir: at, data_dir: at };
    let wanted = Wanted { limits, sandbox: &sandbox, own, port: None };
    let (plan, in_force) = crate::process::plan::plan(probe, &wanted).unwrap();
    (plan.limits, in_force)
}

fn all() -> Limits {
    Limits {
        memory: Some(ByteSize::mib(64)),
        cpu: Some(0.5),
        pids: 40,
        open_files: Some(64),
        file_size: Some(ByteSize::mib(1)),
        ..Limits::default()
    }
}

fn hierarchy(version: Version, name: &str) -> Hierarchy {
    Hierarchy { version, parent: PathBuf::from("/cg").join(name), controllers: Vec::new() }
}

/// Nothing, version 1, version 2.
fn one(which: u8, name: &str) -> Result<Hierarchy, String> {
    match which {
        0 => Err(format!("no {name} here")),
        1 => Ok(hierarchy(Version::V1, name)),
        _ => Ok(hierarchy(Version::V2, "unified")),
    }
}

fn settings(plan: &LimitsPlan) -> Vec<String> {
    let each = |group: &super::GroupPlan| {
        let at = group.hierarchy.parent.file_name().unwrap().to_str().unwrap().to_owned();
        group.settings.iter().map(move |one| format!("{at}/{}={}", one.file, one.value)).collect::<Vec<_>>()
    };
    plan.groups.iter().flat_map(each).collect()
}

#[test]
fn every_combination_of_what_a_machine_has_holds_or_tells() {
    for combination in 0..3 * 3 * 3 * 2u8 {
        let (memory, cpu, pids, owned) =
            (combination % 3, combination / 3 % 3, combination / 9 % 3, combination / 27 == 1);
        let mut probe = Probe::nothing("refused");
        probe.cgroups = Cgroups {
            memory: one(memory, "memory"),
            cpu: one(cpu, "cpu"),
            pids: one(pids, "pids"),
            ..Cgroups::default()
        };
        probe.plain.made = Ok(());
        if owned {
            probe.plain.pid_max = Ok(());
        }
        let (plan, in_force) = planned(&probe, &all());
        let held = |key: &str| in_force.limits.get(key).map_or("", String::as_str);
        let by = |which: u8, otherwise| {
            ["", "cgroup v1", "cgroup v2"].map(|by| if by.is_empty() { otherwise } else { by })
                [usize::from(which)]
        };
        assert_eq!(held("memory"), by(memory, "watchdog"), "{combination}");
        assert_eq!(plan.watchdog, memory == 0);
        assert_eq!(held("cpu"), by(cpu, ""));
        assert_eq!(held("pids"), by(pids, if owned { "pid_max (up to 339)" } else { "" }));
        assert_eq!(plan.pid_max, (pids == 0 && owned).then_some(340));
        assert_eq!(plan.pid_max_otherwise, (pids > 0 && owned).then_some(340));
        assert_eq!((held("open_files"), held("file_size")), ("rlimit", "rlimit"));
        let told = |key: &str| in_force.gaps.iter().any(|gap| gap.starts_with(key));
        assert_eq!((told("limits.cpu"), told("limits.pids")), (cpu == 0, pids == 0 && !owned));
        assert!(!told("limits.memory"));
        // In version 2 they share a group.
        let in_v2 = plan.groups.iter().filter(|group| group.hierarchy.version == Version::V2).count();
        assert_eq!(in_v2, usize::from([memory, cpu, pids].contains(&2)), "{combination}");
    }
}

#[test]
fn each_version_gets_its_files() {
    let mut probe = Probe::nothing("refused");
    probe.cgroups =
        Cgroups { memory: one(1, "memory"), cpu: one(1, "cpu"), pids: one(1, "pids"), ..Cgroups::default() };
    let bytes = 64 << 20;
    let expected = [
        format!("memory/memory.limit_in_bytes={bytes}"),
        format!("memory/memory.memsw.limit_in_bytes={bytes}"),
        "cpu/cpu.cfs_period_us=100000".to_owned(),
        "cpu/cpu.cfs_quota_us=50000".to_owned(),
        "pids/pids.max=40".to_owned(),
    ];
    assert_eq!(settings(&planned(&probe, &all()).0), expected);
    probe.cgroups = Cgroups { memory: one(2, ""), cpu: one(2, ""), pids: one(2, ""), ..Cgroups::default() };
    let expected = [
        format!("unified/memory.max={bytes}"),
        "unified/memory.swap.max=0".to_owned(),
        "unified/memory.oom.group=1".to_owned(),
        "unified/cpu.max=50000 100000".to_owned(),
        "unified/pids.max=40".to_owned(),
    ];
    assert_eq!(settings(&planned(&probe, &all()).0), expected);
    let least = Limits { cpu: Some(0.0001), memory: None, ..all() };
    assert!(settings(&planned(&probe, &least).0).contains(&"unified/cpu.max=1000 100000".to_owned()));
}

#[test]
fn what_is_not_written_needs_nothing_but_the_default() {
    let mut probe = Probe::nothing("refused");
    let (plan, in_force) = planned(&probe, &Limits::default());
    assert_eq!((plan, in_force.limits.len()), (LimitsPlan::default(), 0));
    let of_limits = |in_force: &InForce| -> Vec<String> {
        in_force.gaps.iter().filter(|gap| gap.starts_with("limits")).cloned().collect()
    };
    assert_eq!(of_limits(&in_force), ["limits.pids = 512, the default, is not held: refused"]);
    probe.cgroups.pids = one(1, "pids");
    let (plan, in_force) = planned(&probe, &Limits::default());
    assert_eq!((settings(&plan), of_limits(&in_force).len()), (vec!["pids/pids.max=512".to_owned()], 0));
}

#[test]
fn a_group_is_there_to_be_killed_where_that_holds_the_tree_together() {
    let mut probe = Probe::nothing("refused");
    probe.cgroups.kill = one(2, "");
    assert!(planned(&probe, &Limits::default()).0.groups.is_empty());
    probe.cgroup_kill = Ok(());
    let (plan, _) = planned(&probe, &Limits::default());
    assert!(plan.groups.len() == 1 && plan.groups[0].settings.is_empty() && plan.groups[0].kills);
}
