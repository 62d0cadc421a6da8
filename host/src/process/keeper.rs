//! The shim as a process of ours: waited for and reaped, whoever its parent was at first.
#![allow(unsafe_code, reason = "a descriptor of a process has no safe wrapper")]

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid as NixPid;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::process::Child;

use super::draft::Draft;
use super::proc::Pid;
use crate::tasks::Tasks;

/// Between two looks, on a kernel that tells nobody of the end of an adopted child (before 5.3).
const LOOK: Duration = Duration::from_millis(20);

/// The process that the host has started, and the shim that it may have left behind.
#[derive(Debug)]
pub(super) struct Pair {
    started: Option<Child>,
    /// The shim, if it is another process than the one that was started.
    adopted: Option<Pid>,
}

/// Both, looked after: dropping it leaves no zombie. What has not ended is waited for in the background; with a [`Draft`],
/// it is ended there.
#[derive(Debug)]
pub(super) struct Keeper {
    pair: Pair,
    /// Until somebody guards what was started.
    draft: Option<Draft>,
    tasks: Tasks,
}

impl Keeper {
    pub(super) fn new(started: Child, draft: Option<Draft>, tasks: &Tasks) -> Self {
        let pair = Pair { started: Some(started), adopted: None };
        Self { pair, draft, tasks: tasks.clone() }
    }

    /// What belongs to the launch besides its processes, as long as nobody guards it.
    pub(super) fn draft(&mut self) -> Option<&mut Draft> {
        self.draft.as_mut()
    }

    /// Likewise; it is the caller's to guard from here on.
    pub(super) fn take_draft(&mut self) -> Option<Draft> {
        self.draft.take()
    }

    /// The process that holds the tree together, once that is known.
    pub(super) fn shim(&self) -> Option<Pid> {
        self.pair.shim()
    }

    /// The shim is this process. Called before the one that was started may leave; if that is another, it is reaped as
    /// soon as it has left.
    pub(super) fn adopt(&mut self, shim: Pid) {
        let started = self.pair.started.as_ref().and_then(Child::id).and_then(|id| Pid::try_from(id).ok());
        if Some(shim) == started {
            return;
        }
        self.pair.adopted = Some(shim);
        if let Some(mut started) = self.pair.started.take() {
            self.tasks.spawn(tracing::info_span!("reap"), async move { started.wait().await });
        }
    }

    /// Waits until all of it has ended and is reaped. May be cancelled and called again.
    pub(super) async fn wait(&mut self) {
        self.pair.wait().await;
    }

    /// Kills the shim; in a PID namespace, all that it holds.
    pub(super) fn kill(&mut self) {
        self.pair.kill();
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        let mut pair = Pair { started: self.pair.started.take(), adopted: self.pair.adopted.take() };
        let draft = self.draft.take();
        if pair.started.is_none() && pair.adopted.is_none() && draft.is_none() {
            return;
        }
        if tokio::runtime::Handle::try_current().is_err() {
            // Nobody is left who could wait for it.
            if draft.is_some() {
                pair.kill();
            }
            return;
        }
        let tasks = self.tasks.clone();
        self.tasks.spawn(tracing::info_span!("reap"), async move {
            if let Some(draft) = draft {
                draft.ended(&mut pair, &tasks).await;
            }
            tokio::select! {
                () = pair.wait() => {}
                // The host's own end reaps it.
                () = tasks.ending().cancelled() => {}
            }
        });
    }
}

impl Pair {
    pub(super) fn shim(&self) -> Option<Pid> {
        self.adopted.or_else(|| self.started.as_ref()?.id()?.try_into().ok())
    }

    pub(super) async fn wait(&mut self) {
        reap(self.started.as_mut(), self.adopted).await;
        (self.started, self.adopted) = (None, None);
    }

    pub(super) fn kill(&mut self) {
        if let Some(started) = &mut self.started {
            started.start_kill().ok();
        }
        if let Some(pid) = self.adopted {
            // It is our child and not reaped: the number is its.
            kill(NixPid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
}

/// Waits for both.
async fn reap(started: Option<&mut Child>, adopted: Option<Pid>) {
    if let Some(started) = started {
        // An error: nobody to wait for. The answer is kept: to ask again is no harm.
        started.wait().await.ok();
    }
    if let Some(pid) = adopted {
        reaped(pid).await;
    }
}

/// Waits for the end of a child that we did not start ourselves, and reaps it.
async fn reaped(pid: Pid) {
    let watched = descriptor(pid).and_then(watched);
    loop {
        match waitpid(NixPid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::StillAlive) | Err(Errno::EINTR) => {}
            // ECHILD: somebody else has reaped it.
            Ok(_) | Err(_) => return,
        }
        match &watched {
            Ok(watched) => drop(watched.readable().await),
            Err(_) => tokio::time::sleep(LOOK).await,
        }
    }
}

fn watched(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an owned descriptor stays the same and open for as long as it lives.
    Ok(unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) }?)
}

/// A descriptor that is readable once the process has ended (pidfd_open(2)).
fn descriptor(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: the call takes two numbers and returns a new descriptor, which nobody else owns.
    let fd = Errno::result(unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })?;
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: as above.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}
