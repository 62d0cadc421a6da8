//! Who is left when the host, a shim, or both are killed, for each tree and each level of containment that there is here.
//!
//! The level is forced with `wharf up --containment`; what the machine does not have is skipped, loudly.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::harness::{Case, Kind, Survivors, level, millis};
use crate::support::command::wharf;
use crate::support::host::Setup;
use crate::support::procs::kill9;
use crate::support::{TestHost, eventually};
use crate::trees::{self, BACKGROUND, DAEMON, DETACHED, NPX, RESPAWNER, Reaper, SHELL, Tree, VENV};

/// From the surest to the least sure.
const LEVELS: [&str; 5] = ["pid_namespace", "user_pid_namespace", "cgroup", "subreaper", "process_group"];

/// How long a tree may take to be gone. The table of faults says 1 or 2 s; the figure tells, this only ends a test.
const BOUND: Duration = Duration::from_secs(20);

/// The levels to try: all, or `None` (what it has) for a host that cannot be told.
async fn levels() -> Vec<Option<&'static str>> {
    let help = wharf(&["up", "--help"], &[]).await.stdout;
    if help.contains("--containment") { LEVELS.map(Some).into() } else { vec![None] }
}

/// A host at a level, with these trees, all grown. `None` if the machine has no such level.
async fn grown(id: &str, kind: Kind, level_wanted: Option<&str>, trees: &[Tree]) -> Option<TestHost> {
    let setup = trees.iter().fold(Setup::new(), |setup, tree| tree.on(setup));
    let setup = match level_wanted {
        Some(wanted) => setup.flag("--containment").flag(wanted),
        None => setup,
    };
    let host = setup.start().await;
    if let Some(wanted) = level_wanted {
        let has = level(&host).await;
        if has != wanted {
            Case::begin(id, kind, &format!("level {wanted}"))
                .skip(&format!("this machine has no {wanted}, only {has}"));
            return None;
        }
    }
    for tree in trees {
        host.until_state(tree.id, "ready").await;
        let folder = tree.folder(host.home());
        eventually(&format!("{} to grow", tree.title), async || {
            let there = trees::living(&folder);
            if there.len() >= tree.grown { Ok(()) } else { Err(format!("{there:?}")) }
        })
        .await;
    }
    Some(host)
}

