//! What must be true after the chaos: of the calls, of the host's size, of what is left on disk.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use serde_json::Value;

use super::load::{Record, Told};

/// The size of a process at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) rss: u64,
    pub(super) descriptors: usize,
    pub(super) threads: usize,
}

impl Size {
    pub(super) fn of(pid: u32) -> Self {
        let count = |folder: &str| fs::read_dir(format!("/proc/{pid}/{folder}")).map_or(0, Iterator::count);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the host runs");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("Linux tells VmRSS");
        let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmRSS is a number");
        Self { rss: kib * 1024, descriptors: count("fd"), threads: count("task") }
    }
}

/// How often each key began and ended, of all ledgers.
pub(super) fn ran(scratch: &Path, ids: &[&str]) -> HashMap<String, (usize, usize)> {
    let mut all: HashMap<String, (usize, usize)> = HashMap::new();
    for id in ids {
        let text = fs::read_to_string(scratch.join(id)).unwrap_or_default();
        for line in text.lines() {
            let entry: Value = serde_json::from_str(line).expect("a ledger is lines of JSON");
            let Some(key) = entry["arguments"]["key"].as_str() else { continue };
            let counted = all.entry(key.to_owned()).or_default();
            match entry["phase"].as_str() {
                Some("begin") => counted.0 += 1,
                Some("end") => counted.1 += 1,
                _ => {}
            }
        }
    }
    all
}

/// Each call was told one thing, and that was true.
pub(super) fn calls(records: &[Record], ran: &HashMap<String, (usize, usize)>) {
    for Record { key, told } in records {
        let (began, ended) = ran.get(key).copied().unwrap_or_default();
        assert!(began <= 1, "{key} ran {began} times; its caller was told {told:?}");
        match told {
            Told::Answered => assert_eq!((began, ended), (1, 1), "{key} was answered"),
            Told::Failed { undelivered: true, .. } => {
                assert_eq!(began, 0, "{key} ran, and was told {told:?}")
            }
            Told::Failed { .. } | Told::Left => {}
            Told::Broken(why) => panic!("{key} got no answer: {why}"),
        }
    }
}

/// Files that a host may leave in its state folder. Anything else is a leftover.
pub(super) fn state(folder: &Path) {
    let known = ["token", "wharf.lock", "lock", "logs", "data", "switches.json", "eras.json"];
    let names = fs::read_dir(folder).expect("the state folder is there").flatten();
    let names: Vec<_> = names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let temporary =
        |name: &&String| name.ends_with(".tmp") || name.ends_with(".sock") || name.ends_with(".corrupt");
    let odd: Vec<_> = names.iter().filter(temporary).collect();
    assert!(odd.is_empty(), "left in the state folder: {odd:?}, known are {known:?}");
    let run = folder.join("run");
    let ledger = fs::read_dir(&run).into_iter().flatten().flatten().count();
    assert_eq!(ledger, 0, "lines of launches are left in {}", run.display());
}

/// Whether nothing of this name is mounted, or a control group.
pub(super) fn kernel(home: &Path, pid: u32) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    assert!(!mounts.contains(home.to_str().expect("a UTF-8 path")), "a mount is left:\n{mounts}");
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let ours = name.contains("wharf") && name.contains(&pid.to_string());
                assert!(!ours, "a control group is left: {}", entry.path().display());
                folders.push(entry.path());
            }
        }
    }
}

/// A checker that lets everything pass would make a run of any length worthless.
#[test]
fn lies_are_found() {
    let judged = |told: Told, began, ended| {
        let records = [Record { key: "k".to_owned(), told }];
        let ran = HashMap::from([("k".to_owned(), (began, ended))]);
        std::panic::catch_unwind(move || calls(&records, &ran)).is_ok()
    };
    let failed = |undelivered| Told::Failed { code: "x".to_owned(), undelivered };
    assert!(judged(Told::Answered, 1, 1) && judged(failed(false), 1, 0) && judged(failed(true), 0, 0));
    assert!(judged(Told::Left, 1, 1) && judged(Told::Left, 0, 0));
    assert!(!judged(Told::Answered, 2, 2), "it ran twice");
    assert!(!judged(Told::Answered, 1, 0), "it did not end");
    assert!(!judged(Told::Answered, 0, 0), "it never ran");
    assert!(!judged(failed(true), 1, 0), "it ran after all");
    assert!(!judged(Told::Left, 2, 1), "it ran twice and nobody knew");
    assert!(!judged(Told::Broken("cut off".to_owned()), 1, 1), "no answer");
}
