//! What runs, written down: so that a host that is started again finds and ends what the last one, killed together with
//! its shims, has left.
//!
//! A line is a file of its own, named by the mark that every process of the launch has in its environment. It is there
//! before the first process, and it goes when nothing of the launch is left. Process numbers are used again, so a number
//! counts only together with the time at which its process began, and within the same boot.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid as NixPid;
use serde::{Deserialize, Serialize};

use super::cgroup;
use super::proc::{self, Pid};
use super::wire::MARKER;

/// How long the sweep may take.
const BUDGET: Duration = Duration::from_secs(10);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(5);
/// Lines that are read; more than any host has instances.
const MAX_LINES: usize = 10_000;

/// The longest line, bytes: some hundred are usual.
const MAX_LINE: u64 = 64 * 1024;

/// The ledger of one host.
#[derive(Debug)]
pub(super) struct Ledger {
    /// Where it is kept; without it, nothing is written down.
    folder: Option<PathBuf>,
    boot: String,
}

/// The line of one launch.
#[derive(Debug, Default)]
pub(super) struct Entry {
    path: Option<PathBuf>,
    line: Line,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Line {
    boot: String,
    mark: String,
    /// What a launch was made of, each with the time at which it began.
    #[serde(default)]
    processes: Vec<Known>,
    /// Its control groups.
    #[serde(default)]
    groups: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Known {
    pid: Pid,
    began: u64,
}

/// What a sweep found and ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Launches of an earlier host that were still written down.
    pub instances: usize,
    /// Processes that were killed.
    pub processes: usize,
}

// === impl Ledger ===

impl Ledger {
    pub(super) fn new(folder: Option<PathBuf>) -> Self {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { folder, boot: boot.trim().to_owned() }
    }

    /// Writes a launch down, before its first process. Blocks for a moment.
    pub(super) fn enter(&self, mark: &str) -> Entry {
        let name = mark.rsplit('=').next().unwrap_or(mark);
        let line = Line { boot: self.boot.clone(), mark: mark.to_owned(), ..Line::default() };
        let entry = Entry { path: self.folder.as_ref().map(|folder| folder.join(name)), line };
        entry.write();
        entry
    }

    /// Kills what is written down and still runs, until nothing of it is left, and strikes it out. Blocks.
    pub(super) fn sweep(&self) -> Leftovers {
        let Some(folder) = &self.folder else { return Leftovers::default() };
        if let Err(error) = super::private_dir(folder) {
            tracing::error!(%error, folder = %folder.display(), "the ledger of processes cannot be kept");
            return Leftovers::default();
        }
        let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let files: Vec<PathBuf> = files.take(MAX_LINES).collect();
        let (mut kept, mut lines, mut torn) = (Vec::new(), Vec::new(), 0);
        for path in files {
            if let Some(line) = self.read(&path) {
                kept.push(path);
                lines.push(line);
            } else {
                torn += 1;
                fs::remove_file(path).ok();
            }
        }
        if torn > 0 {
            tracing::warn!(lines = torn, "lines of the ledger of processes are torn, or of an earlier boot");
        }
        let processes = end_all(&lines);
        let end = Instant::now() + BUDGET;
        let cleared: Vec<_> = lines.iter().map(|line| cgroup::clear(&line.groups, end)).collect();
        let any_left = !lines.is_empty() && !left_of(&lines).is_empty();
        for ((path, line), (_, gone)) in kept.iter().zip(&lines).zip(&cleared) {
            // What survives is the next host's to find.
            if *gone && !(any_left && runs(line)) {
                fs::remove_file(path).ok();
            }
        }
        let in_groups: usize = cleared.iter().map(|(killed, _)| killed).sum();
        Leftovers { instances: lines.len(), processes: processes + in_groups }
    }

