//! Starting a plugin's process: the shim, the pipes, the request.

mod error;

use std::ffi::{CString, OsString};
use std::io::{self, IoSlice, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use wharf_core::manifest::{Limits, Sandbox, Stop};

pub use self::error::SpawnError;
use self::error::{HOST_ENDS, SILENT};
use super::bounds::{self, Bounded, Bounds};
use super::dial::{self, Line};
use super::draft::{Draft, Over};
use super::env;
use super::exe;
use super::handle::{self, ProcessHandle};
use super::keeper::Keeper;
use super::logs::{LogBook, pump};
use super::machine::Machine;
use super::plan::{InForce, Own, Plan, Wanted};
use super::proc::Pid;
use super::reach;
use super::sweep::Main;
use super::wire::{HOST_STREAM, MARKER, Report, Request, SHIM_WORD, Stage};
use crate::tasks::Tasks;

/// How long the shim may take from its start to the plugin's first instruction. Far above what a loaded machine needs.
const FIRST_REPORT: Duration = Duration::from_secs(20);

/// How long a failed launch is waited for until nothing of it is left; then that goes on in the background.
const UNDONE: Duration = Duration::from_secs(5);

/// How many bytes a plugin whose stdout we read may write there before it waits for us. A user has 64 MiB for all pipes, and
/// gets small ones beyond that (pipe(7)): 200 plugins must fit.
const STDOUT_ROOM: i32 = 256 << 10;

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
    /// What is in force for it: as planned, but for what could not be had.
    pub in_force: InForce,
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

/// What the blocking part hands over.
struct Begun {
    control: UnixStream,
    keeper: Keeper,
    stdin: Option<OwnedFd>,
    stdout: OwnedFd,
    stderr: OwnedFd,
    /// The host's end of the socket for connections, if the plugin has a network of its own.
    line: Option<OwnedFd>,
    over: Over,
}

/// Starts a process. Returns when its program is executed, or with the step that failed.
///
/// If the future is dropped, the tree is killed in the background.
///
/// # Errors
/// See [`SpawnError`].
pub async fn spawn(launch: Launch, machine: &Arc<Machine>, tasks: &Tasks) -> Result<Process, SpawnError> {
    let marker = marker()?;
    let (plan, in_force) = machine.plan(&launch.wanted()).map_err(SpawnError::Refused)?;
    let level = plan.level;
    let (launch, plan) = with_files(launch, plan, tasks).await?;
    let mut request = request(&launch, &marker, plan)?;
    let label = format!("{}/{}", launch.log.plugin(), launch.instance);
    let with_stdin = launch.stdin;
    let (ground, keeping, mark) = (Arc::clone(machine), tasks.clone(), marker.clone());
    let bounded = launch.bounded(&mark, in_force);
    let book = Arc::clone(&launch.log);
    let log = bounds::Log { book, instance: launch.instance, generation: launch.generation };
    let beginning = move || {
        let mut entry = ground.ledger().enter(&mark);
        let plan = &mut request.plan.limits;
        entry.groups(plan.groups.iter().map(|group| group.dir(&bounded.name)).collect());
        let bounds = Bounds::make(plan, bounded, log, &keeping).map_err(SpawnError::Refused)?;
        let draft = Draft::new(entry, bounds, mark);
        begin(&request, &label, with_stdin, draft, &keeping)
    };
    let begun = tasks.blocking(beginning).await;
    let begun = begun.map_err(|_| HOST_ENDS)??;

    let system = |doing| move |error| SpawnError::System(doing, error);
    let pipes = system("use the plugin's pipes");
    let stdin = begun.stdin.map(pipe::Sender::from_owned_fd).transpose().map_err(pipes)?;
    let stdout = pipe::Receiver::from_owned_fd(begun.stdout).map_err(pipes)?;
    let stderr = pipe::Receiver::from_owned_fd(begun.stderr).map_err(pipes)?;
    let line = begun.line.map(|line| Line::new(line, tasks)).transpose();
    let line = line.map_err(system("use the socket for connections"))?;
    let shim = handle::Shim::new(begun.control, begun.keeper).map_err(system("use the shim's socket"))?;
    let (shim, pid, Draft { entry, bounds, traces, .. }) = match Box::pin(proven(shim, &launch, tasks)).await
    {
        Ok(proven) => proven,
        Err(error) => {
            // The shim is dropped: it is being ended. The next launch shall not begin beside it.
            undone(begun.over).await;
            return Err(error);
        }
    };

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
    let in_force = bounds.in_force();
    machine.launched(pid.unsigned_abs(), &in_force);
    let guarded = handle::Guarded { pid, traces, pumps, level, launch, line, entry, bounds };
    let handle = handle::guard(shim, guarded, tasks);
    Ok(Process { stdin, stdout, in_force: Arc::unwrap_or_clone(in_force), handle })
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
    let (launch, found) = tasks.blocking(looking).await.map_err(|_| HOST_ENDS)?;
    let found = found.map_err(SpawnError::Refused)?;
    for note in found.notes {
        launch.log.append(launch.instance, launch.generation, HOST_STREAM, &note);
    }
    *reach = found.reach;
    Ok((launch, plan))
}

/// Lets the shim begin, waits until the program is executed, and writes down what runs. The draft is the caller's then;
/// until that, dropping the future ends all of it.
async fn proven(
    mut shim: handle::Shim,
    launch: &Launch,
    tasks: &Tasks,
) -> Result<(handle::Shim, Pid, Draft), SpawnError> {
    let mut begun = false;
    let pid = match tokio::time::timeout(FIRST_REPORT, started_as(&mut shim, &mut begun)).await {
        Ok(Ok(pid)) => pid,
        Ok(Err(Unstarted::Step(stage, errno))) => return Err(step(launch, stage, errno)),
        Ok(Err(Unstarted::Ended)) => return Err(SpawnError::Shim("ended before it started the plugin")),
        Err(_) if begun => {
            return Err(SpawnError::Hangs { cwd: launch.cwd.clone(), program: launch.program.clone() });
        }
        Err(_) => return Err(SILENT),
    };
    let noting = move || {
        let known = [shim.pid(), pid];
        if let Some(draft) = shim.keeper().draft() {
            draft.traces.main = Some(Main::now(pid));
            draft.entry.started(known);
        }
        shim
    };
    let mut shim = tasks.blocking(noting).await.map_err(|_| HOST_ENDS)?;
    let draft = shim.keeper().take_draft().ok_or(HOST_ENDS)?;
    Ok((shim, pid, draft))
}

/// Why there is no main process.
enum Unstarted {
    Step(Stage, Errno),
    Ended,
}

/// Lets the shim begin, and waits until the program is executed. `begun`: it was let begin.
async fn started_as(shim: &mut handle::Shim, begun: &mut bool) -> Result<Pid, Unstarted> {
    loop {
        match shim.report().await {
            Some(Report::Shim { pid }) => {
                *begun = true;
                shim.adopt(pid);
            }
            Some(Report::Started { pid }) => return Ok(pid),
            Some(Report::Failed { stage, errno }) => {
                return Err(Unstarted::Step(stage, Errno::from_raw(errno)));
            }
            Some(Report::Exited(_) | Report::Gone) | None => return Err(Unstarted::Ended),
        }
    }
}

/// Waits until nothing of a failed launch is left, with a bound.
async fn undone(mut over: Over) {
    tokio::time::timeout(UNDONE, async { while over.changed().await.is_ok() {} }).await.ok();
}

fn step(launch: &Launch, stage: Stage, errno: Errno) -> SpawnError {
    let path = if stage == Stage::Directory { &launch.cwd } else { &launch.program };
    SpawnError::Step { stage, errno, path: path.clone() }
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
fn begin(
    request: &Request,
    label: &str,
    with_stdin: bool,
    draft: Draft,
    tasks: &Tasks,
) -> Result<Begun, SpawnError> {
    let system = |doing| move |error| SpawnError::System(doing, error);
    let pipe = || io::pipe().map_err(system("make a pipe"));
    let (plugin_stdin, stdin): (OwnedFd, Option<OwnedFd>) = if with_stdin {
        let (reader, writer) = pipe()?;
        (reader.into(), Some(writer.into()))
    } else {
        (std::fs::File::open("/dev/null").map_err(system("open /dev/null"))?.into(), None)
    };
    let (stdout, plugin_stdout) = pipe()?;
    if with_stdin {
        // A large answer then comes in few pieces. Where the system grants no more, it comes in more of them.
        fcntl(&stdout, FcntlArg::F_SETPIPE_SZ(STDOUT_ROOM)).ok();
    }
    let (stderr, plugin_stderr) = pipe()?;
    let (control, theirs) = UnixStream::pair().map_err(system("make a socket"))?;
    let over = draft.over();
    let keeper = Keeper::new(start_shim(theirs, label)?, Some(draft), tasks);
    let line = request.plan.network.apart.then(dial::pair).transpose();
    let (line, shim_line) = line.map_err(system("make a socket"))?.unzip();
    let mut passed =
        vec![plugin_stdin.as_fd().as_raw_fd(), plugin_stdout.as_raw_fd(), plugin_stderr.as_raw_fd()];
    passed.extend(shim_line.as_ref().map(OwnedFd::as_raw_fd));
    hand_over(&control, request, &passed)?;
    control.set_nonblocking(true).map_err(system("use the shim's socket"))?;
    Ok(Begun { control, keeper, stdin, stdout: stdout.into(), stderr: stderr.into(), line, over })
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
    control.write_all(&body).map_err(|error| {
        // It does not even read.
        let silent = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        if silent { SILENT } else { lost(error) }
    })
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

    fn bounded(&self, mark: &str, in_force: InForce) -> Bounded {
        let memory = self.limits.memory;
        Bounded {
            name: mark.rsplit('=').next().unwrap_or(mark).to_owned(),
            limits: self.limits.clone(),
            strictness: self.sandbox.containment,
            heap_bounded: memory.is_some_and(|most| env::bounds_node_heap(&self.env, most.0)),
            in_force,
        }
    }
}
