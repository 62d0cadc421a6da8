//! Connects, for the host, to what listens in this network: the host itself is in another one.
//!
//! Nothing here waits: the loop of the shim does, for all that it watches at once.

use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, connect, getsockopt, socket, sockopt,
};

use crate::process::dial::wire::{Answer, MOST, PATIENCE, Request};

/// The shim's end of the socket for connections.
#[derive(Debug)]
pub(super) struct Dialer {
    line: OwnedFd,
    pending: Vec<Pending>,
}

/// A connection that is not up yet.
#[derive(Debug)]
struct Pending {
    number: u32,
    socket: OwnedFd,
    until: Instant,
}

impl Dialer {
    pub(super) fn new(line: OwnedFd) -> Self {
        Self { line, pending: Vec::new() }
    }

    /// What wakes the loop.
    pub(super) fn watched(&self) -> impl Iterator<Item = PollFd<'_>> {
        // Beyond the bound, requests wait where they are.
        let line = (self.pending.len() < MOST).then(|| PollFd::new(self.line.as_fd(), PollFlags::POLLIN));
        line.into_iter().chain(self.pending.iter().map(Pending::watched))
    }

    /// When the loop must wake at the latest.
    pub(super) fn timeout(&self) -> PollTimeout {
        let first = self.pending.iter().map(|pending| pending.until).min();
        first.map_or(PollTimeout::NONE, |first| {
            let left = first.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX)
        })
    }

    /// Takes what the host asks for, and hands over what is up. False: the host asks for nothing any more.
    pub(super) fn turn(&mut self) -> bool {
        let open = self.take();
        self.settle();
        open
    }

    fn take(&mut self) -> bool {
        while self.pending.len() < MOST {
            match Request::receive(self.line.as_fd()) {
                Ok(Some(request)) => self.begin(request),
                Ok(None) => return false,
                Err(error) => return error.kind() == std::io::ErrorKind::WouldBlock,
            }
        }
        true
    }

    fn begin(&mut self, Request { number, to }: Request) {
        match begun(to) {
            Ok(socket) => {
                let until = Instant::now() + Duration::from_secs(PATIENCE);
                self.pending.push(Pending { number, socket, until });
            }
            Err(errno) => self.answer(number, Err(errno)),
        }
    }

    /// Answers for every connection that is up, has failed or takes too long.
    fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let mut fds: Vec<PollFd<'_>> = self.pending.iter().map(Pending::watched).collect();
        // If it fails they are looked at the next time, or are late.
        poll(&mut fds, PollTimeout::ZERO).ok();
        let woken: Vec<bool> = fds.iter().map(|fd| fd.any().unwrap_or(false)).collect();
        drop(fds);
        let now = Instant::now();
        for (pending, woken) in std::mem::take(&mut self.pending).into_iter().zip(woken) {
            let Pending { number, socket, until } = pending;
            if woken {
                let outcome = match getsockopt(&socket, sockopt::SocketError) {
                    Ok(0) => Ok(socket),
                    Ok(errno) => Err(Errno::from_raw(errno)),
                    Err(errno) => Err(errno),
                };
                self.answer(number, outcome);
            } else if until <= now {
                self.answer(number, Err(Errno::ETIMEDOUT));
            } else {
                self.pending.push(Pending { number, socket, until });
            }
        }
    }

    /// A host that does not take it has ended, or does not wait for it any more.
    fn answer(&self, number: u32, outcome: Result<OwnedFd, Errno>) {
        Answer { number, outcome }.send(self.line.as_fd()).ok();
    }
}

impl Pending {
    fn watched(&self) -> PollFd<'_> {
        PollFd::new(self.socket.as_fd(), PollFlags::POLLOUT)
    }
}

/// A socket on its way to an address.
fn begun(to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(family, SockType::Stream, flags, None)?;
    match connect(socket.as_raw_fd(), &SockaddrStorage::from(to)) {
        Ok(()) | Err(Errno::EINPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}
