//! A host under test: the real binary in folders of its own, a client for it, and the proof that nothing outlives it.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::procs::{self, MARK};
use super::{Manifest, PATIENCE, WHARF};

/// A host that is to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    home: TempDir,
    mark: String,
    flags: Vec<String>,
    env: Vec<(String, String)>,
    /// Another user than ours.
    user: Option<u32>,
    /// A process whose network it has, instead of ours.
    network: Option<u32>,
}

/// A running host. Dropping it ends it and fails the test if a process of it is left.
#[derive(Debug)]
pub(crate) struct TestHost {
    setup: Setup,
    process: Option<Process>,
    pub(super) http: reqwest::Client,
    /// `http://ADDR`
    pub(crate) base: String,
    /// The token of its state folder; empty with `--no-auth`.
    pub(crate) token: String,
}

#[derive(Debug)]
struct Process {
    pid: u32,
    exited: Receiver<ExitStatus>,
    said: Arc<Mutex<String>>,
}

// === impl Setup ===

impl Setup {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let home = TempDir::with_prefix("wharf-e2e-").expect("a temporary folder");
        for folder in ["plugins", "state", "scratch"] {
            fs::create_dir(home.path().join(folder)).expect("a fresh folder");
        }
        let mark = format!("{}-{}-", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let mark = mark + home.path().file_name().and_then(|name| name.to_str()).expect("a UTF-8 name");
        Self { home, mark, flags: Vec::new(), env: Vec::new(), user: None, network: None }
    }

    pub(crate) fn plugin(self, id: &str, manifest: &Manifest) -> Self {
        let text = manifest.text(&self.mark);
        self.file(&format!("{id}.toml"), text)
    }

    /// A file of the plugin folder, as it is.
    pub(crate) fn file(self, name: &str, text: impl AsRef<[u8]>) -> Self {
        fs::write(self.plugins().join(name), text).expect("the plugin folder is writable");
        self
    }

    pub(crate) fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Runs as this user, who is given the test's folders. Only root can do that.
    pub(crate) fn run_by(mut self, user: u32) -> Self {
        let mut folders = vec![self.home.path().to_owned()];
        while let Some(path) = folders.pop() {
            std::os::unix::fs::chown(&path, Some(user), Some(user)).expect("root gives its files away");
            folders.extend(fs::read_dir(&path).into_iter().flatten().flatten().map(|entry| entry.path()));
        }
        self.user = Some(user);
        self
    }

    /// Runs in the network of this process. Only root can do that, and only its socket is reached from here.
    #[allow(dead_code, reason = "for the tests of the examples")]
    pub(crate) fn on_network_of(mut self, pid: u32) -> Self {
        self.network = Some(pid);
        self
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.home.path().join("plugins")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.home.path().join("state")
    }

    pub(crate) fn mark(&self) -> &str {
        &self.mark
    }

    /// A path for a test's own files, outside of the folders that the host looks at.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.home.path().join("scratch").join(name)
    }

    pub(crate) async fn start(self) -> TestHost {
        let (process, base) = Process::launch(&self);
        let token = fs::read_to_string(self.state().join("token")).unwrap_or_default().trim().to_owned();
        TestHost { setup: self, process: Some(process), http: client(), base, token }
    }
}

/// A client that follows no proxy of the environment.
pub(crate) fn client() -> reqwest::Client {
    rustls::crypto::ring::default_provider().install_default().ok();
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

// === impl Process ===

impl Process {
    /// Starts the binary and waits for the line that tells where it listens.
    fn launch(setup: &Setup) -> (Self, String) {
        let mut child = program(setup)
            .args(["up", "--listen", "127.0.0.1:0", "--plugins"])
            .arg(setup.plugins())
            .arg("--state")
            .arg(setup.state())
            .args(&setup.flags)
            .env_remove("WHARF_STATE")
            .env_remove("WHARF_URL")
            .env_remove("WHARF_TOKEN")
            .env(MARK, &setup.mark)
            .envs(setup.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary under test starts");
        let said = Arc::new(Mutex::new(String::new()));
        let lines = listen_to(child.stdout.take().expect("piped"), None);
        listen_to(child.stderr.take().expect("piped"), Some(Arc::clone(&said)));
        let pid = child.id();
        let process = Self { pid, exited: wait_for(child), said };
        let line = lines
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("the host told no address\n{}", process.said()));
        let base =
            line.strip_prefix("wharf listening on ").unwrap_or_else(|| panic!("an odd first line: {line:?}"));
        let base = base.to_owned();
        (process, base)
    }

    fn said(&self) -> String {
        self.said.lock().expect("no writer panics").clone()
    }

    /// Sends a signal and waits for the end.
    fn end(&self, signal: Signal) -> Option<ExitStatus> {
        if let Ok(status) = self.exited.try_recv() {
            return Some(status);
        }
        // It may end by itself at this moment: then there is nobody to signal, and the status comes all the same.
        kill(Pid::from_raw(i32::try_from(self.pid).expect("a pid")), signal).ok();
        self.exited.recv_timeout(PATIENCE).ok()
    }
}

/// The binary under test, by itself or behind a program that changes what it runs as or where, and becomes it.
fn program(setup: &Setup) -> Command {
    let mut command = match (setup.user.map(|user| user.to_string()), setup.network) {
        (None, None) => return Command::new(WHARF),
        (Some(user), _) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups"]);
            command
        }
        (None, Some(pid)) => {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net=/proc/{pid}/ns/net"));
            command
        }
    };
    command.arg(WHARF);
    command
}

