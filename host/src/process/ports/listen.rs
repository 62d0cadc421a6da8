//! Who listens on a port, as the kernel sees it: a plugin is up when its own tree holds the socket, not when something
//! answers. Reads `/proc` only; no byte is sent to a stranger.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use wharf_plugin_api::{Cause, CauseKind};

use crate::process::handle::ProcessHandle;
use crate::process::proc::{self, Pid};
use crate::tasks::Tasks;

/// Between two looks: short at first, for most servers are up soon.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// The state of a listening socket in the kernel's tables.
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listener {
    address: SocketAddr,
    inode: u64,
}

/// What one look shows.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// The plugin listens; connect here.
    Ours(SocketAddr),
    /// Somebody else does.
    Foreign(SocketAddr),
    Nobody,
}

/// Waits until the process's tree listens on `port`, and tells the exact address to connect to.
///
/// # Errors
/// If somebody else listens there, the process ends, or the deadline passes; the cause tells where the process listens
/// instead, if it does.
pub async fn wait_listening(
    port: u16,
    process: &ProcessHandle,
    deadline: Instant,
    tasks: &Tasks,
) -> Result<SocketAddr, Cause> {
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
    let look = move || listeners().into_iter().find(|listener| listener.address.port() == port);
    match tasks.blocking(look).await.ok().flatten() {
        Some(listener) => Cause { exit: cause.exit, ..taken(port, listener.address, tasks).await },
        None => cause,
    }
}

async fn look_until_found(port: u16, process: &ProcessHandle, tasks: &Tasks) -> Result<SocketAddr, Cause> {
    let (mut pause, mut foreign) = (FIRST_PAUSE, 0);
    loop {
        let looked = process.clone();
        // The tables of a busy machine are long. A failed look (the host is ending) is as good as an empty one.
        match tasks.blocking(move || look(port, &looked.tree())).await.unwrap_or(Look::Nobody) {
            Look::Ours(address) => return Ok(address),
            // Twice: the tree may have grown between the look at it and the look at the sockets.
            Look::Foreign(address) if foreign == 1 => return Err(taken(port, address, tasks).await),
            Look::Foreign(_) => foreign += 1,
            Look::Nobody => foreign = 0,
        }
        sleep(pause).await;
        pause = (pause * 2).min(LAST_PAUSE);
    }
}

fn look(port: u16, tree: &[Pid]) -> Look {
    let there: Vec<Listener> = listeners().into_iter().filter(|l| l.address.port() == port).collect();
    decide(&there, |listener| proc::socket_owner(tree, &[listener.inode]).is_some())
}

/// IPv4 first: of a server on both families, that is the one that everything can reach.
fn decide(there: &[Listener], ours: impl Fn(&Listener) -> bool) -> Look {
    let mut found: Vec<SocketAddr> = there.iter().filter(|l| ours(l)).map(|l| reachable(l.address)).collect();
    found.sort_by_key(|address| (address.is_ipv6(), !address.ip().is_loopback()));
    match (found.first(), there.first()) {
        (Some(address), _) => Look::Ours(*address),
        (None, Some(foreign)) => Look::Foreign(foreign.address),
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

async fn taken(port: u16, address: SocketAddr, tasks: &Tasks) -> Cause {
    // It goes through the files of every process.
    let holder = tasks.blocking(move || holder(port)).await.ok().flatten();
    let who = holder.unwrap_or_else(|| "another process".to_owned());
    Cause::new(CauseKind::PortInUse, format!("{who} listens on {address}, and not the plugin"))
}

async fn timed_out(port: u16, process: &ProcessHandle, tasks: &Tasks) -> Cause {
    let process = process.clone();
    let elsewhere = move || {
        let tree = process.tree();
        let ours = |l: &Listener| proc::socket_owner(&tree, &[l.inode]).is_some();
        listeners().into_iter().find(ours).map(|l| l.address)
    };
    let detail = match tasks.blocking(elsewhere).await.ok().flatten() {
        Some(address) => {
            format!("it listens on {address} and not on port {port}: does its command use ${{port}}?")
        }
        None => format!("it did not listen on port {port} in time"),
    };
    Cause::new(CauseKind::StartTimeout, detail)
}

/// Who listens on a port, for people: the name and the pid, where we may see them. Blocks.
pub(super) fn holder(port: u16) -> Option<String> {
    let sockets: Vec<u64> =
        listeners().iter().filter(|l| l.address.port() == port).map(|l| l.inode).collect();
    let pid =
        proc::all().find(|pid| !sockets.is_empty() && proc::socket_owner(&[*pid], &sockets).is_some())?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(format!("{} (pid {pid})", name.trim()))
}

/// All listening TCP sockets of this network namespace.
fn listeners() -> Vec<Listener> {
    let tables =
        ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| std::fs::read_to_string(path).unwrap_or_default());
    tables.iter().flat_map(|table| table.lines().filter_map(parse)).collect()
}

/// One line of `/proc/net/tcp` or `tcp6`, if it is a listening socket.
fn parse(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let (address, port) = fields.nth(1)?.split_once(':')?;
    if fields.nth(1)? != LISTEN {
        return None;
    }
    let inode = fields.nth(5)?.parse().ok()?;
    let port = u16::from_str_radix(port, 16).ok()?;
    Some(Listener { address: SocketAddr::new(parse_ip(address)?, port), inode })
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
    use std::net::TcpListener;

    use futures_util::FutureExt;
    use proptest::prelude::*;

    use super::{Listener, Look, decide, listeners, parse, taken};
    use crate::tasks::Tasks;

    fn listener(address: &str, inode: u64) -> Listener {
        Listener { address: address.parse().unwrap(), inode }
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
        let at = |address: &str| Look::Ours(address.parse().unwrap());
        assert_eq!(decide(&[all], ours(&[1])), at("127.0.0.1:80"));
        assert_eq!(decide(&[four, six], ours(&[2])), at("[::1]:80"), "never the stranger's");
        assert_eq!(decide(&[six, four], ours(&[2, 3])), at("127.0.0.1:80"));
        assert_eq!(decide(&[listener("[::]:80", 1)], ours(&[1])), at("[::1]:80"));
        assert_eq!(decide(&[listener("[::ffff:127.0.0.1]:80", 1)], ours(&[1])), at("127.0.0.1:80"));
        assert_eq!(decide(&[four], ours(&[])), Look::Foreign(four.address));
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
            let mut taken = Box::pin(taken(address.port(), address, &tasks));
            assert!(taken.as_mut().now_or_never().is_none());
            go_on.send(()).unwrap();
            let cause = taken.await;
            assert!(cause.detail.contains(&format!("(pid {})", std::process::id())), "{cause}");
            assert!(busy.await.unwrap());
        });
    }

    #[test]
    fn a_real_listener_is_seen() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        assert!(listeners().iter().any(|l| l.address == address));
    }
}
