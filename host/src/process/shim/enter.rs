//! Into namespaces of its own: what a launch is made inside of.
#![allow(unsafe_code, reason = "the loopback is brought up by an ioctl that has no safe wrapper")]

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, readlinkat};
use nix::libc;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use nix::sys::stat::Mode;
use nix::unistd;

use crate::process::level::Level;
use crate::process::plan::Plan;
use crate::process::proc::Pid;
use crate::process::wire::Stage;

/// New namespaces for the processes that this one starts from now on. Its own ids stay what they are. One for System V IPC is
/// among them: its shared memory would outlive all processes.
pub(super) fn namespaces(level: Level, network: bool) -> io::Result<()> {
    let (uid, gid) = (unistd::geteuid(), unistd::getegid());
    let mut flags = CloneFlags::CLONE_NEWPID | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWIPC;
    flags.set(CloneFlags::CLONE_NEWUSER, level == Level::UserPidNamespace);
    flags.set(CloneFlags::CLONE_NEWNET, network);
    unshare(flags)?;
    if level == Level::UserPidNamespace {
        // Without this an unprivileged process may not map its group (user_namespaces(7)).
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
        fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
    }
    Ok(())
}

/// What the first process of the namespaces does before there is a second. Returns the `/proc` of the host.
pub(super) fn furnish(plan: &Plan) -> Result<HostProc, (Stage, io::Error)> {
    let at = |stage: Stage| move |error: io::Error| (stage, error);
    // Before anything else is mounted there: it shows what the host sees.
    let proc = host_proc().map_err(at(Stage::Mounts))?;
    if plan.level.is_namespace() {
        private_mounts().map_err(at(Stage::Mounts))?;
    }
    if plan.own_proc {
        own_proc().map_err(at(Stage::Mounts))?;
    }
    super::limits::of_namespace(&plan.limits).map_err(at(Stage::Limits))?;
    if plan.network.apart && !plan.level.is_namespace() {
        // Where there are namespaces, it was made with them.
        unshare(CloneFlags::CLONE_NEWNET).map_err(|errno| (Stage::Network, errno.into()))?;
    }
    if plan.network.loopback {
        loopback_up().map_err(at(Stage::Network))?;
    }
    Ok(proc)
}

/// What is mounted here from now on is seen here only. Called in a mount namespace of our own.
pub(super) fn private_mounts() -> io::Result<()> {
    // Not private: what the host mounts later is seen here too.
    let flags = MsFlags::MS_SLAVE | MsFlags::MS_REC;
    Ok(mount(None::<&str>, "/", None::<&str>, flags, None::<&str>)?)
}

/// A `/proc` that shows this PID namespace only.
pub(super) fn own_proc() -> io::Result<()> {
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Ok(mount(Some("proc"), "/proc", Some("proc"), flags, None::<&str>)?)
}

/// Brings the loopback of this network namespace up.
pub(super) fn loopback_up() -> io::Result<()> {
    let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
    // SAFETY: all zeroes is a valid ifreq, which holds integers and characters only.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo\0") {
        // Signed on one machine, unsigned on another.
        *place = libc::c_char::from_ne_bytes([*byte]);
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is live for the length of the call, and of the type that this ioctl reads.
    Errno::result(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })?;
    Ok(())
}

/// How many process numbers this PID namespace has. On a kernel where the number is the machine's own, it is left alone.
pub(super) fn set_pid_max(most: u32) -> io::Result<()> {
    if !pid_max_is_ours() {
        return Err(io::Error::other("before Linux 6.14, pid_max is one for the whole machine"));
    }
    fs::write("/proc/sys/kernel/pid_max", most.to_string())
}

fn pid_max_is_ours() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 14)
}

/// The `/proc` of the host.
#[derive(Debug)]
pub(super) struct HostProc(OwnedFd);

/// Opens the `/proc` that is mounted now.
fn host_proc() -> io::Result<HostProc> {
    let flags = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(HostProc(open("/proc", flags, Mode::empty())?))
}

impl HostProc {
    /// What the host calls this process.
    pub(super) fn own_number(&self) -> io::Result<Pid> {
        let number = readlinkat(&self.0, "self")?;
        number.to_str().and_then(|text| text.parse().ok()).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}
