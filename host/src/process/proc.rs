//! Reads `/proc`: who descends from whom, who carries a mark, how much memory a tree holds. Reads only; it signals nobody.
//!
//! Everything here is a snapshot of something that moves: a process that has just gone is no error, it is left out.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::time::Duration;

/// A process id.
pub(super) type Pid = i32;

/// What `/proc/PID/stat` says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    /// Its parent.
    pub(super) parent: Pid,
    /// Its process group.
    pub(super) group: Pid,
    /// Its session.
    pub(super) session: Pid,
    /// It has ended and waits to be reaped.
    pub(super) zombie: bool,
    /// When it began, in ticks since the boot: with the number, the name of one process.
    pub(super) began: u64,
}

/// One process and no other: numbers are used again, with another time of beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Seen {
    pub(super) pid: Pid,
    pub(super) began: u64,
}

impl Seen {
    /// The process that has this number now.
    pub(super) fn now(pid: Pid) -> Option<Self> {
        Some(Self { pid, began: stat(pid)?.began })
    }

    /// Whether it is there, ended but not reaped included.
    pub(super) fn is_there(self) -> bool {
        Self::now(self.pid) == Some(self)
    }
}

/// Reads the `stat` of a process; `None` if it is gone.
pub(super) fn stat(pid: Pid) -> Option<Stat> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The name in parentheses may hold anything, a parenthesis too: the fields begin after the last one.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let end = memchr::memrchr(b')', bytes)?;
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let zombie = matches!(state, "Z" | "X");
    let mut number = || fields.next()?.parse().ok();
    let (parent, group, session) = (number()?, number()?, number()?);
    // The fields are numbered from 1 in proc_pid_stat(5), the state is the third and this the 22nd.
    let began = fields.nth(15)?.parse().ok()?;
    Some(Stat { parent, group, session, zombie, began })
}

/// Every process there is.
pub(super) fn all() -> impl Iterator<Item = Pid> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// All descendants of `root`, parents before their children, without `root`.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    // The kernel's list of children is quick, but not every kernel is built with it.
    let children: Box<dyn Fn(Pid) -> Vec<Pid>> = if fs::exists("/proc/thread-self/children").unwrap_or(false)
    {
        Box::new(listed_children)
    } else {
        let mut table: HashMap<Pid, Vec<Pid>> = HashMap::new();
        for pid in all() {
            if let Some(stat) = stat(pid) {
                table.entry(stat.parent).or_default().push(pid);
            }
        }
        Box::new(move |pid| table.get(&pid).cloned().unwrap_or_default())
    };
    let mut seen = HashSet::from([root]);
    let mut found = children(root);
    let mut next = 0;
    // A process can move in the tree while we look; `seen` keeps the walk finite.
    found.retain(|pid| seen.insert(*pid));
    while let Some(pid) = found.get(next).copied() {
        found.extend(children(pid).into_iter().filter(|child| seen.insert(*child)));
        next += 1;
    }
    found
}

/// The children of all threads of a process.
fn listed_children(pid: Pid) -> Vec<Pid> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok());
    lists
        .flat_map(|list| list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect()
}

/// Whether the environment that a process was started with holds exactly this `NAME=value`.
pub(super) fn environment_has(pid: Pid, entry: &str) -> bool {
    environment_has_one(pid, &HashSet::from([entry.as_bytes()]))
}

/// Likewise one of several.
pub(super) fn environment_has_one(pid: Pid, entries: &HashSet<&[u8]>) -> bool {
    let Ok(environment) = fs::read(format!("/proc/{pid}/environ")) else { return false };
    environment.split(|byte| *byte == 0).any(|have| entries.contains(have))
}

/// The resident memory of all descendants of `root`, bytes. Pages that they share count once for each.
pub(super) fn rss_below(root: Pid) -> u64 {
    let pages: u64 = descendants(root).into_iter().filter_map(resident_pages).sum();
    pages.saturating_mul(page_size())
}

