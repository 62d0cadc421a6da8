//! Starts that fail, and starts that take their time.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::beside::Beside;
use crate::harness::{Case, Kind};
use crate::support::host::Setup;
use crate::support::manifest::mock_on_port;
use crate::support::procs::left;
use crate::support::{Manifest, WHARF, eventually, mock};

/// A file that can be executed as far as its mode tells.
fn program(path: &Path, bytes: &[u8]) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// What must hold for each kind of F01: fatal with the path and a remedy, not tried again.
async fn is_fatal(case: &mut Case, beside: &Beside, path: &Path, says: &str) {
    let begun = Instant::now();
    let host = &beside.host;
    host.put("bad", &Manifest::command(path).quick());
    let view = host.until("bad", "fatal", |view| view["state"] == "fatal").await;
    case.time("told after", begun.elapsed());
    let detail = view["cause"]["detail"].as_str().unwrap();
    for said in [says, path.to_str().unwrap()] {
        assert!(detail.contains(said), "{said} is not told: {view}");
    }
    assert!(view["next_attempt_at"].is_null(), "nothing heals it, so nothing is tried: {view}");
    let answer = host.try_call("bad", "echo", json!({ "message": "x" })).await;
    answer.problem(503, "plugin_unavailable");
    assert_eq!(answer.header("retry-after"), "", "time does not heal it");
    beside.is_well().await;
}

/// Fault: the program is missing. Expected: fatal, with the path; no retry; once the file is there it starts when an
/// operator says so (its remedy tells that), and not before: a host that polls for programs would start half-copied ones.
#[tokio::test]
async fn f01_a_program_that_is_missing() {
    let mut case = Case::begin("F01", Kind::Process, "the program is missing, then there");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let path = beside.host.scratch("server");
    is_fatal(&mut case, &beside, &path, "no file").await;
    program(&path, format!("#!/bin/sh\nexec {WHARF} mock\n").as_bytes());
    let begun = Instant::now();
    beside.host.command("bad", "start").await;
    beside.host.until_state("bad", "ready").await;
    case.time("ready after the start", begun.elapsed());
}

/// Fault: the file may not be executed. Expected: fatal, with the path and the reason; no retry.
#[tokio::test]
async fn f01_a_program_that_may_not_be_executed() {
    let mut case = Case::begin("F01", Kind::Process, "the program may not be executed");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let path = beside.host.scratch("server");
    fs::write(&path, "#!/bin/sh\n").unwrap();
    is_fatal(&mut case, &beside, &path, "may not be executed").await;
}

/// Fault: the program is of another architecture. Expected: fatal, with the path and the kernel's error; no retry.
#[tokio::test]
async fn f01_a_program_of_another_architecture() {
    let mut case = Case::begin("F01", Kind::Process, "the program is of another architecture");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let path = beside.host.scratch("server");
    // The head of a 64 bit big-endian ELF for SPARC V9.
    let head = [0x7f, b'E', b'L', b'F', 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 43, 0, 0, 0, 1];
    program(&path, &[&head[..], &[0; 232]].concat());
    is_fatal(&mut case, &beside, &path, "ENOEXEC").await;
}

/// Fault: the program exits with 0 at once. Expected: it is started again after 0.5, 1, 2 and 4 s, each within ±50 %,
/// and the fifth failure ends in quarantine; calls are refused with 503 and Retry-After. A delay is measured from start
/// to start, so 2 s are allowed for the start itself on a loaded machine; none may be shorter.
#[tokio::test]
async fn f02_a_program_that_exits_at_once() {
    let mut case = Case::begin("F02", Kind::Process, "exits with 0 at once");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let starts = beside.host.scratch("starts");
    let script = format!("date +%s%N >>{}; exit 0", starts.display());
    // Its era is told, so that each start is one launch: a server that is asked for it is launched once for each way of asking.
    beside.host.put("bad", &Manifest::command("sh").arg("-c").arg(script).set("era", "legacy"));
    let view = beside.host.until_state("bad", "quarantined").await;
    assert_eq!(view["cause"]["code"], "exited", "{view}");
    let text = fs::read_to_string(&starts).unwrap();
    let times: Vec<u64> = text.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(times.len(), 5, "the fifth failed start is the last for now");
    let gaps: Vec<_> = times.windows(2).map(|pair| Duration::from_nanos(pair[1] - pair[0])).collect();
    for (n, gap) in gaps.iter().enumerate() {
        let delay = Duration::from_millis(500 << n);
        assert!(*gap >= delay / 2, "start {n} came after {gap:?}");
        assert!(*gap <= delay * 3 / 2 + Duration::from_secs(2), "start {n} came after {gap:?}");
    }
    let gaps: Vec<_> = gaps.iter().map(|gap| gap.as_millis().to_string()).collect();
    case.figure("started again after", format_args!("{} ms", gaps.join("/")));
    let answer = beside.host.try_call("bad", "echo", json!({ "message": "x" })).await;
    answer.problem(503, "plugin_unavailable");
    case.figure("Retry-After", format_args!("{} s", answer.header("retry-after").parse::<u64>().unwrap()));
    beside.is_well().await;
}

