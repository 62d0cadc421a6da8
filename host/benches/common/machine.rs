//! What the machine is that a benchmark runs on. No name of it and no path.

use std::fs;
use std::process::Command;

pub(crate) fn cores() -> String {
    std::thread::available_parallelism().map_or(0, usize::from).to_string()
}

pub(crate) fn cpu() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    model.trim_start_matches(['\t', ' ', ':']).to_owned()
}

pub(crate) fn kernel() -> String {
    first_line("/proc/sys/kernel/osrelease")
}

/// All that is built in.
pub(crate) fn memory() -> String {
    let all = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = all.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = total.trim().trim_end_matches(" kB").parse().unwrap_or_default();
    format!("{} GiB", kib.div_ceil(1 << 20))
}

/// The compiler's own words.
pub(crate) fn rustc() -> String {
    let said = Command::new("rustc").arg("--version").output().map(|output| output.stdout);
    said.map_or_else(|_| "unknown".to_owned(), |said| String::from_utf8_lossy(&said).trim().to_owned())
}

/// The load averages, now.
pub(crate) fn load() -> String {
    first_line("/proc/loadavg")
}

fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