    /// A line of this boot. One that was being written when the host was killed has at least its name.
    fn read(&self, path: &Path) -> Option<Line> {
        let name = path.file_name()?.to_str().filter(|name| name.bytes().all(|b| b.is_ascii_hexdigit()))?;
        // To open anything else, a pipe with a name, could take for ever.
        let file = fs::symlink_metadata(path).ok().filter(|file| file.is_file() && file.len() <= MAX_LINE)?;
        let mut text = String::with_capacity(usize::try_from(file.len()).unwrap_or(0));
        fs::File::open(path).ok()?.take(MAX_LINE).read_to_string(&mut text).ok()?;
        let torn = || Line { boot: self.boot.clone(), mark: format!("{MARKER}={name}"), ..Line::default() };
        let line = serde_json::from_str(&text).unwrap_or_else(|_| torn());
        (line.boot == self.boot).then_some(line)
    }
}

/// Kills until two looks in a row find nothing. Returns how many processes were killed.
fn end_all(lines: &[Line]) -> usize {
    let (end, mut killed, mut quiet) = (Instant::now() + BUDGET, HashSet::new(), 0);
    while quiet < 2 && !lines.is_empty() {
        let left = left_of(lines);
        for pid in &left {
            // Gone already is as good as killed.
            kill(NixPid::from_raw(*pid), Signal::SIGKILL).ok();
            killed.insert(*pid);
        }
        quiet = if left.is_empty() { quiet + 1 } else { 0 };
        if Instant::now() >= end {
            tracing::error!(?left, "processes of an earlier host survive being killed");
            break;
        }
        std::thread::sleep(PAUSE);
    }
    killed.len()
}

fn runs(line: &Line) -> bool {
    !left_of(std::slice::from_ref(line)).is_empty()
}

/// What runs of these launches: by its mark, its number, or by descent from one of those.
fn left_of(lines: &[Line]) -> Vec<Pid> {
    let marks: HashSet<&[u8]> = lines.iter().map(|line| line.mark.as_bytes()).collect();
    let known: Vec<Known> = lines.iter().flat_map(|line| line.processes.iter().copied()).collect();
    let own = NixPid::this().as_raw();
    let roots = proc::all().filter(|pid| *pid != own).filter(|pid| {
        let Some(stat) = proc::stat(*pid) else { return false };
        let is_known = |one: &Known| one.pid == *pid && one.began == stat.began;
        !stat.zombie && (known.iter().any(is_known) || proc::environment_has_one(*pid, &marks))
    });
    let roots: Vec<Pid> = roots.collect();
    let mut found: HashSet<Pid> = roots.iter().copied().collect();
    found.extend(roots.iter().flat_map(|root| proc::descendants(*root)));
    found.into_iter().filter(|pid| proc::stat(*pid).is_some_and(|stat| !stat.zombie)).collect()
}

// === impl Entry ===

impl Entry {
    /// Adds what the launch is made of. Blocks for a moment.
    pub(super) fn started(&mut self, processes: [Pid; 2]) {
        let known =
            processes.into_iter().filter_map(|pid| Some(Known { pid, began: proc::stat(pid)?.began }));
        self.line.processes = known.collect();
        self.write();
    }

    /// Adds its control groups, before they are made. Blocks for a moment.
    pub(super) fn groups(&mut self, groups: Vec<PathBuf>) {
        if !groups.is_empty() {
            self.line.groups = groups;
            self.write();
        }
    }

    /// Nothing of it is left.
    pub(super) fn strike(&mut self) {
        if let Some(path) = self.path.take() {
            // If it stays, the next host looks for what is not there.
            fs::remove_file(path).ok();
        }
    }

    /// Without a sync: what it protects against is the host's death, not the machine's.
    fn write(&self) {
        let Some(path) = &self.path else { return };
        let written =
            serde_json::to_vec(&self.line).map_err(io::Error::other).and_then(|text| fs::write(path, text));
        if let Err(error) = written {
            tracing::warn!(%error, path = %path.display(), "a launch is not written down");
        }
    }
}

impl Drop for Entry {
    /// What never started leaves nothing to look for; what did may outlive a host that ends in a hurry.
    fn drop(&mut self) {
        if self.line.processes.is_empty() {
            self.strike();
        }
    }
}

#[cfg(test)]
mod tests;
