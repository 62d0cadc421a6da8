//! Who listens on a port, as the kernel sees it: a plugin is up when its own tree holds the socket, not when something
//! answers. Reads `/proc` only; no byte is sent to a stranger.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use wharf_plugin_api::{Cause, CauseKind};

use super::door::{Door, Stranger};
use crate::process::handle::ProcessHandle;
use crate::process::proc;
use crate::tasks::Tasks;

/// Between two looks: short at first, for most servers are up soon.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    /// Whose socket it is.
    pub(super) uid: u32,
    pub(super) inode: u64,
}

/// What one look shows.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The plugin listens; connect to this address.
    Ours(Listener),
    /// Somebody else does.
    Foreign(Listener),
    Nobody,
}

/// Waits until the process's tree listens on `port`, and gives the way to the exact address where it does.
///
/// # Errors
/// If somebody else listens there, the process ends, or the deadline passes; the cause tells where the process listens
/// instead, if it does.
pub async fn wait_listening(
    port: u16,
    process: &ProcessHandle,
    deadline: Instant,
    tasks: &Tasks,
) -> Result<Door, Cause> {
    tokio::select! {
        biased;
        report = process.exited() => Err(Cause::of_exit(report)),
        found = timeout_at(deadline, look_until_found(port, process, tasks)) => match found {
            Ok(found) => found,
            Err(_) => Err(timed_out(port, process, tasks).await),
        },
    }
}

/// The cause of a launch that ended before it worked: a server that finds its port taken ends by itself, and is often
/// quicker than our look at who listens.
pub async fn blamed(port: u16, cause: Cause, tasks: &Tasks) -> Cause {
    if cause.kind != CauseKind::Exited {
        return cause;
    }
    // Nothing of it lives: whoever listens is somebody else.
    let look = move || listeners("/proc/net").into_iter().find(|listener| listener.address.port() == port);
    match tasks.blocking(look).await.ok().flatten() {
        Some(listener) => Cause { exit: cause.exit, ..taken(listener, tasks).await },
        None => cause,
    }
}

async fn look_until_found(port: u16, process: &ProcessHandle, tasks: &Tasks) -> Result<Door, Cause> {
    let (mut pause, mut foreign) = (FIRST_PAUSE, 0);
    loop {
        let looked = process.clone();
        // The tables of a busy machine are long. A failed look (the host is ending) is as good as an empty one.
        match tasks.blocking(move || look(port, &looked)).await.unwrap_or(Look::Nobody) {
            Look::Ours(Listener { address, inode, .. }) => {
                return Ok(Door::new(process, address, inode, tasks));
            }
            // Twice: the tree may have grown between the look at it and the look at the sockets.
            Look::Foreign(listener) if foreign == 1 => return Err(taken(listener, tasks).await),
            Look::Foreign(_) => foreign += 1,
            Look::Nobody => foreign = 0,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn look(port: u16, process: &ProcessHandle) -> Look {
    let there = seen_by(process).into_iter().filter(|l| l.address.port() == port);
    if process.is_apart() {
        // Nobody else is there; of what it may listen on, the host reaches the loopback.
        let there: Vec<Listener> = there.filter(|l| reachable(l.address).ip().is_loopback()).collect();
        return decide(&there, |_| true);
    }
    let (there, tree): (Vec<Listener>, _) = (there.collect(), process.tree());
    decide(&there, |listener| proc::socket_owner(&tree, &[listener.inode]).is_some())
}

/// The listening sockets in the network of the process.
fn seen_by(process: &ProcessHandle) -> Vec<Listener> {
    if process.is_apart() {
        // The network that connections are made in: the plugin itself may be in a further one.
        listeners(&format!("/proc/{}/net", process.shim()))
    } else {
        listeners("/proc/net")
    }
}

/// IPv4 first: of a server on both families, that is the one that everything can reach.
fn decide(there: &[Listener], ours: impl Fn(&Listener) -> bool) -> Look {
    let connect = |l: &Listener| Listener { address: reachable(l.address), ..*l };
    let mut found: Vec<Listener> = there.iter().filter(|l| ours(l)).map(connect).collect();
    found.sort_by_key(|Listener { address, .. }| (address.is_ipv6(), !address.ip().is_loopback()));
    match (found.first(), there.first()) {
        (Some(listener), _) => Look::Ours(*listener),
        (None, Some(foreign)) => Look::Foreign(*foreign),
        (None, None) => Look::Nobody,
    }
}

/// Where to connect to reach a socket that is bound to this: "all addresses" is no place to connect to.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        IpAddr::V4(ip) => ip.into(),
        IpAddr::V6(ip) => ip.to_canonical(),
    };
    SocketAddr::new(ip, bound.port())
}

async fn taken(listener: Listener, tasks: &Tasks) -> Cause {
    let address = listener.address;
    // It goes through the files of every process.
    let holder = tasks.blocking(move || Stranger::of(listener).to_string()).await;
    let who = holder.unwrap_or_else(|_| "another process".to_owned());
    Cause::new(CauseKind::PortInUse, format!("{who} listens on {address}, and not the plugin"))
}

async fn timed_out(port: u16, process: &ProcessHandle, tasks: &Tasks) -> Cause {
    let process = process.clone();
    let elsewhere = move || {
        let (apart, tree) = (process.is_apart(), process.tree());
        let ours = |l: &Listener| apart || proc::socket_owner(&tree, &[l.inode]).is_some();
        seen_by(&process).into_iter().find(ours).map(|l| l.address)
    };
    let detail = match tasks.blocking(elsewhere).await.ok().flatten() {
        Some(address) => {
            format!("it listens on {address} and not on port {port}: does its command use ${{port}}?")
        }
        None => format!("it did not listen on port {port} in time"),
    };
    Cause::new(CauseKind::StartTimeout, detail)
}

/// Who listens on a port of the host's network. Blocks.
pub(super) fn holder(port: u16) -> Option<Stranger> {
    listeners("/proc/net").into_iter().find(|l| l.address.port() == port).map(Stranger::of)
}

/// The listening socket that a connection to this address reaches, in the host's network: one that is bound to the
/// address, else one that is bound to all. Blocks.
pub(super) fn reached_by(address: SocketAddr) -> Option<Listener> {
    let mut there = listeners("/proc/net");
    there.retain(|l| l.address.port() == address.port() && reaches(l.address.ip(), address.ip()));
    there.sort_by_key(|l| l.address.ip().is_unspecified());
    there.first().copied()
}

fn reaches(bound: IpAddr, to: IpAddr) -> bool {
    let bound = bound.to_canonical();
    // One that is bound to all addresses of IPv6 takes those of IPv4 too, unless it says otherwise.
    bound == to || (bound.is_unspecified() && (bound.is_ipv6() || to.is_ipv4()))
}

/// All listening TCP sockets of the network whose tables are in this folder.
pub(super) fn listeners(tables: &str) -> Vec<Listener> {
    let tables =
        ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("{tables}/{table}")).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(parse)).collect()
}

