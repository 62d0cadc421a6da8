//! Asks the kernel which listening socket a connection would reach (sock_diag(7)): a few microseconds, however many sockets
//! there are, where reading all of `/proc/net/tcp` takes milliseconds for each thousand of them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::listen::Listener;

/// Length of a message's head (netlink(7)).
const HEAD: usize = 16;
/// Length of a question, and of an answer, without the head (`inet_diag_req_v2` and `inet_diag_msg`).
const QUESTION: usize = 56;
const ANSWER: usize = 72;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// The state of a listening socket.
const LISTEN: u8 = 10;

/// The socket that a connection to exactly this address would reach, in the host's network. `None`: there is none, or the
/// kernel cannot tell it in this way.
pub(super) fn listener_at(address: SocketAddr) -> io::Result<Option<Listener>> {
    let protocol = SockProtocol::NetlinkSockDiag;
    let socket = socket(AddressFamily::Netlink, SockType::Datagram, SockFlag::SOCK_CLOEXEC, protocol)?;
    send(socket.as_raw_fd(), &question(address), MsgFlags::empty())?;
    let mut answer = [0; 512];
    // It has answered before the sending returned.
    let read = recv(socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    Ok(answer.get(..read).and_then(|answer| parse(answer, address)))
}

fn question(address: SocketAddr) -> [u8; HEAD + QUESTION] {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    let mut bytes = [0; HEAD + QUESTION];
    let mut put = |at: usize, part: &[u8]| {
        for (place, byte) in bytes.iter_mut().skip(at).zip(part) {
            *place = *byte;
        }
    };
    put(0, &((HEAD + QUESTION) as u32).to_ne_bytes());
    put(4, &BY_FAMILY.to_ne_bytes());
    put(6, &(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    put(HEAD, &[family as u8, libc::IPPROTO_TCP as u8]);
    put(HEAD + 4, &u32::MAX.to_ne_bytes());
    put(HEAD + 8, &address.port().to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => put(HEAD + 12, &ip.octets()),
        IpAddr::V6(ip) => put(HEAD + 12, &ip.octets()),
    }
    // No cookie: any socket at this address is meant.
    put(HEAD + 48, &[0xff; 8]);
    bytes
}

fn parse(answer: &[u8], address: SocketAddr) -> Option<Listener> {
    let number = |at: usize| Some(u32::from_ne_bytes(*answer.get(at..)?.first_chunk::<4>()?));
    let kind = u16::from_ne_bytes(*answer.get(4..)?.first_chunk::<2>()?);
    if kind != BY_FAMILY || answer.len() < HEAD + ANSWER || answer.get(HEAD + 1) != Some(&LISTEN) {
        return None;
    }
    let (uid, inode) = (number(HEAD + 64)?, number(HEAD + 68)?);
    Some(Listener { address, uid, inode: inode.into() })
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use super::{Listener, listener_at, parse};
    use crate::process::ports::listen::listeners;

    #[test]
    fn the_kernel_tells_the_listener_that_a_connection_would_reach() {
        for bound in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let Ok(socket) = TcpListener::bind(bound) else {
                println!("SKIPPED {bound}: this machine has no such address");
                continue;
            };
            let at = socket.local_addr().unwrap();
            let listed = listeners("/proc/net").into_iter().find(|l| l.address == at).unwrap();
            let reached = if at.is_ipv4() { "127.0.0.1" } else { "::1" };
            let to = SocketAddr::new(reached.parse().unwrap(), at.port());
            assert_eq!(listener_at(to).unwrap(), Some(Listener { address: to, ..listed }), "{bound}");
            // "All addresses" of IPv6 takes IPv4 too, as most systems are set up.
            if bound == "127.0.0.1:0" {
                let other = SocketAddr::new("::1".parse().unwrap(), at.port());
                assert_eq!(listener_at(other).unwrap(), None, "another address");
            }
            drop(socket);
            assert_eq!(listener_at(to).unwrap(), None, "nobody listens any more");
        }
    }

    #[test]
    fn what_is_no_answer_is_none() {
        let at = "127.0.0.1:80".parse().unwrap();
        for bytes in [&[][..], &[0; 16], &[0xff; 20], &[0; 512]] {
            assert_eq!(parse(bytes, at), None);
        }
    }
}
