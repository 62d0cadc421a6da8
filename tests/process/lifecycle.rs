//! Start, environment, end, stop.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use wharf::process::Level;
use wharf_core::manifest::Span;
use wharf_plugin_api::{Cause, CauseKind};

use crate::harness::{OfNobody, World, line, lives, passes, read, within};

#[tokio::test]
async fn an_exit_code_is_reported() {
    let world = World::new().await;
    let process = world.run("exit 3").await;
    let report = within(process.handle.gone()).await;
    assert_eq!((report.code, report.signal), (Some(3), None));
    assert!(report.max_rss_bytes > 0);
    assert_eq!(Cause::of_exit(report).kind, CauseKind::Exited);
}

#[tokio::test]
async fn a_signal_is_reported() {
    let world = World::new().await;
    let process = world.run("kill -SEGV $$").await;
    let report = within(process.handle.exited()).await;
    assert_eq!((report.code, report.signal), (None, Some(11)));
}

#[tokio::test]
async fn each_failing_step_has_its_cause() {
    let world = World::new().await;
    let file = |name: &str, text: &str, mode| {
        let path = world.folder.join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let garbage = file("garbage", "\u{1}\u{2}\u{3} no program", 0o755);
    let plain = file("plain", "#!/bin/sh\n", 0o644);
    let orphan = file("orphan", "#!/no/such/interpreter\n", 0o755);
    for (program, kind, says) in [
        ("/no/such/program", CauseKind::NotFound, "/no/such/program"),
        (garbage.as_str(), CauseKind::NotExecutable, "ENOEXEC"),
        (plain.as_str(), CauseKind::NotExecutable, "EACCES"),
        (orphan.as_str(), CauseKind::NotExecutable, "interpreter"),
        ("/", CauseKind::NotExecutable, "EACCES"),
    ] {
        let cause = Cause::from(world.spawn(world.launch(program, &[])).await.unwrap_err());
        assert!(cause.kind == kind && cause.detail.contains(says), "{program}: {cause}");
    }
    let mut launch = world.sh("exit 0");
    launch.cwd = "/no/such/folder".into();
    let cause = Cause::from(world.spawn(launch).await.unwrap_err());
    assert!(cause.kind == CauseKind::MissingFile && cause.detail.contains("/no/such/folder"), "{cause}");
    let mut launch = world.sh("exit 0");
    launch.args.push("a\0b".to_owned());
    assert_eq!(Cause::from(world.spawn(launch).await.unwrap_err()).kind, CauseKind::SpawnFailed);
}

#[tokio::test]
async fn environment_folder_and_descriptors_are_exactly_what_was_asked_for() {
    let world = World::new().await;
    let mut launch = world.launch("/usr/bin/env", &[]);
    launch.env = vec![("A".to_owned(), "1=2".to_owned()), ("B".to_owned(), String::new())];
    let mut process = world.spawn(launch).await.unwrap();
    let text = read(&mut process).await;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["A=1=2", "B="]);
    assert!(lines.len() == 3 && lines[2].starts_with("WHARF_INSTANCE="), "{lines:?}");

    let mut process = world.run("pwd; ls /proc/$$/fd; ulimit -c").await;
    let folder = world.folder.display();
    assert_eq!(read(&mut process).await, format!("{folder}\n0\n1\n2\n0\n"));

    // No shell between: one blocks signals of its own while it forks.
    let status = world.launch("/bin/grep", &["-E", "SigBlk|SigIgn|NoNewPrivs", "/proc/self/status"]);
    let mut process = world.spawn(status).await.unwrap();
    let text = read(&mut process).await;
    let mut values = text.lines().map(|line| line.split_once(":\t").unwrap().1);
    assert_eq!(values.next(), Some("0000000000000000"), "no signal is blocked");
    let ignored = values.next().unwrap();
    assert_eq!(values.next(), Some("1"), "no new privileges");
    // 32 and 33 belong to the C library, which lets nobody change them.
    assert_eq!(u64::from_str_radix(ignored.trim(), 16).unwrap() & !(0b11 << 31), 0, "{ignored}");
}

