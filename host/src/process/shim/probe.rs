//! Tries what the shim may want to do, each in a process of its own, and tells what came of it.
#![allow(unsafe_code, reason = "fork and the versions of kernel interfaces have no safe wrapper")]

use std::fs;
use std::io::{self, Read, Write};

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, fork};

use super::enter;
use crate::process::cgroup::Cgroups;
use crate::process::level::Level;
use crate::process::probe::{Namespace, Probe, Tried};

/// Runs the probe and ends the process.
#[allow(clippy::exit, reason = "it is a whole program; nothing of the caller's may run in it")]
pub(in crate::process) fn run() -> ! {
    let probe = Probe {
        plain: namespace(Level::PidNamespace),
        user: namespace(Level::UserPidNamespace),
        subreaper: apart(|| Ok(nix::sys::prctl::set_child_subreaper(true)?)),
        // The control groups are the host's to make: it tries them itself.
        cgroup_kill: Err("not tried".to_owned()),
        cgroups: Cgroups::default(),
        landlock: landlock(),
        seccomp: seccomp(),
        at_most: None,
    };
    let told =
        serde_json::to_vec(&probe).map_err(io::Error::other).and_then(|text| io::stdout().write_all(&text));
    std::process::exit(i32::from(told.is_err()))
}

fn namespace(level: Level) -> Namespace {
    let made = inside(level, false, enter::private_mounts);
    let if_made = |network: bool, what: fn() -> io::Result<()>| match &made {
        Ok(()) => inside(level, network, what),
        Err(why) => Err(why.clone()),
    };
    Namespace {
        proc: if_made(false, || enter::private_mounts().and_then(|()| enter::own_proc())),
        network: if_made(true, enter::loopback_up),
        pid_max: if_made(false, || enter::set_pid_max(1000)),
        made,
    }
}

/// Does something as the first process of a new PID namespace.
fn inside(level: Level, network: bool, what: fn() -> io::Result<()>) -> Tried {
    apart(move || {
        enter::namespaces(level, network)?;
        apart(what).map_err(io::Error::other)
    })
}

/// Does something in a fork, since it cannot be undone.
fn apart(what: impl FnOnce() -> io::Result<()>) -> Tried {
    let tried = || -> io::Result<String> {
        let (mut reader, mut writer) = io::pipe()?;
        // SAFETY: this process has one thread, so the fork may do all that it may do.
        match unsafe { fork() }? {
            ForkResult::Parent { child } => {
                drop(writer);
                let mut said = String::new();
                reader.read_to_string(&mut said)?;
                waitpid(child, None)?;
                Ok(said)
            }
            ForkResult::Child => {
                let said = what().map_or_else(|error| error.to_string(), |()| "done".to_owned());
                writer.write_all(said.as_bytes()).ok();
                // SAFETY: ends this fork without running what the parent has registered for its own end.
                unsafe { libc::_exit(0) }
            }
        }
    };
    match tried() {
        Ok(said) if said == "done" => Ok(()),
        // Killed by what it tried.
        Ok(said) if said.is_empty() => Err("the process that tried it was killed".to_owned()),
        Ok(said) => Err(said),
        Err(error) => Err(error.to_string()),
    }
}

fn landlock() -> Result<u32, String> {
    const CREATE_RULESET_VERSION: libc::c_uint = 1;
    let none = std::ptr::null::<u8>();
    // SAFETY: with this flag the call reads nothing and returns a number (landlock_create_ruleset(2)).
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, none, 0usize, CREATE_RULESET_VERSION) };
    u32::try_from(version).map_err(|_| io::Error::last_os_error().to_string())
}

fn seccomp() -> Tried {
    // SAFETY: without a filter the call fails with EFAULT where filters exist, with EINVAL or ENOSYS where not.
    let result = unsafe {
        libc::prctl(
            libc::PR_SET_SECCOMP,
            libc::SECCOMP_MODE_FILTER as libc::c_ulong,
            std::ptr::null::<u8>(),
            0,
            0,
        )
    };
    let error = io::Error::last_os_error();
    let exists = result != 0 && error.raw_os_error() == Some(libc::EFAULT);
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let told = status.lines().any(|line| line.starts_with("Seccomp:"));
    if exists && told { Ok(()) } else { Err(error.to_string()) }
}
