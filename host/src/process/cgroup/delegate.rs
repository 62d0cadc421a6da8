//! What a host may hand down to groups of its own in version 2, and what it changes for that: undone when it ends.
#![allow(unsafe_code, reason = "an extended attribute has no safe wrapper")]

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::libc;

use super::groups::write;

/// Where the host puts itself.
pub(super) const LEAF: &str = "wharf-host";
/// What limits need.
pub(super) const CONTROLLERS: [&str; 3] = ["memory", "pids", "cpu"];

/// Below which group ours are made, and with what.
#[derive(Debug)]
pub(super) struct Delegated {
    pub(super) base: PathBuf,
    pub(super) controllers: Vec<&'static str>,
    /// Why not the others.
    lacks: Vec<(&'static str, String)>,
    pub(super) changes: Changes,
}

/// What was changed in the host's own group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    base: PathBuf,
    pid: u32,
    moved: bool,
    enabled: Vec<&'static str>,
}

/// Keeps the changes while a host of this program lives; the last one undoes them.
#[derive(Debug)]
pub(in crate::process) struct Stay(());

/// How many stay, and what was changed for the first of them.
static STAYS: Mutex<(usize, Option<Changes>)> = Mutex::new((0, None));

/// The host's group, and what is known of it.
pub(super) struct Own<'a> {
    pub(super) group: &'a Path,
    pub(super) pid: u32,
    /// A service manager rules here, and says by a mark which groups it has given away.
    pub(super) marked_only: bool,
}

/// Hands down what can be, controller by controller.
pub(super) fn delegated(own: &Own<'_>) -> Delegated {
    let mut base = own.group.to_owned();
    if base.file_name().is_some_and(|name| name == LEAF) {
        // An earlier host of this program has moved us.
        base.pop();
    }
    let none = |base, why: &str| Delegated {
        base,
        controllers: Vec::new(),
        lacks: CONTROLLERS.map(|one| (one, why.to_owned())).to_vec(),
        changes: Changes::default(),
    };
    if own.marked_only && !is_marked(&base) {
        let why =
            "the host's control group belongs to systemd; Delegate=yes in its unit gives it to the host";
        return none(own.group.to_owned(), why);
    }
    let words = |file: &str| fs::read_to_string(base.join(file)).unwrap_or_default();
    let has = |text: &str, one: &str| text.split_ascii_whitespace().any(|word| word == one);
    let (offered, enabled) = (words("cgroup.controllers"), words("cgroup.subtree_control"));
    let mut found = none(base.clone(), "");
    found.lacks.clear();
    let mut changes = Changes { base: base.clone(), pid: own.pid, ..Changes::default() };
    // Only the root of all lacks this file, and only it may hold processes and hand down.
    let mut left = if base.join("cgroup.type").exists() { None } else { Some(Ok(())) };
    for one in CONTROLLERS {
        let handed = if !has(&offered, one) {
            Err(format!("the {one} controller is not delegated to the host"))
        } else if has(&enabled, one) {
            Ok(())
        } else {
            let left = left.get_or_insert_with(|| leave(&mut changes));
            left.clone().and_then(|()| enable(&mut changes, one))
        };
        match handed {
            Ok(()) => found.controllers.push(one),
            Err(why) => found.lacks.push((one, why)),
        }
    }
    Delegated { changes, ..found }
}

/// Moves the host into a leaf, if it is alone in its group.
fn leave(changes: &mut Changes) -> Result<(), String> {
    let (base, own) = (&changes.base, changes.pid.to_string());
    let members = fs::read_to_string(base.join("cgroup.procs")).unwrap_or_default();
    let others = members.lines().filter(|line| *line != own).count();
    if others > 0 {
        return Err(format!(
            "{others} other processes are in the host's control group, so it can hand nothing down"
        ));
    }
    if members.trim().is_empty() {
        return Ok(());
    }
    let leaf = base.join(LEAF);
    let moved = match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => write(&leaf.join("cgroup.procs"), &own),
    };
    changes.moved = moved.is_ok();
    moved.map_err(|error| format!("the host cannot move into a group of its own: {error}"))
}

fn enable(changes: &mut Changes, one: &'static str) -> Result<(), String> {
    let control = changes.base.join("cgroup.subtree_control");
    write(&control, &format!("+{one}"))
        .map_err(|error| format!("{one} cannot be enabled in {}: {error}", control.display()))?;
    changes.enabled.push(one);
    Ok(())
}

