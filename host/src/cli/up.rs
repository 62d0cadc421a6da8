//! `wharf up`: runs a host until a signal ends it.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Target;
use super::exit::{Complaint, Exit};
use super::out;
use crate::Host;
use crate::host::{MAX_CALLS, Options, StartError};
use crate::process::Level;
use crate::serve::{Listening, ServeError, Server, Settings};
use crate::telemetry::{self, LogFormat, SetupError};

/// The longest that an end may wait for answers.
const LONGEST: Duration = Duration::from_secs(3600);
/// For a start that has failed half way.
pub(super) const UNDO: Duration = Duration::from_secs(10);
/// For blocking work that does not end.
pub(super) const RUNTIME: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    host: HostArgs,
    /// Where to listen; port 0 picks a free one
    #[arg(long, value_name = "ADDR", default_value_t = LISTEN)]
    listen: SocketAddr,
    /// Threads that serve calls, once there are many connections (with two of them: many whose calls go over HTTP); by default
    /// half of the cores, but two of two or three, and at most 4
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=5))]
    threads: Option<u8>,
}

/// Where a host listens unless it is told.
pub(super) const LISTEN: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 7800));

/// What every host is told.
#[derive(Debug, clap::Args)]
pub(super) struct HostArgs {
    /// The folder of manifests
    #[arg(long, value_name = "DIR", default_value = "plugins")]
    pub(super) plugins: PathBuf,
    /// Ask no one for the token (loopback only)
    #[arg(long)]
    no_auth: bool,
    /// A further name under which the host is called; can be given several times
    #[arg(long, value_name = "HOST")]
    allow_host: Vec<String>,
    /// An origin whose web pages may use the host; can be given several times
    #[arg(long, value_name = "ORIGIN")]
    allow_origin: Vec<String>,
    /// Use no surer way of holding process trees together than this
    #[arg(long, value_enum, value_name = "LEVEL")]
    containment: Option<Level>,
    /// Calls of all plugins together that may be in flight; one more is refused at once
    #[arg(long, value_name = "N", default_value_t = MAX_CALLS, value_parser = at_least_one)]
    max_calls: usize,
    /// How long calls in flight may go on once a signal ends the host; after that they end with their plugins
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = at_most_an_hour)]
    pub(super) drain: Duration,
    /// How log lines on stderr look
    #[arg(long, value_enum, default_value_t)]
    pub(super) log_format: LogFormat,
}

impl HostArgs {
    pub(super) fn options(&self, state: &Path) -> Options {
        Options {
            containment: self.containment,
            max_calls: self.max_calls,
            ..Options::new(&self.plugins, state)
        }
    }
}

/// A host that takes no call is a mistake.
fn at_least_one(text: &str) -> Result<usize, String> {
    let most: usize = text.parse().map_err(|error| format!("{error}"))?;
    if most == 0 { Err("at least 1".to_owned()) } else { Ok(most) }
}

fn at_most_an_hour(text: &str) -> Result<Duration, String> {
    let span = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    if span > LONGEST { Err("at most 1h".to_owned()) } else { Ok(span) }
}

pub(super) fn run(args: Args, target: &Target) -> Result<(), Complaint> {
    let state = target.state()?;
    // Fails only if it is installed already, which is as good.
    rustls::crypto::ring::default_provider().install_default().ok();
    let log = telemetry::init(args.host.log_format, &state)?;
    let runtime = runtime()?;
    let ended = runtime.block_on(live(args, state)).map(|server| server.leave(RUNTIME));
    runtime.shutdown_timeout(RUNTIME);
    close(log);
    ended
}

/// The runtime of a host. It has one worker: what looks after the plugins takes little, calls need not change threads while
/// few come, and where many come, further threads serve their connections.
pub(super) fn runtime() -> Result<tokio::runtime::Runtime, Complaint> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).thread_keep_alive(crate::tasks::IDLE_THREAD).enable_all().build();
    runtime.map_err(|error| Complaint::new(Exit::Failure, "no runtime").detail(error.to_string()))
}

