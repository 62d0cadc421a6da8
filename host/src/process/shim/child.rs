//! From the launch request to the plugin's first instruction.
//!
//! The shim has one thread, so its fork may allocate and call what it likes before it executes the program.
#![allow(unsafe_code, reason = "fork, received descriptors and signal dispositions have no safe wrapper")]

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, IoSliceMut, PipeWriter, Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

use nix::errno::Errno;
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use nix::unistd::{self, ForkResult};

use super::enter::HostProc;
use super::{Streams, landlock, limits, seccomp};
use crate::process::proc::Pid;
use crate::process::wire::{HEAD, Request, Stage};

/// Plugins are a better choice than the host when the kernel must kill for memory.
const OOM_SCORE: i32 = 500;

/// Receives the request, the plugin's streams, and the socket for connections, if it gets a network of its own.
pub(super) fn receive(mut control: &UnixStream) -> io::Result<(Request, Streams, Option<OwnedFd>)> {
    let mut head = [0; HEAD];
    let mut space = nix::cmsg_space!([RawFd; 4]);
    let mut into = [IoSliceMut::new(&mut head)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_WAITALL;
    let message = recvmsg::<()>(control.as_raw_fd(), &mut into, Some(&mut space), flags)?;
    let mut fds = Vec::new();
    for part in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(raw) = part {
            // SAFETY: the kernel has just made these descriptors for us; nobody else owns them.
            fds.extend(raw.into_iter().map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }));
        }
    }
    let read = message.bytes;
    let line = if fds.len() > 3 { fds.pop() } else { None };
    let streams = Streams::try_from(fds).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
    if read != HEAD {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut body = vec![0; Request::body_len(&head)?];
    control.read_exact(&mut body)?;
    Ok((Request::decode(&head, &body)?, streams, line))
}

/// The plugin's main process, on its way to its program.
pub(super) struct Forked {
    /// Its number here.
    pub(super) pid: Pid,
    /// Its number where the host is.
    pub(super) shown: Pid,
    /// Ends empty when the program is executed, or tells what failed.
    pub(super) verdict: File,
}

/// Forks the plugin's main process.
pub(super) fn fork(request: &Request, streams: &Streams, proc: &HostProc) -> io::Result<Forked> {
    let shim = unistd::getpid();
    let (reader, mut writer) = io::pipe()?;
    let (mut number, mut namer) = io::pipe()?;
    // SAFETY: this process has one thread, so the fork may do all that the shim may do.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            drop((writer, namer));
            let mut shown = [0; 4];
            number.read_exact(&mut shown)?;
            Ok(Forked {
                pid: child.as_raw(),
                shown: Pid::from_le_bytes(shown),
                verdict: File::from(OwnedFd::from(reader)),
            })
        }
        ForkResult::Child => {
            // At once, so that the shim does not wait for anything that can take time.
            let told = proc.own_number().and_then(|pid| namer.write_all(&pid.to_le_bytes()));
            let (stage, errno) = match told {
                Ok(()) => become_plugin(request, streams, shim),
                Err(_) => (Stage::Fork, Errno::ESRCH),
            };
            fail(&mut writer, stage, errno)
        }
    }
}

/// What failed before the program was executed; `None` if nothing did.
pub(super) fn read_verdict(pipe: &mut File) -> Option<(Stage, i32)> {
    let mut bytes = [0; 5];
    pipe.read_exact(&mut bytes).ok()?;
    let [code, errno @ ..] = bytes;
    Some((Stage::from_code(code)?, i32::from_le_bytes(errno)))
}

fn fail(writer: &mut PipeWriter, stage: Stage, errno: Errno) -> ! {
    let mut bytes = vec![stage.code()];
    bytes.extend((errno as i32).to_le_bytes());
    // If even that fails, the shim sees a process that ended with 127 at once.
    writer.write_all(&bytes).ok();
    // SAFETY: ends this process without running what the shim has registered for its own end.
    unsafe { libc::_exit(127) }
}

/// Returns only if something failed.
fn become_plugin(request: &Request, streams: &Streams, shim: unistd::Pid) -> (Stage, Errno) {
    match prepare(request, streams, shim) {
        Err(failure) => failure,
        Ok(()) => match unistd::execve::<CString, CString>(&request.program, &request.argv, &request.env) {
            Ok(never) => match never {},
            Err(errno) => (Stage::Exec, errno),
        },
    }
}

