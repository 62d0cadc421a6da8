//! Starting a plugin's process: the shim, the pipes, the request, and what can go wrong on the way.

use std::ffi::{CString, NulError, OsString};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use wharf_core::manifest::{Limits, Sandbox, Stop};
use wharf_plugin_api::{Cause, CauseKind};

use super::bounds::{self, Bounds};
use super::dial::{self, Line};
use super::exe::{self, NotInitialised};
use super::handle::{self, ProcessHandle};
use super::keeper::Keeper;
use super::logs::{LogBook, pump};
use super::machine::Machine;
use super::plan::{Own, Plan, Wanted};
use super::proc::Pid;
use super::reach;
use super::wire::{HOST_STREAM, MARKER, Report, Request, SHIM_WORD, Stage};
use crate::tasks::Tasks;

/// How long the shim may take from its start to its first report. Far above what a loaded machine needs.
const FIRST_REPORT: Duration = Duration::from_secs(20);

/// What to start.
#[derive(Debug)]
pub struct Launch {
    /// The program: a path, not a name to look up ([`super::find::program`] does that).
    pub program: PathBuf,
    /// Its arguments, without `argv[0]`.
    pub args: Vec<String>,
    /// Its working directory.
    pub cwd: PathBuf,
    /// Its whole environment, but for the host's mark, which is added.
    pub env: Vec<(String, String)>,
    /// Whether we write to its stdin; it reads `/dev/null` otherwise.
    pub stdin: bool,
    /// Whether we read its stdout; it is logged otherwise.
    pub stdout: bool,
    /// Which instance it is, for the log.
    pub instance: u32,
    /// Which launch of the instance, for the log.
    pub generation: u64,
    /// How it is ended.
    pub stop: Stop,
    /// What it may take of the machine.
    pub limits: Limits,
    /// What it may do to the machine.
    pub sandbox: Sandbox,
    /// The folders that are its own.
    pub folders: Folders,
    /// The port that it shall listen on.
    pub port: Option<u16>,
    /// Where its stderr goes.
    pub log: Arc<LogBook>,
}

/// The folders of a plugin.
#[derive(Clone, Debug, Default)]
pub struct Folders {
    /// That of its manifest.
    pub plugin: PathBuf,
    /// Whether that one is the plugin's alone, so that it can always read it: others' manifests may lie in it else.
    pub bundle: bool,
    /// Its `${data_dir}`, which it can also change.
    pub data: PathBuf,
}

/// A started process. Dropping it and every clone of its handle kills the process tree.
#[derive(Debug)]
pub struct Process {
    /// The plugin's stdin, if asked for.
    pub stdin: Option<pipe::Sender>,
    /// The plugin's stdout, if asked for.
    pub stdout: Option<pipe::Receiver>,
    /// Everything else.
    pub handle: ProcessHandle,
}

/// A process tree survived being killed: it hangs in the kernel.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the process tree of pid {pid} does not end although it was killed; it hangs in the kernel")]
pub struct Unkillable {
    /// Its main process.
    pub pid: u32,
}

