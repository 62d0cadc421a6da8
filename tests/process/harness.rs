//! What the tests share: a launch with defaults, waiting with a bound, and looking for processes.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use wharf::process::logs::LogBook;
use wharf::process::{self, Folders, Launch, Level, Machine, Process, ProcessHandle, SpawnError};
use wharf::tasks::Tasks;
use wharf_core::manifest::{Limits, Sandbox, Span, Stop};

/// Far more than anything here takes on a loaded machine.
pub(crate) const BOUND: Duration = Duration::from_secs(30);

/// A host's surroundings.
pub(crate) struct World {
    pub(crate) tasks: Tasks,
    pub(crate) log: Arc<LogBook>,
    pub(crate) machine: Arc<Machine>,
    pub(crate) dir: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[], None).await
    }

    /// At this level, if the machine has it.
    pub(crate) async fn at(level: Level) -> Option<Self> {
        let world = Self::with(&[], Some(level)).await;
        let found = world.machine.level();
        (found == level).then_some(world)
    }

    /// Where no control group is used.
    pub(crate) async fn without_groups(at_most: Option<Level>) -> Self {
        let mut world = Self::new().await;
        // Its own folder: the other machine of this world has swept it.
        let machine = Machine::find_out_without_groups(Some(world.dir.path()), at_most, &world.tasks);
        world.machine = machine.await;
        world
    }

    /// What holds a limit here.
    pub(crate) fn held_by(&self, key: &str, limits: &Limits) -> Option<String> {
        let in_force = self.machine.in_force(limits, &Sandbox::default(), None).unwrap();
        in_force.limits.get(key).cloned()
    }

    /// A shell script under limits.
    pub(crate) async fn bounded(&self, script: &str, limits: Limits) -> Process {
        self.spawn(Launch { limits, ..self.sh(script) }).await.unwrap()
    }

    /// What was logged of one stream.
    pub(crate) fn said(&self, stream: &str) -> String {
        let lines = self.log.tail(1000);
        lines.iter().filter(|line| line.stream == stream).map(|line| format!("{}\n", line.text)).collect()
    }

    pub(crate) async fn with(secrets: &[&str], at_most: Option<Level>) -> Self {
        process::use_executable(Path::new(env!("CARGO_BIN_EXE_wharf"))).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let secrets = secrets.iter().map(|s| (*s).to_owned()).collect();
        let log = Arc::new(LogBook::new(dir.path().join("logs"), "test", secrets));
        let tasks = Tasks::default();
        let machine = Machine::find_out(Some(dir.path()), at_most, &tasks).await;
        Self { tasks, log, machine, dir }
    }

    /// `/bin/sh -c script`, without stdin, with stdout.
    pub(crate) fn sh(&self, script: &str) -> Launch {
        self.launch("/bin/sh", &["-c", script])
    }

    pub(crate) fn launch(&self, program: &str, args: &[&str]) -> Launch {
        Launch {
            program: PathBuf::from(program),
            args: args.iter().map(|s| (*s).to_owned()).collect(),
            cwd: self.dir.path().to_owned(),
            env: vec![("PATH".to_owned(), std::env::var("PATH").unwrap())],
            stdin: false,
            stdout: true,
            instance: 0,
            generation: 1,
            stop: Stop { grace: Span::secs(20), term: Span::secs(20), drain: Span::secs(1) },
            limits: Limits::default(),
            sandbox: Sandbox::default(),
            folders: Folders { plugin: self.dir.path().to_owned(), data: self.dir.path().to_owned() },
            port: None,
            log: Arc::clone(&self.log),
        }
    }

    pub(crate) async fn spawn(&self, launch: Launch) -> Result<Process, SpawnError> {
        within(process::spawn(launch, &self.machine, &self.tasks)).await
    }

    pub(crate) async fn run(&self, script: &str) -> Process {
        self.spawn(self.sh(script)).await.unwrap()
    }
}

/// Says loudly that a test shows nothing on this machine.
#[allow(clippy::print_stderr, reason = "it is for whoever looks at the run")]
pub(crate) fn skipped(why: &str) {
    eprintln!("SKIPPED: {why}");
}

/// Waits, but not forever.
pub(crate) async fn within<F: Future>(what: F) -> F::Output {
    tokio::time::timeout(BOUND, what).await.expect("took too long")
}

/// Waits until something that no one tells us about is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = tokio::time::Instant::now() + BOUND;
    while !is_so() {
        assert!(tokio::time::Instant::now() < end, "never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// All of stdout, to its end.
pub(crate) async fn read(process: &mut Process) -> String {
    let mut text = String::new();
    within(process.stdout.as_mut().unwrap().read_to_string(&mut text)).await.unwrap();
    text
}

/// The next line of stdout.
pub(crate) async fn line(process: &mut Process) -> String {
    let mut bytes = Vec::new();
    let stdout = process.stdout.as_mut().unwrap();
    loop {
        match within(stdout.read_u8()).await.unwrap() {
            b'\n' => return String::from_utf8(bytes).unwrap(),
            byte => bytes.push(byte),
        }
    }
}

/// Whether a process lives (a zombie does not).
pub(crate) fn lives(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// Processes whose environment holds this text.
pub(crate) fn marked(mark: &str) -> Vec<String> {
    let pids =
        std::fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let has = |pid: &String| {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|b| *b == 0).any(|entry| entry == mark.as_bytes())
    };
    pids.filter(|pid| pid.bytes().all(|b| b.is_ascii_digit())).filter(has).filter(|pid| lives(pid)).collect()
}

/// The mark in the environment of a process.
pub(crate) fn mark_of(handle: &ProcessHandle) -> String {
    let environment = std::fs::read_to_string(format!("/proc/{}/environ", handle.pid())).unwrap();
    environment.split('\0').find(|entry| entry.starts_with("WHARF_INSTANCE=")).unwrap().to_owned()
}

/// The shim of a process: its parent.
pub(crate) fn shim_of(handle: &ProcessHandle) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", handle.pid())).unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    rest.split(' ').nth(1).unwrap().parse().unwrap()
}

pub(crate) fn kill_hard(pid: i32) {
    let status = std::process::Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap();
    assert!(status.success());
}
