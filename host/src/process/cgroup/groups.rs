//! The groups of one launch: made before its first process, gone after its last.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{GroupPlan, Hierarchy, Setting, Unmade, Version, events};

/// The folder of all groups of a host goes with the last one; whoever makes the next at that moment tries again.
const TRIES: usize = 5;
/// How long a group may take to let itself be removed: its last processes leave it a moment after they end.
const REMOVAL: Duration = Duration::from_secs(2);
/// What is looked at below a group: how many, and how deep.
const MOST_BELOW: usize = 1000;
const DEEPEST: usize = 32;
/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);

/// The groups of one launch.
#[derive(Clone, Debug, Default)]
pub(in crate::process) struct Groups {
    groups: Vec<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    dir: PathBuf,
    version: Version,
}

// === impl Groups ===

impl Groups {
    /// Makes them, each by itself, and writes their limits. What cannot be made takes nothing else with it.
    pub(in crate::process) fn make(plans: &[GroupPlan], name: &str) -> (Self, Vec<Unmade>) {
        let (mut made, mut unmade) = (Self::default(), Vec::new());
        for plan in plans {
            let dir = plan.dir(name);
            if let Err(error) = make_dir(&plan.hierarchy, &dir) {
                let why = format!("no group can be made in {}: {error}", plan.hierarchy.parent.display());
                unmade.extend(plan.purposes().map(|purpose| Unmade { purpose, why: why.clone() }));
                continue;
            }
            let group = Group { dir, version: plan.hierarchy.version };
            let refused: Vec<Unmade> =
                plan.settings.iter().filter_map(|setting| set(&group.dir, setting).err()).collect();
            let lost = |purpose| refused.iter().any(|one| one.purpose == purpose);
            if plan.purposes().next().is_none() || !plan.purposes().all(lost) {
                made.groups.push(group);
            } else {
                // Nothing would be held by it.
                Self { groups: vec![group] }.remove_once();
            }
            unmade.extend(refused);
        }
        (made, unmade)
    }

    /// The files by which a process puts itself into them.
    pub(in crate::process) fn doors(&self) -> Vec<PathBuf> {
        self.dirs().map(|dir| dir.join("cgroup.procs")).collect()
    }

    /// Kills all that is in those that can be killed as a whole. Never blocks for long: it is one write each.
    pub(in crate::process) fn kill(&self) {
        for group in self.groups.iter().filter(|group| group.version == Version::V2) {
            // Without the file (before Linux 5.14), others do it.
            write(&group.dir.join("cgroup.kill"), "1").ok();
        }
    }

    /// How many processes were killed for want of memory.
    pub(in crate::process) fn oom_kills(&self) -> u64 {
        self.groups.iter().map(|group| events::oom_kills(&group.dir, group.version)).sum()
    }

    /// How many times a process or thread was refused.
    pub(in crate::process) fn refused(&self) -> u64 {
        self.groups.iter().map(|group| events::refused(&group.dir)).sum()
    }

    /// The most memory that was held, bytes.
    pub(in crate::process) fn peak(&self) -> Option<u64> {
        self.groups.iter().find_map(|group| events::peak(&group.dir, group.version))
    }

    pub(super) fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.groups.iter().map(|group| group.dir.as_path())
    }

    pub(in crate::process) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether one of them is still there.
    pub(in crate::process) fn exist(&self) -> bool {
        self.dirs().any(Path::is_dir)
    }

    /// Removes them, with what was made below them, all of which must be empty by now. False if one stays. Blocks, with a
    /// bound.
    pub(in crate::process) fn remove(&mut self) -> bool {
        let all = std::mem::take(&mut self.groups);
        let stay = all.iter().filter(|group| !removed(&group.dir)).count();
        stay == 0
    }

    /// Likewise, with one try each.
    pub(in crate::process) fn remove_once(&mut self) {
        for group in std::mem::take(&mut self.groups) {
            remove_all(&group.dir).ok();
            group.dir.parent().map(fs::remove_dir);
        }
    }
}

/// A group and those below it, which a plugin that may has made, the deepest first. What is beyond the bounds is not there,
/// and so keeps what it is in from being removed.
pub(super) fn with_all_below(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut looked) = (vec![(dir.to_owned(), 0)], 0);
    while let Some((dir, depth)) = found.get(looked).cloned() {
        looked += 1;
        if depth < DEEPEST {
            let below = fs::read_dir(dir).into_iter().flatten().flatten();
            let groups = below.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            let room = MOST_BELOW.saturating_sub(found.len());
            found.extend(groups.take(room).map(|entry| (entry.path(), depth + 1)));
        }
    }
    found.into_iter().rev().map(|(dir, _)| dir).collect()
}

fn remove_all(dir: &Path) -> io::Result<()> {
    let mut all = with_all_below(dir);
    let own = all.pop();
    for below in all {
        // What stays keeps its own group from going.
        fs::remove_dir(below).ok();
    }
    own.map_or(Ok(()), fs::remove_dir)
}

/// Removes a group with all below it; what is left is told, and found by the next host.
pub(super) fn removed(dir: &Path) -> bool {
    let end = Instant::now() + REMOVAL;
    loop {
        match remove_all(dir) {
            Ok(()) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) if Instant::now() >= end => {
                tracing::warn!(%error, group = %dir.display(), "a control group cannot be removed");
                return false;
            }
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
    // It stays while there are others.
    dir.parent().map(fs::remove_dir);
    true
}

fn make_dir(hierarchy: &Hierarchy, dir: &Path) -> io::Result<()> {
    let mut tries = 1;
    loop {
        match fs::create_dir(&hierarchy.parent) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        hand_down(hierarchy);
        match fs::create_dir(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound && tries < TRIES => tries += 1,
            Err(error) => {
                // It stays while there are others.
                fs::remove_dir(&hierarchy.parent).ok();
                return Err(error);
            }
            Ok(()) => return Ok(()),
        }
    }
}

/// One by one: a controller that is refused is missed when its limit is written, and takes no other with it.
fn hand_down(hierarchy: &Hierarchy) {
    let control = hierarchy.parent.join("cgroup.subtree_control");
    for one in &hierarchy.controllers {
        write(&control, &format!("+{one}")).ok();
    }
}

fn set(dir: &Path, setting: &Setting) -> Result<(), Unmade> {
    let path = dir.join(setting.file);
    let purpose = setting.purpose;
    // The name of the group is that of the launch: it would make of one reason as many as there are launches.
    let parent = dir.parent().unwrap_or(dir).display();
    write(&path, &setting.value).map_err(|error| {
        let why = format!("{} of a group in {parent} cannot be written: {error}", setting.file);
        Unmade { purpose, why }
    })
}

/// Into a file that the kernel has made.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}