/// What must hold for F05 and F07: ended at `start_timeout`, the cause says so, and nothing of it is left while it waits
/// for its next start.
async fn times_out(case: &mut Case, bad: Manifest, mark: &str) {
    let timeout = Duration::from_secs(2);
    let bad = bad.set("health.start_timeout", "2s").set("restart.initial", "50s").set("restart.max", "60s");
    let begun = Instant::now();
    let beside = Beside::with(case, &bad).await;
    let view = beside.host.until_state("bad", "backoff").await;
    case.time("ended after (timeout 2 s, stop included)", begun.elapsed());
    assert!(begun.elapsed() >= timeout, "not before its time");
    assert_eq!(view["cause"]["code"], "start_timeout", "{view}");
    let of_it = left(beside.host.mark(), beside.host.home()).into_iter().filter(|line| line.contains(mark));
    assert_eq!(of_it.collect::<Vec<_>>(), Vec::<String>::new(), "nothing of it is left");
    case.figure("survivors", 0);
    beside.is_well().await;
}

/// Fault: it never answers `initialize`. Expected: killed at its start timeout, cause `start_timeout`, nothing left.
#[tokio::test]
async fn f05_a_server_that_never_answers_the_handshake() {
    let mut case = Case::begin("F05", Kind::Process, "never answers initialize");
    times_out(&mut case, mock().args(["--hang-at-start", "--ignore-stdin-close"]), "--hang-at-start").await;
}

/// Fault: it never listens. Expected: the same.
#[tokio::test]
async fn f05_a_server_that_never_listens() {
    let mut case = Case::begin("F05", Kind::Process, "never listens on its port");
    times_out(&mut case, mock_on_port("http").arg("--refuse-to-listen"), "--refuse-to-listen").await;
}

/// Fault: it listens late; 4 s here instead of 20, which shows the same and takes a fifth of the time. Expected: a call
/// whose deadline is later waits and succeeds; one whose deadline is sooner is refused in time; no restart.
#[tokio::test]
async fn f06_a_server_that_listens_late() {
    let mut case = Case::begin("F06", Kind::Process, "listens late");
    let late = mock_on_port("http").args(["--listen-after", "4000"]).set("limits.queue_wait", "60s");
    let beside = Beside::with(&mut case, &late).await;
    beside.host.until("bad", "starting", |view| view["state"] == "starting").await;
    let call = async |ms: u64| {
        let begun = Instant::now();
        let body = json!({ "arguments": { "message": "late" }, "timeout_ms": ms });
        let answer = beside.host.post("/api/v1/plugins/bad/tools/echo/call", &body).await;
        (answer, begun.elapsed())
    };
    let ((patient, waited), (hasty, refused)) = tokio::join!(call(60_000), call(500));
    patient.expect(200);
    case.time("a patient call waited", waited);
    assert!(matches!(hasty.status, 503 | 504), "{}", hasty.text());
    assert!(refused < Duration::from_secs(4), "refused at its own deadline, not when the plugin is up");
    case.figure(
        "a hasty one got",
        format_args!("{} {}", hasty.status, hasty.json()["code"].as_str().unwrap()),
    );
    assert_eq!(beside.host.plugin("bad").await["restarts"], 0, "late is not dead");
    beside.is_well().await;
}

