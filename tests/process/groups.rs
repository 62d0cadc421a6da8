//! The control groups of a launch are there while it runs, hold it together, and are gone after it, whatever ended it.

use std::path::{Path, PathBuf};
use std::process::Command;

use wharf::process::{InForce, Level, Process};
use wharf_core::manifest::{ByteSize, Limits};

use crate::harness::{World, kill_hard, line, lives, mark_of, shim_of, skipped, tells, until, within};

fn limits() -> Limits {
    Limits { memory: Some(ByteSize::mib(256)), cpu: Some(1.0), pids: 50, ..Limits::default() }
}

/// The groups of a process that are of ours.
fn groups_of(process: &Process) -> Vec<PathBuf> {
    let mark = mark_of(&process.handle).split_once('=').unwrap().1.to_owned();
    let mountinfo = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let membership = std::fs::read_to_string(format!("/proc/{}/cgroup", process.handle.pid())).unwrap();
    let mounts: Vec<&str> = mountinfo
        .lines()
        .filter(|line| line.contains(" - cgroup"))
        .filter_map(|line| line.split(' ').nth(4))
        .collect();
    let paths =
        membership.lines().filter_map(|line| line.splitn(3, ':').nth(2)).filter(|path| path.ends_with(&mark));
    let mut found: Vec<PathBuf> = paths
        .flat_map(|path| mounts.iter().map(move |mount| PathBuf::from(format!("{mount}{path}"))))
        .filter(|dir| dir.is_dir())
        .collect();
    found.sort();
    found.dedup();
    found
}

async fn world() -> Option<World> {
    let world = World::new().await;
    let is_there = world.held_by("pids", &limits()).is_some_and(|by| by.starts_with("cgroup"));
    if !is_there {
        skipped("no control group can be made here");
    }
    is_there.then_some(world)
}

async fn up(world: &World) -> (Process, Vec<PathBuf>) {
    let mut process = world.bounded("sleep 1000 & echo up; wait", limits()).await;
    line(&mut process).await;
    let groups = groups_of(&process);
    assert!(!groups.is_empty());
    (process, groups)
}

fn gone(groups: &[PathBuf]) -> bool {
    !groups.iter().any(|group| group.exists())
}

#[tokio::test]
async fn they_are_gone_with_the_launch() {
    let Some(world) = world().await else { return };
    let (process, groups) = up(&world).await;
    let procs = std::fs::read_to_string(groups[0].join("cgroup.procs")).unwrap();
    assert_eq!(procs.lines().count(), 2, "the shim is in none: {procs}");
    process.handle.kill();
    within(process.handle.gone()).await;
    assert!(gone(&groups));
    let parent = groups[0].parent().unwrap();
    assert!(!parent.exists(), "nor is the folder of all of them");
    let (process, groups) = up(&world).await;
    kill_hard(shim_of(&process.handle));
    let report = within(process.handle.gone()).await;
    assert!(gone(&groups), "after a killed shim");
    assert_eq!(report.note.as_deref(), Some("its helper process was killed from outside"));
}

#[tokio::test]
async fn a_start_that_fails_leaves_none() {
    let Some(world) = world().await else { return };
    let (process, groups) = up(&world).await;
    let mut launch = world.launch("/no/such/program", &[]);
    launch.limits = limits();
    world.spawn(launch).await.unwrap_err();
    let parent = groups[0].parent().unwrap();
    let count = || std::fs::read_dir(parent).unwrap().flatten().filter(|entry| entry.path().is_dir()).count();
    until("its group is gone", || count() == 1).await;
    drop(process);
    until("the last one is gone", || !parent.exists()).await;
}

#[tokio::test]
async fn a_group_finds_what_has_left_its_session_and_wiped_its_environment() {
    // In a PID namespace the kernel ends it; here it is the group, by one write or process by process.
    for level in [Level::Cgroup, Level::Subreaper] {
        let Some(world) = World::at(level).await else {
            skipped(&format!("this machine is not at level {level:?}"));
            continue;
        };
        if !world.held_by("pids", &limits()).is_some_and(|by| by.starts_with("cgroup")) {
            skipped("no control group can be made here");
            return;
        }
        let script = "echo up; setsid env -i sh -c 'echo $$; exec sleep 1000' & wait";
        let mut process = world.bounded(script, limits()).await;
        line(&mut process).await;
        let wiped = line(&mut process).await;
        let groups = groups_of(&process);
        kill_hard(shim_of(&process.handle));
        within(process.handle.gone()).await;
        assert!(!Path::new(&format!("/proc/{wiped}")).exists(), "{level:?}: it is ended, and reaped");
        assert!(gone(&groups));
    }
}

