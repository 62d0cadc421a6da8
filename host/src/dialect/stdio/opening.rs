//! How a connection over two pipes begins: the server is asked for its era, or spoken to in the one that is known.
//!
//! A server that answers the question with an error is spoken to in the old way on the same pipes. One that is silent, or
//! closes them, may have ended because of the question: what then is whoever runs it must say.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::DropGuard;
use wharf_core::manifest::EraChoice;
use wharf_plugin_api::{Cause, CauseKind, Era, Hello, Inbox, Notification, Reply, Request};

use super::{StdioLink, Wire, start};
use crate::dialect::handshake::{self, HostScope};
use crate::dialect::incoming::Incoming;
use crate::dialect::modern::{self, Discovery};
use crate::dialect::{Connected, Lost, Options};

const DIALECT: &str = "stdio";

/// Two pipes on which no handshake is done yet. Dropping it closes them.
struct Opening {
    wire: Arc<Wire>,
    incoming: Arc<Incoming>,
    lost: Lost,
    guard: DropGuard,
    options: Options,
}

/// Does the handshake over two byte streams.
///
/// # Errors
/// Why there is no working connection. A stream that ends is `LinkLost`: how the process ended is not known here. A server
/// that was asked for its era and is silent about it is `StartTimeout`.
pub(crate) async fn connect<R, W>(
    stdout: R,
    stdin: W,
    inbox: Arc<dyn Inbox>,
    options: Options,
) -> Result<Connected, Cause>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let (wire, incoming, lost) = start(stdout, stdin, inbox, &options);
    let guard = wire.closing.clone().drop_guard();
    let mut opening = Opening { wire, incoming, lost, guard, options };
    match opening.options.era {
        EraChoice::Legacy => opening.initialize().await,
        EraChoice::Modern => {
            let until = opening.options.handshake_deadline;
            let hello = opening.discover(until).await?.required()?;
            Ok(opening.connected(hello))
        }
        EraChoice::Auto => opening.either().await,
    }
}

impl Opening {
    async fn either(mut self) -> Result<Connected, Cause> {
        let until = self.options.probe_deadline();
        let discovered = match self.discover(until).await {
            Err(cause) if cause.kind == CauseKind::StartTimeout && self.options.patient => {
                return self.whatever_comes().await;
            }
            discovered => discovered?,
        };
        let first = match discovered {
            Discovery::Modern(hello) => return Ok(self.connected(*hello)),
            Discovery::Again(cause) | Discovery::Refused(cause) | Discovery::Unknown(cause) => cause,
        };
        tracing::debug!(plugin = %self.options.label, %first, "not modern");
        self.initialize().await.map_err(|second| {
            if second.kind != CauseKind::HandshakeRefused {
                return second;
            }
            Cause::new(second.kind, format!("{}; and as modern: {}", second.detail, first.detail))
        })
    }

    /// Nobody is there yet who could have heard the question. What is said next lies in the pipe behind it, until the server
    /// comes and reads both; it is not ended for its silence, for then it would have to be fetched anew.
    async fn whatever_comes(mut self) -> Result<Connected, Cause> {
        let until = self.options.handshake_deadline;
        match self.greet().await {
            Ok(hello) => Ok(self.connected(hello)),
            Err(refused) if refused.kind == CauseKind::HandshakeRefused => {
                match self.discover(until).await? {
                    Discovery::Modern(hello) => Ok(self.connected(*hello)),
                    Discovery::Again(_) | Discovery::Refused(_) | Discovery::Unknown(_) => Err(refused),
                }
            }
            Err(cause) => Err(cause),
        }
    }

    /// Asks the server which revisions it speaks; twice, if it says that it speaks ours.
    async fn discover(&mut self, until: Instant) -> Result<Discovery, Cause> {
        let first = self.ask(modern::discover(), Era::Modern, until).await?;
        match modern::discovered(DIALECT, first) {
            Discovery::Again(_) => {
                let second = self.ask(modern::discover(), Era::Modern, until).await?;
                Ok(modern::discovered(DIALECT, second))
            }
            known @ (Discovery::Modern(_) | Discovery::Refused(_) | Discovery::Unknown(_)) => Ok(known),
        }
    }

    async fn initialize(mut self) -> Result<Connected, Cause> {
        let hello = self.greet().await?;
        Ok(self.connected(hello))
    }

    async fn greet(&mut self) -> Result<Hello, Cause> {
        let until = self.options.handshake_deadline;
        let request = handshake::initialize(self.options.client.as_deref());
        let reply = self.ask(request, Era::Legacy, until).await?;
        let hello = handshake::hello(DIALECT, reply, None)?;
        self.settled(&hello);
        if self.wire.notify(&Notification::bare(handshake::INITIALIZED)).is_err() {
            let gone = || Cause::new(CauseKind::LinkLost, "the connection broke during the handshake");
            return Err(self.lost.already().unwrap_or_else(gone));
        }
        Ok(hello)
    }

    /// Asks something of the handshake, which is never cancelled.
    async fn ask(&mut self, request: Request, era: Era, until: Instant) -> Result<Reply, Cause> {
        let asking = self.wire.request(&request, &HostScope::until(until), era, false);
        match timeout_at(until, asking).await {
            Ok(Ok(reply)) => Ok(reply),
            Ok(Err(error)) => {
                Err(self.lost.already().unwrap_or_else(|| handshake::failed(error, CauseKind::LinkLost)))
            }
            Err(_) => Err(handshake::too_late(&request.method)),
        }
    }

    fn settled(&self, hello: &Hello) {
        self.incoming.settled(&hello.revision);
        self.wire.handshaken.store(true, Ordering::Relaxed);
    }

    fn connected(self, hello: Hello) -> Connected {
        self.settled(&hello);
        let Self { wire, lost, guard, .. } = self;
        Connected { link: Arc::new(StdioLink { hello, wire, _closing: guard }), lost, shown: true }
    }
}
