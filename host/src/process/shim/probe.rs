//! Tries what the shim may want to do, each in a process of its own, and tells what came of it. All are tried at once: the
//! kernel takes its time over some, and every start of a host waits for this.
#![allow(unsafe_code, reason = "fork and the versions of kernel interfaces have no safe wrapper")]

use std::fs;
use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::enter;
use crate::process::cgroup::Cgroups;
use crate::process::level::Level;
use crate::process::probe::{Namespace, Probe, Tried};

/// Runs the probe and ends the process.
#[allow(clippy::exit, reason = "it is a whole program; nothing of the caller's may run in it")]
pub(in crate::process) fn run() -> ! {
    let (plain, user) = (Entering::begin(Level::PidNamespace), Entering::begin(Level::UserPidNamespace));
    let subreaper = Trying::begin(|| Ok(nix::sys::prctl::set_child_subreaper(true)?));
    let until = Instant::now() + PATIENCE;
    let probe = Probe {
        plain: plain.end(until),
        user: user.end(until),
        subreaper: subreaper.end(until),
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

/// What is tried of a kind of PID namespace.
struct Entering {
    made: Trying,
    proc: Trying,
    network: Trying,
    pid_max: Trying,
}

impl Entering {
    fn begin(level: Level) -> Self {
        Self {
            made: inside(level, false, enter::private_mounts),
            proc: inside(level, false, || enter::private_mounts().and_then(|()| enter::own_proc())),
            network: inside(level, true, enter::loopback_up),
            pid_max: inside(level, false, || enter::set_pid_max(1000)),
        }
    }

    fn end(self, until: Instant) -> Namespace {
        let made = self.made.end(until);
        let if_made = |tried: Trying| match (&made, tried.end(until)) {
            (Ok(()), tried) => tried,
            (Err(why), _) => Err(why.clone()),
        };
        let (proc, network, pid_max) = (if_made(self.proc), if_made(self.network), if_made(self.pid_max));
        Namespace { made, proc, network, pid_max }
    }
}

/// Does something as the first process of a new PID namespace.
fn inside(level: Level, network: bool, what: fn() -> io::Result<()>) -> Trying {
    Trying::begin(move || {
        enter::namespaces(level, network)?;
        ended(forked(what)).map_err(io::Error::other)
    })
}

/// How long what lacked a process is tried again, and how long is waited before: what is tried beside it ends within
/// milliseconds, and lets go of its own. Who waits for the probe waits for this at most once.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Something that is done in a fork, since it cannot be undone.
struct Trying {
    begun: io::Result<(Pid, io::PipeReader)>,
    what: Box<dyn Fn() -> io::Result<()>>,
}

impl Trying {
    fn begin(what: impl Fn() -> io::Result<()> + 'static) -> Self {
        Self { begun: forked(&what), what: Box::new(what) }
    }

    fn end(self, until: Instant) -> Tried {
        unless_short_of_processes(ended(self.begun), || {
            (Instant::now() < until).then(|| {
                std::thread::sleep(PAUSE);
                ended(forked(&self.what))
            })
        })
    }
}

/// Tries again what failed because the user may have no more processes, as often as `again` does: that says nothing of what was
/// tried.
fn unless_short_of_processes(first: Tried, mut again: impl FnMut() -> Option<Tried>) -> Tried {
    let short = io::Error::from_raw_os_error(libc::EAGAIN).to_string();
    let mut tried = first;
    while tried.as_ref().is_err_and(|why| why.contains(&short)) {
        match again() {
            Some(next) => tried = next,
            None => break,
        }
    }
    tried
}

fn ended(begun: io::Result<(Pid, io::PipeReader)>) -> Tried {
    let told = || -> io::Result<String> {
        let (child, mut reader) = begun?;
        let mut said = String::new();
        reader.read_to_string(&mut said)?;
        waitpid(child, None)?;
        Ok(said)
    };
    match told() {
        Ok(said) if said == "done" => Ok(()),
        // Killed by what it tried.
        Ok(said) if said.is_empty() => Err("the process that tried it was killed".to_owned()),
        Ok(said) => Err(said),
        Err(error) => Err(error.to_string()),
    }
}

fn forked(what: impl FnOnce() -> io::Result<()>) -> io::Result<(Pid, io::PipeReader)> {
    let (reader, mut writer) = io::pipe()?;
    // SAFETY: this process has one thread, so the fork may do all that it may do.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok((child, reader)),
        ForkResult::Child => {
            let said = what().map_or_else(|error| error.to_string(), |()| "done".to_owned());
            writer.write_all(said.as_bytes()).ok();
            // SAFETY: ends this fork without running what the parent has registered for its own end.
            unsafe { libc::_exit(0) }
        }
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

#[cfg(test)]
mod tests {
    use std::io;

    use nix::libc;

    use super::unless_short_of_processes;

    #[test]
    fn want_of_processes_is_no_verdict() {
        let short = || Err(io::Error::from_raw_os_error(libc::EAGAIN).to_string());
        let mut left = 3;
        let freed = unless_short_of_processes(short(), || {
            left -= 1;
            Some(if left == 0 { Ok(()) } else { short() })
        });
        assert_eq!((freed, left), (Ok(()), 0));
        let mut tries = 0;
        let never = unless_short_of_processes(short(), || {
            tries += 1;
            (tries < 5).then(short)
        });
        assert!(never.is_err() && tries == 5, "{tries}");
        let other = io::Error::from_raw_os_error(libc::EPERM).to_string();
        let refused = unless_short_of_processes(Err(other.clone()), || panic!("it has its verdict"));
        assert_eq!(refused, Err(other));
    }
}
