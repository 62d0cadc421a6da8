//! Ports for plugins that listen: chosen by us, given once, and believed only when the plugin's own tree listens there.
//!
//! Our range lies outside the one from which the kernel serves `bind(0)` and outgoing connections, so nothing takes a port
//! of ours by accident; the table keeps two plugins of this host apart; random choice keeps two hosts apart. A stranger
//! who takes the port on purpose is told by who owns the listening socket. It knows nothing of HTTP.

mod diag;
mod door;
mod listen;

pub use door::{Door, Stranger};
pub use listen::{blamed, wait_listening};

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpSocket;
use wharf_core::manifest::PortChoice;
use wharf_plugin_api::{Cause, CauseKind};

/// Where our range begins if the kernel's own leaves room above it.
const FIRST: u16 = 20000;

/// A smaller range than this is not worth having.
const LEAST: u16 = 1000;

/// Ports that are given. Of the whole process, as ports are: two hosts in one program must not share one.
static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());

/// A port that nobody else in this program is given until this is dropped.
#[derive(Debug)]
pub struct PortLease {
    port: u16,
    /// It is in the table of given ports; one in a network of the plugin's own need not be.
    given: bool,
    /// Bound and not listening: the kernel gives the port to nobody who does not ask for it by number.
    reserved: Option<TcpSocket>,
}

/// Gives a free port: any, or the fixed one of the `replica`th instance. Blocks while it looks at what the machine has.
///
/// # Errors
/// With [`CauseKind::PortInUse`] if it is taken, or none is free.
pub fn lease(choice: PortChoice, replica: u32) -> Result<PortLease, Cause> {
    match choice {
        PortChoice::Auto => any(),
        PortChoice::Fixed(first) => fixed(first, replica),
    }
}

/// A port in a network of the plugin's own, where all are free: the fixed one likewise, else always the same.
///
/// # Errors
/// With [`CauseKind::PortInUse`] if there is no such port.
pub fn lease_apart(choice: PortChoice, replica: u32) -> Result<PortLease, Cause> {
    let port = match choice {
        PortChoice::Auto => FIRST,
        PortChoice::Fixed(first) => numbered(first, replica)?,
    };
    Ok(PortLease { port, given: false, reserved: None })
}

/// Who listens on a port of the host's network that this program has given to nobody. Blocks.
pub(crate) fn stranger(port: u16) -> Option<Stranger> {
    if given().contains(&port) { None } else { listen::holder(port) }
}

fn numbered(first: u16, replica: u32) -> Result<u16, Cause> {
    let port = u16::try_from(replica).ok().and_then(|replica| first.checked_add(replica));
    port.filter(|port| *port > 0)
        .ok_or_else(|| in_use(format!("port {first} and {replica} more go beyond 65535")))
}

fn in_use(detail: String) -> Cause {
    Cause::new(CauseKind::PortInUse, detail)
}

fn fixed(first: u16, replica: u32) -> Result<PortLease, Cause> {
    let port = numbered(first, replica)?;
    let mut lease = PortLease::take(port)
        .ok_or_else(|| in_use(format!("port {port} is given to another plugin or instance of this host")))?;
    match reserve(port) {
        Ok(socket) => lease.reserved = Some(socket),
        Err(error) => {
            let holder =
                listen::holder(port).map_or_else(String::new, |holder| format!("; {holder} listens there"));
            return Err(in_use(format!("port {port} cannot be used: {error}{holder}")));
        }
    }
    Ok(lease)
}

fn any() -> Result<PortLease, Cause> {
    let range = our_range();
    let count = range.end() - range.start() + 1;
    let mut random = [0; 2];
    // Without randomness the search begins at the start of the range, and still finds a free one.
    getrandom::fill(&mut random).ok();
    let offset = u16::from_le_bytes(random) % count;
    let ports = range.clone().skip(usize::from(offset)).chain(range.clone()).take(usize::from(count));
    for port in ports {
        let Some(mut lease) = PortLease::take(port) else { continue };
        // Strict first: that also notices the reservation of another host.
        if bind(Ipv4Addr::LOCALHOST.into(), port, false).is_ok()
            && let Ok(socket) = reserve(port)
        {
            lease.reserved = Some(socket);
            return Ok(lease);
        }
    }
    let (first, last) = range.into_inner();
    Err(in_use(format!("no port from {first} to {last} is free")))
}

/// Fails if anybody listens there, on either loopback address or on all.
fn reserve(port: u16) -> io::Result<TcpSocket> {
    match bind(Ipv6Addr::LOCALHOST.into(), port, true) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
        // A machine without IPv6 is fine.
        Ok(_) | Err(_) => {}
    }
    bind(Ipv4Addr::LOCALHOST.into(), port, true)
}

