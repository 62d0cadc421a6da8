//! `wharf up`: runs a host until a signal ends it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Target;
use super::exit::{Complaint, Exit};
use super::out;
use crate::Host;
use crate::host::{Options, StartError};
use crate::serve::{Listening, ServeError, Server, Settings};
use crate::telemetry::{self, LogFormat, SetupError};

/// For calls in flight and plugins, from the first signal to the end.
const DRAIN: Duration = Duration::from_secs(30);
/// Of it, for answers in flight; the rest is the plugins'.
const ANSWERS: Duration = Duration::from_secs(20);
/// For a start that has failed half way.
const UNDO: Duration = Duration::from_secs(10);
/// For blocking work that does not end.
const RUNTIME: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The folder of manifests
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    plugins: PathBuf,
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7800")]
    listen: SocketAddr,
    /// Ask no one for the token (loopback only)
    #[arg(long)]
    no_auth: bool,
    /// A further name under which the host is called; can be given several times
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// An origin whose web pages may use the host; can be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t)]
    log_format: LogFormat,
}

pub(super) fn run(args: Args, target: &Target) -> Result<(), Complaint> {
    let state = target.state()?;
    // Fails only if it is installed already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let log = telemetry::init(args.log_format, &state)?;
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(cores.clamp(2, 4)).enable_all().build();
    let runtime =
        runtime.map_err(|error| Complaint::new(Exit::Failure, "no runtime").detail(error.to_string()))?;
    let ended = runtime.block_on(live(args, state));
    runtime.shutdown_timeout(RUNTIME);
    let dropped = log.dropped();
    drop(log);
    if dropped > 0 {
        out::note(&format!("{dropped} log lines were dropped: stderr or the disk was too slow"));
    }
    ended
}

async fn live(args: Args, state: PathBuf) -> Result<(), Complaint> {
    // Before anything is started: a signal during the start must end it in order.
    let mut signals = Signals::new()?;
    let settings = Settings {
        listen: args.listen,
        state: state.clone(),
        auth: !args.no_auth,
        allow_hosts: args.allow_host,
        allow_origins: args.allow_origin,
    };
    let listening = Listening::bind(&settings).await?;
    let address = listening.address();
    let host = Host::start(Options { plugins: args.plugins, state: state.clone() }).await?;
    let server = match listening.serve(host.clone()) {
        Ok(server) => server,
        Err(error) => {
            host.shutdown(UNDO).await;
            return Err(error.into());
        }
    };
    announce(address, (!args.no_auth).then_some(&*state));
    tracing::info!(signal = signals.next().await, "ending; a second signal ends at once");
    tokio::select! {
        () = drain(server, &host) => {}
        second = signals.next() => tracing::warn!(signal = second, "ended at once; calls in flight were cut off"),
    }
    Ok(())
}

/// Lets answers in flight go out, then ends the plugins.
async fn drain(server: Server, host: &Host) {
    let until = Instant::now() + DRAIN;
    let left = server.stop(ANSWERS).await;
    if left > 0 {
        tracing::warn!(connections = left, "still busy at the end");
    }
    host.shutdown(until.saturating_duration_since(Instant::now())).await;
}

/// One line for programs on stdout, and one to copy for people on stderr. The token itself is not shown: terminals and
/// collectors remember.
fn announce(address: SocketAddr, token_in: Option<&Path>) {
    if let Err(complaint) = out::line(&format!("wharf listening on http://{address}")) {
        out::complain(&complaint);
    }
    out::note(&format!("try: {}", curl(address, token_in)));
}

fn curl(address: SocketAddr, token_in: Option<&Path>) -> String {
    let mut reachable = address;
    if address.ip().is_unspecified() {
        reachable.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    let token = token_in.map_or_else(String::new, |state| {
        let file = state.join("token").display().to_string().replace('\'', r"'\''");
        format!("-H \"Authorization: Bearer $(cat '{file}')\" ")
    });
    format!("curl {token}http://{reachable}/api/v1/plugins")
}

/// The signals that end a host.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Complaint> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Complaint::new(Exit::Failure, "no signal handler").detail(error.to_string()))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "SIGINT",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }
}

impl From<ServeError> for Complaint {
    fn from(error: ServeError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

impl From<StartError> for Complaint {
    fn from(error: StartError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

impl From<SetupError> for Complaint {
    fn from(error: SetupError) -> Self {
        Self::new(Exit::Failure, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::curl;

    #[test]
    fn the_line_to_copy_works_in_a_shell_and_shows_no_token() {
        assert_eq!(curl("127.0.0.1:80".parse().unwrap(), None), "curl http://127.0.0.1:80/api/v1/plugins");
        let line = curl("0.0.0.0:7800".parse().unwrap(), Some(Path::new("/a b/it's")));
        let expected = "curl -H \"Authorization: Bearer $(cat '/a b/it'\\''s/token')\" http://127.0.0.1:7800/api/v1/plugins";
        assert_eq!(line, expected);
    }
}