/// Waits until nothing of a tree is left, or the bound; who is left, and how long it took from `since`.
fn wait_gone(folder: &Path, since: Instant, bound: Duration) -> (Vec<(u32, String)>, Duration) {
    loop {
        let left = trees::living(folder);
        if left.is_empty() || since.elapsed() > bound {
            return (left, since.elapsed());
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Writes the row of one tree.
fn note(id: &str, kind: Kind, at: &str, tree: &Tree, killed: &str, found: (usize, usize, Duration)) {
    let mut case = Case::begin(id, kind, &format!("{}, {killed} killed", tree.id));
    case.at_level(at);
    let (grown, left, took) = found;
    case.survivors(Survivors {
        tree: tree.title.to_owned(),
        killed: killed.to_owned(),
        grown,
        left,
        took: millis(took),
    });
}

/// The ancestors of a process below the host: its shims, the nearest first.
fn shims(pid: u32, host: u32) -> Vec<u32> {
    let parent = |pid: u32| -> Option<u32> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let all =
        std::iter::successors(parent(pid), |pid| parent(*pid)).take_while(|pid| *pid != host && *pid > 1);
    all.collect()
}

/// Kills the host and counts, at every level.
async fn host_killed(id: &str, trees: &[Tree]) {
    for wanted in levels().await {
        let Some(mut host) = grown(id, Kind::Process, wanted, trees).await else { continue };
        let (at, home) = (level(&host).await, host.home().to_owned());
        let _reaper = Reaper(home.clone());
        let sizes: Vec<_> = trees.iter().map(|tree| trees::living(&tree.folder(&home)).len()).collect();
        let since = Instant::now();
        host.end(Signal::SIGKILL);
        for (tree, size) in trees.iter().zip(sizes) {
            // What leaves its group is beyond a host that has nothing else; it says so, and the next host finds it.
            let promised = at != "process_group";
            let bound = if promised { BOUND } else { Duration::from_secs(2) };
            let (left, took) = wait_gone(&tree.folder(&home), since, bound);
            assert!(left.is_empty() || !promised, "{}: {left:?} outlive the host at {at}", tree.title);
            note(id, Kind::Process, &at, tree, "host", (size, left.len(), took));
        }
    }
}

/// Fault: SIGKILL of the host above wrappers that stand between it and the server: `npx`, a shell, a console script.
/// Expected: no process is left after 1 s.
#[tokio::test]
async fn f12_the_host_is_killed_above_wrappers() {
    host_killed("F12", &[NPX, SHELL, VENV]).await;
}

/// Fault: SIGKILL of the host above what leaves its group and its session. Expected: no process is left after 1 s.
#[tokio::test]
async fn f13_the_host_is_killed_above_daemons() {
    host_killed("F13", &[BACKGROUND, DETACHED, DAEMON]).await;
}

/// Fault: SIGKILL of the host above 127 processes that start each other again. Expected: none is left after 2 s.
#[tokio::test]
async fn f14_the_host_is_killed_above_a_respawner() {
    host_killed("F14", &[RESPAWNER]).await;
}

/// Fault: SIGKILL of a shim. Expected: nothing is left of its tree, the instance is started anew, the host and the other
/// trees live on.
#[tokio::test]
async fn f15_a_shim_is_killed() {
    for wanted in levels().await {
        let Some(host) = grown("F15", Kind::Process, wanted, &trees::ALL).await else { continue };
        let (at, _reaper) = (level(&host).await, Reaper(host.home().to_owned()));
        // A host that cannot be told its level has this gap and says so in its docs: it is noted sooner, and not judged.
        let bound = if wanted.is_none() { Duration::from_secs(2) } else { BOUND };
        for tree in &trees::ALL {
            let main = host.pid_of(tree.id).await;
            let folder = tree.folder(host.home());
            let old: Vec<u32> = trees::living(&folder).into_iter().map(|(pid, _)| pid).collect();
            let shim = *shims(main, host.pid()).first().expect("there is a shim");
            let since = Instant::now();
            kill9(shim);
            let (left, took) = loop {
                let now = trees::living(&folder);
                let left: Vec<_> = now.into_iter().filter(|(pid, _)| old.contains(pid)).collect();
                if left.is_empty() {
                    break (0, since.elapsed());
                }
                if since.elapsed() > bound {
                    assert!(wanted.is_none(), "{}: {left:?} outlive their shim at {at}", tree.title);
                    left.iter().for_each(|(pid, _)| kill9(*pid));
                    break (left.len(), since.elapsed());
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            };
            host.until_back(tree.id, main).await;
            note("F15", Kind::Process, &at, tree, "shim", (old.len(), left, took));
        }
        assert_eq!(host.call("daemon", "echo", json!({ "message": "x" })).await["content"][0]["text"], "x");
    }
}

/// Fault: SIGKILL of the host and all shims at once. Expected: nothing is left in a PID namespace; elsewhere the host that
/// is started next finds and ends what is left, before it starts anything. (Outside of a namespace nobody can find what
/// has wiped its environment and lost its parents: that is noted, not judged.) The next host has no plugins, so that what
/// ends is ended by its sweep.
#[tokio::test]
async fn f16_host_and_shims_are_killed_at_once() {
    for wanted in levels().await {
        let Some(mut host) = grown("F16", Kind::Rights, wanted, &trees::ALL).await else { continue };
        let (at, home) = (level(&host).await, host.home().to_owned());
        let _reaper = Reaper(home.clone());
        let mut doomed = Vec::new();
        for tree in &trees::ALL {
            let main = host.pid_of(tree.id).await;
            doomed.extend(shims(main, host.pid()));
        }
        let sizes: Vec<_> = trees::ALL.iter().map(|tree| trees::living(&tree.folder(&home)).len()).collect();
        doomed.sort_unstable();
        doomed.dedup();
        // All are stopped first: none of them may do anything about the death of another.
        let each = |signal: Signal| {
            let pids = doomed.iter().copied().chain([host.pid()]);
            pids.for_each(|pid| kill(Pid::from_raw(i32::try_from(pid).unwrap()), signal).unwrap());
        };
        each(Signal::SIGSTOP);
        let since = Instant::now();
        each(Signal::SIGKILL);
        host.wait();
        let namespace = at.ends_with("pid_namespace");
        for (tree, size) in trees::ALL.iter().zip(&sizes) {
            let bound = if namespace { BOUND } else { Duration::from_secs(1) };
            let (left, took) = wait_gone(&tree.folder(&home), since, bound);
            assert!(left.is_empty() || !namespace, "{}: {left:?} outlive host and shim at {at}", tree.title);
            note("F16", Kind::Rights, &at, tree, "host and shim", (*size, left.len(), took));
        }
        // A host that cannot be told its level has no ledger by which the next one finds what is left.
        if wanted.is_some() && !namespace {
            trees::ALL.iter().for_each(|tree| host.remove(tree.id));
            let since = Instant::now();
            host.again();
            for (tree, size) in trees::ALL.iter().zip(&sizes) {
                let (left, took) = wait_gone(&tree.folder(&home), since, Duration::from_secs(5));
                let wiped = [DETACHED.id, DAEMON.id].contains(&tree.id);
                assert!(left.is_empty() || wiped, "{}: {left:?} outlive the next host's start", tree.title);
                note(
                    "F16",
                    Kind::Rights,
                    &at,
                    tree,
                    "both, and the next host started",
                    (*size, left.len(), took),
                );
            }
        }
    }
}
