//! Plugins that take too much of the machine, or reach for what is not theirs. A host that does not know a limit's key
//! says so (its manifest is invalid), and the case is skipped.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::Value;

use crate::beside::Beside;
use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::mockproc::free_port;
use crate::support::procs::kill9;
use crate::support::{Manifest, WHARF, eventually, mock};
use crate::trees;

const GREEDY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/faults/limits/greedy.py");

/// A plugin that does `what` before it serves; the file in which it tells what came of it.
fn greedy(folder: &Path, what: &[&str]) -> (Manifest, std::path::PathBuf) {
    fs::create_dir_all(folder).expect("the scratch folder is writable");
    let result = folder.join("result");
    let script = Path::new(GREEDY).canonicalize().expect("it is in the repository");
    let bad = Manifest::command("python3").path(&script).path(&result).args(what.iter().copied());
    let bad =
        bad.args(["--", WHARF, "mock"]).quick().set("era", "legacy").set("env.WHARF_TREE", text(folder));
    (bad, result)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a UTF-8 path")
}

/// Puts the plugin in; false if the host does not know a key of its manifest.
async fn accepted(beside: &Beside, bad: &Manifest) -> bool {
    beside.host.put("bad", bad);
    let view = beside.host.until("bad", "there", |view| view["state"].is_string()).await;
    view["state"] != "misconfigured"
}

/// What the plugin did, once it tells.
async fn told(result: &Path) -> Value {
    eventually("the plugin to tell what it did", async || {
        let text = fs::read_to_string(result).map_err(|error| error.to_string())?;
        serde_json::from_str(&text).map_err(|error| error.to_string())
    })
    .await
}

const UNKNOWN: &str = "this host does not know the limit";

/// Fault: a leak of 100 MiB a second, with a limit of 256 MiB (half of the table's, which shows the same and leaves a
/// small machine alone). Expected: killed within 2 s of being over the limit, the cause says so, the host's memory is
/// flat, and the others live.
#[tokio::test]
async fn f23_a_leak() {
    let mut case = Case::heavy("F23", Kind::Process, "leaks 100 MiB/s over a limit of 256 MiB").await;
    let beside = Beside::start(&mut case, Setup::new()).await;
    let leaks = mock().args(["--memory", "100MiB/s"]).set("limits.memory", "256MiB");
    if !accepted(&beside, &leaks.set("restart.max", "60s").set("restart.initial", "30s")).await {
        return case.skip(UNKNOWN);
    }
    beside.host.until_cause("bad", "out_of_memory").await;
    // The cause is shown at once, the end when nothing of it is left.
    let ended = |view: &Value| view["instances"][0]["last_exit"].is_object();
    let view = beside.host.until("bad", "gone", ended).await;
    let exit = &view["instances"][0]["last_exit"];
    assert_eq!(exit["oom"], true, "{view}");
    case.figure("cause", view["cause"]["code"].as_str().unwrap());
    let uptime = Duration::from_millis(exit["uptime_ms"].as_u64().unwrap());
    // The leak makes a step each tenth of a second, which is what may be added on a loaded machine; never less.
    let over = uptime.saturating_sub(Duration::from_millis(2560));
    case.time("killed after being over it for at most", over);
    assert!(over < Duration::from_secs(5), "killed after {uptime:?}");
    beside.is_flat(&mut case, 32 << 20);
    beside.is_well().await;
}

