//! A host in folders of its own, under load. It is ended here, also when a measurement fails.

use std::fs::{self, File};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::proc::signal;
use super::{Http, Outcome, wharf};

/// How long a start or an end may take.
const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks at the state of the plugins.
const LOOK: Duration = Duration::from_millis(20);

/// A host under load.
pub(crate) struct Host {
    child: Child,
    pub(crate) pid: u32,
    /// `IP:PORT`
    pub(crate) address: String,
    pub(crate) token: String,
    pub(crate) started: Instant,
    started_at: SystemTime,
    home: TempDir,
    /// Held, so that the host never writes into a pipe that nobody has.
    _stdout: Lines<BufReader<ChildStdout>>,
}

impl Host {
    /// Starts a host with `count` mocks, `p0`, `p1` and so on, and returns when it listens.
    pub(crate) async fn mocks(count: usize, mock_args: &[&str]) -> Outcome<Self> {
        let args: Vec<String> = ["mock"].iter().chain(mock_args).map(|arg| format!("{arg:?}")).collect();
        let manifest = format!("command = \"${{wharf}}\"\nargs = [{}]\n", args.join(", "));
        Self::start((0..count).map(|n| (format!("p{n}"), manifest.clone()))).await
    }

    /// Starts a host with these plugins (id and manifest), and returns when it listens.
    pub(crate) async fn start(plugins: impl IntoIterator<Item = (String, String)>) -> Outcome<Self> {
        let home = TempDir::with_prefix("wharf-bench-")?;
        for folder in ["plugins", "state"] {
            fs::create_dir(home.path().join(folder))?;
        }
        for (id, manifest) in plugins {
            fs::write(home.path().join("plugins").join(format!("{id}.toml")), manifest)?;
        }
        let (started, started_at) = (Instant::now(), SystemTime::now());
        let mut child = Command::new(wharf())
            .args(["up", "--listen", "127.0.0.1:0", "--plugins"])
            .arg(home.path().join("plugins"))
            .arg("--state")
            .arg(home.path().join("state"))
            .env_remove("WHARF_URL")
            .env_remove("WHARF_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(File::create(home.path().join("stderr"))?)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().ok_or("the host ended at once")?;
        let mut lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let line = tokio::time::timeout(PATIENCE, lines.next_line()).await??;
        let address = line.as_deref().and_then(|line| line.strip_prefix("wharf listening on http://"));
        let Some(address) = address.map(str::to_owned) else {
            return Err(format!("the host does not listen: {line:?}\n{}", said(home.path())).into());
        };
        let token = fs::read_to_string(home.path().join("state/token"))?.trim().to_owned();
        Ok(Self { child, pid, address, token, started, started_at, home, _stdout: lines })
    }

    /// A connection to it.
    pub(crate) async fn connect(&self) -> Outcome<Http> {
        Http::connect(&self.address, &self.token).await
    }

    /// Waits until all plugins are ready; from the start to the moment when the last one was, as the host tells it.
    pub(crate) async fn all_ready(&self) -> Outcome<Duration> {
        let mut http = self.connect().await?;
        let end = Instant::now() + PATIENCE;
        loop {
            let view = http.get("/api/v1/plugins").await?;
            let plugins = view["plugins"].as_array().ok_or("no list of plugins")?;
            if plugins.iter().all(|plugin| plugin["state"] == "ready") {
                let since = plugins.iter().map(|plugin| time_of(&plugin["since"]));
                let last = since.collect::<Outcome<Vec<_>>>()?.into_iter().max().unwrap_or(self.started_at);
                return Ok(last.duration_since(self.started_at).unwrap_or_default());
            }
            if Instant::now() > end {
                return Err(format!("not ready: {view}\n{}", said(self.home.path())).into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// The main process of a plugin.
    pub(crate) async fn pid_of(&self, http: &mut Http, plugin: &str) -> Outcome<u32> {
        let view = http.get(&format!("/api/v1/plugins/{plugin}")).await?;
        let pid = view["instances"][0]["pid"].as_u64().ok_or_else(|| format!("no process: {view}"))?;
        Ok(u32::try_from(pid)?)
    }

    /// Ends it in good order.
    pub(crate) async fn end(mut self) -> Outcome<()> {
        signal(self.pid, Signal::SIGTERM)?;
        let status: ExitStatus = match tokio::time::timeout(PATIENCE, self.child.wait()).await {
            Ok(status) => status?,
            Err(_) => {
                self.child.kill().await?;
                return Err(format!("the host did not end\n{}", said(self.home.path())).into());
            }
        };
        if status.success() { Ok(()) } else { Err(format!("the host ended with {status}").into()) }
    }
}

fn time_of(value: &Value) -> Outcome<SystemTime> {
    Ok(humantime::parse_rfc3339(value.as_str().ok_or("no time")?)?)
}

/// The end of what the host wrote on stderr.
fn said(home: &Path) -> String {
    let text = fs::read_to_string(home.join("stderr")).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(20).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}