fn prepare(request: &Request, streams: &Streams, shim: unistd::Pid) -> Result<(), (Stage, Errno)> {
    let at = |stage: Stage| move |errno: Errno| (stage, errno);
    unistd::setsid().map_err(at(Stage::Session))?;
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(at(Stage::Guard))?;
    // The shim may have ended before the line above.
    if unistd::getppid() != shim {
        return Err((Stage::Guard, Errno::ESRCH));
    }
    default_signals().map_err(at(Stage::Guard))?;
    limits::of_plugin(&request.plan.limits).map_err(at(Stage::Limits))?;
    prefer_for_oom();
    unistd::chdir(request.cwd.as_c_str()).map_err(at(Stage::Directory))?;
    let [stdin, stdout, stderr] = streams;
    unistd::dup2_stdin(stdin).map_err(at(Stage::Streams))?;
    unistd::dup2_stdout(stdout).map_err(at(Stage::Streams))?;
    unistd::dup2_stderr(stderr).map_err(at(Stage::Streams))?;
    close_on_exec_from(3);
    let sandbox = &request.plan.sandbox;
    // First: without it the kernel lets only privileged processes bound themselves.
    if sandbox.no_new_privs {
        prctl::set_no_new_privs().map_err(at(Stage::Privileges))?;
    }
    no_inherited_privileges().map_err(at(Stage::Privileges))?;
    landlock::apply(&request.plan)?;
    // Last: nothing that is done above is in the way of its list.
    seccomp::apply(sandbox).map_err(at(Stage::Seccomp))
}

/// What is ignored stays ignored over exec, and this process ignores SIGPIPE: a shell pipeline in the plugin would notice.
fn default_signals() -> Result<(), Errno> {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: sets a default action, so no handler of ours can run. KILL, STOP and the C library's own are refused.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    SigSet::all().thread_unblock()
}

/// Best effort: not every system lets us.
fn prefer_for_oom() {
    let path = "/proc/self/oom_score_adj";
    let now = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<i32>().ok());
    if now.is_some_and(|now| now < OOM_SCORE) {
        fs::write(path, OOM_SCORE.to_string()).ok();
    }
}

/// What whoever started the host has handed down to programs that it executes is not the plugin's: its ambient and its
/// inheritable capabilities. A host that runs as root gives its plugins all that root has, the bounding set included: that
/// is what root means; who does not want it runs the host as another user.
fn no_inherited_privileges() -> Result<(), Errno> {
    let zero: libc::c_ulong = 0;
    // SAFETY: takes numbers only. A kernel before 4.3 has no ambient ones, and says EINVAL.
    let cleared = unsafe {
        libc::prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as libc::c_ulong, zero, zero, zero)
    };
    match Errno::result(cleared) {
        Ok(_) | Err(Errno::EINVAL) => {}
        Err(errno) => return Err(errno),
    }
    // Version 3 of the interface (capget(2)): two triples of effective, permitted, inheritable.
    let mut head = CapHead { version: 0x2008_0522, pid: 0 };
    let mut sets = [CapSets::default(); 2];
    // SAFETY: both are live for the length of the call and of the layout that this version names.
    Errno::result(unsafe { libc::syscall(libc::SYS_capget, &raw mut head, sets.as_mut_ptr()) })?;
    for set in &mut sets {
        set.inheritable = 0;
    }
    // SAFETY: as above; it only takes away, which needs no privilege.
    Errno::result(unsafe { libc::syscall(libc::SYS_capset, &raw mut head, sets.as_ptr()) }).map(drop)
}

#[repr(C)]
struct CapHead {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct CapSets {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Nothing but the standard streams reaches the plugin. All we open is close-on-exec; this catches what the host inherited.
fn close_on_exec_from(first: libc::c_uint) {
    // SAFETY: marks descriptors only; nothing is closed before exec.
    let marked =
        unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if marked != 0 {
        // Kernels before 5.11, and containers that refuse what they do not know.
        close_on_exec_one_by_one(first);
    }
}

fn close_on_exec_one_by_one(first: libc::c_uint) {
    let entries = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
    let numbers = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<libc::c_int>().ok());
    // Read to the end first: the list has a descriptor of its own.
    for fd in numbers.filter(|fd| u32::try_from(*fd).is_ok_and(|fd| fd >= first)).collect::<Vec<_>>() {
        // SAFETY: takes numbers only; one that is closed by now changes nothing.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    }
}

#[cfg(test)]
mod tests {
    use nix::libc;

    #[test]
    fn each_descriptor_is_marked_where_the_kernel_does_not_mark_all() {
        // A copy of one of its own, with a number that no other test uses.
        // SAFETY: numbers only; the copy is closed below.
        let fd = unsafe { libc::fcntl(0, libc::F_DUPFD, 700) };
        // SAFETY: as above.
        let flags = || unsafe { libc::fcntl(fd, libc::F_GETFD) };
        let before = flags();
        super::close_on_exec_one_by_one(700);
        let after = flags();
        // SAFETY: it is ours.
        unsafe { libc::close(fd) };
        assert!(fd >= 700 && before == 0, "{fd} {before}");
        assert_eq!(after, libc::FD_CLOEXEC);
    }
}