/// Why a process was not started. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// Nothing can serve as the shim.
    #[error(transparent)]
    NotInitialised(#[from] NotInitialised),
    /// The manifest demands what this machine does not give.
    #[error("{0}")]
    Refused(Cause),
    /// A text that the kernel cannot take.
    #[error("an argument, a path or a variable holds a NUL character")]
    Nul(#[from] NulError),
    /// More than the kernel would take.
    #[error("the arguments and the environment together exceed 2 MiB")]
    TooLarge,
    /// The machine refuses what the host needs for it.
    #[error("the host could not {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The shim has ended without a word, or says nothing.
    #[error("the host's own helper process {0}")]
    Shim(&'static str),
    /// A step failed between the shim and the plugin's first instruction.
    #[error("{stage} failed for {path}: {errno}", path = .path.display())]
    Step {
        /// Which.
        stage: Stage,
        /// The system's reason.
        errno: Errno,
        /// The working directory if entering it failed, else the program.
        path: PathBuf,
    },
}

/// What the blocking part hands over.
struct Begun {
    control: UnixStream,
    keeper: Keeper,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// The host's end of the socket for connections, if the plugin has a network of its own.
    line: Option<OwnedFd>,
}

/// Starts a process. Returns when its program is executed, or with the step that failed.
///
/// If the future is dropped, the tree is killed in the background.
///
/// # Errors
/// See [`SpawnError`].
pub async fn spawn(launch: Launch, machine: &Arc<Machine>, tasks: &Tasks) -> Result<Process, SpawnError> {
    let marker = marker()?;
    let (plan, _) = machine.plan(&launch.wanted()).map_err(SpawnError::Refused)?;
    let level = plan.level;
    let (launch, plan) = with_files(launch, plan, tasks).await?;
    let mut request = request(&launch, &marker, plan)?;
    let label = format!("{}/{}", launch.log.plugin(), launch.instance);
    let with_stdin = launch.stdin;
    let (ground, keeping, mark) = (Arc::clone(machine), tasks.clone(), marker.clone());
    let (limits, book) = (launch.limits.clone(), Arc::clone(&launch.log));
    let log = bounds::Log { book, instance: launch.instance, generation: launch.generation };
    let beginning = move || {
        let mut entry = ground.ledger().enter(&mark);
        let plan = &mut request.plan.limits;
        let name = mark.rsplit('=').next().unwrap_or(&mark);
        entry.groups(plan.groups.iter().map(|group| group.dir(name)).collect());
        let (bounds, made) = Bounds::make(plan, name, limits, log, &keeping);
        ground.groups_made(made);
        begin(&request, &label, with_stdin, &keeping).map(|begun| (begun, entry, bounds))
    };
    let begun = tasks.blocking(beginning).await;
    let ending = |_| SpawnError::Shim("could not be started: the host is ending");
    let (begun, mut entry, bounds) = begun.map_err(ending)??;

    let system = |doing| move |error| SpawnError::System(doing, error);
    let pipes = system("use the plugin's pipes");
    let stdin = begun.stdin.map(pipe::Sender::from_owned_fd).transpose().map_err(pipes)?;
    let stdout = pipe::Receiver::from_owned_fd(begun.stdout).map_err(pipes)?;
    let stderr = pipe::Receiver::from_owned_fd(begun.stderr).map_err(pipes)?;
    let line = begun.line.map(|line| Line::new(line, tasks)).transpose();
    let line = line.map_err(system("use the socket for connections"))?;
    let mut shim = handle::Shim::new(begun.control, begun.keeper).map_err(system("use the shim's socket"))?;
    let pid = match tokio::time::timeout(FIRST_REPORT, started_as(&mut shim)).await {
        Ok(Ok(pid)) => pid,
        Ok(Err(Unstarted::Step(stage, errno))) => return Err(step(launch, stage, errno)),
        Ok(Err(Unstarted::Ended)) => return Err(SpawnError::Shim("ended before it started the plugin")),
        Err(_) => {
            return Err(SpawnError::Shim("does not answer; does main call wharf::init() first?"));
        }
    };
    let known = [shim.pid(), pid];
    let noting = move || {
        entry.started(known);
        entry
    };
    let entry = tasks.blocking(noting).await.map_err(ending)?;

    let rate = launch.limits.log_rate;
    let source =
        |stream| pump::Source { instance: launch.instance, generation: launch.generation, stream, rate };
    let mut pumps = vec![pump::start(stderr, source("stderr"), Arc::clone(&launch.log), tasks)];
    let stdout = if launch.stdout {
        Some(stdout)
    } else {
        pumps.push(pump::start(stdout, source("stdout"), Arc::clone(&launch.log), tasks));
        None
    };
    let guarded = handle::Guarded { pid, marker, pumps, level, launch, line, entry, bounds };
    let handle = handle::guard(shim, guarded, tasks);
    Ok(Process { stdin, stdout, handle })
}

/// Looks up which files the program needs, if it is to reach those only.
async fn with_files(launch: Launch, mut plan: Plan, tasks: &Tasks) -> Result<(Launch, Plan), SpawnError> {
    let bounded = plan.sandbox.landlock.as_mut().and_then(|bounds| bounds.fs.as_mut());
    let (Some(reach), Some(fs)) = (bounded, launch.sandbox.fs.clone()) else { return Ok((launch, plan)) };
    let looking = move || {
        let found = reach::find(&reach::Asked {
            own: launch.wanted().own,
            args: &launch.args,
            bundle: launch.folders.bundle,
            env: &launch.env,
            fs: &fs,
            instance: launch.instance,
        });
        (launch, found)
    };
    let looked = tasks.blocking(looking).await;
    let (launch, found) = looked.map_err(|_| SpawnError::Shim("could not be started: the host is ending"))?;
    let found = found.map_err(SpawnError::Refused)?;
    for note in found.notes {
        launch.log.append(launch.instance, launch.generation, HOST_STREAM, &note);
    }
    *reach = found.reach;
    Ok((launch, plan))
}

/// Why there is no main process.
enum Unstarted {
    Step(Stage, Errno),
    Ended,
}

/// Lets the shim begin, and waits until the program is executed.
async fn started_as(shim: &mut handle::Shim) -> Result<Pid, Unstarted> {
    loop {
        match shim.report().await {
            Some(Report::Shim { pid }) => shim.adopt(pid),
            Some(Report::Started { pid }) => return Ok(pid),
            Some(Report::Failed { stage, errno }) => {
                return Err(Unstarted::Step(stage, Errno::from_raw(errno)));
            }
            Some(Report::Exited(_) | Report::Gone) | None => return Err(Unstarted::Ended),
        }
    }
}

fn step(launch: Launch, stage: Stage, errno: Errno) -> SpawnError {
    let path = if stage == Stage::Directory { launch.cwd } else { launch.program };
    SpawnError::Step { stage, errno, path }
}

/// A name that no other launch has and no one can guess.
fn marker() -> Result<String, SpawnError> {
    let mut bytes = [0; 16];
    let random = getrandom::fill(&mut bytes);
    random.map_err(|error| SpawnError::System("get random bytes", io::Error::other(error.to_string())))?;
    Ok(format!("{MARKER}={:032x}", u128::from_le_bytes(bytes)))
}

fn request(launch: &Launch, marker: &str, plan: Plan) -> Result<Request, SpawnError> {
    let c = |text: OsString| CString::new(text.into_vec());
    let program = c(launch.program.clone().into())?;
    let args = launch.args.iter().map(|arg| c(arg.into()));
    let env = launch
        .env
        .iter()
        .filter(|(name, _)| name != MARKER)
        .map(|(name, value)| c(format!("{name}={value}").into()));
    Ok(Request {
        cwd: c(launch.cwd.clone().into())?,
        argv: std::iter::once(Ok(program.clone())).chain(args).collect::<Result<_, _>>()?,
        env: env.chain([c(marker.into())]).collect::<Result<_, _>>()?,
        program,
        plan,
    })
}

/// The part that blocks for a moment: makes the pipes, starts the shim and hands it the request.
fn begin(request: &Request, label: &str, with_stdin: bool, tasks: &Tasks) -> Result<Begun, SpawnError> {
    let system = |doing| move |error| SpawnError::System(doing, error);
    let pipe = || io::pipe().map_err(system("make a pipe"));
    let (plugin_stdin, stdin): (OwnedFd, Option<OwnedFd>) = if with_stdin {
        let (reader, writer) = pipe()?;
        (reader.into(), Some(writer.into()))
    } else {
        (std::fs::File::open("/dev/null").map_err(system("open /dev/null"))?.into(), None)
    };
    let (stdout, plugin_stdout) = pipe()?;
    let (stderr, plugin_stderr) = pipe()?;
    let (control, theirs) = UnixStream::pair().map_err(system("make a socket"))?;
    let keeper = Keeper::new(start_shim(theirs, label)?, tasks);
    let line = request.plan.network.apart.then(dial::pair).transpose();
    let (line, shim_line) = line.map_err(system("make a socket"))?.unzip();
    let mut passed =
        vec![plugin_stdin.as_fd().as_raw_fd(), plugin_stdout.as_raw_fd(), plugin_stderr.as_raw_fd()];
    passed.extend(shim_line.as_ref().map(OwnedFd::as_raw_fd));
    hand_over(&control, request, &passed)?;
    control.set_nonblocking(true).map_err(system("use the shim's socket"))?;
    Ok(Begun { control, keeper, stdin, stdout: stdout.into(), stderr: stderr.into(), line })
}

/// No code of ours runs between fork and exec here: this process has threads.
fn start_shim(control: UnixStream, label: &str) -> Result<Child, SpawnError> {
    let mut command = Command::new(exe::path()?);
    // The label is for people who look at a list of processes.
    command.arg0("wharf").args([SHIM_WORD, label]).env_clear().current_dir("/");
    command.stdin(Stdio::from(OwnedFd::from(control))).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().map_err(|error| SpawnError::System("start its helper process", error))
}

/// `passed`: the plugin's streams, and the shim's end of the socket for connections, if there is one.
fn hand_over(mut control: &UnixStream, request: &Request, passed: &[i32]) -> Result<(), SpawnError> {
    let (head, body) = request.encode().ok_or(SpawnError::TooLarge)?;
    let lost = |error| SpawnError::System("hand the launch to its helper process", error);
    control.set_write_timeout(Some(FIRST_REPORT)).map_err(lost)?;
    let rights = [ControlMessage::ScmRights(passed)];
    sendmsg::<()>(control.as_raw_fd(), &[IoSlice::new(&head)], &rights, MsgFlags::MSG_NOSIGNAL, None)
        .map_err(|errno| lost(errno.into()))?;
    control.write_all(&body).map_err(lost)
}

// === impl Launch ===

impl Launch {
    fn wanted(&self) -> Wanted<'_> {
        let own = Own {
            program: &self.program,
            cwd: &self.cwd,
            plugin_dir: &self.folders.plugin,
            data_dir: &self.folders.data,
        };
        Wanted { limits: &self.limits, sandbox: &self.sandbox, own, port: self.port }
    }
}

// === impl SpawnError ===

impl From<SpawnError> for Cause {
    fn from(error: SpawnError) -> Self {
        let kind = match &error {
            SpawnError::Step { stage: Stage::Directory, .. } => CauseKind::MissingFile,
            SpawnError::Step { stage: Stage::Exec, errno, path } => return exec_cause(*errno, path),
            SpawnError::Refused(cause) => return cause.clone(),
            SpawnError::NotInitialised(_)
            | SpawnError::Nul(_)
            | SpawnError::TooLarge
            | SpawnError::System(..)
            | SpawnError::Shim(_)
            | SpawnError::Step { .. } => CauseKind::SpawnFailed,
        };
        Self::new(kind, error.to_string())
    }
}

#[allow(clippy::wildcard_enum_match_arm, reason = "the system's errors are not ours to list")]
fn exec_cause(errno: Errno, path: &std::path::Path) -> Cause {
    let shown = path.display();
    match errno {
        Errno::ENOENT if path.exists() => Cause::new(
            CauseKind::NotExecutable,
            format!(
                "{shown} exists, but the interpreter named in its first line (or its loader) does not: {errno}"
            ),
        ),
        Errno::ENOENT | Errno::ENOTDIR => {
            Cause::new(CauseKind::NotFound, format!("there is no {shown}: {errno}"))
        }
        Errno::EACCES | Errno::EPERM | Errno::EISDIR => {
            Cause::new(CauseKind::NotExecutable, format!("{shown} may not be executed: {errno}"))
        }
        Errno::ENOEXEC => Cause::new(
            CauseKind::NotExecutable,
            format!("{shown} is no program of this machine and has no #! line: {errno}"),
        ),
        _ => Cause::new(CauseKind::SpawnFailed, format!("executing {shown} failed: {errno}")),
    }
}
