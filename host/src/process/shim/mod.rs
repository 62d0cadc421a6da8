//! The process between the host and a plugin: starts it, reports its end at once, and leaves nothing of it behind.
//!
//! One thread, no runtime, a loop over `poll`. It knows nothing of MCP and never touches the plugin's streams. The host's
//! end, noticed as end of file on the socket, is the order to kill everything and leave.
//!
//! Where the machine allows it, the shim is the first process of a PID namespace: the kernel then kills all that is in it
//! together with the shim. Nobody can enter a new PID namespace, only be born into it. So the process that the host has
//! started makes the namespaces, forks the shim into them, and leaves once the host knows the shim's number: the shim is
//! then adopted by the host, which is a sub-reaper, and there is one process between host and plugin, not two.

mod birth;
mod child;
mod dial;
mod enter;
mod landlock;
mod limits;
mod probe;
mod seccomp;
mod tree;

pub(super) use self::probe::run as probe;

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use self::birth::Born;
use self::dial::Dialer;
use self::tree::{Reaped, Tree};
use super::level::Level;
use super::proc::Pid;
use super::wire::{Order, Report, Request, Stage};

/// How often the killing is repeated if no child's end wakes us before.
const KILL_AGAIN: u16 = 5;

/// What the shim knows.
struct Shim {
    control: UnixStream,
    signals: SignalFd,
    tree: Tree,
    /// The plugin's main process, as it is called in its own PID namespace.
    main: Pid,
    /// What the host calls it.
    shown: Pid,
    /// It has been reaped: its number may mean another process now.
    ended: bool,
    /// Tells whether the program was executed; `None` once that is told.
    verdict: Option<File>,
    /// Makes connections for the host, where the plugin has a network of its own.
    dialer: Option<Dialer>,
    since: Instant,
    /// Nothing may live on.
    killing: bool,
}

/// Runs the shim and ends the process.
#[allow(clippy::exit, reason = "a shim is a whole program; nothing of the caller's may run in it")]
pub(super) fn run() -> ! {
    let code = match serve() {
        Ok(()) => 0,
        // There is nobody to tell: the host sees the end of the socket, and that it came without a report.
        Err(_) => 70,
    };
    std::process::exit(code)
}

fn serve() -> io::Result<()> {
    let control = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Fails where a person has typed the word: stdin is then no socket.
    control.peer_addr()?;
    // A signal for the host's terminal or group is none for us: the host's end is what counts.
    nix::unistd::setsid().ok();
    nix::sys::prctl::set_name(c"wharf-shim")?;
    SigSet::all().thread_block()?;
    let (request, streams, line) = child::receive(&control)?;
    let dialer = line.map(Dialer::new);
    let level = request.plan.level;
    if level.is_namespace() {
        return match birth::be_born(&control, &request)? {
            // The streams are those of the one inside.
            Born::Outside => Ok(()),
            Born::Inside => hold(control, request, streams, dialer, Tree::Namespace),
        };
    }
    if level != Level::ProcessGroup {
        nix::sys::prctl::set_child_subreaper(true)?;
    }
    send(&control, &Report::Shim { pid: nix::unistd::getpid().as_raw() })?;
    birth::wait_for_go(&control)?;
    hold(control, request, streams, dialer, Tree::Descendants)
}

