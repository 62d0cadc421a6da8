//! Sockets: TCP and the unix socket, with bounds on connections, heads and time. Knows no route.

mod converse;
mod keep_alive;

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::Router;
use secrecy::SecretString;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use self::keep_alive::keep_alive;
use super::auth::{Auth, Via};
use super::door::Door;
use super::drain::Drain;
use super::framing::Verdict;
use super::guard::Guard;
use super::hot::Hot;
use super::rest;
use super::roaming::Roaming;
use super::settings::{ServeError, Settings};
use super::spare::{Rooms, Seat};
use super::talk::Talk;
use super::threads::Threads;
use super::token::{self};
use crate::Host;
use crate::apart::apart;
use crate::held::Held;
use crate::host::connections::Connections;
use crate::mcp::Mcp;
use crate::tasks::Tasks;

/// Connections at a time over TCP.
const CONNECTIONS: usize = 1024;
/// Beside them, on each socket, for health and administration alone.
const SPARE: usize = 64;
/// And over the unix socket: room of its own, so that a crowd on TCP does not lock the operator out.
const LOCAL_CONNECTIONS: usize = 128;
/// Rest after an accept that failed, e.g. for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A TCP socket that listens, and all that is needed to serve it. Made before the host, so that a wrong setting starts no
/// plugin; who connects meanwhile waits in the socket's backlog.
#[derive(Debug)]
pub struct Listening {
    tcp: Option<TcpListener>,
    address: SocketAddr,
    guard: Guard,
    auth: Auth,
    socket: PathBuf,
    threads: Arc<Threads>,
}

/// A running edge.
#[derive(Debug)]
pub struct Server {
    tasks: Tasks,
    drain: Arc<Drain>,
    socket: PathBuf,
    /// Whose calls are waited for at the end.
    mcp: Option<Mcp>,
    /// What calls have begun on them goes on until the host has ended.
    threads: Arc<Threads>,
}

/// What both accept loops share.
#[derive(Debug)]
struct Shared {
    door: Door,
    held: Held,
    connections: Connections,
    tasks: Tasks,
    drain: Arc<Drain>,
    /// The server's: they end with it, whoever is still connected.
    threads: Weak<Threads>,
}

// === impl Listening ===

impl Listening {
    /// Checks the settings, reads or makes the token, and listens on TCP.
    ///
    /// # Errors
    /// If a setting, the state folder, the token or the address is not usable.
    pub async fn bind(settings: &Settings) -> Result<Self, ServeError> {
        if !settings.auth && !settings.listen.ip().is_loopback() {
            return Err(ServeError::OpenToAll(settings.listen));
        }
        let local = Self::local(settings)?;
        let tcp = |error| ServeError::Tcp { address: settings.listen, error };
        let listener = TcpListener::bind(settings.listen).await.map_err(tcp)?;
        let address = listener.local_addr().map_err(tcp)?;
        Ok(Self { tcp: Some(listener), address, ..local })
    }

    /// Likewise, for the unix socket alone: no TCP, whatever the settings say of it.
    ///
    /// # Errors
    /// If a setting, the state folder or the token is not usable.
    pub fn local(settings: &Settings) -> Result<Self, ServeError> {
        let guard = Guard::new(&settings.allow_hosts, &settings.allow_origins)?;
        let folder = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&settings.state);
        folder.map_err(|error| ServeError::State { path: settings.state.clone(), error })?;
        let auth =
            if settings.auth { Auth::Token(token::load_or_create(&settings.state)?) } else { Auth::Open };
        let socket = settings.state.join("wharf.sock");
        let threads = Arc::new(Threads::new(settings.threads));
        Ok(Self { tcp: None, address: settings.listen, guard, auth, socket, threads })
    }

    /// The address, with the port that the system picked for port 0.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The token, if one is needed.
    #[must_use]
    pub fn token(&self) -> Option<&SecretString> {
        match &self.auth {
            Auth::Open => None,
            Auth::Token(token) => Some(token),
        }
    }

    /// Begins to answer, on TCP and on the unix socket. The host owns the state folder by now, so a socket file that is
    /// there already is left over from an earlier one.
    ///
    /// # Errors
    /// If the unix socket cannot be made.
    pub fn serve(self, host: Host) -> Result<Server, ServeError> {
        let mcp = Mcp::new(host.clone());
        self.serve_beside(host, mcp, Tasks::default())
    }

    /// Likewise, beside another edge of the same MCP side.
    pub(crate) fn serve_beside(self, host: Host, mcp: Mcp, tasks: Tasks) -> Result<Server, ServeError> {
        let told = (host.held().clone(), host.connections().clone());
        let (routes, hot) = rest::routes(host, mcp.clone(), tasks.clone());
        Ok(Server { mcp: Some(mcp), ..self.serve_all(tasks, told, routes, Some(hot))? })
    }

    /// Likewise, for any routes.
    #[cfg(test)]
    pub(crate) fn serve_routes(self, tasks: Tasks, held: Held, routes: Router) -> Result<Server, ServeError> {
        self.serve_all(tasks, (held, Connections::default()), routes, None)
    }

    fn serve_all(
        self,
        tasks: Tasks,
        (held, connections): (Held, Connections),
        routes: Router,
        hot: Option<Hot>,
    ) -> Result<Server, ServeError> {
        let unix =
            bind_unix(&self.socket).map_err(|error| ServeError::Unix { path: self.socket.clone(), error })?;
        let door = Door::new(self.guard, self.auth, routes, hot);
        let drain = Arc::<Drain>::default();
        let shared = Arc::new(Shared {
            door,
            held,
            connections,
            tasks: tasks.clone(),
            drain: Arc::clone(&drain),
            threads: Arc::downgrade(&self.threads),
        });
        if let Some(tcp) = self.tcp {
            tasks.spawn(tracing::debug_span!("tcp"), accept_tcp(tcp, Arc::clone(&shared)));
        }
        tasks.spawn(tracing::debug_span!("unix"), accept_unix(unix, shared));
        Ok(Server { tasks, drain, socket: self.socket, mcp: None, threads: self.threads })
    }
}

