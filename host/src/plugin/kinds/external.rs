//! A plugin that is a process of ours: launched through the shim, spoken to in its dialect, ended as a tree.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use wharf_core::manifest::{Command, Dialect, Late, PortChoice};
use wharf_plugin_api::{Cause, CauseKind, Inbox, Launch, Link, Plugin, Stage, async_trait};

use super::Common;
use super::keeper::kept;
use crate::dialect::{self, Connected, Endpoint, Lost};
use crate::process::ports::{self, PortLease};
use crate::process::{self, Process, ProcessHandle, env, find};

/// How long a process may take to be seen dead after its connection broke; after that the connection's end is the cause.
const LAST_WORD: Duration = Duration::from_millis(250);
/// Ports that are tried before a launch fails: whoever takes one between our choice and the plugin's is no crash of it.
const PORT_TRIES: usize = 3;

pub(super) struct External {
    pub(super) common: Common,
    pub(super) command: Command,
}

#[async_trait]
impl Plugin for External {
    async fn prepare(&self) -> Result<(), Cause> {
        let (command, late) = (self.command.clone(), Late::default());
        let look = move || -> Result<(), Cause> {
            if !command.cwd.is_dir() {
                let detail = format!("the working directory {} does not exist", command.cwd.display());
                return Err(Cause::new(CauseKind::MissingFile, detail));
            }
            if let Some(library) = command.library.as_ref().filter(|library| !library.is_file()) {
                let detail = format!("the library {} does not exist", library.display());
                return Err(Cause::new(CauseKind::MissingFile, detail));
            }
            program(&command, late).map(drop)
        };
        let looked = self.common.services.tasks.blocking(look).await;
        looked.unwrap_or_else(|panic| Err(Cause::new(CauseKind::SpawnFailed, panic.to_string())))
    }

    async fn open(&self, launch: Launch, inbox: Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let mut tries = 1;
        loop {
            match self.launch(launch, &inbox).await {
                Err(cause)
                    if cause.kind == CauseKind::PortInUse && self.may_choose() && tries < PORT_TRIES =>
                {
                    tracing::warn!(%cause, "another port is tried");
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

impl External {
    fn may_choose(&self) -> bool {
        self.command.port == Some(PortChoice::Auto)
    }

    async fn launch(&self, launch: Launch, inbox: &Arc<dyn Inbox>) -> Result<Arc<dyn Link>, Cause> {
        let mut lease = match self.command.port {
            Some(choice) => Some(ports::lease(choice, launch.instance)?),
            None => None,
        };
        let late = Late { port: lease.as_ref().map(PortLease::port), replica: launch.instance };
        let spec = self.spec(launch, late)?;
        if let Some(lease) = &mut lease {
            lease.unreserve();
        }
        let process = process::spawn(spec, &self.common.services.tasks).await?;
        let handle = process.handle.clone();
        inbox.stage(Stage::Spawned { pid: handle.pid(), port: late.port });
        let connecting = self.connect(process, launch, late, inbox);
        let connected = tokio::select! {
            connected = connecting => connected,
            exit = handle.exited() => Err(Cause::of_exit(exit)),
            () = inbox.cancelled() => Err(Cause::new(CauseKind::Requested, "no longer wanted")),
        };
        match connected {
            Ok(connected) => Ok(self.keep(connected, handle, lease, inbox)),
            Err(cause) => {
                let cause = last_word(cause, &handle).await;
                let exit = end(&handle).await;
                Err(Cause { exit: Some(exit), ..cause })
            }
        }
    }

    fn spec(&self, launch: Launch, late: Late) -> Result<process::Launch, Cause> {
        let command = &self.command;
        Ok(process::Launch {
            program: program(command, late)?,
            args: command.argv.iter().skip(1).map(|arg| arg.render(late)).collect(),
            cwd: command.cwd.clone(),
            env: environment(command, late),
            stdin: command.dialect == Dialect::Stdio,
            stdout: command.dialect == Dialect::Stdio,
            instance: launch.instance,
            generation: launch.generation,
            stop: self.common.manifest.stop.clone(),
            log: Arc::clone(&self.common.log),
        })
    }

    async fn connect(
        &self,
        process: Process,
        launch: Launch,
        late: Late,
        inbox: &Arc<dyn Inbox>,
    ) -> Result<Connected, Cause> {
        let options = self.common.options(launch);
        let inbox = Arc::clone(inbox);
        if self.command.dialect == Dialect::Stdio {
            let (Some(stdin), Some(stdout)) = (process.stdin, process.stdout) else {
                return Err(Cause::new(CauseKind::SpawnFailed, "its stdin and stdout are not piped"));
            };
            return dialect::stdio::connect(stdout, stdin, inbox, options).await;
        }
        let url = self.command.url.as_ref().map(|url| url.render(late)).unwrap_or_default();
        let mut endpoint = Endpoint::new(&url, &[], self.common.services.http.clone())?;
        let port = late.port.or_else(|| endpoint.port());
        if let Some(port) = port {
            let deadline = Instant::from_std(launch.deadline);
            let at: SocketAddr =
                ports::wait_listening(port, &process.handle, deadline, &self.common.services.tasks).await?;
            endpoint.connect_to(at);
        }
        match self.command.dialect {
            Dialect::Sse => dialect::sse::connect(endpoint, inbox, options).await,
            Dialect::SsePost => dialect::sse_post::connect(endpoint, inbox, options).await,
            Dialect::Http | Dialect::Stdio => dialect::http::connect(endpoint, inbox, options).await,
        }
    }

    /// The link of a process that works: the end of either ends both.
    fn keep(
        &self,
        connected: Connected,
        handle: ProcessHandle,
        lease: Option<PortLease>,
        inbox: &Arc<dyn Inbox>,
    ) -> Arc<dyn Link> {
        let Connected { link, lost } = connected;
        let inner = Arc::clone(&link);
        kept(link, Arc::clone(inbox), &self.common.services.tasks, |close| async move {
            let cause = why(&handle, lost, close).await;
            // Closes the plugin's stdin or its session; the process is ended in any case.
            timeout(LAST_WORD, inner.close()).await.ok();
            let exit = end(&handle).await;
            drop(lease);
            Cause { exit: Some(exit), ..cause }
        })
    }
}

/// Waits for what ends a connection.
async fn why(handle: &ProcessHandle, lost: Lost, close: CancellationToken) -> Cause {
    tokio::select! {
        exit = handle.exited() => Cause::of_exit(exit),
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

fn program(command: &Command, late: Late) -> Result<std::path::PathBuf, Cause> {
    let name = command.argv.first().map(|name| name.render(late)).unwrap_or_default();
    let environment = environment(command, late);
    let path = environment.iter().find(|(key, _)| key == "PATH").map(|(_, value)| value.as_str());
    find::program(&name, &command.cwd, path.unwrap_or_default())
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
