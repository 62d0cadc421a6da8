//! A look at `/proc`: who is left, how much memory a process had at most, and signals by pid.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// The environment variable that marks every process of one test.
pub(crate) const MARK: &str = "WHARF_TEST_MARK";

/// Live processes that carry this mark in their environment, or have `home` as working directory or in an argument.
pub(crate) fn left(mark: &str, home: &Path) -> Vec<String> {
    let mine = std::process::id();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").expect("/proc is there").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        if pid == mine || is_gone(pid) {
            continue;
        }
        let cmdline = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let marked = holds(&fs::read(entry.path().join("environ")).unwrap_or_default(), mark.as_bytes());
        let inside = fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(home));
        if marked || inside || holds(&cmdline, home.as_os_str().as_bytes()) {
            found.push(format!("{pid}: {}", String::from_utf8_lossy(&cmdline).replace('\0', " ")));
        }
    }
    found
}

/// Fails unless no process of the test is left, or none is after a moment.
pub(crate) fn assert_none_left(mark: &str, home: &Path) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let found = left(mark, home);
        if found.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "processes are left behind:\n{}", found.join("\n"));
        // A dying process needs the processor too: look again after a moment, within the bound.
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a pid is of no process that still runs (a zombie does not).
pub(crate) fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
    matches!(state, None | Some('Z' | 'X'))
}

/// The process that has answered `whoami`, as it is called here: in a PID namespace of its own it knows another number.
pub(crate) fn who(answer: &Value) -> u32 {
    let told = &answer["structuredContent"]["env"]["WHARF_INSTANCE"];
    let mark = format!("WHARF_INSTANCE={}", told.as_str().unwrap_or_else(|| panic!("no mark in {answer}")));
    let pids = fs::read_dir("/proc").expect("/proc is there").flatten();
    let mut pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let found = pids.find(|pid| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        !is_gone(*pid) && environment.split(|byte| *byte == 0).any(|entry| entry == mark.as_bytes())
    });
    found.unwrap_or_else(|| panic!("who said {answer} is gone"))
}

/// The largest resident set that a process ever had, bytes.
pub(crate) fn peak_rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("Linux tells VmHWM");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("VmHWM is a number");
    kib * 1024
}

/// Sends a signal to one process that must be there, by its pid.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(pid).expect("a pid")), signal).expect("the process is there");
}

/// `kill -9`.
pub(crate) fn kill9(pid: u32) {
    signal(pid, Signal::SIGKILL);
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