/// Whether the service manager says that the group is not its own: `Delegate=` of systemd leaves this mark.
fn is_marked(group: &Path) -> bool {
    let Ok(path) = CString::new(group.as_os_str().as_bytes()) else { return false };
    [c"trusted.delegate", c"user.delegate"].into_iter().any(|name| {
        let mut value = [0u8; 2];
        // SAFETY: both names end with a NUL, and the buffer is as long as is told.
        let length =
            unsafe { libc::getxattr(path.as_ptr(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        length == 1 && value.first() == Some(&b'1')
    })
}

// === impl Delegated ===

impl Delegated {
    pub(super) fn why_not(&self, controller: &str) -> String {
        let mut lacks = self.lacks.iter();
        lacks.find(|(one, _)| *one == controller).map(|(_, why)| why.clone()).unwrap_or_default()
    }
}

// === impl Changes ===

impl Changes {
    fn undo(&self) {
        let control = self.base.join("cgroup.subtree_control");
        for one in &self.enabled {
            // A group that is left keeps it, and us where we are.
            write(&control, &format!("-{one}")).ok();
        }
        if self.moved && write(&self.base.join("cgroup.procs"), &self.pid.to_string()).is_ok() {
            fs::remove_dir(self.base.join(LEAF)).ok();
        }
    }
}

// === impl Stay ===

impl Stay {
    pub(in crate::process) fn new(changes: &Changes) -> Self {
        let mut stays = STAYS.lock().unwrap_or_else(PoisonError::into_inner);
        stays.0 += 1;
        if changes.moved || !changes.enabled.is_empty() {
            stays.1 = Some(changes.clone());
        }
        Self(())
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut stays = STAYS.lock().unwrap_or_else(PoisonError::into_inner);
        stays.0 -= 1;
        if stays.0 == 0
            && let Some(changes) = stays.1.take()
        {
            changes.undo();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CString;
    use std::fs;
    use std::os::unix::ffi::OsStrExt;
    use std::path::Path;

    use nix::libc;

    use super::{CONTROLLERS, LEAF, Own, delegated};

    const PID: u32 = 4242;

    fn group(dir: &Path) {
        fs::write(dir.join("cgroup.type"), "domain\n").unwrap();
        fs::write(dir.join("cgroup.controllers"), "cpu io memory pids\n").unwrap();
        fs::write(dir.join("cgroup.subtree_control"), "").unwrap();
        fs::write(dir.join("cgroup.procs"), format!("{PID}\n")).unwrap();
        // The kernel would make the file.
        fs::create_dir(dir.join(LEAF)).unwrap();
        fs::write(dir.join(LEAF).join("cgroup.procs"), "").unwrap();
    }

    fn read(dir: &Path, file: &str) -> String {
        fs::read_to_string(dir.join(file)).unwrap()
    }

    #[test]
    fn what_was_changed_is_undone() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        group(dir);
        let found = delegated(&Own { group: dir, pid: PID, marked_only: false });
        assert_eq!(found.controllers, CONTROLLERS);
        assert_eq!(read(dir, "wharf-host/cgroup.procs"), PID.to_string());
        assert!(read(dir, "cgroup.subtree_control").starts_with('+'));
        fs::remove_file(dir.join("wharf-host/cgroup.procs")).unwrap();
        fs::write(dir.join("cgroup.procs"), "").unwrap();
        found.changes.undo();
        assert!(read(dir, "cgroup.subtree_control").starts_with('-'));
        assert_eq!(read(dir, "cgroup.procs"), PID.to_string());
        assert!(!dir.join(LEAF).exists());
    }

    #[test]
    fn one_that_is_refused_takes_no_other_with_it() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        group(dir);
        fs::write(dir.join("cgroup.controllers"), "memory\n").unwrap();
        fs::write(dir.join("cgroup.subtree_control"), "pids\n").unwrap();
        fs::write(dir.join("cgroup.controllers"), "memory pids\n").unwrap();
        fs::write(dir.join("cgroup.procs"), "7\n").unwrap();
        let found = delegated(&Own { group: dir, pid: PID, marked_only: false });
        assert_eq!(found.controllers, ["pids"], "it is handed down already");
        assert!(found.why_not("memory").contains("1 other processes"));
        assert!(found.why_not("cpu").contains("cpu controller is not delegated"));
        assert_eq!(read(dir, "cgroup.subtree_control"), "pids\n");
    }

    #[test]
    fn below_a_service_manager_only_what_it_gives_away_is_changed() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path();
        group(dir);
        let own = Own { group: dir, pid: PID, marked_only: true };
        let found = delegated(&own);
        assert!(found.controllers.is_empty() && found.why_not("cpu").contains("Delegate=yes"));
        assert_eq!(
            (read(dir, "cgroup.subtree_control"), read(dir, "wharf-host/cgroup.procs")),
            Default::default()
        );
        let path = CString::new(dir.as_os_str().as_bytes()).unwrap();
        let (name, value) = (c"user.delegate", b"1");
        // SAFETY: the names end with a NUL, and the value is as long as is told.
        let set = unsafe { libc::setxattr(path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), 1, 0) };
        if set == 0 {
            assert_eq!(delegated(&own).controllers, CONTROLLERS);
        }
    }
}