fn bind(address: IpAddr, port: u16, reuse: bool) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(reuse)?;
    socket.bind(SocketAddr::new(address, port))?;
    Ok(socket)
}

fn our_range() -> RangeInclusive<u16> {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut ends = text.split_ascii_whitespace().filter_map(|end| end.parse().ok());
    beside(ends.next().unwrap_or(32768), ends.next().unwrap_or(60999))
}

/// The range beside the kernel's own: below it, else above it, else (it spans nearly all) the usual one.
fn beside(low: u16, high: u16) -> RangeInclusive<u16> {
    if low >= FIRST + LEAST {
        FIRST..=low - 1
    } else if high <= u16::MAX - LEAST {
        high + 1..=u16::MAX
    } else {
        FIRST..=32767
    }
}

fn given() -> std::sync::MutexGuard<'static, BTreeSet<u16>> {
    GIVEN.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl PortLease ===

impl PortLease {
    fn take(port: u16) -> Option<Self> {
        let free = given().insert(port);
        // Made only if free: dropping a lease gives its port back.
        free.then(|| Self { port, given: true, reserved: None })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Lets go of the reserving socket, just before the plugin starts: a server that does not set `SO_REUSEADDR` could
    /// not bind otherwise. The port stays given to this lease.
    pub fn unreserve(&mut self) {
        self.reserved = None;
    }
}

impl Drop for PortLease {
    fn drop(&mut self) {
        if self.given {
            given().remove(&self.port);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::net::TcpListener;

    use wharf_core::manifest::PortChoice;
    use wharf_plugin_api::CauseKind;

    use super::{beside, lease, our_range};

    #[test]
    fn our_range_lies_beside_the_kernels() {
        assert_eq!(beside(32768, 60999), 20000..=32767);
        assert_eq!(beside(1024, 60999), 61000..=65535);
        assert_eq!(beside(1024, 65535), 20000..=32767);
        assert_eq!(beside(21000, 65535), 20000..=20999);
    }

    #[test]
    fn a_port_is_given_once_until_it_is_given_back() {
        let leases: Vec<_> = (0..50).map(|_| lease(PortChoice::Auto, 0).unwrap()).collect();
        let ports: HashSet<_> = leases.iter().map(super::PortLease::port).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| our_range().contains(port)));
        let port = leases[0].port();
        let refused = lease(PortChoice::Fixed(port), 0).unwrap_err();
        assert!(refused.kind == CauseKind::PortInUse && refused.detail.contains("of this host"), "{refused}");
        drop(leases);
        assert_eq!(lease(PortChoice::Fixed(port - 1), 1).unwrap().port(), port);
    }

    #[test]
    fn a_port_with_a_listener_is_not_given_and_the_holder_is_named() {
        let mut free = lease(PortChoice::Auto, 0).unwrap();
        free.unreserve();
        let port = free.port();
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        drop(free);
        let refused = lease(PortChoice::Fixed(port), 0).unwrap_err();
        assert_eq!(refused.kind, CauseKind::PortInUse);
        assert!(refused.detail.contains(&format!("(pid {},", std::process::id())), "{refused}");
        drop(listener);
        assert!(lease(PortChoice::Fixed(port), 0).is_ok(), "a refusal gives the port back");
    }

    #[test]
    fn a_reserved_port_can_be_listened_on_by_a_usual_server() {
        let held = lease(PortChoice::Auto, 0).unwrap();
        // The standard library sets SO_REUSEADDR, as most servers do.
        TcpListener::bind(("127.0.0.1", held.port())).unwrap();
    }

    #[test]
    fn in_networks_of_their_own_all_have_the_same_port() {
        let (one, two) = (super::lease_apart(PortChoice::Auto, 0), super::lease_apart(PortChoice::Auto, 1));
        let (one, two) = (one.unwrap(), two.unwrap());
        assert_eq!(one.port(), two.port());
        assert_eq!(super::lease_apart(PortChoice::Fixed(8080), 2).unwrap().port(), 8082);
        let taken = super::PortLease::take(one.port());
        drop((one, two));
        assert!(
            taken.is_none_or(|taken| super::given().contains(&taken.port())),
            "it is nobody's to give back"
        );
    }

    #[test]
    fn a_port_beyond_the_last_is_refused() {
        assert_eq!(lease(PortChoice::Fixed(65535), 1).unwrap_err().kind, CauseKind::PortInUse);
    }
}