#[tokio::test]
async fn stdin_arrives_and_ends() {
    let world = World::new().await;
    let mut launch = world.launch("/bin/cat", &[]);
    launch.stdin = true;
    let mut process = world.spawn(launch).await.unwrap();
    let mut stdin = process.stdin.take().unwrap();
    stdin.write_all(b"hello").await.unwrap();
    drop(stdin);
    assert_eq!(read(&mut process).await, "hello");
    assert_eq!(within(process.handle.stop()).await.unwrap().code, Some(0));
    let mut process = world.run("cat; echo end").await;
    assert_eq!(read(&mut process).await, "end\n");
}

#[tokio::test]
async fn stop_asks_first() {
    let world = World::new().await;
    let mut process = world.run("trap 'exit 7' TERM; echo up; while :; do sleep 1000 & wait; done").await;
    line(&mut process).await;
    let (first, second) = tokio::join!(within(process.handle.stop()), within(process.handle.stop()));
    assert_eq!(first.unwrap().code, Some(7));
    assert_eq!(second.unwrap().code, Some(7));
    assert_eq!(within(process.handle.stop()).await.unwrap().code, Some(7), "stopped already");
}

#[tokio::test]
async fn a_stopped_process_gets_the_request_to_end() {
    let world = World::new().await;
    let mut process =
        world.run("trap 'exit 7' TERM; echo up; kill -STOP $$; while :; do sleep 1000 & wait; done").await;
    line(&mut process).await;
    assert_eq!(within(process.handle.stop()).await.unwrap().code, Some(7));
}

#[tokio::test]
async fn what_ignores_the_request_is_killed() {
    // The numbers that the plugin prints are the host's here.
    let world = World::at(Level::Subreaper).await.unwrap();
    let mut launch =
        world.sh("trap '' TERM; sh -c 'echo $$; exec sleep 1000' & echo; wait; wait; sleep 1000");
    launch.stop.term = Span::millis(100);
    let mut process = world.spawn(launch).await.unwrap();
    let mut pid = line(&mut process).await;
    if pid.is_empty() {
        pid = line(&mut process).await;
    }
    let report = within(process.handle.stop()).await.unwrap();
    assert_eq!(report.signal, Some(9));
    assert!(report.uptime >= Duration::from_millis(100));
    assert!(!lives(&pid));
}

#[tokio::test]
async fn many_start_at_once() {
    let world = World::new().await;
    let starts = (0..20).map(|n| world.spawn(world.sh(&format!("exit {n}"))));
    let started = futures_util::future::join_all(starts).await;
    for (n, process) in started.into_iter().enumerate() {
        let report = within(process.unwrap().handle.gone()).await;
        assert_eq!(report.code, Some(i32::try_from(n).unwrap()));
    }
    assert_eq!(within(world.tasks.end(Duration::from_secs(5))).await, 0, "no task is left");
}

#[test]
fn the_ends_of_children_are_seen_though_whoever_started_it_ignores_them() {
    // Not every shell lets this be ignored.
    let code = "import os, signal, sys; signal.signal(signal.SIGCHLD, getattr(signal, sys.argv[1])); \
                os.execv(sys.argv[2], sys.argv[2:])";
    let found = |disposition| {
        let mut command = std::process::Command::new("timeout");
        command.args(["-s", "KILL", "20", "python3", "-c", code, disposition]);
        command.args([env!("CARGO_BIN_EXE_wharf"), "__probe"]).output().unwrap().stdout
    };
    let usual = found("SIG_DFL");
    assert!(!usual.is_empty());
    assert_eq!(String::from_utf8(found("SIG_IGN")), String::from_utf8(usual));
}

#[test]
fn what_the_host_was_handed_down_is_not_handed_on() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: it takes root to hand capabilities down");
        return;
    }
    let host = OfNobody::new();
    passes(
        &mut host.program(&["--inh-caps", "+net_raw", "--ambient-caps", "+net_raw"]),
        "lifecycle::privileged_program",
    );
}

/// A host of another user that was given a capability for what it executes.
#[tokio::test]
#[ignore = "a program for another test"]
async fn privileged_program() {
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    assert!(own.contains("CapAmb:\t0000000000002000"), "{own}");
    let world = World::at(Level::Subreaper).await.unwrap();
    let status = world.launch("/bin/grep", &["-E", "CapInh|CapPrm|CapEff|CapAmb", "/proc/self/status"]);
    let mut process = world.spawn(status).await.unwrap();
    let text = read(&mut process).await;
    assert_eq!(text.matches("0000000000000000").count(), 4, "{text}");
}
