//! Which executable serves as the shim: opened once, so that a file replaced on disk changes nothing for a running host.
#![allow(unsafe_code, reason = "the disposition of a signal has no safe wrapper")]

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nix::libc;

static EXECUTABLE: OnceLock<File> = OnceLock::new();

/// The program has neither called `init` nor named an executable.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error(
    "processes cannot be started: call wharf::init() as the first line of main, \
     or name a wharf executable with wharf::process::use_executable()"
)]
pub struct NotInitialised;

/// Where whoever started this program ignores the ends of children (`trap '' CHLD`), that is inherited, over exec too: the
/// kernel then tells of no end and keeps no exit code. Called before there is a thread.
pub(super) fn hear_of_children() {
    // SAFETY: sets the default action, so no handler can run. It cannot fail for this signal.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_DFL) };
}

/// Opens `path` and keeps it; a second call changes nothing.
pub(super) fn remember(path: &Path) -> std::io::Result<()> {
    nix::sys::prctl::set_child_subreaper(true)?;
    let file = OpenOptions::new().read(true).custom_flags(libc::O_PATH | libc::O_CLOEXEC).open(path)?;
    EXECUTABLE.get_or_init(|| file);
    Ok(())
}

/// A path that names the open file, for `exec` in a child of this process.
pub(super) fn path() -> Result<PathBuf, NotInitialised> {
    let file = EXECUTABLE.get().ok_or(NotInitialised)?;
    Ok(PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())))
}