#[tokio::test]
async fn groups_that_were_made_below_go_with_it_and_so_does_what_is_in_them() {
    let Some(world) = World::at(Level::Subreaper).await else {
        skipped("this machine adopts no orphans");
        return;
    };
    if world.held_by("pids", &limits()).as_deref() != Some("cgroup v1") {
        skipped("a process can be put below a group with limits in version 1 only");
        return;
    }
    for hard in [false, true] {
        let script = "echo up; setsid env -i sh -c 'echo $$; exec sleep 1000' & wait";
        let mut process = world.bounded(script, limits()).await;
        line(&mut process).await;
        let wiped = line(&mut process).await;
        let groups = groups_of(&process);
        assert!(!groups.is_empty());
        for group in &groups {
            let deep = group.join("made/deep");
            std::fs::create_dir_all(&deep).unwrap();
            std::fs::write(deep.join("cgroup.procs"), &wiped).unwrap();
        }
        if hard {
            // Nothing but its group tells whose it is.
            kill_hard(shim_of(&process.handle));
        } else {
            process.handle.kill();
        }
        within(process.handle.gone()).await;
        assert!(!Path::new(&format!("/proc/{wiped}")).exists(), "it is ended, and reaped");
        assert!(gone(&groups), "{groups:?}");
    }
    let lines = std::fs::read_dir(world.folder.join("run")).unwrap().count();
    assert_eq!(lines, 0, "nothing is written down any more");
}

#[tokio::test]
async fn each_launch_tells_what_it_goes_without_itself() {
    // Where no namespace has numbers of its own, which would hold the limit instead.
    let Some(world) = World::at(Level::Subreaper).await else {
        skipped("this machine adopts no orphans");
        return;
    };
    if !world.held_by("pids", &limits()).is_some_and(|by| by.starts_with("cgroup")) {
        skipped("no control group for pids can be made here");
        return;
    }
    // More than any kernel takes.
    let beyond = Limits { pids: 5_000_000, ..limits() };
    let without = world.bounded("exec sleep 1000", beyond).await;
    let (with, _) = up(&world).await;
    let lost =
        |in_force: &InForce| in_force.gaps.iter().any(|gap| gap.starts_with("limits.pids is not held"));
    let of = |process: &Process| world.machine.in_force_of(process.handle.pid()).unwrap();
    for in_force in [&without.in_force, &of(&without)] {
        assert!(lost(in_force) && !in_force.limits.contains_key("pids"), "{in_force:?}");
        let others = ["memory", "cpu"].map(|key| in_force.limits.get(key));
        assert_eq!(others, ["memory", "cpu"].map(|key| with.in_force.limits.get(key)), "they are held");
    }
    assert!(world.said("wharf").contains("pids.max"), "{}", world.said("wharf"));
    for in_force in [&with.in_force, &of(&with)] {
        assert!(!lost(in_force) && in_force.limits["pids"].starts_with("cgroup"), "{in_force:?}");
    }
    let pid = without.handle.pid();
    without.handle.kill();
    within(without.handle.gone()).await;
    until("nothing is in force for what has ended", || world.machine.in_force_of(pid).is_none()).await;
}

/// A host of its own, with the number of its shim, that of the plugin, and its groups.
fn host(world: &World) -> (std::process::Child, i32, String, Vec<PathBuf>) {
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.env("WHARF_TEST_STATE", &world.folder);
    let (host, told) = tells(&mut program, "groups::host_program", "GROUPS ");
    let mut told = told.split(' ');
    let shim: i32 = told.next().unwrap().parse().unwrap();
    let main = told.next().unwrap().to_owned();
    let groups: Vec<PathBuf> = told.map(PathBuf::from).collect();
    assert!(!groups.is_empty() && groups.iter().all(|group| group.exists()));
    (host, shim, main, groups)
}

#[tokio::test]
async fn the_shim_removes_those_of_a_killed_host() {
    let Some(world) = world().await else { return };
    let (mut host, _, main, groups) = host(&world);
    host.kill().unwrap();
    host.wait().unwrap();
    until("they are gone", || gone(&groups) && !groups.iter().any(|group| group.parent().unwrap().exists()))
        .await;
    assert!(!lives(&main));
}

#[tokio::test]
async fn the_next_host_removes_what_host_and_shim_have_left() {
    let Some(world) = world().await else { return };
    let (mut host, shim, main, groups) = host(&world);
    // It sees nothing of the shim's end.
    let stopped = Command::new("kill").args(["-STOP", &host.id().to_string()]).status().unwrap();
    assert!(stopped.success());
    kill_hard(shim);
    host.kill().unwrap();
    host.wait().unwrap();
    assert!(!groups.is_empty() && groups.iter().all(|group| group.exists()));
    let machine = wharf::process::Machine::find_out(Some(&world.folder), None, &world.tasks);
    drop(machine.await);
    assert!(gone(&groups) && !groups[0].parent().unwrap().exists());
    assert!(!lives(&main));
}

/// A host that starts a process, says so and hangs. It is killed; if that fails, it ends by itself.
#[tokio::test]
#[ignore = "a program for another test"]
async fn host_program() {
    let mut world = World::new().await;
    let state = PathBuf::from(std::env::var_os("WHARF_TEST_STATE").unwrap());
    world.machine = wharf::process::Machine::find_out(Some(&state), None, &world.tasks).await;
    let (process, groups) = up(&world).await;
    let groups: Vec<String> = groups.iter().map(|group| group.display().to_string()).collect();
    println!("GROUPS {} {} {}", shim_of(&process.handle), process.handle.pid(), groups.join(" "));
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
}
