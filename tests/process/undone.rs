//! A launch that comes to nothing leaves nothing: neither a process nor a line in the ledger.

use std::path::Path;
use std::process::{Command, Stdio};

use wharf::process::{self, SpawnError};
use wharf_plugin_api::Cause;

use crate::harness::{World, lives, parent_of, passes, signal, until, within};

/// In a program of its own: which executable is the shim is fixed once.
#[test]
fn a_shim_that_says_nothing_is_ended() {
    let mut program = Command::new("timeout");
    program.args(["-s", "KILL", "90"]).arg(std::env::current_exe().unwrap());
    // It reads its stdin and says nothing.
    program.env("WHARF_TEST_SHIM", "/usr/bin/xargs");
    passes(&mut program, "undone::silent_program");
}

/// Stopped, so that the end of its socket does not end it.
#[tokio::test]
#[ignore = "a program for another test"]
async fn silent_program() {
    let world = World::new().await;
    let stopped = async || {
        until("the shim runs", || !shims().is_empty()).await;
        shims().iter().for_each(|pid| signal(*pid, "STOP"));
    };
    // Nobody waits for it any more.
    tokio::select! {
        started = process::spawn(world.sh("exit 0"), &world.machine, &world.tasks) => panic!("{started:?}"),
        () = stopped() => {}
    }
    until("it is ended", || shims().is_empty()).await;
    until("it is struck out", || ledger(&world.folder).is_empty()).await;
    // Somebody waits for as long as it may take.
    let (started, ()) = tokio::join!(world.spawn(world.sh("exit 0")), stopped());
    assert_eq!(shims(), [0; 0], "it has ended before the next launch can begin");
    assert_eq!(ledger(&world.folder), [""; 0]);
    let error = started.unwrap_err();
    assert!(matches!(error, SpawnError::Shim(_)) && error.to_string().contains("wharf::init()"), "{error}");
}

#[tokio::test]
async fn a_program_whose_file_does_not_answer_is_named() {
    // Who opens a file on which somebody has a lease waits until it is given back.
    const HOLDER: &str = "import fcntl, os, signal, sys; signal.signal(signal.SIGIO, signal.SIG_IGN)\n\
        fcntl.fcntl(os.open(sys.argv[1], os.O_RDWR), fcntl.F_SETLEASE, fcntl.F_WRLCK); os.write(1, b'x'); sys.stdin.read()";
    let world = World::new().await;
    let program = world.folder.join("program");
    std::fs::copy("/bin/true", &program).unwrap();
    let mut holder = Command::new("python3");
    holder.args(["-c", HOLDER]).arg(&program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut holder = holder.spawn().unwrap();
    std::io::Read::read_exact(holder.stdout.as_mut().unwrap(), &mut [0]).unwrap();
    let launch = world.launch(program.to_str().unwrap(), &[]);
    let error = within(Box::pin(world.spawn(launch))).await.unwrap_err();
    let left = ledger(&world.folder);
    holder.kill().unwrap();
    holder.wait().unwrap();
    let detail = Cause::from(error).detail;
    assert!(detail.contains("does not answer") && detail.contains("/program"), "{detail}");
    assert_eq!(left, [""; 0]);
}

fn ledger(folder: &Path) -> Vec<String> {
    let lines = std::fs::read_dir(folder.join("run")).unwrap();
    lines.map(|line| line.unwrap().file_name().into_string().unwrap()).collect()
}

/// The shims of this host that are executed and live.
fn shims() -> Vec<i32> {
    let own = i32::try_from(std::process::id()).unwrap();
    let pids = std::fs::read_dir("/proc").unwrap().flatten();
    let is_one = |pid: &String| {
        let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        parent_of(pid) == Some(own) && command.starts_with(b"wharf\0__shim\0") && lives(pid)
    };
    let pids = pids.filter_map(|entry| entry.file_name().into_string().ok()).filter(is_one);
    pids.filter_map(|pid| pid.parse().ok()).collect()
}
