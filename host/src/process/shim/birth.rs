//! How the shim comes into a PID namespace: it is forked into one, by the process that the host has started.
#![allow(unsafe_code, reason = "fork has no safe wrapper")]

use std::io::{self, PipeReader, Read, Write};
use std::os::unix::net::UnixStream;

use nix::libc;
use nix::sys::wait::waitpid;
use nix::unistd::{ForkResult, Pid, fork};

use super::{enter, failed, send};
use crate::process::wire::{Order, Report, Request, Stage};

/// Which of the two processes this is.
#[derive(Debug)]
pub(super) enum Born {
    /// The one that the host has started; it has done its work.
    Outside,
    /// The first one of the namespace.
    Inside,
}

/// Makes the namespaces, and the first process inside.
pub(super) fn be_born(control: &UnixStream, request: &Request) -> io::Result<Born> {
    let plan = &request.plan;
    if let Err(error) = enter::namespaces(plan.level, plan.network.apart) {
        send(control, &failed(Stage::Namespaces, &error))?;
        return Ok(Born::Outside);
    }
    let (gate, mut opener) = io::pipe()?;
    // SAFETY: this process has one thread, so the fork may do all that it may do.
    match unsafe { fork() } {
        Err(errno) => send(control, &failed(Stage::Namespaces, &errno.into())).map(|()| Born::Outside),
        Ok(ForkResult::Parent { child }) => {
            drop(gate);
            let known =
                send(control, &Report::Shim { pid: child.as_raw() }).and_then(|()| wait_for_go(control));
            // Without the host's word the one inside is never let go, and ends; nobody else would reap it.
            match known.and_then(|()| opener.write_all(b"g")) {
                Ok(()) => Ok(Born::Outside),
                Err(error) => {
                    drop(opener);
                    reap(child);
                    Err(error)
                }
            }
        }
        Ok(ForkResult::Child) => {
            drop(opener);
            if !let_go(gate) {
                // SAFETY: ends this fork without running what the parent has registered for its own end.
                unsafe { libc::_exit(0) }
            }
            Ok(Born::Inside)
        }
    }
}

/// Waits until the host knows the process that holds the tree together.
pub(super) fn wait_for_go(mut control: &UnixStream) -> io::Result<()> {
    let mut bytes = [0; 2];
    control.read_exact(&mut bytes)?;
    match Order::decode(bytes) {
        Some(Order::Go) => Ok(()),
        Some(Order::Signal(_) | Order::Kill) | None => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn let_go(mut gate: PipeReader) -> bool {
    gate.read_exact(&mut [0]).is_ok()
}

fn reap(child: Pid) {
    // It can only be gone already.
    waitpid(child, None).ok();
}