/// Threads that serve calls, if nobody says how many: half of the cores, for the plugins and the callers need some as well,
/// but two of two: one alone answers a fifth fewer calls that go over HTTP. While there are few, only one is begun.
fn threads() -> usize {
    threads_of(std::thread::available_parallelism().map_or(2, usize::from))
}

fn threads_of(cores: usize) -> usize {
    (cores / 2).max(cores.min(2)).min(4)
}

/// Writes what is left of the log, and tells what was lost.
pub(super) fn close(log: telemetry::Guard) {
    let dropped = log.dropped();
    drop(log);
    if dropped > 0 {
        out::note(&format!("{dropped} log lines were dropped: stderr or the disk was too slow"));
    }
}

/// Until it is told to end, and has. What is left of its edge is given back.
async fn live(args: Args, state: PathBuf) -> Result<Server, Complaint> {
    // Before anything is started: a signal during the start must end it in order.
    let mut signals = Signals::new()?;
    let serving = args.threads.map_or_else(threads, usize::from);
    // One of them is the worker of this runtime.
    let settings = Settings { threads: serving - 1, ..args.host.settings(args.listen, &state) };
    let listening = Listening::bind(&settings).await?;
    let address = listening.address();
    let host = Host::start(args.host.options(&state)).await?;
    let server = match listening.serve(host.clone()) {
        Ok(server) => server,
        Err(error) => {
            host.shutdown(UNDO).await;
            return Err(error.into());
        }
    };
    announce(address, settings.auth.then_some(&*state));
    crate::process::trim::after_the_start(host.tasks());
    tracing::info!(signal = signals.next().await, "ending; a second signal ends at once");
    tokio::select! {
        () = server.end(&host, args.host.drain) => {}
        second = signals.next() => {
            host.cut_off();
            tracing::warn!(signal = second, "ended at once; calls in flight were cut off");
        }
    }
    Ok(server)
}

impl HostArgs {
    /// How to serve.
    pub(super) fn settings(&self, listen: SocketAddr, state: &Path) -> Settings {
        Settings {
            listen,
            state: state.to_owned(),
            auth: !self.no_auth,
            allow_hosts: self.allow_host.clone(),
            allow_origins: self.allow_origin.clone(),
            threads: 0,
        }
    }
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
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Complaint> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Complaint::new(Exit::Failure, "no signal handler").detail(error.to_string()))
        };
        Ok(Self { interrupt: listen(SignalKind::interrupt())?, terminate: listen(SignalKind::terminate())? })
    }

    pub(super) async fn next(&mut self) -> &'static str {
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
    use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::{curl, runtime};

    thread_local! {
        /// Dropped when the thread ends.
        static LIVES: std::cell::OnceCell<Sender<()>> = const { std::cell::OnceCell::new() };
    }

    #[test]
    fn threads_serve_by_the_number_of_cores() {
        assert_eq!([1, 2, 3, 4, 6, 8, 64].map(super::threads_of), [1, 2, 2, 2, 3, 4, 4]);
    }

    #[test]
    fn threads_that_the_start_needed_end_soon() {
        const THREADS: usize = 8;
        let Ok(runtime) = runtime() else { panic!("no runtime") };
        let (lives, ended) = channel();
        let together = Arc::new(Barrier::new(THREADS + 1));
        for _ in 0..THREADS {
            let (lives, together) = (lives.clone(), Arc::clone(&together));
            let work = move || {
                LIVES.with(|cell| cell.set(lives).unwrap());
                together.wait();
            };
            drop(runtime.handle().spawn_blocking(work));
        }
        drop(lives);
        together.wait();
        assert_eq!(ended.recv_timeout(Duration::from_secs(5)), Err(RecvTimeoutError::Disconnected));
    }

    #[test]
    fn the_line_to_copy_works_in_a_shell_and_shows_no_token() {
        assert_eq!(curl("127.0.0.1:80".parse().unwrap(), None), "curl http://127.0.0.1:80/api/v1/plugins");
        let line = curl("0.0.0.0:7800".parse().unwrap(), Some(Path::new("/a b/it's")));
        let expected = "curl -H \"Authorization: Bearer $(cat '/a b/it'\\''s/token')\" http://127.0.0.1:7800/api/v1/plugins";
        assert_eq!(line, expected);
    }
}
