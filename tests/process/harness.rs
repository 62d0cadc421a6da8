//! What the tests share: a launch with defaults, waiting with a bound, and looking for processes.

use std::future::Future;
use std::io::BufRead;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
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
    /// Where it works, and keeps its state.
    pub(crate) folder: PathBuf,
    /// Removes the folder.
    _dir: Option<tempfile::TempDir>,
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

    /// One at each level that this machine has. Those that it has not are told.
    pub(crate) async fn each() -> Vec<Self> {
        let mut worlds = Vec::new();
        for level in Level::ALL {
            match Self::at(level).await {
                Some(world) => worlds.push(world),
                None => eprintln!("SKIPPED at the level {}: this machine does not have it", level.as_str()),
            }
        }
        worlds
    }

    /// Where no control group is used.
    pub(crate) async fn without_groups(at_most: Option<Level>) -> Self {
        let mut world = Self::new().await;
        // Its own folder: the other machine of this world has swept it.
        let machine = Machine::find_out_without_groups(Some(&world.folder), at_most, &world.tasks);
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
        let dir = tempfile::tempdir().unwrap();
        let world = Self::on(dir.path().to_owned(), secrets, at_most).await;
        Self { _dir: Some(dir), ..world }
    }

    /// With this folder, which an earlier host may have used.
    pub(crate) async fn on(folder: PathBuf, secrets: &[&str], at_most: Option<Level>) -> Self {
        // Another user's host cannot reach the one that was built.
        let copied = std::env::var_os("WHARF_TEST_SHIM").map(PathBuf::from);
        let wharf = copied.unwrap_or_else(|| env!("CARGO_BIN_EXE_wharf").into());
        process::use_executable(&wharf).unwrap();
        let secrets = secrets.iter().map(|s| (*s).to_owned()).collect();
        let log = Arc::new(LogBook::new(folder.join("logs"), "test", secrets));
        let tasks = Tasks::default();
        let machine = Machine::find_out(Some(&folder), at_most, &tasks).await;
        Self { tasks, log, machine, folder, _dir: None }
    }

    /// `/bin/sh -c script`, without stdin, with stdout.
    pub(crate) fn sh(&self, script: &str) -> Launch {
        self.launch("/bin/sh", &["-c", script])
    }

    pub(crate) fn launch(&self, program: &str, args: &[&str]) -> Launch {
        Launch {
            program: PathBuf::from(program),
            args: args.iter().map(|s| (*s).to_owned()).collect(),
            cwd: self.folder.clone(),
            env: vec![("PATH".to_owned(), std::env::var("PATH").unwrap())],
            stdin: false,
            stdout: true,
            instance: 0,
            generation: 1,
            stop: Stop { grace: Span::secs(20), term: Span::secs(20), drain: Span::secs(1) },
            limits: Limits::default(),
            sandbox: Sandbox::default(),
            folders: Folders { plugin: self.folder.clone(), bundle: false, data: self.folder.clone() },
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

/// The mark in the environment of a process. Between two programs a process has no environment, so it is looked for again.
pub(crate) fn mark_of(handle: &ProcessHandle) -> String {
    let end = std::time::Instant::now() + BOUND;
    loop {
        let environment = std::fs::read_to_string(format!("/proc/{}/environ", handle.pid())).unwrap();
        if let Some(mark) = environment.split('\0').find(|entry| entry.starts_with("WHARF_INSTANCE=")) {
            return mark.to_owned();
        }
        assert!(std::time::Instant::now() < end, "it has no mark: {environment:?}");
    }
}

/// The parent of a process; `None` if it is gone.
pub(crate) fn parent_of(pid: &str) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

/// The shim of a process: its parent.
pub(crate) fn shim_of(handle: &ProcessHandle) -> i32 {
    parent_of(&handle.pid().to_string()).unwrap()
}

/// One test of ours, which is ignored otherwise, as a program of its own. What is started may be a program that starts it.
pub(crate) fn alone<'a>(program: &'a mut Command, test: &str) -> &'a mut Command {
    program.args(["--exact", test, "--ignored", "--nocapture"])
}

/// Runs it to its end; it must pass.
#[allow(clippy::print_stderr, reason = "it is for whoever looks at the run: it may have skipped something")]
pub(crate) fn passes(program: &mut Command, test: &str) {
    let output = alone(program, test).stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let all = format!("{said}{}", String::from_utf8_lossy(&output.stderr));
    eprintln!("{all}");
    assert!(output.status.success() && said.contains("1 passed"), "{all}");
}

/// Starts it and waits for the line with this word; what stands behind the word.
pub(crate) fn tells(program: &mut Command, test: &str, word: &str) -> (Child, String) {
    let mut child = alone(program, test).stdout(Stdio::piped()).spawn().unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    let told = lines.map(Result::unwrap).find_map(|line| Some(line.split_once(word)?.1.trim().to_owned()));
    (child, told.unwrap())
}

/// This program, for the user nobody, who may not look where it was built.
pub(crate) struct OfNobody(tempfile::TempDir);

impl OfNobody {
    /// Its number on every Linux.
    pub(crate) const USER: &str = "65534";

    pub(crate) fn new() -> Self {
        let this = Self(tempfile::tempdir().unwrap());
        std::fs::set_permissions(this.0.path(), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::copy(std::env::current_exe().unwrap(), this.at("host")).unwrap();
        std::fs::copy(env!("CARGO_BIN_EXE_wharf"), this.at("wharf")).unwrap();
        this
    }

    /// A path in the folder of what was copied.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// It, with these further arguments of `setpriv`.
    pub(crate) fn program(&self, with: &[&str]) -> Command {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", Self::USER, "--regid", Self::USER, "--clear-groups"]).args(with);
        command.arg(self.at("host")).current_dir("/");
        command.env("WHARF_TEST_SHIM", self.at("wharf")).env("PATH", "/usr/bin:/bin");
        command
    }
}

pub(crate) fn kill_hard(pid: i32) {
    signal(pid, "KILL");
}

/// Sends a signal by its name to a process that must be there.
pub(crate) fn signal(pid: i32, name: &str) {
    let arguments = [format!("-{name}"), pid.to_string()];
    assert!(Command::new("kill").args(arguments).status().unwrap().success());
}
