//! What `/proc` says of a process, and how one is told to end.

use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::Outcome;

/// `kill`, by pid.
pub(crate) fn signal(pid: u32, signal: Signal) -> Outcome<()> {
    Ok(kill(Pid::from_raw(i32::try_from(pid)?), signal)?)
}

/// Resident and proportional memory of one process, KiB. Shared pages count in full in the first, by share in the second.
pub(crate) fn memory(pid: u32) -> Outcome<(f64, f64)> {
    let resident = field(&fs::read_to_string(format!("/proc/{pid}/status"))?, "VmRSS:")?;
    let proportional = field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?, "Pss:")?;
    Ok((resident, proportional))
}

/// Processor time that a process has used so far, all threads.
pub(crate) fn cpu(pid: u32) -> Outcome<Duration> {
    let (user, system) = (stat(pid, 11)?, stat(pid, 12)?);
    // Linux tells it in hundredths of a second.
    Ok(Duration::from_millis((user + system) * 10))
}

/// The same to the nanosecond, of the threads that there are: it is less than before if one has ended.
pub(crate) fn busy(pid: u32) -> Outcome<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that ends while we look has nothing to say.
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|text| text.parse::<u64>().ok()).unwrap_or_default();
    }
    Ok(Duration::from_nanos(nanos))
}

/// The process that started this one.
pub(crate) fn parent(pid: u32) -> Outcome<u32> {
    Ok(u32::try_from(stat(pid, 1)?)?)
}

/// A field of `/proc/PID/stat`, counted from the state, which is 0.
fn stat(pid: u32, field: usize) -> Outcome<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name may hold anything; it ends at the last parenthesis.
    let rest = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    Ok(rest.split(' ').nth(field).ok_or("an odd /proc/PID/stat")?.parse()?)
}

/// The number in a line `name  123 kB`.
fn field(text: &str, name: &str) -> Outcome<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).ok_or_else(|| format!("no {name}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
