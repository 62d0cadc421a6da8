//! Plugins with a network of their own, and what happens where a stranger takes a port in the host's.
//!
//! What needs more than this machine allows is skipped, and says so.

use std::io::Read as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::json;

use crate::support::answer::text_of;
use crate::support::command::on;
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::procs::kill9;
use crate::support::{Manifest, TestHost, eventually, mock};

/// A user that owns nothing.
const NOBODY: u32 = 65534;

/// Whether networks can be made here, by that user if asked so.
fn networks_can_be_made(nobody: bool) -> bool {
    let mut probe = if nobody { as_nobody("unshare") } else { Command::new("unshare") };
    probe.args(if nobody { &["--user", "--net", "--pid", "--fork", "true"][..] } else { &["--net", "true"] });
    let made = probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !made {
        eprintln!("SKIPPED: this machine allows no network namespace here");
    }
    made
}

fn as_nobody(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new("setpriv");
    let id = NOBODY.to_string();
    command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]).arg(program.as_ref());
    command
}

/// Behind a dialect that listens, with a loopback of its own. All have the same port.
fn apart(dialect: &str) -> Manifest {
    mock_on_port(dialect).set("port", 8080).set("sandbox.net", "loopback")
}

#[tokio::test]
async fn each_dialect_works_over_a_loopback_of_its_own() {
    if !networks_can_be_made(false) {
        return;
    }
    let one = |dialect: &str| apart(dialect).set("env.WHO", dialect);
    let dialects = ["http", "sse", "sse-post"];
    let host = TestHost::with(dialects.map(|dialect| (dialect, one(dialect)))).await;
    // By turns, on kept connections: each answers for itself, though all have one address.
    for _ in 0..5 {
        for dialect in dialects {
            host.until_state(dialect, "ready").await;
            let env = host.call(dialect, "env", json!({ "name": "WHO" })).await;
            assert_eq!(env["structuredContent"]["value"], dialect);
        }
    }
    let direct = tokio::net::TcpStream::connect("127.0.0.1:8080").await;
    assert!(direct.is_err(), "nobody but the host reaches them");
    for dialect in dialects {
        let pid = host.pid_of(dialect).await;
        assert_eq!(host.plugin(dialect).await["instances"][0]["port"], 8080);
        kill9(pid);
        host.until_back(dialect, pid).await;
        let said = host.call(dialect, "echo", json!({ "message": "back" })).await;
        assert_eq!(text_of(&said), "back");
    }
    let called = on(&host, &["call", "http/echo", "message=by hand"]).await.expect(0);
    assert!(called.stdout.contains("by hand"), "{called:?}");
}

#[tokio::test]
async fn plugins_that_share_a_loopback_with_nobody_share_no_port() {
    if !networks_can_be_made(false) {
        return;
    }
    // With the knob off the second has no port: see below.
    let host = TestHost::with([("one", apart("http")), ("two", apart("http"))]).await;
    host.until_state("one", "ready").await;
    host.until_state("two", "ready").await;
    let shared = || apart("http").set("sandbox.net", "egress");
    let host = TestHost::with([("one", shared()), ("two", shared())]).await;
    let failed = eventually("one without a port", async || {
        for id in ["one", "two"] {
            let view = host.plugin(id).await;
            if view["cause"]["code"] == "port_in_use" {
                return Ok(view);
            }
        }
        Err("none".to_owned())
    });
    let view = failed.await;
    assert!(view["cause"]["detail"].as_str().unwrap().contains("of this host"), "{view}");
}

#[tokio::test]
async fn health_probes_go_where_the_plugin_is() {
    if !networks_can_be_made(false) {
        return;
    }
    let probed = |probe: &str| {
        apart("http").set("health.probe", probe).set("health.interval", "50ms").set("health.failures", 1)
    };
    // Of the health checks of the last one, the host counts ten that are answered and then one that is not.
    let sick = probed("http:/health").args(["--unhealthy-after", "10"]);
    let plugins = [("tcp", probed("tcp")), ("http", probed("http:/health")), ("sick", sick)];
    let host = TestHost::with(plugins).await;
    let (tcp, http) = (host.pid_of("tcp").await, host.pid_of("http").await);
    host.until("sick", "restarted", |view| view["restarts"].as_u64().is_some_and(|n| n > 0)).await;
    assert_eq!((host.pid_of("tcp").await, host.pid_of("http").await), (tcp, http));
    for id in ["tcp", "http"] {
        assert_eq!(host.plugin(id).await["restarts"], 0, "its probes were answered");
    }
}

#[tokio::test]
async fn a_plugin_on_stdio_needs_no_network() {
    if !networks_can_be_made(false) {
        return;
    }
    let host = TestHost::with([("alone", mock().set("sandbox.net", "none")), ("open", mock())]).await;
    let said = host.call("alone", "echo", json!({ "message": "here" })).await;
    assert_eq!(text_of(&said), "here");
    let network = |pid: u32| std::fs::read_link(format!("/proc/{pid}/ns/net")).unwrap();
    let ours = network(std::process::id());
    assert_ne!(network(host.pid_of("alone").await), ours);
    assert_eq!(network(host.pid_of("open").await), ours);
}

