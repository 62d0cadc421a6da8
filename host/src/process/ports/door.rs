//! The way to a plugin that listens: each connection is seen to reach it, or is closed before a byte is sent on it.
//!
//! In a network of the plugin's own nobody else can listen. In the host's network anybody can, the moment that the plugin
//! does not: whoever is reached must be who was found listening at first.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::diag;
use super::listen::{self, Listener};
use crate::process::handle::ProcessHandle;
use crate::process::proc;
use crate::tasks::Tasks;

/// How long a connection may take to come up and be seen.
const BUDGET: Duration = Duration::from_secs(15);
/// Connections that are tried before a plugin whose listening socket keeps changing is given up.
const TRIES: usize = 3;

/// Where a plugin listens, and the only way there. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Door(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    process: ProcessHandle,
    address: SocketAddr,
    /// The listening socket, as it was last seen to be the plugin's. Of no meaning in a network of the plugin's own.
    inode: AtomicU64,
    squatter: watch::Sender<Option<Stranger>>,
    tasks: Tasks,
}

/// Somebody who listens where a plugin should.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stranger {
    /// Where.
    pub address: SocketAddr,
    /// Whose process it is.
    pub uid: u32,
    /// Which process it is; only that user's own processes and root may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// Its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

/// Who is behind an address.
enum Behind {
    /// The socket that is known to be the plugin's.
    Known,
    /// Another one of the plugin's.
    Changed(u64),
    Stranger(Listener),
    Nobody,
}

impl Door {
    pub(super) fn new(process: &ProcessHandle, address: SocketAddr, inode: u64, tasks: &Tasks) -> Self {
        let (process, tasks) = (process.clone(), tasks.clone());
        let (inode, squatter) = (AtomicU64::new(inode), watch::Sender::new(None));
        Self(Arc::new(Inner { process, address, inode, squatter, tasks }))
    }

    /// The address, in the network of the process.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// The main process behind it.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.0.process.pid()
    }

    /// Whether it is the same one.
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// A new connection to the plugin, and to nobody else.
    ///
    /// # Errors
    /// The system's reason; `ConnectionAborted` if the plugin has ended or does not listen any more;
    /// `PermissionDenied` if somebody else listens there, who has got no byte.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let late = || io::Error::new(io::ErrorKind::TimedOut, "the connection did not come up in time");
        timeout(BUDGET, self.0.connect()).await.unwrap_or_else(|_| Err(late()))
    }

    /// Waits until somebody else was found listening there. Then the plugin cannot be reached any more.
    pub async fn squatted(&self) -> Stranger {
        let mut squatter = self.0.squatter.subscribe();
        let found = squatter.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        match found {
            Some(stranger) => stranger,
            // The sender lives as long as this.
            None => std::future::pending().await,
        }
    }
}

impl Inner {
    async fn connect(&self) -> io::Result<TcpStream> {
        let aborted = |why: &str| io::Error::new(io::ErrorKind::ConnectionAborted, why);
        for _ in 0..TRIES {
            if self.process.has_exited() {
                return Err(aborted("the plugin's process has ended"));
            }
            let stream = self.process.dial(self.address).await?;
            if self.process.is_apart() {
                return Ok(stream);
            }
            // After the connecting: a socket that is there before and after was there meanwhile.
            match self.behind().await {
                Behind::Known => return Ok(stream),
                Behind::Changed(inode) => self.inode.store(inode, Ordering::Relaxed),
                Behind::Nobody => return Err(aborted("the plugin does not listen any more")),
                Behind::Stranger(listener) => {
                    drop(stream);
                    return Err(self.refuse(listener).await);
                }
            }
        }
        Err(aborted("the plugin's listening socket keeps changing"))
    }

    /// Who is behind the address now.
    async fn behind(&self) -> Behind {
        let known = self.inode.load(Ordering::Relaxed);
        if let Ok(Some(listener)) = diag::listener_at(self.address)
            && listener.inode == known
        {
            return Behind::Known;
        }
        let (process, address) = (self.process.clone(), self.address);
        let look = move || {
            // Twice: the tree may have grown between the look at the sockets and the look at it.
            let mut seen = Behind::Nobody;
            for _ in 0..2 {
                let Some(listener) = listen::reached_by(address) else { return Behind::Nobody };
                if listener.inode == known {
                    return Behind::Known;
                }
                if proc::socket_owner(&process.tree(), &[listener.inode]).is_some() {
                    return Behind::Changed(listener.inode);
                }
                seen = Behind::Stranger(listener);
            }
            seen
        };
        // It only fails while the host ends.
        self.tasks.blocking(look).await.unwrap_or(Behind::Nobody)
    }

    async fn refuse(&self, listener: Listener) -> io::Error {
        let found = self.tasks.blocking(move || Stranger::of(listener)).await;
        let stranger = found.unwrap_or_else(|_| Stranger::unseen(listener));
        let text = format!("{stranger} listens on {}, where the plugin did", self.address);
        self.squatter.send_replace(Some(stranger));
        io::Error::new(io::ErrorKind::PermissionDenied, text)
    }
}

// === impl Stranger ===

impl Stranger {
    fn unseen(Listener { address, uid, .. }: Listener) -> Self {
        Self { address, uid, pid: None, program: None }
    }

    /// With what can be seen of its process. Blocks: it goes through the files of every process.
    pub(super) fn of(listener: Listener) -> Self {
        let pid = proc::all().find(|pid| proc::socket_owner(&[*pid], &[listener.inode]).is_some());
        let name = pid.and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        let program = name.map(|name| name.trim().to_owned());
        Self { pid: pid.map(i32::unsigned_abs), program, ..Self::unseen(listener) }
    }
}

impl std::fmt::Display for Stranger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.program, self.pid) {
            (Some(program), Some(pid)) => write!(f, "{program} (pid {pid}, uid {})", self.uid),
            (_, _) => write!(f, "a process of uid {}", self.uid),
        }
    }
}