/// Starts the plugin and holds its tree together until nothing of it is left.
fn hold(
    control: UnixStream,
    request: Request,
    streams: Streams,
    dialer: Option<Dialer>,
    tree: Tree,
) -> io::Result<()> {
    let children = SigSet::from_iter([Signal::SIGCHLD]);
    let signals = SignalFd::with_flags(&children, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let since = Instant::now();
    let proc = match enter::furnish(&request.plan) {
        Ok(proc) => proc,
        Err((stage, error)) => return send(&control, &failed(stage, &error)),
    };
    match child::fork(&request, &streams, &proc) {
        Ok(child::Forked { pid: main, shown, verdict }) => {
            // The request holds secrets and the streams belong to the plugin: neither stays here.
            let groups = request.plan.limits.join.clone();
            drop((request, streams, proc));
            let verdict = Some(verdict);
            let (ended, killing) = (false, false);
            let shim = Shim { control, signals, tree, main, shown, ended, verdict, dialer, since, killing };
            if !shim.run() {
                limits::groups_gone(&groups);
            }
            Ok(())
        }
        Err(error) => send(&control, &failed(Stage::Fork, &error)),
    }
}

fn failed(stage: Stage, error: &io::Error) -> Report {
    Report::Failed { stage, errno: error.raw_os_error().unwrap_or_default() }
}

fn send(mut control: &UnixStream, report: &Report) -> io::Result<()> {
    let mut line = serde_json::to_vec(report)?;
    line.push(b'\n');
    control.write_all(&line)
}

// === impl Shim ===

impl Shim {
    /// Returns when nothing of the tree is left: whether a host was there to hear that.
    fn run(mut self) -> bool {
        while self.reap() {
            if self.killing {
                self.tree.kill();
            }
            self.wait();
        }
        send(&self.control, &Report::Gone).is_ok()
    }

    /// Collects what has ended. False once there is no child: then there is no descendant either.
    fn reap(&mut self) -> bool {
        loop {
            match tree::reap_one() {
                Reaped::Ended(pid, report) if pid == self.main && !self.ended => {
                    self.ended = true;
                    self.killing = true;
                    if self.tell_verdict() {
                        let uptime = self.since.elapsed();
                        self.report(&Report::Exited(wharf_plugin_api::ExitReport { uptime, ..report }));
                    }
                }
                Reaped::Ended(..) => {}
                Reaped::NoneYet => return true,
                Reaped::NoChildren => return false,
            }
        }
    }

    /// Waits for an end, an order, or the time to kill again.
    fn wait(&mut self) {
        let dialing = self.dialer.as_ref().map_or(PollTimeout::NONE, Dialer::timeout);
        let timeout = if self.killing { PollTimeout::from(KILL_AGAIN) } else { dialing };
        let mut fds = vec![PollFd::new(self.signals.as_fd(), PollFlags::POLLIN)];
        // After the host's end its socket is always readable; the loop then lives on deaths and the timeout alone.
        if !self.killing {
            fds.push(PollFd::new(self.control.as_fd(), PollFlags::POLLIN));
            fds.extend(self.verdict.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
            fds.extend(self.dialer.iter().flat_map(Dialer::watched));
        }
        if poll(&mut fds, timeout).is_err() {
            // Out of memory in the kernel, or the like: try again, without a busy loop.
            std::thread::sleep(Duration::from_millis(u64::from(KILL_AGAIN)));
            return;
        }
        let woken = |index: usize| fds.get(index).and_then(PollFd::any).unwrap_or(false);
        let (control, verdict) = (woken(1), self.verdict.is_some() && woken(2));
        drop(fds);
        while let Ok(Some(_)) = self.signals.read_signal() {}
        if verdict {
            self.tell_verdict();
        }
        if control {
            self.obey();
        }
        if !self.killing && self.dialer.as_mut().is_some_and(|dialer| !dialer.turn()) {
            self.dialer = None;
        }
    }

    /// Tells the host whether the program was executed, if that is not told yet. False if it was not.
    fn tell_verdict(&mut self) -> bool {
        let Some(mut pipe) = self.verdict.take() else { return true };
        match child::read_verdict(&mut pipe) {
            None => {
                self.report(&Report::Started { pid: self.shown });
                true
            }
            Some((stage, errno)) => {
                self.report(&Report::Failed { stage, errno });
                self.killing = true;
                false
            }
        }
    }

    fn obey(&mut self) {
        let mut bytes = [0; 2];
        let order = self.control.read_exact(&mut bytes).ok().and_then(|()| Order::decode(bytes));
        match order {
            Some(Order::Go) => {}
            Some(Order::Signal(signal)) => self.tree.signal(signal),
            // No host, or one that we cannot understand: both mean that nobody looks after the plugin any more.
            Some(Order::Kill) | None => self.killing = true,
        }
    }

    fn report(&mut self, report: &Report) {
        // A host that is gone needs no report; the loop ends the tree.
        if send(&self.control, report).is_err() {
            self.killing = true;
        }
    }
}

/// The plugin's stdin, stdout and stderr.
type Streams = [OwnedFd; 3];