/// Reads lines in a thread of its own: the host never waits for a test that does not read.
fn listen_to(pipe: impl Read + Send + 'static, keep: Option<Arc<Mutex<String>>>) -> Receiver<String> {
    let (lines, reader) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line).into_owned();
            if let Some(kept) = &keep {
                let mut kept = kept.lock().expect("no reader panics");
                kept.push_str(&line);
                kept.push('\n');
            }
            lines.send(line).ok();
        }
    });
    reader
}

fn wait_for(mut child: Child) -> Receiver<ExitStatus> {
    let (status, reader) = channel();
    std::thread::spawn(move || status.send(child.wait().expect("a child can be waited for")).ok());
    reader
}

// === impl TestHost: its life (what it is asked over HTTP is in `api`) ===

impl TestHost {
    /// A host with these plugins.
    pub(crate) async fn with<const N: usize>(plugins: [(&str, Manifest); N]) -> Self {
        plugins.iter().fold(Setup::new(), |setup, (id, manifest)| setup.plugin(id, manifest)).start().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().expect("the host runs").pid
    }

    /// What it wrote on stderr so far.
    pub(crate) fn said(&self) -> String {
        self.process.as_ref().map(Process::said).unwrap_or_default()
    }

    pub(crate) fn plugins(&self) -> PathBuf {
        self.setup.plugins()
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.setup.state()
    }

    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.setup.scratch(name)
    }

    pub(crate) fn mark(&self) -> &str {
        &self.setup.mark
    }

    pub(crate) fn home(&self) -> &Path {
        self.setup.home.path()
    }

    /// Replaces a manifest in one step, as a careful editor does.
    pub(crate) fn put(&self, id: &str, manifest: &Manifest) {
        self.put_file(&format!("{id}.toml"), manifest.text(self.mark()));
    }

    /// Replaces a file of the plugin folder in one step.
    pub(crate) fn put_file(&self, name: &str, text: impl AsRef<[u8]>) {
        let fresh = self.scratch(name);
        fs::write(&fresh, text).expect("the scratch folder is writable");
        fs::rename(&fresh, self.plugins().join(name)).expect("the plugin folder is writable");
    }

    pub(crate) fn remove(&self, id: &str) {
        fs::remove_file(self.plugins().join(format!("{id}.toml"))).expect("the manifest is there");
    }

    /// Ends it with a signal and tells how it ended.
    pub(crate) fn end(&mut self, signal: Signal) -> ExitStatus {
        let process = self.process.take().expect("the host runs");
        process.end(signal).unwrap_or_else(|| panic!("the host does not end\n{}", process.said()))
    }

    /// Waits for an end that was asked for.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let process = self.process.take().expect("the host runs");
        process
            .exited
            .recv_timeout(PATIENCE)
            .unwrap_or_else(|_| panic!("the host does not end\n{}", process.said()))
    }

    /// Ends it in good order and starts it again on the same folders.
    pub(crate) async fn reboot(&mut self) {
        let status = self.end(Signal::SIGTERM);
        assert!(status.success(), "a host that is asked to end exits 0, not {status}");
        self.again();
    }

    /// Starts it again on the same folders, once it was ended.
    pub(crate) fn again(&mut self) {
        let (process, base) = Process::launch(&self.setup);
        self.process = Some(process);
        self.base = base;
    }
}

impl Drop for TestHost {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        if failed {
            eprintln!("--- the host's stderr ---\n{}---", self.said());
        }
        let ended = self.process.take().is_none_or(|process| {
            let ended = process.end(Signal::SIGTERM).is_some();
            if !ended {
                process.end(Signal::SIGKILL);
            }
            ended
        });
        if !failed {
            assert!(ended, "the host did not end after SIGTERM");
            procs::assert_none_left(&self.setup.mark, self.setup.home.path());
        }
    }
}