/// Fault: a Node server with too few processes allowed, which hangs and says nothing. Expected: as F05. As root the limit
/// binds only who is not root, so it is started as another user; the limit counts threads of that user, and Node needs
/// about eleven.
#[tokio::test]
async fn f07_a_node_server_without_threads() {
    let mut case = Case::begin("F07", Kind::Process, "Node with 4 processes allowed hangs");
    let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    if !has("node") {
        return case.skip("node is not installed");
    }
    let starved = "ulimit -u 4; exec node -e 'setInterval(() => {}, 1000)' f07-starved";
    let starved = if nix::unistd::getuid().is_root() {
        if !has("setpriv") {
            return case
                .skip("root is not bound by the limit, and there is no setpriv to become somebody else");
        }
        Manifest::command("setpriv")
            .args(["--reuid=54321", "--regid=54321", "--clear-groups", "sh", "-c", starved])
            .set("cwd", "/")
    } else {
        Manifest::command("sh").arg("-c").arg(starved)
    };
    times_out(&mut case, starved, "f07-starved").await;
}

/// Fault: somebody takes the plugin's port between the choice of it and the plugin's start. Expected: another port, at
/// most three tries, and no crash is counted.
#[tokio::test]
async fn f20_a_port_that_is_taken_at_the_last_moment() {
    let mut case = Case::begin("F20", Kind::Process, "the port is taken just before the start");
    let beside = Beside::start(&mut case, Setup::new()).await;
    let (told, go) = (beside.host.scratch("port"), beside.host.scratch("go"));
    // The first launch tells its port and waits until the thief has it; it then finds it taken, as any server would.
    let script = format!(
        "if ! [ -e {go} ]; then echo ${{port}} >{told}.new; mv {told}.new {told}; \
         while ! [ -e {go} ]; do sleep 0.05; done; fi; exec ${{wharf}} mock --dialect http --port ${{port}}",
        go = go.display(),
        told = told.display()
    );
    let stolen = Manifest::command("sh").arg("-c").arg(script).quick();
    let stolen = stolen.set("dialect", "http").set("url", "http://127.0.0.1:${port}/mcp");
    beside.host.put("bad", &stolen);
    let port: u16 = eventually("the plugin's port", async || {
        fs::read_to_string(&told)
            .map_err(|error| error.to_string())?
            .trim()
            .parse()
            .map_err(|_| "torn".to_owned())
    })
    .await;
    let thief =
        std::net::TcpListener::bind(("127.0.0.1", port)).expect("between choice and start it is free");
    let begun = Instant::now();
    fs::write(&go, "").unwrap();
    let view: Value = beside.host.until_state("bad", "ready").await;
    case.time("ready on another port after", begun.elapsed());
    assert_ne!(view["instances"][0]["port"], port, "{view}");
    assert_eq!(view["restarts"], 0, "it is no crash: {view}");
    assert_eq!(view["instances"][0]["generation"], 1, "it is the same launch: {view}");
    drop(thief);
    beside.is_well().await;
}

/// Fault: the plugin listens on ::1 only, and somebody else has the same port on 127.0.0.1. Expected: the host connects
/// to ::1, or the start fails; the other one never gets a connection.
#[tokio::test]
async fn f22_a_squatter_on_the_other_loopback() {
    let mut case = Case::begin("F22", Kind::Process, "the plugin has ::1, a squatter 127.0.0.1");
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        return case.skip("there is no IPv6 loopback");
    }
    let port = crate::support::mockproc::free_port();
    let bad = mock_on_port("http").args(["--host", "::1", "--listen-after", "1500"]);
    let bad = bad.set("port", i64::from(port)).set("health.interval", "100ms");
    let beside = Beside::with(&mut case, &bad).await;
    beside.host.until("bad", "launched", |view| view["instances"][0]["pid"].is_u64()).await;
    let squatter = std::net::TcpListener::bind(("127.0.0.1", port)).expect("the plugin does not listen yet");
    squatter.set_nonblocking(true).unwrap();
    let view = beside.host.until("bad", "ready or failed", |view| {
        view["state"] == "ready" || view["cause"]["code"] == "port_in_use"
    });
    let view = view.await;
    case.figure("came to", view["state"].as_str().unwrap());
    for _ in 0..20 {
        beside.host.try_call("bad", "echo", json!({ "message": "secret" })).await;
    }
    let met = squatter.accept();
    assert!(met.is_err(), "the squatter was connected to: {met:?}");
    case.figure("connections to the squatter", 0);
    beside.is_well().await;
}
