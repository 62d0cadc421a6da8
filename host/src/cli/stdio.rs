//! `wharf stdio`: MCP on stdin and stdout. On the host that runs, over its socket; else on a host in this process, which
//! ends with the input. Stdout carries messages and nothing else.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::Duration;

use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use wharf_core::PluginId;
use wharf_core::catalog::Face;

use super::Target;
use super::client::Client;
use super::exit::{Complaint, Exit};
use super::up::{self, HostArgs, Signals};
use crate::edge_stdio::peer::Peer;
use crate::host::StartError;
use crate::mcp::{Mcp, Visitor};
use crate::serve::{LAST_WORDS, Listening};
use crate::tasks::Tasks;
use crate::{Host, edge_stdio, telemetry};

/// What the connection to a running host becomes.
const PROTOCOL: &str = "wharf-mcp";
/// Another host that has the state folder is about to listen on its socket, or to let go of the folder.
const IN_BETWEEN: Duration = Duration::from_secs(20);
/// Between two looks at it.
const LOOK: Duration = Duration::from_millis(50);
/// The name of the one who holds our stdin; the same as on the unix socket.
const PRINCIPAL: &str = "local";

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: HostArgs,
    /// Where a host of our own listens besides; without it on no port
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,
    /// One plugin, under its own names
    #[arg(long, value_name = "ID", conflicts_with = "group", value_parser = plugin_id)]
    plugin: Option<PluginId>,
    /// The plugins of one group
    #[arg(long, value_name = "NAME")]
    group: Option<String>,
}

pub(super) fn run(args: Args, target: &Target) -> Result<(), Complaint> {
    let state = target.state()?;
    // Fails only if it is installed already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let runtime = up::runtime()?;
    let mut log = None;
    let ended = runtime.block_on(serve(&args, target, &state, &mut log));
    // A read of stdin that nobody answers is left behind.
    runtime.shutdown_timeout(up::RUNTIME);
    if let Some(log) = log {
        up::close(log);
    }
    ended
}

fn plugin_id(text: &str) -> Result<PluginId, String> {
    PluginId::new(text).map_err(|error| error.to_string())
}

/// Stdin or stdout, by tokio's pool for files: it may be a pipe, a file or a terminal.
fn opened(fd: BorrowedFd<'_>) -> Result<File, Complaint> {
    let owned = fd.try_clone_to_owned();
    let owned = owned
        .map_err(|error| Complaint::new(Exit::Failure, "no stdin or stdout").detail(error.to_string()))?;
    Ok(File::from_std(owned.into()))
}

/// Only a host has a log, and only one of each state folder.
type Log = Option<telemetry::Guard>;

async fn serve(args: &Args, target: &Target, state: &Path, log: &mut Log) -> Result<(), Complaint> {
    let mut signals = Signals::new()?;
    let client = Client::new(target)?;
    let until = Instant::now() + IN_BETWEEN;
    loop {
        match args.attach(&client).await {
            Ok(connection) => {
                let both = (opened(io::stdin().as_fd())?, opened(io::stdout().as_fd())?);
                let interrupted = async || {
                    signals.next().await;
                };
                return relay(connection, both, Peer::of(io::stdout()), interrupted).await;
            }
            Err(complaint) if complaint.exit != Exit::NotRunning || target.url.is_some() => {
                return Err(complaint);
            }
            Err(_) => {}
        }
        match Host::start(args.host.options(state)).await {
            Ok(host) => {
                *log = Some(telemetry::init(args.host.log_format, state)?);
                return own(args, state, host, &mut signals).await;
            }
            Err(StartError::InUse(_)) if Instant::now() < until => sleep(LOOK).await,
            Err(error) => return Err(error.into()),
        }
    }
}

impl Args {
    async fn attach(&self, client: &Client) -> Result<reqwest::Upgraded, Complaint> {
        let mut url = client.path(&["api", "v1", "pipe"]);
        if let Some(plugin) = &self.plugin {
            url.query_pairs_mut().append_pair("plugin", plugin.as_str());
        }
        if let Some(group) = &self.group {
            url.query_pairs_mut().append_pair("group", group);
        }
        client.upgrade(url, PROTOCOL).await
    }

    fn face(&self) -> Face {
        match (&self.plugin, &self.group) {
            (Some(plugin), _) => Face::Plugin(plugin.clone()),
            (None, Some(group)) => Face::Group(group.as_str().into()),
            (None, None) => Face::All,
        }
    }
}

// === on the running host ===

