//! A plugin that is a process of ours: launched through the shim, spoken to in its dialect, ended as a tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use wharf_core::manifest::{Command, Dialect, EraChoice, Late, PortChoice, Sandbox};
use wharf_plugin_api::{Cause, CauseKind, Inbox, Launch, Link, Plugin, Stage, async_trait};

use super::eras::Plan;
use super::keeper::kept;
use super::listening::{self, OpenDoor};
use super::places::Place;
use super::verdicts::Fingerprint;
use super::{Common, denied};
use crate::dialect::{self, Connected, Endpoint, Lost};
use crate::manifest::is_bundle;
use crate::process::ports::PortLease;
use crate::process::{self, Folders, Process, ProcessHandle, env, find};

/// How long a process may take to be seen dead after its connection broke; after that the connection's end is the cause.
const LAST_WORD: Duration = Duration::from_millis(250);
/// Ports that are tried before a launch fails: whoever takes one between our choice and the plugin's is no crash of it.
const PORT_TRIES: usize = 3;

/// A process that works, and what it holds.
struct Held {
    handle: ProcessHandle,
    lease: Option<PortLease>,
    door: Option<OpenDoor>,
    /// Fails the calls in flight, though others may hold the connection open.
    cut: CancellationToken,
}

#[derive(Clone)]
pub(super) struct External {
    pub(super) common: Common,
    pub(super) command: Command,
}

#[async_trait]
impl Plugin for External {
    async fn prepare(&self) -> Result<(), Cause> {
        let (command, late) = (self.command.clone(), Late::default());
        let data = self.data_dir();
        let look = move || -> Result<(), Cause> {
            if !command.cwd.is_dir() {
                let detail = format!("the working directory {} does not exist", command.cwd.display());
                return Err(Cause::new(CauseKind::MissingFile, detail));
            }
            if let Some(library) = command.library.as_ref().filter(|library| !library.is_file()) {
                let detail = format!("the library {} does not exist", library.display());
                return Err(Cause::new(CauseKind::MissingFile, detail));
            }
            process::private_dir(&data).map_err(|error| {
                let detail = format!("its data folder {} cannot be made: {error}", data.display());
                Cause::new(CauseKind::MissingFile, detail)
            })?;
            program(&command, late).map(drop)
        };
        let looked = self.common.services.tasks.blocking(look).await;
        looked.unwrap_or_else(|panic| Err(Cause::new(CauseKind::SpawnFailed, panic.to_string())))
    }

    /// In a task of its own: whoever drops this future ends nothing before its time, and no next generation starts over
    /// what is left.
    async fn open(&self, launch: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let (done, opened) = oneshot::channel();
        let external = self.clone();
        self.common.services.tasks.spawn(tracing::Span::current(), async move {
            if let Err(Ok(link)) = done.send(external.try_ports(launch, inbox).await) {
                link.close().await;
            }
        });
        opened.await.unwrap_or_else(|_| Err(Cause::new(CauseKind::SpawnFailed, "the host is ending")))
    }
}

