//! What the kernel counts of a group: how often it killed for memory, how often it refused a process.

use std::fs;
use std::path::Path;

use super::Version;

/// How many processes of the group the kernel has killed for want of memory.
pub(super) fn oom_kills(group: &Path, version: Version) -> u64 {
    let file = match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    counter(group, file, "oom_kill").unwrap_or(0)
}

/// How many times it has refused a process or thread.
pub(super) fn refused(group: &Path) -> u64 {
    counter(group, "pids.events", "max").unwrap_or(0)
}

/// The most memory that the group has held, bytes. Not every kernel tells.
pub(super) fn peak(group: &Path, version: Version) -> Option<u64> {
    let file = match version {
        Version::V1 => "memory.max_usage_in_bytes",
        Version::V2 => "memory.peak",
    };
    fs::read_to_string(group.join(file)).ok()?.trim().parse().ok()
}

/// The number behind a word, in a file of lines of both.
fn counter(group: &Path, file: &str, word: &str) -> Option<u64> {
    let text = fs::read_to_string(group.join(file)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{oom_kills, peak, refused};
    use crate::process::cgroup::Version;

    #[test]
    fn the_kernels_counters_are_read() {
        let group = tempfile::tempdir().unwrap();
        let at = group.path();
        assert_eq!((oom_kills(at, Version::V1), refused(at), peak(at, Version::V2)), (0, 0, None));
        let control = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        fs::write(at.join("memory.oom_control"), control).unwrap();
        fs::write(at.join("memory.events"), "low 0\nmax 4\noom 1\noom_kill 2\noom_group_kill 1\n").unwrap();
        fs::write(at.join("pids.events"), "max 7\n").unwrap();
        fs::write(at.join("memory.max_usage_in_bytes"), "4096\n").unwrap();
        assert_eq!((oom_kills(at, Version::V1), oom_kills(at, Version::V2), refused(at)), (3, 2, 7));
        assert_eq!(peak(at, Version::V1), Some(4096));
    }
}
