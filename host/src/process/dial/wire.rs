//! What host and shim say to each other about connections: messages of fixed length on a socket that keeps their bounds.
//! An answer that is a connection carries it as a passed descriptor.
#![allow(unsafe_code, reason = "received descriptors have no safe wrapper")]

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// Connections that one shim makes at a time.
pub(in crate::process) const MOST: usize = 64;

/// How long one may take, seconds.
pub(in crate::process) const PATIENCE: u64 = 10;

/// The longest message, bytes.
const LONGEST: usize = 4 + 16 + 2;

/// What the host asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::process) struct Request {
    /// Its answer has the same one.
    pub(in crate::process) number: u32,
    /// Where to connect.
    pub(in crate::process) to: SocketAddr,
}

/// What the shim answers.
#[derive(Debug)]
pub(in crate::process) struct Answer {
    pub(in crate::process) number: u32,
    /// The connection, or the system's reason.
    pub(in crate::process) outcome: Result<OwnedFd, Errno>,
}

/// A message and what came with it. `None`: the other side has ended. Does not wait.
fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<(Vec<u8>, Option<OwnedFd>)>> {
    let mut bytes = [0; LONGEST];
    let mut space = nix::cmsg_space!(RawFd);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC | MsgFlags::MSG_DONTWAIT;
    let message = recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut space), flags)?;
    let mut passed = None;
    // Without room for a descriptor in this process there is none, and the message says nothing of it.
    for part in message.cmsgs().into_iter().flatten() {
        if let ControlMessageOwned::ScmRights(raw) = part {
            for fd in raw {
                // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
                passed = Some(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    let read = message.bytes;
    Ok((read > 0).then(|| (bytes.get(..read).unwrap_or_default().to_vec(), passed)))
}

/// Sends a message whole or not at all. Does not wait.
fn send(socket: BorrowedFd<'_>, message: &[u8], passed: &[RawFd]) -> io::Result<()> {
    let rights = [ControlMessage::ScmRights(passed)];
    let rights = if passed.is_empty() { &[][..] } else { &rights[..] };
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(message)], rights, flags, None)?;
    Ok(())
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "a message about a connection is malformed")
}

// === impl Request ===

impl Request {
    pub(in crate::process) fn send(self, socket: BorrowedFd<'_>) -> io::Result<()> {
        send(socket, &self.encode(), &[])
    }

    /// The next one. `None`: the host has ended.
    pub(in crate::process) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        match receive(socket)? {
            None => Ok(None),
            Some((bytes, _)) => Self::decode(&bytes).map(Some).ok_or_else(malformed),
        }
    }

    fn encode(self) -> Vec<u8> {
        let mut bytes = self.number.to_le_bytes().to_vec();
        bytes.extend(self.to.port().to_le_bytes());
        match self.to.ip() {
            IpAddr::V4(ip) => bytes.extend(ip.octets()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
        bytes
    }

    /// The length tells the family.
    fn decode(bytes: &[u8]) -> Option<Self> {
        let (number, rest) = bytes.split_first_chunk::<4>()?;
        let (port, ip) = rest.split_first_chunk::<2>()?;
        let ip = match ip.len() {
            4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?)),
            _ => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?)),
        };
        let to = SocketAddr::new(ip, u16::from_le_bytes(*port));
        Some(Self { number: u32::from_le_bytes(*number), to })
    }
}

// === impl Answer ===

impl Answer {
    pub(in crate::process) fn send(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let mut bytes = self.number.to_le_bytes().to_vec();
        match &self.outcome {
            Ok(connection) => {
                bytes.extend(0_i32.to_le_bytes());
                send(socket, &bytes, &[connection.as_raw_fd()])
            }
            Err(errno) => {
                bytes.extend((*errno as i32).to_le_bytes());
                send(socket, &bytes, &[])
            }
        }
    }

    /// The next one. `None`: the shim has ended.
    pub(in crate::process) fn receive(socket: BorrowedFd<'_>) -> io::Result<Option<Self>> {
        let Some((bytes, passed)) = receive(socket)? else { return Ok(None) };
        let (number, errno) = bytes.split_first_chunk::<4>().ok_or_else(malformed)?;
        let errno = i32::from_le_bytes(errno.try_into().map_err(|_| malformed())?);
        let outcome = match (errno, passed) {
            // The kernel leaves a descriptor out when the receiver may have no more.
            (0, passed) => passed.ok_or(Errno::EMFILE),
            (errno, _) => Err(Errno::from_raw(errno)),
        };
        Ok(Some(Self { number: u32::from_le_bytes(*number), outcome }))
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::{AsFd, OwnedFd};

    use nix::errno::Errno;
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
    use proptest::prelude::*;

    use super::{Answer, Request};

    fn pair() -> (OwnedFd, OwnedFd) {
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).unwrap()
    }

    #[test]
    fn requests_and_answers_survive_the_wire() {
        let (host, shim) = pair();
        for (number, to) in [(0, "127.0.0.1:80"), (u32::MAX, "[::1]:65535")] {
            let request = Request { number, to: to.parse().unwrap() };
            request.send(host.as_fd()).unwrap();
            assert_eq!(Request::receive(shim.as_fd()).unwrap(), Some(request));
        }
        Answer { number: 7, outcome: Err(Errno::ECONNREFUSED) }.send(shim.as_fd()).unwrap();
        let answer = Answer::receive(host.as_fd()).unwrap().unwrap();
        assert_eq!((answer.number, answer.outcome.unwrap_err()), (7, Errno::ECONNREFUSED));
        let (passed, _other) = pair();
        Answer { number: 8, outcome: Ok(passed) }.send(shim.as_fd()).unwrap();
        assert!(Answer::receive(host.as_fd()).unwrap().unwrap().outcome.is_ok());
        drop(shim);
        assert!(Answer::receive(host.as_fd()).unwrap().is_none(), "the other side has ended");
    }

    proptest! {
        #[test]
        fn no_request_panics(bytes in proptest::collection::vec(any::<u8>(), 0..32)) {
            if let Some(request) = Request::decode(&bytes) {
                prop_assert_eq!(request.encode(), bytes);
            }
        }
    }
}
