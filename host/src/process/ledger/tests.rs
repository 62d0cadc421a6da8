use std::fs;
use std::process::{Command, Stdio};

use super::{Ledger, Leftovers, Line};
use crate::process::wire::MARKER;

/// A process with a mark, as a host that was killed leaves one.
fn left(mark: &str) -> std::process::Child {
    let (name, value) = mark.split_once('=').unwrap();
    Command::new("sleep").arg("1000").env(name, value).stdin(Stdio::null()).spawn().unwrap()
}

fn mark(n: u32) -> String {
    format!("{MARKER}={:08x}{n:024x}", std::process::id())
}

#[test]
fn what_an_earlier_host_left_is_ended_and_struck_out() {
    let dir = tempfile::tempdir().unwrap();
    let run = dir.path().join("run");
    let ledger = Ledger::new(Some(run.clone()));
    assert_eq!(ledger.sweep(), Leftovers::default(), "a first start makes the folder");
    let mut by_mark = left(&mark(1));
    let mut by_number = left("OTHER=1");
    let mut stranger = left(&mark(3));
    let mut entries = [ledger.enter(&mark(1)), ledger.enter(&mark(2))];
    entries[0].started([i32::MAX, i32::MAX]);
    entries[1].started([i32::try_from(by_number.id()).unwrap(), i32::MAX]);
    // The host was killed: nothing was struck out.
    std::mem::forget(entries);
    let swept = Ledger::new(Some(run.clone())).sweep();
    assert_eq!(swept, Leftovers { instances: 2, processes: 2 });
    assert!(!by_mark.wait().unwrap().success() && !by_number.wait().unwrap().success());
    assert!(stranger.try_wait().unwrap().is_none(), "what is not written down is nobody's business");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}

#[test]
fn a_number_that_means_another_process_now_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(Some(dir.path().to_owned()));
    let mut other = left("OTHER=1");
    let mut entry = ledger.enter(&mark(4));
    entry.started([i32::try_from(other.id()).unwrap(), i32::MAX]);
    for known in &mut entry.line.processes {
        known.began -= 1;
    }
    entry.write();
    std::mem::forget(entry);
    assert_eq!(ledger.sweep(), Leftovers { instances: 1, processes: 0 });
    assert!(other.try_wait().unwrap().is_none());
    other.kill().unwrap();
    other.wait().unwrap();
}

#[test]
fn a_torn_line_still_has_its_mark_and_one_of_another_boot_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(Some(dir.path().to_owned()));
    let mut torn = left(&mark(5));
    let name = mark(5).split_once('=').unwrap().1.to_owned();
    fs::write(dir.path().join(name), "{\"boot\":").unwrap();
    let mut other_boot = left(&mark(6));
    let line = Line { boot: "another".to_owned(), mark: mark(6), ..Line::default() };
    let name = mark(6).split_once('=').unwrap().1.to_owned();
    fs::write(dir.path().join(name), serde_json::to_vec(&line).unwrap()).unwrap();
    fs::write(dir.path().join("not-a-line"), "").unwrap();
    nix::unistd::mkfifo(&dir.path().join("abcd"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_eq!(ledger.sweep(), Leftovers { instances: 1, processes: 1 });
    assert!(!torn.wait().unwrap().success());
    assert!(other_boot.try_wait().unwrap().is_none());
    other_boot.kill().unwrap();
    other_boot.wait().unwrap();
}

#[test]
fn what_never_started_is_struck_out_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let ledger = Ledger::new(Some(dir.path().to_owned()));
    let entry = ledger.enter(&mark(7));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    drop(entry);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn a_line_stays_while_a_group_of_its_launch_does() {
    let dir = tempfile::tempdir().unwrap();
    let (run, group) = (dir.path().join("run"), dir.path().join("wharf-1-2/mark"));
    let ledger = Ledger::new(Some(run.clone()));
    ledger.sweep();
    fs::create_dir_all(&group).unwrap();
    // Outside of the kernel's own file system a folder with a file in it cannot be removed.
    fs::write(group.join("cgroup.procs"), "").unwrap();
    let mut entry = ledger.enter(&mark(8));
    entry.groups(vec![group.clone()]);
    std::mem::forget(entry);
    assert_eq!(ledger.sweep(), Leftovers { instances: 1, processes: 0 });
    assert_eq!(fs::read_dir(&run).unwrap().count(), 1, "the next host tries again");
    fs::remove_dir_all(&group).unwrap();
    ledger.sweep();
    assert_eq!(fs::read_dir(&run).unwrap().count(), 0);
}