/// The resident memory of one process, bytes.
pub(super) fn rss_of(pid: Pid) -> u64 {
    resident_pages(pid).unwrap_or_default().saturating_mul(page_size())
}

/// The processor time of one process.
pub(super) fn cpu_of(pid: Pid) -> Duration {
    let [user, system, ..] = cpu_ticks(pid).unwrap_or_default();
    ticks(user + system)
}

/// The processor time of all descendants of `root` that live, and of all that ended below any of them or at `root`: a
/// process that is reaped leaves its time to whoever reaps it.
pub(super) fn cpu_below(root: Pid) -> Duration {
    let [_, _, user, system] = cpu_ticks(root).unwrap_or_default();
    let below = descendants(root).into_iter().filter_map(cpu_ticks).flatten().sum::<u64>();
    ticks(user + system + below)
}

/// Of itself in user and system mode, and likewise of its children that were reaped.
fn cpu_ticks(pid: Pid) -> Option<[u64; 4]> {
    parse_ticks(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The fields 14 to 17 in proc_pid_stat(5).
fn parse_ticks(bytes: &[u8]) -> Option<[u64; 4]> {
    let end = memchr::memrchr(b')', bytes)?;
    let rest = std::str::from_utf8(bytes.get(end + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace().skip(11).map(|field| field.parse().ok());
    Some([fields.next()??, fields.next()??, fields.next()??, fields.next()??])
}

fn ticks(count: u64) -> Duration {
    let second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok().flatten();
    let second = second.and_then(|ticks| u64::try_from(ticks).ok()).filter(|ticks| *ticks > 0).unwrap_or(100);
    Duration::from_millis(count.saturating_mul(1000) / second)
}

/// Likewise, but what is shared counts in parts: the sum is what they hold together. Slower.
pub(super) fn pss_below(root: Pid) -> u64 {
    let held = |pid: Pid| {
        // Not ours to read, or a kernel without it: what is resident is the most that it can be.
        proportional(pid).or_else(|| Some(resident_pages(pid)?.saturating_mul(page_size())))
    };
    descendants(root).into_iter().filter_map(held).sum()
}

fn proportional(pid: Pid) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.saturating_mul(1024))
}

fn resident_pages(pid: Pid) -> Option<u64> {
    fs::read_to_string(format!("/proc/{pid}/statm")).ok()?.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn page_size() -> u64 {
    let size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten();
    size.and_then(|size| u64::try_from(size).ok()).unwrap_or(4096)
}

/// Whether one of these processes holds one of these sockets; its number in `sockets` then.
pub(super) fn socket_owner(tree: &[Pid], sockets: &[u64]) -> Option<usize> {
    let names: Vec<String> = sockets.iter().map(|inode| format!("socket:[{inode}]")).collect();
    tree.iter().find_map(|pid| {
        let fds = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
        fds.filter_map(|fd| fs::read_link(fd.path()).ok())
            .find_map(|target| names.iter().position(|name| target.as_os_str() == name.as_str()))
    })
}

#[cfg(test)]
mod tests {
    use super::{Stat, descendants, parse_stat, parse_ticks, stat};

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let parsed = parse_stat(b"42 (a) b) c) Z 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1234 rest");
        assert_eq!(parsed, Some(Stat { parent: 7, group: 8, session: 9, zombie: true, began: 1234 }));
        assert_eq!(parse_stat(b"42 (cut"), None);
        assert_eq!(parse_stat(b""), None);
        assert_eq!(
            parse_ticks(b"42 (a) b) c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16"),
            Some([11, 12, 13, 14])
        );
        assert_eq!(parse_ticks(b"42 (cut) S 1 2"), None);
    }

    #[test]
    fn finds_a_child_started_by_another_thread() {
        let mut child =
            std::thread::spawn(|| std::process::Command::new("sleep").arg("1000").spawn().unwrap())
                .join()
                .unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let own = i32::try_from(std::process::id()).unwrap();
        let found = descendants(own).contains(&pid);
        assert_eq!(stat(pid).map(|s| s.parent), Some(own));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(found);
    }
}