impl External {
    async fn try_ports(&self, launch: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let mut tries = 1;
        loop {
            match self.launch(&launch, &inbox).await {
                Err(cause)
                    if matches!(cause.kind, CauseKind::PortInUse | CauseKind::Squatted)
                        && self.may_choose()
                        && tries < PORT_TRIES =>
                {
                    tracing::warn!(%cause, "another port is tried");
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn data_dir(&self) -> PathBuf {
        self.common.services.data.join(&*self.common.label)
    }

    fn folders(&self) -> Folders {
        let path = &self.common.manifest.path;
        let plugin = path.parent().map(Path::to_owned).unwrap_or_default();
        Folders { plugin, bundle: is_bundle(path), data: self.data_dir() }
    }

    fn may_choose(&self) -> bool {
        self.command.port == Some(PortChoice::Auto)
    }

    async fn launch(&self, launch: &Launch, inbox: &Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let place = self.place(launch, &**inbox).await?;
        let mut plan = Plan::of(&self.common, Some(self.command.dialect), self.fingerprint().await);
        loop {
            let attempt = self.attempt(launch, plan.era, inbox).await;
            let outcome = attempt.as_ref().map(|(connected, _)| connected.era());
            // Nothing is left of an attempt that failed: the next one is not beside it.
            if !plan.another(&self.common, outcome, Instant::now() >= Instant::from_std(launch.deadline)) {
                let (connected, held) = attempt.map_err(|cause| plan.explained(cause))?;
                return Ok(self.keep(connected, held, place, inbox));
            }
        }
    }

    /// Starts the process and does the handshake. If it fails, the process is gone.
    async fn attempt(
        &self,
        launch: &Launch,
        era: EraChoice,
        inbox: &Arc<dyn Inbox>,
    ) -> Result<(Connected, Held), Cause> {
        let (mut lease, program) = self.look(launch).await?;
        let late = Late { port: lease.as_ref().map(PortLease::port), replica: launch.replica };
        let spec = self.spec(program, launch, late);
        if let Some(lease) = &mut lease {
            lease.unreserve();
        }
        let process =
            process::spawn(spec, &self.common.services.machine, &self.common.services.tasks).await?;
        let handle = process.handle.clone();
        inbox.stage(Stage::Spawned { pid: handle.pid(), port: late.port });
        let options = self.common.options(launch, era);
        let cut = options.cut.clone();
        let connecting = self.connect(process, options, late, inbox);
        let connected = tokio::select! {
            connected = connecting => connected,
            exit = handle.exited() => Err(Cause::of_exit(exit)),
            () = inbox.cancelled() => Err(Cause::new(CauseKind::Requested, "no longer wanted")),
        };
        match connected {
            Ok((connected, door)) => Ok((connected, Held { handle, lease, door, cut })),
            Err(cause) => {
                let cause = last_word(cause, &handle).await;
                let exit = end(&handle).await;
                let cause = listening::blamed(&self.common, cause, late.port, launch).await;
                let cause = denied::explained(&self.common, cause, launch);
                drop(lease);
                Err(Cause { exit: Some(Box::new(exit)), ..cause })
            }
        }
    }

    /// What is launched, whatever port it gets. A program that was replaced may speak in another way.
    async fn fingerprint(&self) -> Fingerprint {
        let command = self.command.clone();
        let look = move || {
            let argv: Vec<_> = command.argv.iter().map(|arg| arg.render(Late::default())).collect();
            let program = program(&command, Late::default()).ok();
            let files = [program, command.library].map(|path| path.as_deref().and_then(stamp));
            Fingerprint::of(&(command.cwd, argv, files))
        };
        let looked = self.common.services.tasks.blocking(look).await;
        // Only if the host is ending.
        looked.unwrap_or_else(|_| Fingerprint::of(&self.command.cwd))
    }

    /// Waits until nothing of the instance's last process is left.
    async fn place(&self, launch: &Launch, inbox: &dyn Inbox) -> Result<Place, Cause> {
        let taking = self.common.services.places.take(&self.common.label, launch.instance);
        let deadline = Instant::from_std(launch.deadline);
        tokio::select! {
            biased;
            place = taking => Ok(place),
            () = inbox.cancelled() => Err(Cause::new(CauseKind::Requested, "no longer wanted")),
            () = sleep_until(deadline) => {
                let detail = "the process tree of the last launch does not end; nothing is started beside it";
                Err(Cause::new(CauseKind::StartTimeout, detail))
            }
        }
    }

    /// Finds a port and the program, off the runtime: both look at the machine.
    async fn look(&self, launch: &Launch) -> Result<(Option<PortLease>, PathBuf), Cause> {
        let (command, replica) = (self.command.clone(), launch.replica);
        let apart = self.common.manifest.sandbox.is_apart();
        let look = move || {
            let lease = listening::lease(&command, apart, replica)?;
            let late = Late { port: lease.as_ref().map(PortLease::port), replica };
            Ok((lease, program(&command, late)?))
        };
        let looked = self.common.services.tasks.blocking(look).await;
        let looked =
            looked.unwrap_or_else(|panic| Err(Cause::new(CauseKind::SpawnFailed, panic.to_string())));
        if let Err(Cause { kind: CauseKind::PortInUse, .. }) = &looked
            && let Some(port) = listening::fixed(&self.command, replica)
        {
            listening::tell_of_stranger(&self.common, port, launch.instance, launch.generation).await;
        }
        looked
    }

    fn spec(&self, program: PathBuf, launch: &Launch, late: Late) -> process::Launch {
        let command = &self.command;
        process::Launch {
            program,
            args: command.argv.iter().skip(1).map(|arg| arg.render(late)).collect(),
            cwd: command.cwd.clone(),
            env: self.environment(late),
            stdin: command.dialect == Dialect::Stdio,
            stdout: command.dialect == Dialect::Stdio,
            instance: launch.instance,
            generation: launch.generation,
            stop: self.common.manifest.stop.clone(),
            limits: self.common.manifest.limits.clone(),
            sandbox: self.sandbox(),
            folders: self.folders(),
            port: listening::port(&self.common, command, late),
            log: Arc::clone(&self.common.log),
        }
    }

    /// A native library is part of what it runs, wherever it lies.
    fn sandbox(&self) -> Sandbox {
        let mut sandbox = self.common.manifest.sandbox.clone();
        if let Some(fs) = &mut sandbox.fs {
            fs.read.extend(self.command.library.clone());
        }
        sandbox
    }

    /// With its files bounded, the system's folder for temporary files is out of reach.
    fn environment(&self, late: Late) -> Vec<(String, String)> {
        const NAME: &str = "TMPDIR";
        let mut all = environment(&self.command, late);
        let written = self.command.env.iter().any(|(name, _)| name == NAME);
        if self.common.manifest.sandbox.fs.is_some() && !written {
            all.retain(|(name, _)| name != NAME);
            let tmp = env::private_tmp(&self.data_dir(), late.replica);
            all.push((NAME.to_owned(), tmp.to_string_lossy().into_owned()));
        }
        if let Some(memory) = self.common.manifest.limits.memory {
            env::bound_node_heap(&mut all, memory.0);
        }
        all
    }

    async fn connect(
        &self,
        process: Process,
        options: dialect::Options,
        late: Late,
        inbox: &Arc<dyn Inbox>,
    ) -> Result<(Connected, Option<OpenDoor>), Cause> {
        let inbox = Arc::clone(inbox);
        if self.command.dialect == Dialect::Stdio {
            let (Some(stdin), Some(stdout)) = (process.stdin, process.stdout) else {
                return Err(Cause::new(CauseKind::SpawnFailed, "its stdin and stdout are not piped"));
            };
            return Ok((dialect::stdio::connect(stdout, stdin, inbox, options).await?, None));
        }
        let url = self.command.url.as_ref().map(|url| url.render(late)).unwrap_or_default();
        let mut endpoint = Endpoint::new(&url, &[], &self.common.services.http)?;
        let Some(port) = late.port.or_else(|| endpoint.port()) else {
            // Never of a manifest that was checked. Without it nobody knows whom an address leads to.
            return Err(Cause::new(CauseKind::InvalidManifest, "`url` has no host"));
        };
        let door = OpenDoor::find(&self.common, &process.handle, port, &options).await?;
        let at = door.at();
        endpoint.connect_by(at, door.dial());
        inbox.stage(Stage::Listening { host: at.ip().to_string(), port: at.port() });
        let connecting = async {
            match self.command.dialect {
                Dialect::Sse => dialect::sse::connect(endpoint, inbox, options).await,
                Dialect::SsePost => dialect::sse_post::connect(endpoint, inbox, options).await,
                Dialect::Http | Dialect::Stdio => dialect::http::connect(endpoint, inbox, options).await,
            }
        };
        let connected = tokio::select! {
            connected = connecting => connected.map_err(|cause| door.explained(cause))?,
            cause = listening::taken(Some(&door)) => return Err(cause),
        };
        Ok((connected, Some(door)))
    }

    /// The link of a process that works: the end of either ends both. The place of the instance stays taken until nothing
    /// of it is left.
    fn keep(&self, connected: Connected, held: Held, place: Place, inbox: &Arc<dyn Inbox>) -> Arc<dyn Link> {
        let Connected { link, lost, .. } = connected;
        let (inner, inbox) = (Arc::clone(&link), Arc::clone(inbox));
        kept(link, inbox, LAST_WORD, &self.common.services.tasks, |close, told| async move {
            let Held { handle, lease, door, cut } = held;
            let cause = why(&handle, lost, door.as_ref(), close).await;
            let asked = cause.kind == CauseKind::Requested;
            told.lost(&cause);
            let ending = async {
                // Closes the plugin's stdin or its session; the process is ended in any case.
                timeout(LAST_WORD, inner.close()).await.ok();
                end(&handle).await
            };
            tokio::pin!(ending);
            let exit = match timeout(LAST_WORD, &mut ending).await {
                Ok(exit) => exit,
                Err(_) => {
                    // What the process had said is read. Those that it started may hold its pipes for as long as they live.
                    if !asked {
                        cut.cancel();
                    }
                    ending.await
                }
            };
            drop((door, lease, place));
            Cause { exit: Some(Box::new(exit)), ..cause }
        })
    }
}

/// Waits for what ends a connection.
async fn why(handle: &ProcessHandle, lost: Lost, door: Option<&OpenDoor>, close: CancellationToken) -> Cause {
    tokio::select! {
        // What broke the connection may be known: first of all that.
        biased;
        exit = handle.exited() => Cause::of_exit(exit),
        cause = listening::taken(door) => cause,
        cause = lost => last_word(cause, handle).await,
        () = close.cancelled() => Cause::new(CauseKind::Requested, "ended by the host"),
    }
}

/// If a connection broke because the process died, its death is the cause.
async fn last_word(cause: Cause, handle: &ProcessHandle) -> Cause {
    if !matches!(cause.kind, CauseKind::LinkLost | CauseKind::Unreachable) {
        return cause;
    }
    match timeout(LAST_WORD, handle.exited()).await {
        Ok(exit) => Cause::of_exit(exit),
        Err(_) => cause,
    }
}

/// Ends the process tree; returns when nothing of it is left.
async fn end(handle: &ProcessHandle) -> wharf_plugin_api::ExitReport {
    match handle.stop().await {
        Ok(exit) => exit,
        Err(unkillable) => {
            tracing::error!(error = %unkillable, "waiting until it is gone: nothing is started in its place before");
            handle.gone().await
        }
    }
}

pub(super) fn program(command: &Command, late: Late) -> Result<PathBuf, Cause> {
    let name = command.argv.first().map(|name| name.render(late)).unwrap_or_default();
    let environment = environment(command, late);
    let path = environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_str());
    find::program(&name, &command.cwd, path.unwrap_or_default())
}

/// By what a file that was replaced is told from the one before: its size and its time.
fn stamp(path: &Path) -> Option<(u64, SystemTime)> {
    let file = std::fs::metadata(path).ok().filter(std::fs::Metadata::is_file)?;
    Some((file.len(), file.modified().ok()?))
}

/// The short safe list of the host's own environment, and what the manifest declares.
fn environment(command: &Command, late: Late) -> Vec<(String, String)> {
    let mut all = env::base(|name| std::env::var(name).ok());
    for (name, value) in &command.env {
        all.retain(|(other, _)| other != name);
        all.push((name.clone(), value.render(late)));
    }
    all
}

#[cfg(test)]
mod tests;
