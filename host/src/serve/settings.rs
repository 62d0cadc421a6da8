//! How the edge is told to serve, and why it could not.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::guard::AllowError;
use super::token::TokenError;

/// How to serve.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen on TCP.
    pub listen: SocketAddr,
    /// The state folder: the token and the unix socket stand in it.
    pub state: PathBuf,
    /// Whether TCP needs the token.
    pub auth: bool,
    /// Names besides loopback under which we may be called.
    pub allow_hosts: Vec<String>,
    /// Origins of web pages that may call us.
    pub allow_origins: Vec<String>,
    /// Threads that serve connections beside the runtime which the edge runs in, once there are many (of one: only those
    /// whose calls go over HTTP); at most 4 are used.
    /// 0: that runtime serves them all. What calls have begun runs on them: keep the [`Server`](super::Server) until the host
    /// has ended.
    pub threads: usize,
}

impl Settings {
    /// On this address and on the unix socket of the state folder, with the token asked for, and under loopback names only.
    #[must_use]
    pub fn new(listen: SocketAddr, state: impl Into<PathBuf>) -> Self {
        Self {
            listen,
            state: state.into(),
            auth: true,
            allow_hosts: Vec::new(),
            allow_origins: Vec::new(),
            threads: 0,
        }
    }
}

/// Why the edge could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServeError {
    /// Not without a token.
    #[error("--no-auth is for loopback only, and {0} is not; leave it out, or listen on 127.0.0.1")]
    OpenToAll(SocketAddr),
    /// The address is not usable.
    #[error(
        "cannot listen on {address}: {error}; choose another address with --listen (port 0 picks a free one)"
    )]
    Tcp {
        /// The address.
        address: SocketAddr,
        /// The system's reason.
        error: io::Error,
    },
    /// The unix socket is not usable.
    #[error(
        "cannot listen on the unix socket {path}: {error}; choose another (shorter) state folder with --state"
    )]
    Unix {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The state folder is not usable.
    #[error("the state folder {path} cannot be used: {error}; choose another one with --state")]
    State {
        /// The folder.
        path: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// The token is not usable.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// A list is wrong.
    #[error(transparent)]
    Allow(#[from] AllowError),
}