/// Fault: a fork bomb, with a bound of its own at 400 processes, and a limit of 64. Expected: it gets no more than the
/// limit, and the host answers all the while.
#[tokio::test]
async fn f24_a_fork_bomb() {
    let mut case = Case::heavy("F24", Kind::Process, "forks 400 processes over a limit of 64").await;
    let beside = Beside::start(&mut case, Setup::new()).await;
    let folder = beside.host.scratch("bomb");
    let (bomb, result) = greedy(&folder, &["fork", text(&folder), "400"]);
    if !accepted(&beside, &bomb.set("limits.pids", 64)).await {
        return case.skip(UNKNOWN);
    }
    let mut took = Vec::new();
    while !result.exists() {
        let asked = Instant::now();
        let health = beside.host.bare(Method::GET, "/healthz").send().await.unwrap();
        assert_eq!(health.status(), 200);
        took.push(asked.elapsed());
        assert!(took.len() < 100_000, "it tells nothing");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let told = told(&result).await;
    case.figure("made", &told["made"]);
    case.figure("then", &told["refused"]);
    assert_eq!(told["refused"], "EAGAIN", "{told}");
    assert!(told["made"].as_u64().unwrap() < 64, "{told}");
    took.sort();
    case.time("health p99 meanwhile", took.get(took.len() * 99 / 100).copied().unwrap_or_default());
    beside.is_well().await;
    beside.host.remove("bad");
    eventually("the bomb to be gone", async || match trees::living(&folder) {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{left:?}")),
    })
    .await;
    case.figure("survivors", 0);
}

/// Fault: it opens ten thousand files and writes a file of 64 MiB, with limits of 64 files and 4 MiB. Expected: EMFILE
/// and EFBIG inside of the plugin, and nothing outside of it.
#[tokio::test]
async fn f25_too_many_files() {
    let mut case = Case::begin("F25", Kind::Process, "10,000 open files and a file of 64 MiB");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let folder = beside.host.scratch("files");
    let (bad, result) = greedy(&folder, &["files", text(&folder)]);
    if !accepted(&beside, &bad.set("limits.open_files", 64).set("limits.file_size", "4MiB")).await {
        return case.skip(UNKNOWN);
    }
    let told = told(&result).await;
    assert_eq!((&told["opened"], &told["filled"]), (&"EMFILE".into(), &"EFBIG".into()), "{told}");
    assert!(told["count"].as_u64().unwrap() < 64 && told["size"] == 4 << 20, "{told}");
    case.figure("files", &told["opened"]);
    case.figure("size", &told["filled"]);
    beside.host.until_state("bad", "ready").await;
    beside.is_well().await;
}

/// Fault: it reads the host's environment, root's home, the host's token and /etc/shadow, and connects to a Unix socket
/// beside it (as of a container engine). Expected: absent or denied. The socket is a gap of Landlock below version 9 and
/// is noted, not judged.
#[tokio::test]
async fn f26_what_is_the_hosts() {
    let mut case = Case::begin("F26", Kind::Process, "reads what is the host's");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let host = &beside.host;
    let folder = host.scratch("looks");
    let socket = host.scratch("docker.sock");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (pid, state) = (host.pid().to_string(), host.state());
    let (bad, result) = greedy(&folder, &["look", &pid, text(&state), text(&socket)]);
    let built = Path::new(WHARF).parent().unwrap();
    let scripts = Path::new(GREEDY).canonicalize().unwrap();
    let read = [text(built), text(scripts.parent().unwrap())].map(toml::Value::from).to_vec();
    let bad =
        bad.set("sandbox.fs.read", read).set("sandbox.fs.write", vec![toml::Value::from(text(&folder))]);
    if !accepted(&beside, &bad).await {
        return case.skip("this host does not know sandbox.fs");
    }
    if host.until("bad", "started or not", |view| view["state"] != "preparing").await["state"] == "fatal" {
        return case.skip("this machine cannot enforce sandbox.fs (no Landlock)");
    }
    let told = told(&result).await;
    for (what, came) in told.as_object().unwrap() {
        case.figure(what, came.as_str().unwrap());
        let gap = what.contains("unix socket");
        assert!(gap || ["EACCES", "ENOENT", "EPERM"].contains(&came.as_str().unwrap()), "{what}: {told}");
    }
    beside.is_well().await;
}

/// Fault: it signals the host and a sibling, and attaches to the sibling as a debugger. Expected: refused, or not even
/// there. Below a PID namespace a process of the same user can signal any other; the case says which level it ran at.
#[tokio::test]
async fn f27_harm_to_others() {
    let mut case = Case::begin("F27", Kind::Process, "signals the host, attaches to a sibling");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let host = &beside.host;
    let (folder, sibling) = (host.scratch("harms"), host.pid_of("well").await.to_string());
    let (bad, result) = greedy(&folder, &["harm", &host.pid().to_string(), &sibling]);
    let level = crate::harness::level(host).await;
    if !level.ends_with("pid_namespace") {
        return case.skip(&format!("at {level} a plugin has the rights of the host's own user"));
    }
    host.put("bad", &bad);
    let told = told(&result).await;
    for (what, came) in told.as_object().unwrap() {
        case.figure(what, came.as_str().unwrap());
        assert!(["EPERM", "ESRCH"].contains(&came.as_str().unwrap()), "{what}: {told}");
    }
    beside.is_well().await;
}

/// Somebody of another user id who listens on a port and writes down who comes. Killed when dropped.
struct Squatter(Child);

impl Squatter {
    fn on(port: u16, met: &Path) -> Self {
        let code = "const s = require('node:net').createServer((c) => c.on('data', () => {}) && console.log('met'));\
            s.listen({ port: Number(process.argv[1]), host: '127.0.0.1' }, () => console.log('listens'));";
        let child = Command::new("setpriv")
            .args(["--reuid=54321", "--regid=54321", "--clear-groups", "node", "-e", code, &port.to_string()])
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(fs::File::create(met).unwrap())
            .spawn()
            .unwrap();
        Self(child)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Fault: while the plugin is down, another user takes its port and waits for what comes. Expected: no byte and no
/// connection goes there; the cause names the port; once it is free the plugin is back.
#[tokio::test]
async fn f21_another_user_squats_the_port() {
    let mut case = Case::begin("F21", Kind::Rights, "another user has the port of a plugin that is down");
    if !nix::unistd::getuid().is_root() || Command::new("setpriv").arg("--version").output().is_err() {
        return case.skip("only root, with setpriv, can become another user");
    }
    let port = free_port();
    let bad = mock_on_port("http").set("port", i64::from(port)).set("limits.queue_wait", "100ms");
    let bad = bad.set("restart.initial", "2s").set("restart.max", "2s").set("restart.quarantine_after", 1000);
    let beside = Beside::with(&mut case, &bad).await;
    let host = &beside.host;
    let old = host.pid_of("bad").await;
    kill9(old);
    host.until_state("bad", "backoff").await;
    let met = host.scratch("met");
    let squatter = Squatter::on(port, &met);
    let heard = || fs::read_to_string(&met).unwrap();
    eventually(
        "the squatter to listen",
        async || {
            if heard().is_empty() { Err("not yet".to_owned()) } else { Ok(()) }
        },
    )
    .await;
    let view = host.until_cause("bad", "port_in_use").await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains(&port.to_string()), "{view}");
    for _ in 0..5 {
        let answer = host.try_call("bad", "echo", serde_json::json!({ "message": "a secret" })).await;
        answer.problem(503, "plugin_unavailable");
    }
    assert_eq!(heard(), "listens\n", "somebody connected to the squatter");
    case.figure("connections to the squatter", 0);
    let begun = Instant::now();
    drop(squatter);
    host.until_back("bad", old).await;
    case.time("back once it was free (delay 2 s)", begun.elapsed());
    beside.is_well().await;
}