// === impl Server ===

impl Server {
    /// Ends the streams that have no end of their own, waits for the calls in flight, and closes all connections; at most
    /// `budget` for all. Until the calls are answered TCP is listened on: who comes then is told, if the host is
    /// [closed](Host::close). Returns how many connections and requests were left; asked again, it waits for those.
    pub async fn stop(&self, budget: Duration) -> usize {
        // A new start replaces a file that could not be removed.
        std::fs::remove_file(&self.socket).ok();
        let calls = || self.mcp.as_ref().map_or(0, Mcp::calls_in_flight);
        self.drain.end(&self.tasks, budget, calls).await
    }
}

impl Server {
    /// Ends the threads beside the runtime that served connections, once the host has ended; waits so long for what is under
    /// way on them. Where it is only dropped, nothing is waited for. Not from within a runtime.
    pub(crate) fn leave(self, budget: Duration) {
        if let Some(threads) = Arc::into_inner(self.threads) {
            threads.end(budget);
        }
    }
}

/// Makes the socket with its mode before it gets its name, so that nobody ever connects to an open one.
fn bind_unix(path: &Path) -> io::Result<UnixListener> {
    if let Ok(found) = std::fs::symlink_metadata(path)
        && !found.file_type().is_socket()
    {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the file is there and is no socket; remove it",
        ));
    }
    let new = path.with_extension("new");
    std::fs::remove_file(&new)
        .or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })?;
    let listener = UnixListener::bind(&new)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(&new, path)?;
    Ok(listener)
}

// === accepting ===

async fn accept_tcp(listener: TcpListener, shared: Arc<Shared>) {
    // Not before: who looks whether the host is ready, or answers a plugin, may come by a connection of its own.
    let ending = shared.drain.closing().clone();
    let rooms = Rooms::new((CONNECTIONS, SPARE), "TCP", &shared.connections.tcp);
    while let Some(seat) = seat(&rooms, &ending).await {
        tokio::select! {
            () = ending.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    // Without it small answers wait for the client's acknowledgement; a failure costs speed only.
                    stream.set_nodelay(true).ok();
                    if let Err(error) = keep_alive(&stream) {
                        tracing::debug!(%error, "no keep-alive on a connection");
                    }
                    shared.connect_tcp(stream, rooms.taken(seat));
                }
                Err(error) => pause(&error, &ending).await,
            },
        }
    }
}

async fn accept_unix(listener: UnixListener, shared: Arc<Shared>) {
    let ending = shared.tasks.ending().clone();
    let rooms = Rooms::new((LOCAL_CONNECTIONS, SPARE), "the unix socket", &shared.connections.unix);
    while let Some(seat) = seat(&rooms, &ending).await {
        tokio::select! {
            () = ending.cancelled() => return,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match stream.peer_cred() {
                    Ok(peer) if is_trusted(peer.uid()) => {
                        shared.connect_unix(stream, peer.pid(), rooms.taken(seat));
                    }
                    Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a connection of another user"),
                    Err(error) => tracing::warn!(%error, "refused a connection of an unknown user"),
                },
                Err(error) => pause(&error, &ending).await,
            },
        }
    }
}

/// Our own user and root.
fn is_trusted(uid: u32) -> bool {
    uid == 0 || uid == nix::unistd::geteuid().as_raw()
}

async fn pause(error: &io::Error, ending: &CancellationToken) {
    tracing::warn!(%error, "could not accept a connection");
    // Ends by itself; `ending` only makes it shorter.
    tokio::time::timeout(ACCEPT_PAUSE, ending.cancelled()).await.ok();
}

/// Room for one more connection; `None` once the host ends.
async fn seat(rooms: &Rooms, ending: &CancellationToken) -> Option<Seat> {
    tokio::select! {
        () = ending.cancelled() => None,
        seat = rooms.seat() => seat,
    }
}

impl Shared {
    /// A plugin has the host's user, but it is not the operator: it needs the token here too.
    async fn via_of(&self, peer: Option<i32>) -> Via {
        let look = self.tasks.blocking(move || crate::process::peer::is_of_a_plugin(peer));
        // Unknown only while the host ends.
        if look.await.unwrap_or(true) { Via::Tcp } else { Via::Unix }
    }

    fn connect_unix(self: &Arc<Self>, stream: UnixStream, peer: Option<i32>, seat: Seat) {
        let shared = Arc::clone(self);
        self.tasks.spawn(tracing::debug_span!("connection", over = "unix"), async move {
            let via = shared.via_of(peer).await;
            shared.converse(via, stream, Verdict::default(), seat.is_spare()).await;
            drop(seat);
        });
    }

    fn connect_tcp(self: &Arc<Self>, stream: TcpStream, seat: Seat) {
        let place = self.threads.upgrade().map(|threads| threads.place()).unwrap_or_default();
        let (shared, verdict) = (Arc::clone(self), Verdict::default());
        let told = verdict.clone();
        let serves = apart(|| async move {
            shared.converse(Via::Tcp, Roaming::new(stream), told, seat.is_spare()).await;
            drop(seat);
        });
        Talk::new(serves, verdict).go_on(place, Weak::clone(&self.threads), self.tasks.clone());
    }
}

#[cfg(test)]
mod tests;