/// One line of `/proc/net/tcp` or `tcp6`, if it is a listening socket.
fn parse(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let uid = fields.nth(3)?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { address: SocketAddr::new(parse_ip(address)?, port), uid, inode })
}

/// Words of 32 bits in the machine's byte order, in hexadecimal: one for IPv4, four for IPv6.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at * 8..at * 8 + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(IpAddr::from(word(0)?)),
        32 => {
            let bytes = [word(0)?, word(1)?, word(2)?, word(3)?].concat();
            Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener};

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::{Listener, Look, decide, listeners, parse, reached_by, taken};
    use crate::tasks::Tasks;

    fn listener(address: &str, inode: u64) -> Listener {
        Listener { address: address.parse().unwrap(), uid: 0, inode }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_lines_are_read() {
        let rest = "00000000:00000000 00:00000000 00000000     0        0";
        let v4 = format!("   0: 0100007F:1F90 00000000:0000 0A {rest} 4711 1 0 100 0 0 10 0");
        assert_eq!(parse(&v4), Some(listener("127.0.0.1:8080", 4711)));
        let v6 = format!("   1: 00000000000000000000000001000000:1F90 0:0 0A {rest} 42 1 0");
        assert_eq!(parse(&v6), Some(listener("[::1]:8080", 42)));
        assert_eq!(parse(&v4.replace(" 0A ", " 01 ")), None, "a connection is no listener");
        assert_eq!(parse("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when"), None);
    }

    proptest! {
        #[test]
        fn no_line_panics(line in "[0-9A-F: é]{0,120}") {
            parse(&line);
        }
    }

    #[test]
    fn the_address_is_the_one_that_the_plugin_bound() {
        let (all, six, four) =
            (listener("0.0.0.0:80", 1), listener("[::1]:80", 2), listener("127.0.0.1:80", 3));
        let ours = |inodes: &'static [u64]| move |l: &Listener| inodes.contains(&l.inode);
        let at = |address: &str, inode| Look::Ours(listener(address, inode));
        assert_eq!(decide(&[all], ours(&[1])), at("127.0.0.1:80", 1));
        assert_eq!(decide(&[four, six], ours(&[2])), at("[::1]:80", 2), "never the stranger's");
        assert_eq!(decide(&[six, four], ours(&[2, 3])), at("127.0.0.1:80", 3));
        assert_eq!(decide(&[listener("[::]:80", 1)], ours(&[1])), at("[::1]:80", 1));
        assert_eq!(decide(&[listener("[::ffff:127.0.0.1]:80", 1)], ours(&[1])), at("127.0.0.1:80", 1));
        assert_eq!(decide(&[four], ours(&[])), Look::Foreign(four));
        assert_eq!(decide(&[], ours(&[])), Look::Nobody);
    }

    #[test]
    fn the_holder_is_looked_for_off_the_runtime() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build().unwrap();
        runtime.block_on(async {
            let tasks = Tasks::default();
            let socket = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = socket.local_addr().unwrap();
            // While the only other thread is held up, an answer could only come from this one.
            let (go_on, held) = std::sync::mpsc::channel::<()>();
            let busy = tasks.blocking(move || held.recv().is_ok());
            let held = listeners("/proc/net").into_iter().find(|l| l.address == address).unwrap();
            let mut taken = Box::pin(taken(held, &tasks));
            assert!(taken.as_mut().now_or_never().is_none());
            go_on.send(()).unwrap();
            let cause = taken.await;
            assert!(cause.detail.contains(&format!("(pid {},", std::process::id())), "{cause}");
            assert!(busy.await.unwrap());
        });
    }

    #[test]
    fn a_real_listener_is_seen() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(listeners("/proc/net").iter().any(|l| l.address == address));
        assert_eq!(reached_by(address).unwrap().address, address);
        let other = SocketAddr::new("127.0.0.2".parse().unwrap(), address.port());
        assert_eq!(reached_by(other), None);
    }
}
