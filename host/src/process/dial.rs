//! Connections into the network of a plugin that has one of its own: its shim makes them there, and passes them to the
//! host over a socket that carries nothing else.

pub(super) mod wire;

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use self::wire::{Answer, MOST, PATIENCE, Request};
use super::handle::ProcessHandle;
use crate::tasks::Tasks;

/// How long a connection may take here: the shim gives up first, and tells why.
const BUDGET: Duration = Duration::from_secs(PATIENCE + 2);

/// The host's end of the socket to one shim. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Line(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// It keeps the bounds of messages, whatever its type's name says.
    socket: UnixStream,
    room: Semaphore,
    asked: Mutex<Asked>,
}

#[derive(Debug, Default)]
struct Asked {
    last: u32,
    waiting: HashMap<u32, oneshot::Sender<Result<OwnedFd, Errno>>>,
}

/// A request on its way; forgotten when nobody waits for it any more.
struct Ticket<'a> {
    inner: &'a Inner,
    number: u32,
    answer: oneshot::Receiver<Result<OwnedFd, Errno>>,
}

/// The two ends of a new one: the host's, and the shim's.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?)
}

impl ProcessHandle {
    /// Connects to an address in the network of the process: its own one, where it has one, else the host's.
    ///
    /// # Errors
    /// The system's reason, as of any connection; `ConnectionAborted` if the process is gone.
    pub async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        match self.line() {
            Some(line) => line.dial(to).await,
            None => timeout(BUDGET, TcpStream::connect(to)).await.unwrap_or_else(|_| Err(too_late())),
        }
    }

    /// Whether the process has a network of its own.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.line().is_some()
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the connection did not come up in time")
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::ConnectionAborted, "the plugin's process is gone")
}

// === impl Line ===

impl Line {
    /// Takes the host's end. A task reads the answers until the shim has ended, or the host ends.
    pub(super) fn new(socket: OwnedFd, tasks: &Tasks) -> io::Result<Self> {
        let socket = StdUnixStream::from(socket);
        socket.set_nonblocking(true)?;
        let inner = Arc::new(Inner {
            socket: UnixStream::from_std(socket)?,
            room: Semaphore::new(MOST),
            asked: Mutex::default(),
        });
        let (listening, ending) = (Arc::clone(&inner), tasks.ending().clone());
        tasks.spawn(tracing::debug_span!("dial"), async move {
            tokio::select! {
                () = listening.listen() => {}
                () = ending.cancelled() => {}
            }
            listening.close();
        });
        Ok(Self(inner))
    }

    async fn dial(&self, to: SocketAddr) -> io::Result<TcpStream> {
        timeout(BUDGET, self.0.ask(to)).await.unwrap_or_else(|_| Err(too_late()))
    }
}

// === impl Inner ===

impl Inner {
    async fn ask(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let _room = self.room.acquire().await.map_err(|_| gone())?;
        let mut ticket = self.ticket();
        let request = Request { number: ticket.number, to };
        loop {
            self.socket.writable().await?;
            match self.socket.try_io(Interest::WRITABLE, || request.send(self.socket.as_fd())) {
                Ok(()) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The shim has ended.
                Err(_) => return Err(gone()),
            }
        }
        let answer = (&mut ticket.answer).await.map_err(|_| gone())?;
        let stream = StdTcpStream::from(answer?);
        stream.set_nonblocking(true)?;
        TcpStream::from_std(stream)
    }

    fn ticket(&self) -> Ticket<'_> {
        let (sender, answer) = oneshot::channel();
        let mut asked = self.asked();
        // At most a few are asked for at a time: a number is not used again while it means another.
        asked.last = asked.last.wrapping_add(1);
        let number = asked.last;
        asked.waiting.insert(number, sender);
        Ticket { inner: self, number, answer }
    }

    /// Hands the answers out, until the shim has ended.
    async fn listen(&self) {
        while self.socket.readable().await.is_ok() {
            match self.socket.try_io(Interest::READABLE, || Answer::receive(self.socket.as_fd())) {
                Ok(Some(Answer { number, outcome })) => {
                    let waiting = self.asked().waiting.remove(&number);
                    // Nobody waits any more: a connection is closed by dropping it.
                    waiting.map(|waiting| waiting.send(outcome));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(None) | Err(_) => return,
            }
        }
    }

    /// Nobody gets an answer any more.
    fn close(&self) {
        self.room.close();
        self.asked().waiting.clear();
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// === impl Ticket ===

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.inner.asked().waiting.remove(&self.number);
    }
}
