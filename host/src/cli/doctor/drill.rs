//! Balance and failover, exercised for real and in nobody's way: a host of its own for a moment, with two `wharf mock`
//! servers as targets, of which one is killed and comes back. What is shown is that this program does it on this machine.

use std::collections::BTreeMap;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use super::canary::Safe;
use super::report::Report;
use crate::cli::Target;
use crate::cli::client::Client;

/// For each step.
const PATIENCE: Duration = Duration::from_secs(30);
/// For one call.
const CALL: Duration = Duration::from_secs(5);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(50);
/// Calls by which balance is seen.
const CALLS: usize = 10;

/// A folder that goes with this.
struct Folder(PathBuf);

/// The host, the two servers, and what they live in; all of it ends with this.
struct Drill {
    program: PathBuf,
    servers: [Server; 2],
    host: Child,
    client: Client,
    _folder: Folder,
}

struct Server {
    process: Child,
    url: String,
}

pub(super) async fn examine(report: &mut Report) {
    let mut drill = match Drill::start().await {
        Ok(drill) => drill,
        Err(why) => return report.failed("drill", "-", why),
    };
    match drill.balance().await {
        Ok(detail) => report.ok("drill", "balance", detail),
        Err(why) => report.failed("drill", "balance", why),
    }
    match drill.failover().await {
        Ok(detail) => report.ok("drill", "failover", detail),
        Err(why) => report.failed("drill", "failover", why),
    }
    drill.end().await;
}

impl Drill {
    async fn start() -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let folder = Folder::make().map_err(|error| format!("no temporary folder: {error}"))?;
        let servers = [Server::start(&program, 0).await?, Server::start(&program, 0).await?];
        let plugins = folder.0.join("plugins");
        std::fs::create_dir(&plugins).map_err(|error| error.to_string())?;
        for (id, priorities) in [("balance", [1, 1]), ("failover", [1, 2])] {
            let text = manifest(&servers, priorities);
            std::fs::write(plugins.join(format!("{id}.toml")), text).map_err(|error| error.to_string())?;
        }
        let state = folder.0.join("state");
        let mut command = Command::new(&program);
        command.args(["up", "--listen", "127.0.0.1:0", "--plugins"]).arg(&plugins).arg("--state").arg(&state);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let host = command.spawn().map_err(|error| format!("no host could be started: {error}"))?;
        let client = client(&state)?;
        let drill = Self { program, servers, host, client, _folder: folder };
        for id in ["balance", "failover"] {
            drill.until_ready(id).await?;
        }
        Ok(drill)
    }

    /// Both targets take calls in turn.
    async fn balance(&self) -> Result<String, String> {
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        for _ in 0..CALLS {
            *seen.entry(self.call("balance").await?).or_default() += 1;
        }
        let shares: Vec<String> = seen.values().map(usize::to_string).collect();
        let detail = format!("of {CALLS} calls two targets took {}", shares.join(" and "));
        if seen.len() == 2 && seen.values().all(|calls| *calls == CALLS / 2) {
            Ok(detail)
        } else {
            Err(detail)
        }
    }

    /// The preferred target takes the calls, the other one while it is dead, and it again when it is back.
    async fn failover(&mut self) -> Result<String, String> {
        let preferred = self.call("failover").await?;
        let [first, _] = &mut self.servers;
        first.process.kill().await.map_err(|error| error.to_string())?;
        let dead = Instant::now();
        let other =
            self.call("failover").await.map_err(|why| format!("with one of two targets dead: {why}"))?;
        let took = dead.elapsed();
        if other == preferred {
            return Err("a call was answered by a target that is dead".to_owned());
        }
        let port = first_port(&self.servers[0].url)?;
        self.servers[0] = Server::start(&self.program, port).await?;
        let back = Instant::now();
        while self.call("failover").await? != preferred {
            if back.elapsed() > PATIENCE {
                return Err("a target that came back gets no calls".to_owned());
            }
            sleep(PAUSE).await;
        }
        Ok(format!(
            "a call was answered {} ms after the preferred target was killed; {} ms after it was back it had the calls again",
            took.as_millis(),
            back.elapsed().as_millis()
        ))
    }

    async fn call(&self, plugin: &str) -> Result<u64, String> {
        let answer = Safe::of(plugin, "whoami").make(&self.client, CALL).await;
        answer
            .map(|answer| answer.instance)
            .map_err(|complaint| [vec![complaint.title], complaint.details].concat().join(": "))
    }

    async fn until_ready(&self, id: &str) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let view = self.client.get::<Value>(self.client.path(&["api", "v1", "plugins", id])).await;
            let all = view.as_ref().ok().and_then(|view| view.get("instances")?.as_array());
            let ready = |one: &Value| one.get("state").is_some_and(|state| state == "ready");
            if all.is_some_and(|all| all.len() == 2 && all.iter().all(ready)) {
                return Ok(());
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("a host of its own does not get two mocks ready within {PATIENCE:?}"));
            }
            sleep(PAUSE).await;
        }
    }

    async fn end(mut self) {
        if let Some(pid) = self.host.id().and_then(|pid| i32::try_from(pid).ok()) {
            kill(Pid::from_raw(pid), Signal::SIGTERM).ok();
        }
        if timeout(PATIENCE, self.host.wait()).await.is_err() {
            self.host.kill().await.ok();
        }
        for server in &mut self.servers {
            server.process.kill().await.ok();
        }
    }
}

fn client(state: &Path) -> Result<Client, String> {
    let target = Target { state: Some(state.to_owned()), url: None, token: None };
    Client::new(&target).map_err(|complaint| complaint.title)
}

fn manifest(servers: &[Server; 2], priorities: [u32; 2]) -> String {
    let target = |server: &Server, priority: u32| {
        format!("[[targets]]\nurl = \"{}\"\ndialect = \"http\"\npriority = {priority}\n", server.url)
    };
    let [first, second] = servers;
    let head =
        "balance = \"round_robin\"\nera = \"legacy\"\n[restart]\ninitial = \"50ms\"\nmax = \"500ms\"\n";
    [head, &target(first, priorities[0]), &target(second, priorities[1])].concat()
}

fn first_port(url: &str) -> Result<u16, String> {
    let uri: http::Uri = url.parse().map_err(|error| format!("{url}: {error}"))?;
    uri.port_u16().ok_or_else(|| format!("{url} names no port"))
}

impl Server {
    async fn start(program: &Path, port: u16) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["mock", "--dialect", "http", "--port", &port.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut process = command.spawn().map_err(|error| format!("no mock could be started: {error}"))?;
        let stderr = process.stderr.take().ok_or("a mock without stderr")?;
        let mut lines = BufReader::new(stderr).lines();
        let line = timeout(PATIENCE, lines.next_line()).await.ok().and_then(Result::ok).flatten();
        let url = line.as_deref().and_then(|line| line.split("listening on ").nth(1)).map(str::to_owned);
        let url = url.ok_or_else(|| format!("a mock does not listen: {}", line.unwrap_or_default()))?;
        Ok(Self { process, url })
    }
}

impl Folder {
    fn make() -> std::io::Result<Self> {
        let path = std::env::temp_dir().join(format!("wharf-doctor-{}", std::process::id()));
        // One that is there already is not ours: it fails.
        std::fs::DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}
