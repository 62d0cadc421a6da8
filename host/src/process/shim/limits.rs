//! Applies the limits of a launch: those of its namespace in the shim, the rest in the process that becomes the plugin.
#![allow(unsafe_code, reason = "ignoring a signal has no safe wrapper")]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, rlim_t};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::enter;
use crate::process::plan::LimitsPlan;

/// How often a group is tried to be removed, and the time between.
const TRIES: usize = 100;
const PAUSE: Duration = Duration::from_millis(5);

/// In the first process of a PID namespace.
pub(super) fn of_namespace(plan: &LimitsPlan) -> io::Result<()> {
    plan.pid_max.map_or(Ok(()), enter::set_pid_max)
}

/// In the process that becomes the plugin; all that it starts inherits them.
pub(super) fn of_plugin(plan: &LimitsPlan) -> Result<(), Errno> {
    for procs in &plan.join {
        // Zero is whoever writes it, whatever its number is here.
        let joined = OpenOptions::new().write(true).open(procs).and_then(|mut file| file.write_all(b"0"));
        joined.map_err(|error| error.raw_os_error().map_or(Errno::EIO, Errno::from_raw))?;
    }
    setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
    if let Some(most) = plan.open_files {
        at_most(Resource::RLIMIT_NOFILE, most.into())?;
    }
    if let Some(most) = plan.file_size {
        at_most(Resource::RLIMIT_FSIZE, most)?;
        // A write beyond the limit then fails with EFBIG, which a server can tell its caller; by default the signal would
        // kill it. A program that wants the signal takes it back.
        // SAFETY: ignores a signal; no handler of ours can run.
        unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
    }
    Ok(())
}

/// Removes the groups of a launch that nobody else removes: its host is gone. What stays, the next host removes.
pub(super) fn groups_gone(join: &[PathBuf]) {
    for group in join.iter().filter_map(|procs| procs.parent()) {
        let removed = (0..TRIES).any(|_| {
            let removed = fs::remove_dir(group).is_ok();
            if !removed {
                // The last process leaves it a moment after its end.
                std::thread::sleep(PAUSE);
            }
            removed
        });
        if removed {
            // The folder of all groups of the host goes with the last one.
            group.parent().map(fs::remove_dir);
        }
    }
}

/// Where we may not raise the limit that we have ourselves, that one holds.
fn at_most(what: Resource, most: rlim_t) -> Result<(), Errno> {
    match setrlimit(what, most, most) {
        Err(Errno::EPERM) => {
            let (_, hard) = getrlimit(what)?;
            setrlimit(what, most.min(hard), most.min(hard))
        }
        set => set,
    }
}