#[tokio::test]
async fn a_user_without_privileges_has_it_too() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can become another user; run by another user, the tests above show it");
        return;
    }
    let reads = as_nobody(crate::support::WHARF).arg("--version").stdout(Stdio::null()).status();
    if !networks_can_be_made(true) || !reads.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: uid {NOBODY} cannot make a network, or cannot run {}", crate::support::WHARF);
        return;
    }
    let setup = Setup::new()
        .plugin("http", &apart("http"))
        .plugin("shared", &mock_on_port("http"))
        .plugin("stdio", &mock().set("sandbox.net", "none"));
    let host = setup.run_by(NOBODY).start().await;
    for id in ["http", "shared", "stdio"] {
        host.until_state(id, "ready").await;
        let said = host.call(id, "echo", json!({ "message": "here" })).await;
        assert_eq!(text_of(&said), "here");
    }
    assert!(tokio::net::TcpStream::connect("127.0.0.1:8080").await.is_err());
    let pid = host.pid_of("http").await;
    kill9(pid);
    host.until_back("http", pid).await;
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Somebody else's process that takes a port as soon as it can, and writes down what it gets.
struct Squatter(Child);

impl Squatter {
    fn wait_for(port: u16, notes: &Path) -> Self {
        std::fs::write(notes, "").unwrap();
        std::os::unix::fs::chown(notes, Some(NOBODY), None).unwrap();
        let script = format!(
            "import socket\n\
             while True:\n\
             \x20 s = socket.socket()\n\
             \x20 s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
             \x20 try: s.bind((\"127.0.0.1\", {port})); s.listen(); break\n\
             \x20 except OSError: s.close()\n\
             notes = open(\"{}\", \"a\")\n\
             print(\"squats\", file=notes, flush=True)\n\
             while True:\n\
             \x20 c, _ = s.accept()\n\
             \x20 print(\"got\", c.recv(65536), file=notes, flush=True)\n\
             \x20 c.close()\n",
            notes.display()
        );
        let child = as_nobody("/usr/bin/env").args(["python3", "-c", &script]).spawn().unwrap();
        Self(child)
    }
}

impl Drop for Squatter {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Somebody of another uid takes the port of a plugin in the moment that it is down.
#[tokio::test]
async fn a_squatter_gets_no_byte() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: only root can start a process of another user");
        return;
    }
    let python = as_nobody("/usr/bin/env").args(["python3", "-c", ""]).status();
    if !python.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: uid {NOBODY} has no python3");
        return;
    }
    let port = free_port();
    let setup = Setup::new().plugin(
        "fixed",
        &mock_on_port("http")
            .set("port", i64::from(port))
            .set("restart.initial", "2s")
            .set("restart.max", "2s"),
    );
    let notes = setup.scratch("notes");
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    let home = notes.parent().and_then(Path::parent).unwrap().to_owned();
    open(&home);
    open(notes.parent().unwrap());
    let host = setup.start().await;
    let pid = host.pid_of("fixed").await;
    let mut events = host.events("/api/v1/events").await;
    let squatter = Squatter::wait_for(port, &notes);
    let read = || std::fs::read_to_string(&notes).unwrap();
    kill9(pid);
    let view = host.until_cause("fixed", "port_in_use").await;
    assert!(read().starts_with("squats"), "{view}");
    assert!(view["cause"]["detail"].as_str().unwrap().contains(&format!("uid {NOBODY}")), "{view}");
    let event = events.until("plugin.squatted", |event| event.name == "plugin.squatted").await.json();
    assert_eq!(event["data"]["by"]["uid"], NOBODY, "{event}");
    assert_eq!(event["data"]["plugin"], "fixed", "{event}");
    let refused = host.try_call("fixed", "echo", json!({ "message": "secret" })).await;
    assert_ne!(refused.status, 200);
    assert_eq!(read(), "squats\n", "not even a connection");
    drop(squatter);
    host.until_back("fixed", pid).await;
    host.call("fixed", "echo", json!({ "message": "back" })).await;
}

/// The plugin's main process lives, but it does not listen any more, and another one does.
#[tokio::test]
async fn a_plugin_that_lost_its_place_is_restarted_and_the_taker_told_of() {
    let port = free_port();
    let server = "${wharf} mock --dialect http --port ${port}; sleep 600";
    let lost = Manifest::command("sh").args(["-c", server]).set("dialect", "http");
    // Longer than the test holds the port.
    let lost = lost.set("restart.initial", "2s").set("restart.max", "2s");
    let lost = lost.set("url", "http://127.0.0.1:${port}/mcp").set("port", i64::from(port));
    let host = TestHost::with([("lost", lost)]).await;
    let main = host.pid_of("lost").await;
    let mut events = host.events("/api/v1/events").await;
    let children = std::fs::read_to_string(format!("/proc/{main}/task/{main}/children")).unwrap();
    kill9(children.trim().parse().unwrap());
    let listener = eventually("its port", async || {
        std::net::TcpListener::bind(("127.0.0.1", port)).map_err(|error| error.to_string())
    });
    let listener = listener.await;
    let seen = host.try_call("lost", "echo", json!({ "message": "secret" })).await;
    assert_ne!(seen.status, 200);
    let event = events.until("plugin.squatted", |event| event.name == "plugin.squatted").await.json();
    assert_eq!(event["data"]["plugin"], "lost", "{event}");
    assert_eq!(event["data"]["by"]["pid"], std::process::id(), "{event}");
    events.until("the cause", |event| event.name == "plugin.state" && event.data.contains("squatted")).await;
    // Whoever connected has gone, and left nothing.
    listener.set_nonblocking(true).unwrap();
    let mut connections = 0;
    while let Ok((mut stream, _)) = listener.accept() {
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut got = Vec::new();
        stream.read_to_end(&mut got).unwrap();
        assert_eq!(got, b"");
        connections += 1;
    }
    assert!(connections > 0, "it was tried");
    drop(listener);
    host.until_back("lost", main).await;
    let log = host.get("/api/v1/plugins/lost/logs").await.text();
    assert!(log.contains(&format!("(pid {}", std::process::id())), "{log}");
}