/// Carries bytes both ways, to the end of what the host says.
async fn relay<C, I, O>(
    connection: C,
    (mut input, mut output): (I, O),
    peer: Peer,
    mut interrupted: impl AsyncFnMut(),
) -> Result<(), Complaint>
where
    C: AsyncRead + AsyncWrite + Unpin,
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
{
    let (mut from_host, mut to_host) = tokio::io::split(connection);
    let up = async {
        let copied = tokio::io::copy(&mut input, &mut to_host).await;
        // The host answers what it has and closes its side.
        to_host.shutdown().await.ok();
        copied.is_ok()
    };
    let down = async {
        let copied = tokio::io::copy(&mut from_host, &mut output).await;
        output.flush().await.ok();
        copied
    };
    let (mut up, mut down) = (std::pin::pin!(up), std::pin::pin!(down));
    // How the input ended: with all of it at the host, or not.
    let mut ended = None;
    loop {
        tokio::select! {
            all_sent = &mut up, if ended.is_none() => ended = Some(all_sent),
            copied = &mut down => return match copied {
                Ok(_) if ended == Some(true) => Ok(()),
                Ok(_) => Err(Complaint::new(Exit::Failure, "the host has closed the connection")),
                Err(error) => Err(Complaint::new(Exit::Failure, "the connection to the host broke").detail(error.to_string())),
            },
            // Nobody is there for the answers: the host sees the connection end, and cancels what they were for.
            () = peer.gone(), if ended.is_some() => return Err(Complaint::silent(Exit::Failure)),
            () = interrupted() => return Err(Complaint::silent(Exit::Interrupted)),
        }
    }
}

// === on a host of our own ===

async fn own(args: &Args, state: &Path, host: Host, signals: &mut Signals) -> Result<(), Complaint> {
    let settings = args.host.settings(args.listen.unwrap_or(up::LISTEN), state);
    let listening = match args.listen {
        Some(_) => Listening::bind(&settings).await,
        None => Listening::local(&settings),
    };
    let (mcp, tasks) = (Mcp::new(host.clone()), Tasks::default());
    let server =
        listening.and_then(|listening| listening.serve_beside(host.clone(), mcp.clone(), tasks.clone()));
    let server = match server {
        Ok(server) => server,
        Err(error) => {
            host.shutdown(up::UNDO).await;
            return Err(error.into());
        }
    };
    let (input, output) = (opened(io::stdin().as_fd())?, opened(io::stdout().as_fd())?);
    let visitor = Visitor { principal: PRINCIPAL.into(), face: args.face() };
    let known = mcp.has(&visitor.face);
    let (ending, closing) = (tasks.ending().clone(), host.clone());
    let (ends, answers) = (ending.clone(), args.host.drain);
    let mut to_the_end = std::pin::pin!(async {
        let mut served = std::pin::pin!(async {
            if known {
                let peer = Peer::of(io::stdout());
                edge_stdio::serve(mcp, visitor, (input, output), peer, tasks).await;
                tracing::info!("the pipe has ended");
            }
        });
        tokio::select! {
            () = &mut served => server.end(&host, answers).await,
            // The calls of the pipe are among those that the end waits for.
            () = ends.cancelled() => {
                let mut drained = std::pin::pin!(server.end(&host, answers));
                tokio::select! {
                    () = &mut served => drained.await,
                    // A client that asks on and on is not waited for: its plugins are gone.
                    () = &mut drained => drop(tokio::time::timeout(LAST_WORDS, served).await),
                }
            }
        }
    });
    loop {
        tokio::select! {
            () = &mut to_the_end => break,
            signal = signals.next() => {
                if ending.is_cancelled() {
                    closing.cut_off();
                    tracing::warn!(signal, "ended at once; calls in flight were cut off");
                    break;
                }
                // Calls in flight are answered first.
                closing.close();
                tracing::info!(signal, "ending; a second signal ends at once");
                ending.cancel();
            }
        }
    }
    if known { Ok(()) } else { Err(nothing(args)) }
}

/// Nothing stands behind what was asked for.
fn nothing(args: &Args) -> Complaint {
    let folder = args.host.plugins.display();
    let (title, remedy) = match (&args.plugin, &args.group) {
        (Some(plugin), _) => (
            format!("no plugin has the id {:?}", plugin.as_str()),
            format!("name one of the manifests in {folder}, or leave --plugin out"),
        ),
        (None, group) => (
            format!("no plugin belongs to a group {:?}", group.as_deref().unwrap_or_default()),
            format!("name a group that a manifest in {folder} has among its `groups`, or leave --group out"),
        ),
    };
    Complaint::new(Exit::NotFound, title).remedy(remedy)
}

#[cfg(test)]
mod tests;
